"""What surrounds a backup client: a machine, its guest, bad luck and other clients, each as moves.

A :class:`~qbitsim.testing.laws.Witness` looks after each move whether the laws hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from errno import EIO
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.engine.policies import Drawn
from qbitsim.errors import QmpError
from qbitsim.jobs.backup import BackupJob
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.profiles import profile as profile_called
from qbitsim.sizes import SECTOR
from qbitsim.testing.chains import image_of
from qbitsim.testing.laws import BUSY, NEVER_HANGS, OVER, LawBrokenError, Witness
from qbitsim.testing.moves import Move, move
from qbitsim.testing.story import Story
from qbitsim.testing.weights import DISRUPTION, FAULT, GUEST, MACHINE, OTHERS

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.jobs.job import Job
    from qbitsim.jsontypes import JsonObject

_T = TypeVar("_T")

GRANULE = 65536
"""Bytes: the unit of the places where the guest writes."""

ONCE = (True, True, True, False)
"""How often something fails: mostly once, for after that there is more to see."""

PLACES: dict[str, Any] = {
    "drive": lambda state: state.drive_names,
    "granule": range(16),
    "length": (GRANULE, GRANULE, SECTOR, 3 * GRANULE),
}
"""Where the guest writes."""

ORDERS = tuple(
    [number // 4**place % 4 for place in range(length)] for length in (1, 2, 4, 8) for number in (0, 1, 0x4B1E, 0x1B)
)
"""Numbers of steps, and which of the tasks that are due is chosen in each."""


ENDLESS = 20_000
"""Steps without any time after which a machine is taken for one that never becomes idle."""


def backups_of_client(state: Surroundings) -> list[BackupJob]:
    """The backups of the client that are not over, the newest first."""
    return [
        job
        for job in state.machine.jobs.jobs
        if isinstance(job, BackupJob) and job.status not in OVER and job not in state.foreign
    ]


def _busy(state: Surroundings) -> list[DirtyBitmap]:
    """The bitmaps that backups use."""
    bitmaps = [
        job.options.bitmap for job in state.machine.jobs.jobs if isinstance(job, BackupJob) and job.status not in OVER
    ]
    return [bitmap for bitmap in bitmaps if bitmap is not None]


class Observer(Protocol):
    """Who wants to know what happens to all machines of a class."""

    def began(self) -> None:
        """A run begins."""

    def look(self, state: Surroundings) -> None:
        """Something has happened."""

    def executed(self, name: str, *, refused: bool) -> None:
        """A command was run."""

    def failed(self, error: Exception, moves: Sequence[Move]) -> None:
        """A run fails."""

    def ended(self, moves: Sequence[Move]) -> None:
        """A run has ended."""


class Surroundings(RuleBasedStateMachine):
    """A machine with disks, and what happens to it.

    :cvar drives: the guest's disks: ids and sizes; the node of ``drive0`` is called ``drive0-node``.
    :cvar profile: which QEMU it is.
    :cvar refusable: commands that may be refused for no reason.
    :cvar observer: who wants to know what happens to all machines of the class.
    :ivar machine: the machine.
    :ivar witness: who watches the laws.
    :ivar moves: the moves that were made, and with what.
    :ivar foreign: the jobs of other clients.
    :ivar over: something has failed.
    """

    drives: ClassVar[Mapping[str, int | str]] = {"drive0": 8 * GRANULE, "drive1": 4 * GRANULE}
    profile: ClassVar[str | Profile] = DEFAULT_PROFILE
    refusable: ClassVar[Sequence[str]] = ("transaction",)
    observer: ClassVar[Observer | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._order: list[int] = []
        self._policy = Drawn(self._choose)
        self.machine = Machine(profile_called(self.profile), policy=self._policy)
        self.story = Story(self.machine)
        self.drive_names = sorted(self.drives)
        for name, size in self.drives.items():
            self.machine.add_disk(name, size, node_name=f"{name}-node", discard=True)
        self.sizes = {name: self.machine.drive(name).size for name in self.drives}
        self.witness = Witness(self.machine)
        self.foreign: set[Job] = set()
        self.over = False
        self.moves: list[Move] = []
        self._others = 0
        self._resizes = 0
        if self.observer is not None:
            self.observer.began()
            self.witness.executed = self.observer.executed

    def check_laws(self) -> None:
        """See whether the laws hold; moves of a subclass end with it.

        :raises LawBrokenError: they do not.
        """
        self.story.events()
        self.witnessed(self.witness.look)
        if self.observer is not None:
            self.observer.look(self)

    def witnessed(self, do: Callable[[], _T]) -> _T:
        """Do or look at something; if a law is broken, tell the story.

        :raises LawBrokenError: it is.
        """
        try:
            return do()
        except LawBrokenError as error:
            self.end_badly(error)
            raise

    def run_until_idle(self) -> None:
        """Let everything happen that needs no time.

        :raises LawBrokenError: that has no end, as with a job that ignores errors of a target that always fails.
        """
        if self.machine.run_until_idle(ENDLESS) == ENDLESS:
            jobs = ", ".join(str(job.id) for job in self.machine.jobs.jobs)
            self.broken(NEVER_HANGS, f"what is due has no end: {ENDLESS} steps without any time ({jobs} at work)")

    def broken(self, law: str, detail: str) -> None:
        """A law is broken.

        :raises LawBrokenError: always.
        """
        error = LawBrokenError(law, detail)
        self.end_badly(error)
        raise error

    def end_badly(self, error: Exception) -> None:
        """Add the story to what is raised."""
        self.over = True
        if self.observer is not None:
            self.observer.failed(error, self.moves)
        self.story.events()
        lines = self.story.lines()
        if any(self._policy.choices):
            lines.append(f"(the order of the tasks: {self._policy})")
        error.__dict__["moves"] = list(self.moves)
        error.add_note("\n".join(["what happened:", *lines]))

    def _choose(self, count: int, labels: list[str]) -> int:
        """The next of the order that a move has, the first one where it says nothing."""
        return min(self._order.pop(0), count - 1) if self._order else 0

    # -- the machine

    @move(kind=MACHINE, weights=(1, 6), order=ORDERS)
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

    @move(kind=MACHINE, weights=(1, 3), seconds=(0.001, 0.1, 1.0, 60.0))
    def time_passes(self, seconds: float) -> None:
        """Time passes, and what is due on the way happens."""
        self.story.tell("%s seconds pass", seconds)
        self.run_until_idle()
        self.machine.advance(seconds)
        self.check_laws()

    # -- bad luck

    @move(kind=FAULT, weights=(3, 2), drive=PLACES["drive"], once=ONCE, after=(0, 0, 1, 2))
    def disk_fails(self, drive: str, once: bool, after: int = 0) -> None:
        """The guest's disk cannot be read, after so many reads that went well."""
        self.story.tell("reads of %s fail%s%s", drive, " once" if once else "", f" after {after}" if after else "")
        self.machine.inject_error(drive, "read", EIO, once=once, after=after)

    @move(kind=FAULT, weights=(1, 1), drive=PLACES["drive"], seconds=(0.1, 10.0))
    def disk_is_slow(self, drive: str, seconds: float) -> None:
        """The guest's disk takes its time."""
        self.story.tell("reads of %s take %s seconds", drive, seconds)
        self.machine.delay_io(drive, "read", seconds)

    @move(lambda state: state.refusable, kind=FAULT, weights=(1, 1), command=lambda state: state.refusable)
    def command_refused(self, command: str) -> None:
        """The next command of that name is refused."""
        self.story.tell("the next %s is refused", command)
        self.machine.refuse(command, "Refused by the test")

    @move(backups_of_client, kind=FAULT, weights=(0, 4), once=ONCE)
    def target_fails(self, once: bool) -> None:
        """The target of the newest backup cannot be written to."""
        image = image_of(backups_of_client(self)[0].state.target)
        if image is not None:
            self.story.tell("writes to %s fail%s", image.name, " once" if once else "")
            self.machine.inject_error(image.name, "write", EIO, once=once)

    @move(backups_of_client, kind=FAULT, weights=(0, 1), granules=range(4))
    def target_is_full(self, granules: int) -> None:
        """The target of the newest backup has no room for more than so many granules."""
        image = image_of(backups_of_client(self)[0].state.target)
        if image is not None:
            self.story.tell("%s is full after %s bytes", image.name, granules * GRANULE)
            self.machine.limit_capacity(image.name, granules * GRANULE)

    # -- what ends chains

    @move(kind=DISRUPTION, weights=(1, 0), drive=PLACES["drive"], quarters=([2, 4], [2], [4], [1, 5]))
    def disk_is_resized(self, drive: str, quarters: Sequence[int]) -> None:
        """The guest's disk gets one size after the other, each some quarters of its first one.

        What a bitmap knew of the part that is cut off is lost with it, so that a chain may end here. Each time it is a
        size that the disk has not had, for else a client could not know.
        """
        for number in quarters:
            self._resizes += 1
            size = (self.sizes[drive] * number // 4 // SECTOR + self._resizes) * SECTOR
            self.story.tell("the disk %s is resized to %s bytes", drive, size)
            arguments: JsonObject = {"node-name": self.machine.drive(drive).node.name, "size": size}
            try:
                self.witnessed(partial(self.witness.execute, "block_resize", arguments))
            except QmpError as error:
                self.story.tell("  it is refused: %s", error.desc)
            else:
                self.witness.disturbed([drive])
        self.check_laws()

    # -- other clients

    @move(_busy, kind=OTHERS, weights=(0, 1))
    def another_client_clears_a_busy_bitmap(self) -> None:
        """It must not be able to."""
        self.machine.scheduler.run_bottom_halves()  # as QEMU does before it reads the command: a job may end in them
        if not (busy := _busy(self)):
            return
        bitmap = busy[0]
        arguments: JsonObject = {"node": bitmap.node.name, "name": bitmap.name}
        try:
            self.witnessed(lambda: self.witness.execute("block-dirty-bitmap-clear", arguments))
        except QmpError:
            self.check_laws()
        else:
            self.broken(BUSY, f"{bitmap!r} could be cleared")

    @move(backups_of_client, kind=OTHERS, weights=(0, 3), number=range(4))
    def another_client_cancels(self, number: int = 0) -> None:
        """Somebody cancels a backup of the client."""
        jobs = backups_of_client(self)
        job = jobs[number % len(jobs)]
        self.story.tell("another client cancels job %s", job.id)
        try:
            self.witnessed(lambda: self.witness.execute("block-job-cancel", {"device": job.id}))
        except QmpError as error:
            self.story.tell("  it is refused: %s", error.desc)
        self.check_laws()

    @move(kind=OTHERS, weights=(1, 1), drive=PLACES["drive"])
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
            self.witnessed(lambda: self.witness.execute("drive-backup", arguments))
        except QmpError as error:
            self.story.tell("  it is refused: %s", error.desc)
        self.foreign |= set(self.machine.jobs.jobs) - before
        self.check_laws()

    # -- the guest

    @move(kind=GUEST, weights=(6, 6), **PLACES)
    def guest_writes(self, drive: str, granule: int, length: int) -> None:
        """The guest writes."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest writes %s bytes at %s of %s", length, offset, drive)
        fill = len(self.witness.writes) % 255 + 1
        self._requests(drive, offset, length, lambda found: found.write(offset, bytes((fill,)) * length))

    @move(kind=GUEST, weights=(2, 1), **PLACES, unmap=(False, True))
    def guest_zeroes(self, drive: str, granule: int, length: int, unmap: bool) -> None:
        """The guest writes zeroes."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest zeroes %s bytes at %s of %s", length, offset, drive)
        self._requests(drive, offset, length, lambda found: found.write_zeroes(offset, length, unmap=unmap))

    @move(kind=GUEST, weights=(1, 1), **PLACES)
    def guest_discards(self, drive: str, granule: int, length: int) -> None:
        """The guest no longer needs something."""
        offset, length = self._place(drive, granule, length)
        self.story.tell("the guest discards %s bytes at %s of %s", length, offset, drive)
        self._requests(drive, offset, 0, lambda found: found.discard(offset, length))

    def _place(self, drive: str, granule: int, length: int) -> tuple[int, int]:
        size = self.machine.drive(drive).size
        offset = granule % -(-size // GRANULE) * GRANULE
        return offset, min(length, size - offset)

    def _requests(self, drive: str, offset: int, written: int, make: Callable[[Drive], object]) -> None:
        try:
            make(self.machine.drive(drive))
        except OSError as error:
            self.story.tell("  it fails: %s", str(error))
            written = 0
        if written:
            self.witnessed(lambda: self.witness.wrote(drive, offset, written))
        self.check_laws()
