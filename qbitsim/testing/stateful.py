"""Hypothesis plays guest, machine, bad luck and other clients against somebody's backup client.

Subclass :class:`BackupClientMachine`, say what the client's actions are called and how it is made::

    class MyClientMachine(BackupClientMachine):
        actions = ("full", "incremental")

        def client(self, machine):
            return MyClient(machine)

    TestMyClient = MyClientMachine.TestCase

Theory of operation: an action of the client is a conversation (:mod:`qbitsim.testing.clients`); each rule does one
thing: the guest writes, the machine does some steps in an order that Hypothesis chooses, the client gets on by some
requests, a disk fails or is slow, another client comes in. After each a :class:`~qbitsim.testing.laws.Witness` looks
whether the laws hold, and while the client does nothing, whether what it holds for good is good. A broken law raises
:class:`~qbitsim.testing.laws.LawBrokenError` with its story, which is made as short as it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from errno import EIO
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.engine.policies import Drawn
from qbitsim.errors import QmpError
from qbitsim.jobs.backup import BackupJob
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.profiles import profile as profile_called
from qbitsim.testing.chains import image_of
from qbitsim.testing.clients import BackupClient, Dialogue, Execute
from qbitsim.testing.counter_examples import add_test_case, run_as_test
from qbitsim.testing.laws import BUSY, NEVER_HANGS, NOTHING_LEFT, LawBrokenError, Witness
from qbitsim.testing.shorten import Move, move
from qbitsim.testing.story import Story

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.jobs.job import Job
    from qbitsim.jsontypes import JsonObject

__all__ = ["GRANULE", "ONCE", "PAUSES", "TALK_LIMIT", "BackupClientMachine", "run_as_test"]

_T = TypeVar("_T")

GRANULE = 65536
"""Bytes: the unit of the places where the guest writes."""

TALK_LIMIT = 1000
"""So many requests without waiting are no conversation any more."""

PAUSES = st.sampled_from([None, None, None, 1, 2, 3, 4])
"""After how many requests something else comes between; None: when the client must wait."""


ONCE = st.sampled_from([True, True, False])
"""How often something fails: mostly once, for after that there is more to see."""


class BackupClientMachine(RuleBasedStateMachine):
    """The rules; subclass it.

    :cvar actions: names of the client's methods that Hypothesis may call.
    :cvar drives: the guest's disks: ids and sizes; the node of ``drive0`` is called ``drive0-node``.
    :cvar profile: which QEMU it is.
    :cvar refusable: commands that may be refused for no reason.
    :cvar failures: what an action may end with; everything else that it raises is a bug of the client.
    :cvar tidy: whether a client that has ended must have ended its jobs and removed its nodes.
    :ivar machine: the machine.
    :ivar witness: who watches the laws.
    :ivar moves: the rules that were run, and with what.
    :ivar over: something has failed.
    """

    actions: ClassVar[Sequence[str]] = ()
    drives: ClassVar[Mapping[str, int | str]] = {"drive0": 8 * GRANULE, "drive1": 4 * GRANULE}
    profile: ClassVar[str | Profile] = DEFAULT_PROFILE
    refusable: ClassVar[Sequence[str]] = ("transaction",)
    failures: ClassVar[tuple[type[Exception], ...]] = (QmpError,)
    tidy: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.actions:
            _add_rules(cls)
            add_test_case(cls)

    def __init__(self) -> None:
        super().__init__()
        self._order: list[int] = []
        self._policy = Drawn(self._choose)
        self.machine = Machine(profile_called(self.profile), policy=self._policy)
        self.story = Story(self.machine)
        self._sizes = {
            name: self.machine.add_disk(name, size, node_name=f"{name}-node", discard=True).size
            for name, size in self.drives.items()
        }
        self.witness = Witness(self.machine)
        self._client = self.client(self.machine)
        self._dialogue: Dialogue | None = None
        self._action = ""
        self._heard = 0
        self._others = 0
        self._foreign: set[Job] = set()
        self._nodes: set[str] = set()
        self.over = False
        self.moves: list[Move] = []

    def client(self, machine: Machine) -> BackupClient:
        """Make the client; :class:`~qbitsim.testing.clients.Plain` makes one of a client with plain methods."""
        raise NotImplementedError

    # -- what goes on by itself

    @property
    def at_rest(self) -> bool:
        """Whether the client does nothing."""
        return self._dialogue is None

    def check_laws(self) -> None:
        """See whether the laws hold; rules of a subclass end with it.

        :raises LawBrokenError: they do not.
        """
        self.story.events()
        self._witnessed(self.witness.look)
        if self._dialogue is None:
            self._check_chains()

    def _check_chains(self) -> None:
        self._witnessed(lambda: self.witness.check(self._client.chains()))

    def teardown(self) -> None:
        """Let everything come to its end, and look once more."""
        try:
            if not self.over:
                self._to_the_end()
        finally:
            if self._dialogue is not None:
                self._dialogue.close()

    def _end_badly(self, error: Exception) -> None:
        """Add the story to what is raised."""
        self.over = True
        self.story.events()
        lines = self.story.lines()
        if any(self._policy.choices):
            lines.append(f"(the order of the tasks: {self._policy})")
        error.__dict__["moves"] = list(self.moves)
        error.add_note("\n".join(["what happened:", *lines]))

    def _witnessed(self, do: Callable[[], _T]) -> _T:
        """Do or look at something; if a law is broken, tell the story.

        :raises LawBrokenError: it is.
        """
        try:
            return do()
        except LawBrokenError as error:
            self._end_badly(error)
            raise

    def _choose(self, count: int, labels: list[str]) -> int:
        """The next of the order that a rule has drawn, the first one where it says nothing."""
        return min(self._order.pop(0), count - 1) if self._order else 0

    # -- the client

    def client_begins(self, action: str, pause_after: int | None) -> None:
        """The client begins an action, and gets on until it must wait or has made so many requests."""
        self._begin(action, pause_after)
        self.check_laws()

    def client_does(self, action: str) -> None:
        """The client begins an action, and everything comes to its end."""
        self._begin(action, None)
        self._to_the_end()

    def _begin(self, action: str, pause_after: int | None) -> None:
        self.story.tell("the client begins: %s", action)
        self._action = action
        self._nodes = self._owned_nodes()
        self._dialogue = Dialogue(
            self.machine, getattr(self._client, action)(), seen=self._heard, execute=self.witness.execute
        )
        self._guarded(self._dialogue.begin)
        self._talk(pause_after)

    def _talk(self, pause_after: int | None) -> None:
        """Let the client get on until it waits, or for so many requests."""
        dialogue = self._dialogue
        for count in range(TALK_LIMIT):
            if dialogue is None or dialogue.over:
                break
            if count == pause_after or not dialogue.can_go_on:
                break
            request = dialogue.waiting
            if isinstance(request, Execute):
                self.story.tell("  %s %s", request.name, request.arguments)
            self._guarded(dialogue.go_on)
            self.story.events()
        else:
            self._broken(NEVER_HANGS, f"{self._action} has made {TALK_LIMIT} requests without waiting")
        if dialogue is not None and dialogue.over:
            self._rest(dialogue)

    def _guarded(self, move: Callable[[], object]) -> None:
        """Let the client do one thing; it may fail in the ways that were allowed."""
        try:
            move()
        except LawBrokenError as error:
            self._end_badly(error)
            raise
        except self.failures as error:
            self.story.tell("the client gives up: %s", str(error))
        except Exception as error:
            self._end_badly(error)
            raise

    def _rest(self, dialogue: Dialogue) -> None:
        """An action has ended."""
        self._heard, self._dialogue = dialogue.seen, None
        chains = [f"{chain.drive} = {' + '.join(chain.files)}" for chain in self._client.chains()]
        self.story.tell("the client ends: %s; it holds %s", self._action, ", ".join(chains) or "nothing")
        self._check_chains()
        if self.tidy:
            jobs = [job.id for job in self.machine.jobs.jobs if job not in self._foreign]
            nodes = sorted(self._owned_nodes() - self._nodes)
            if jobs or nodes:
                self._broken(NOTHING_LEFT, f"{self._action} has left {', '.join([*jobs, *nodes])}")

    def _owned_nodes(self) -> set[str]:
        nodes = self.machine.graph.nodes.items()
        return {name for name, node in nodes if node.monitor_owned}

    def _broken(self, law: str, detail: str) -> None:
        error = LawBrokenError(law, detail)
        self._end_badly(error)
        raise error

    def _can_go_on(self) -> bool:
        return self._dialogue is not None and self._dialogue.can_go_on

    @precondition(_can_go_on)
    @rule(pause_after=PAUSES)
    @move(_can_go_on)
    def client_goes_on(self, pause_after: int | None) -> None:
        """The client hears what has happened and gets on."""
        self._talk(pause_after)
        self.check_laws()

    @rule()
    @move()
    def everything_ends(self) -> None:
        """The client and the jobs come to their ends, whatever time it takes."""
        self._to_the_end()

    def _to_the_end(self) -> None:
        machine = self.machine
        while True:
            machine.run_until_idle()
            self.story.events()
            if (dialogue := self._dialogue) is None:
                break
            if dialogue.can_go_on:
                self._talk(None)
                continue
            times = [when for when in (machine.next_deadline, dialogue.wakes) if when is not None]
            if not times:
                self._broken(NEVER_HANGS, f"{self._action} waits for an event that will not come")
            machine.advance_to(min(times))
        machine.settle()
        self.check_laws()

    # -- the machine

    @rule(order=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    @move()
    def steps(self, order: list[int]) -> None:
        """The machine does some steps; each number chooses among the tasks that are due."""
        scheduler = self.machine.scheduler
        done = []
        for choice in order:
            if not (ready := scheduler.ready()):
                break
            self._order = [choice]
            done.append(ready[min(choice, len(ready) - 1)].label)
            scheduler.step()
        self._order = []
        if done:
            self.story.tell("the machine goes on: %s", done)
            self.check_laws()

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 60.0]))
    @move()
    def time_passes(self, seconds: float) -> None:
        """Time passes, and what is due on the way happens."""
        self.story.tell("%s seconds pass", seconds)
        self.machine.advance(seconds)
        self.check_laws()

    # -- bad luck

    def disk_fails(self, drive: str, once: bool) -> None:
        """The guest's disk cannot be read."""
        self.story.tell("reads of %s fail%s", drive, " once" if once else "")
        self.machine.inject_error(drive, "read", EIO, once=once)

    def disk_is_slow(self, drive: str, seconds: float) -> None:
        """The guest's disk takes its time."""
        self.story.tell("reads of %s take %s seconds", drive, seconds)
        self.machine.delay_io(drive, "read", seconds)

    def command_refused(self, command: str) -> None:
        """The next command of that name is refused."""
        self.story.tell("the next %s is refused", command)
        self.machine.refuse(command, "Refused by the test")

    def _jobs(self) -> list[BackupJob]:
        return [job for job in self.machine.jobs.jobs if isinstance(job, BackupJob) and job not in self._foreign]

    @precondition(lambda self: bool(self._jobs()))
    @rule(once=ONCE)
    @move(_jobs)
    def target_fails(self, once: bool) -> None:
        """The target of the newest backup cannot be written to."""
        job = self._jobs()[0]
        image = image_of(job.state.target)
        if image is not None:
            self.story.tell("writes to %s fail%s", image.name, " once" if once else "")
            self.machine.inject_error(image.name, "write", EIO, once=once)

    @precondition(lambda self: bool(self._jobs()))
    @rule(granules=st.integers(0, 3))
    @move(_jobs)
    def target_is_full(self, granules: int) -> None:
        """The target of the newest backup has no room for more than so many granules."""
        image = image_of(self._jobs()[0].state.target)
        if image is not None:
            self.story.tell("%s is full after %s bytes", image.name, granules * GRANULE)
            self.machine.limit_capacity(image.name, granules * GRANULE)

    # -- other clients

    def _busy(self) -> list[DirtyBitmap]:
        jobs = self.machine.jobs.jobs
        return [job.options.bitmap for job in jobs if isinstance(job, BackupJob) and job.options.bitmap is not None]

    @precondition(lambda self: bool(self._busy()))
    @rule()
    @move(_busy)
    def another_client_clears_a_busy_bitmap(self) -> None:
        """It must not be able to."""
        bitmap = self._busy()[0]
        arguments: JsonObject = {"node": bitmap.node.name, "name": bitmap.name}
        try:
            self._witnessed(lambda: self.witness.execute("block-dirty-bitmap-clear", arguments))
        except QmpError:
            self.check_laws()
        else:
            self._broken(BUSY, f"{bitmap!r} could be cleared")

    def another_client_backs_up(self, drive: str) -> None:
        """Another client makes a full backup, which is none of the client's business."""
        self._others += 1
        name = f"other-{self._others - 1}"
        self.story.tell("another client backs up %s as job %s", drive, name)
        arguments: JsonObject = {"device": drive, "target": name, "sync": "full", "format": "qcow2"}
        if self.machine.profile.jobs_have_ids:
            arguments["job-id"] = name
        before = set(self.machine.jobs.jobs)
        try:
            self._witnessed(lambda: self.witness.execute("drive-backup", arguments))
        except QmpError as error:
            self.story.tell("  it is refused: %s", error.desc)
        self._foreign |= set(self.machine.jobs.jobs) - before
        self.check_laws()

    # -- the guest

    def guest_writes(self, drive: str, granule: int, length: int) -> None:
        """The guest writes."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest writes %s bytes at %s of %s", length, offset, drive)
        fill = len(self.witness.writes) % 255 + 1
        self._requests(drive, offset, length, lambda found: found.write(offset, bytes((fill,)) * length))

    def guest_zeroes(self, drive: str, granule: int, length: int, unmap: bool) -> None:
        """The guest writes zeroes."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest zeroes %s bytes at %s of %s", length, offset, drive)
        self._requests(drive, offset, length, lambda found: found.write_zeroes(offset, length, unmap=unmap))

    def guest_discards(self, drive: str, granule: int, length: int) -> None:
        """The guest no longer needs something."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest discards %s bytes at %s of %s", length, offset, drive)
        self._requests(drive, offset, 0, lambda found: found.discard(offset, length))

    def _place(self, drive: str, granule: int, length: int) -> tuple[int, int]:
        size = self._sizes[drive]
        offset = granule % -(-size // GRANULE) * GRANULE
        return offset, min(length, size - offset)

    def _requests(self, drive: str, offset: int, written: int, make: Callable[[Drive], object]) -> None:
        try:
            make(self.machine.drive(drive))
        except OSError as error:
            self.story.tell("  it fails: %s", str(error))
            written = 0
        if written:
            self._witnessed(lambda: self.witness.wrote(drive, offset, written))
        self.check_laws()


def _arguments(cls: type[BackupClientMachine]) -> dict[str, dict[str, st.SearchStrategy[Any]]]:
    """What the methods are called with that are rules of subclasses only, for it depends on what those say."""
    drives, actions = st.sampled_from(sorted(cls.drives)), st.sampled_from(list(cls.actions))
    place = {"drive": drives, "granule": st.integers(0, 15), "length": st.sampled_from([GRANULE, 512, 3 * GRANULE])}
    rules: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "client_begins": {"action": actions, "pause_after": PAUSES},
        "client_does": {"action": actions},
        "guest_writes": place,
        "guest_zeroes": {**place, "unmap": st.booleans()},
        "guest_discards": place,
        "disk_fails": {"drive": drives, "once": ONCE},
        "disk_is_slow": {"drive": drives, "seconds": st.sampled_from([0.1, 10.0])},
        "another_client_backs_up": {"drive": drives},
    }
    if cls.refusable:
        rules["command_refused"] = {"command": st.sampled_from(list(cls.refusable))}
    return rules


def _add_rules(cls: type[BackupClientMachine]) -> None:
    """Make rules of those methods in a subclass; what it has itself under such a name stays."""
    for name, arguments in _arguments(cls).items():
        plain, found = getattr(BackupClientMachine, name), getattr(cls, name)
        if found is plain or hasattr(found, "derived"):
            when = _at_rest if name in ("client_begins", "client_does") else None
            made: Any = cast(Any, rule)(**arguments)(move(when)(plain))
            made = precondition(when)(made) if when is not None else made
            made.derived = True
            setattr(cls, name, made)


def _at_rest(state: BackupClientMachine) -> bool:
    return state.at_rest
