"""Hypothesis plays guest, machine, bad luck and other clients against somebody's backup client.

Subclass :class:`BackupClientMachine`, say what the client's actions are called and how it is made::

    class MyClientMachine(BackupClientMachine):
        actions = ("full", "incremental")

        def client(self, machine):
            return MyClient(machine)

    TestMyClient = MyClientMachine.TestCase

Theory of operation: an action of the client is a conversation (:mod:`qbitsim.testing.clients`); each move does one
thing: the guest writes, the machine does some steps in an order that was drawn, the client gets on by some requests, a
disk fails or is slow, another client comes in, QEMU is killed. After each a :class:`~qbitsim.testing.laws.Witness`
looks whether the laws hold, and while the client does nothing, whether what it holds for good is good. A broken law
raises :class:`~qbitsim.testing.laws.LawBrokenError` with its story, which is made as short as it can be.

To Hypothesis all moves are one rule, :meth:`BackupClientMachine.scene`, which draws some bytes and makes several of
them; what is likely is said in :mod:`qbitsim.testing.weights`. Rules of a subclass are rules beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis import target
from hypothesis.stateful import RULE_MARKER, rule

from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.testing.clients import BackupClient, Dialogue, Execute, check_client
from qbitsim.testing.counter_examples import add_test_case, run_as_test
from qbitsim.testing.laws import NEVER_HANGS, NOTHING_LEFT, LawBrokenError
from qbitsim.testing.moves import Choices, Declared, move
from qbitsim.testing.outcomes import Outcomes
from qbitsim.testing.over_sockets import OverSocket
from qbitsim.testing.surroundings import GRANULE, Surroundings, backups_of_client
from qbitsim.testing.weights import CLIENT, DISRUPTION, Table, Weights, declared_moves, variety

__all__ = ["GRANULE", "PAUSES", "SCENE", "TALK_LIMIT", "BackupClientMachine", "run_as_test"]

TALK_LIMIT = 1000
"""So many requests without waiting are no conversation any more."""

POLL = 8
"""After the same request so many times in a row a client counts as one that waits for something to happen."""

IDLE_POLLS = 25
"""So many times a client may do so while nothing at all happens."""

PAUSES = (None, None, None, None, 1, 2, 3, 4, 5, 6)
"""After how many requests something else comes between; None: when the client must wait."""

SCENE = 32
"""Bytes that are drawn for a scene: some six to ten moves."""


class BackupClientMachine(Surroundings):
    """A client in its surroundings; subclass it.

    :cvar actions: names of the client's methods that may be called.
    :cvar failures: what an action may end with; everything else that it raises is a bug of the client. When QEMU ends
        under it, it may also raise an :class:`OSError` or an :class:`EOFError`.
    :cvar tidy: whether a client that has ended must have ended its jobs and removed its nodes.
    :cvar weights: how much more often than usual a move is made, by its name; 0 for never.
    :cvar outcomes: how the actions of all machines of the class have ended.

    A move whose moment it is not does nothing, such as one that begins an action while the client is at work.
    """

    actions: ClassVar[Sequence[str]] = ()
    failures: ClassVar[tuple[type[Exception], ...]] = (QmpError,)
    tidy: ClassVar[bool] = True
    weights: ClassVar[Mapping[str, float]] = {}
    weighted: ClassVar[Weights]
    outcomes: ClassVar[Outcomes]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.outcomes = Outcomes()
        cls.weighted = Weights(_moves_of(cls), cls.weights)
        if cls.actions:
            add_test_case(cls)

    def __init__(self) -> None:
        super().__init__()
        self._client = self.client(self.machine)
        check_client(self._client, self.actions)
        self._dialogue: Dialogue | None = None
        self._action = ""
        self._heard = 0
        self._nodes: set[str] = set()
        self._ended = False
        self._gave_up = ""
        self._tables: tuple[Table, Table] | None = None

    def client(self, machine: Machine) -> BackupClient:
        """Make the client.

        One that is no conversation needs an adapter: :class:`~qbitsim.testing.clients.Plain` for plain calls in this
        process, and those of :mod:`qbitsim.testing.over_sockets` for what talks over a socket.
        """
        raise NotImplementedError

    # -- what goes on by itself

    @rule(drawn=st.binary(min_size=SCENE, max_size=SCENE))
    def scene(self, drawn: bytes) -> None:
        """Some moves, one after the other."""
        choices = Choices(drawn)
        if self._tables is None:
            self._tables = self.weighted.tables(choices)
        moves = self.weighted.moves
        while choices.left:
            for name in choices.pick(self._tables[self._dialogue is not None]):
                method = getattr(self, name)
                if method.when is None or method.when(self):
                    method(**moves[name].draw(self, choices))

    @property
    def at_rest(self) -> bool:
        """Whether the client does nothing."""
        return self._dialogue is None

    def check_laws(self) -> None:
        """See whether the laws hold; moves and rules of a subclass end with it.

        :raises LawBrokenError: they do not.
        """
        super().check_laws()
        if self._dialogue is None:
            self._check_chains()

    def _check_chains(self) -> None:
        self.witnessed(lambda: self.witness.check(self._client.chains()))

    def teardown(self) -> None:
        """Let everything come to its end, and look once more; not if the run is cut off, by Hypothesis or by Ctrl-C."""
        cut_off = isinstance(sys.exception(), BaseException) and not isinstance(sys.exception(), Exception)
        try:
            if not (self.over or cut_off):
                self._to_the_end()
                if self._tables is not None:
                    target(variety(name for name, _ in self.moves))
        finally:
            if self._dialogue is not None:
                self._dialogue.close()
            if isinstance(self._client, OverSocket):
                self._client.close()
            if self.observer is not None:
                self.observer.ended(self.moves)

    # -- the client

    def _at_rest(self) -> bool:
        return self._dialogue is None

    @move(_at_rest, kind=CLIENT, weights=(4, 0), action=lambda state: state.actions, pause_after=PAUSES)
    def client_begins(self, action: str, pause_after: int | None) -> None:
        """The client begins an action, and gets on until it must wait or has made so many requests."""
        self._begin(action, pause_after)
        self.check_laws()

    @move(_at_rest, kind=CLIENT, weights=(5, 0), action=lambda state: state.actions)
    def client_does(self, action: str) -> None:
        """The client begins an action, and everything comes to its end."""
        self._begin(action, None)
        self._to_the_end()

    def _begin(self, action: str, pause_after: int | None) -> None:
        self.story.tell("the client begins: %s", action)
        self._action = action
        self._nodes = self._owned_nodes()
        self._ended, self._gave_up = False, ""
        self._dialogue = Dialogue(
            self.machine, getattr(self._client, action)(), seen=self._heard, execute=self._execute
        )
        self._guarded(self._dialogue.begin)
        self._talk(pause_after)

    def _execute(self, name: str, arguments: Json) -> Any:
        """Run a command of the client; the story tells if it is refused."""
        try:
            return self.witness.execute(name, arguments)
        except QmpError as error:
            self.story.tell("  refused: %s", error.desc)
            raise

    def _talk(self, pause_after: int | None) -> bool:
        """Let the client get on until it waits, or for so many requests; return whether it only asks again."""
        dialogue, before, repeated = self._dialogue, None, 0
        for count in range(TALK_LIMIT):
            if dialogue is None or dialogue.over:
                break
            if count == pause_after or repeated == POLL or not dialogue.can_go_on:
                break
            request = dialogue.waiting
            if isinstance(request, Execute):
                self.story.tell("  %s %s", request.name, request.arguments)
                repeated = repeated + 1 if request == before else 0
            else:
                repeated = 0
            self._guarded(dialogue.go_on)
            self.story.events()
            before = request
        else:
            self.broken(NEVER_HANGS, f"{self._action} has made {TALK_LIMIT} requests without waiting")
        if dialogue is not None and dialogue.over:
            self._rest(dialogue)
        return repeated == POLL

    def _guarded(self, go: Callable[[], object]) -> None:
        """Let the client do one thing; it may fail in the ways that were allowed."""
        try:
            go()
        except LawBrokenError as error:
            self.end_badly(error)
            raise
        except Exception as error:
            if not isinstance(error, self.failures) and not (self._ended and isinstance(error, OSError | EOFError)):
                self.end_badly(error)
                raise
            self._gave_up = f"{type(error).__name__}: {error}"
            self.story.tell("the client gives up: %s", str(error))

    def _rest(self, dialogue: Dialogue) -> None:
        """An action has ended."""
        self._heard, self._dialogue = dialogue.seen, None
        self.outcomes.add(self._action, self._gave_up)
        chains = [f"{chain.drive} = {' + '.join(chain.files)}" for chain in self._client.chains()]
        self.story.tell("the client ends: %s; it holds %s", self._action, ", ".join(chains) or "nothing")
        self._check_chains()
        if self.tidy:
            jobs = [job.id for job in self.machine.jobs.jobs if job not in self.foreign]
            nodes = sorted(self._owned_nodes() - self._nodes)
            if jobs or nodes:
                self.broken(NOTHING_LEFT, f"{self._action} has left {', '.join([*jobs, *nodes])}")

    def _owned_nodes(self) -> set[str]:
        """The nodes that a client has made and that no drive is made of."""
        graph = self.machine.graph
        below = [drive.root.node for drive in graph.drives.values() if drive.root is not None]
        used = set()
        while below:
            node = below.pop()
            used.add(node)
            below += [child.node for child in node.children if child.node not in used]
        return {name for name, node in graph.nodes.items() if node.monitor_owned and node not in used}

    def _can_go_on(self) -> bool:
        return self._dialogue is not None and self._dialogue.can_go_on

    def _prepares(self) -> bool:
        return self._dialogue is not None and not backups_of_client(self)

    @move(_prepares, kind=CLIENT, weights=(0, 3))
    def backup_begins(self) -> None:
        """Client and machine go on, a request and a step at a time, until a backup runs or the client is done.

        Before it many clients have jobs that make the target; what is decisive comes after them.
        """
        self._go_on(self._prepares)
        self.check_laws()

    def _go_on(self, so_long: Callable[[], bool]) -> None:
        """Client and machine go on, a request and a step at a time, so long as something is so, or anything goes on."""
        machine, limit = self.machine, TALK_LIMIT
        while (dialogue := self._dialogue) is not None and so_long() and (limit := limit - 1):
            can_go_on = dialogue.can_go_on
            if can_go_on:
                self._talk(1)
            if not so_long():
                break
            if machine.scheduler.ready():
                machine.step()
            elif not can_go_on and not self._time_passes(dialogue):
                break
            self.story.events()

    def _works(self) -> bool:
        return self._dialogue is not None and bool(backups_of_client(self))

    @move(_works, kind=CLIENT, weights=(0, 2), more=(0, 1, 2, 3, 4))
    def backup_ends(self, more: int) -> None:
        """Client and machine go on until the client's backups are gone, and it has run so many commands more.

        What a client does then, such as to write down what it has, is as decisive as what it did before.
        """
        self._go_on(self._works)
        for _ in range(more):
            self._listen()
            if self._can_go_on():
                self._talk(1)
        self._listen()
        self.check_laws()

    def _listen(self) -> None:
        """Let the client hear what there is, until it wants to run a command."""
        for _ in range(TALK_LIMIT):
            dialogue = self._dialogue
            if dialogue is None or isinstance(dialogue.waiting, Execute) or not dialogue.can_go_on:
                break
            self._talk(1)

    @move(_can_go_on, kind=CLIENT, weights=(0, 5), pause_after=PAUSES)
    def client_goes_on(self, pause_after: int | None) -> None:
        """The client hears what has happened and gets on."""
        self._talk(pause_after)
        self.check_laws()

    @move(kind=CLIENT, weights=(1, 3))
    def everything_ends(self) -> None:
        """The client and the jobs come to their ends, whatever time it takes."""
        self._to_the_end()

    def _to_the_end(self) -> None:
        machine, idle = self.machine, 0
        while True:
            self.run_until_idle()
            self.story.events()
            if (dialogue := self._dialogue) is None:
                break
            if dialogue.can_go_on and not self._talk(None):
                continue
            if self._time_passes(dialogue):
                continue
            if (idle := idle + 1) > IDLE_POLLS or not dialogue.can_go_on:
                what = "asks for ever" if dialogue.can_go_on else "waits for an event that will not come"
                self.broken(NEVER_HANGS, f"{self._action} {what}")
        machine.settle()
        self.check_laws()

    def _time_passes(self, dialogue: Dialogue) -> bool:
        """Move time to what comes next, for the machine or the client; whether anything does."""
        times = [when for when in (self.machine.next_deadline, dialogue.wakes) if when is not None]
        if times:
            self.machine.advance_to(min(times))
        return bool(times)

    # -- QEMU ends

    @move(kind=DISRUPTION, weights=(1, 1), flushed=(True, False))
    def machine_crashes(self, flushed: bool = True) -> None:
        """QEMU is killed and started anew on its files; a client that is at work loses its connection.

        Guests have flushed just before, or what they wrote last may be lost, too.
        """
        if flushed:
            self._flush_drives()
        before = "" if flushed else " before guests have flushed"
        self.story.tell(f"QEMU is killed{before}, and started anew")
        self._restart(crash=True)

    @move(kind=DISRUPTION, weights=(1, 1))
    def machine_restarts(self) -> None:
        """QEMU ends cleanly and is started anew on its files; a client that is at work loses its connection."""
        self.story.tell("QEMU ends cleanly, and is started anew")
        self._restart(crash=False)

    def _flush_drives(self) -> None:
        for name in self.drives:
            with suppress(OSError, QmpError):  # what could not be flushed may be lost
                self.machine.drive(name).flush()

    def _restart(self, *, crash: bool) -> None:
        self.witness.restart(crash=crash)
        self.foreign.clear()
        self._heard = self.machine.events.end
        if (dialogue := self._dialogue) is not None:
            self._ended = True
            self._guarded(lambda: dialogue.lose(self._heard))
            self._talk(None)
        self.check_laws()


def _moves_of(cls: type[BackupClientMachine]) -> dict[str, Declared]:
    """The moves that scenes of a class are made of: what a subclass has made a rule of Hypothesis's is none."""
    return declared_moves(cls, lambda method: not hasattr(method, RULE_MARKER))
