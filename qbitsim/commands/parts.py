"""What those who work on a machine need of it: commands, conditions, control commands and histories.

A machine hands them on, so it stands above them and they know it by this protocol alone. What a session or a server
needs is said where they are: :class:`qbitsim.qmp.session.Backend`, :class:`qbitsim.serving.server.ServedMachine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.devices.processors import Processors
    from qbitsim.devices.tree import DeviceTree
    from qbitsim.engine.events import EventLog
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.files.fdsets import MonitorDescriptors
    from qbitsim.files.network import Connection
    from qbitsim.images.store import ImageStore
    from qbitsim.injection.faults import FaultInjection
    from qbitsim.jobs.job_list import JobList
    from qbitsim.jsontypes import Json
    from qbitsim.migration.addresses import Place
    from qbitsim.migration.incoming import Incoming
    from qbitsim.migration.outgoing import Outgoing
    from qbitsim.migration.settings import MigrationSettings
    from qbitsim.nbd.exports import Exports
    from qbitsim.profiles import Profile
    from qbitsim.qapi.registry import Registry
    from qbitsim.qmp.journal import Journal


class ClockLike(Protocol):
    """The time of a machine, and how the machine goes on; see :class:`qbitsim.machine.clock.Clock`."""

    def __call__(self) -> int:
        """Nanoseconds of virtual time since the machine was made."""

    def time_of_day(self) -> int:
        """Nanoseconds since 1970."""

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds: when the next thing is due that waits for time to pass, or None."""

    def step(self) -> bool:
        """Let one thing happen that is due; False if nothing is."""

    def run_until_idle(self, limit: int | None = None) -> int:
        """Let everything happen that is due, or so much of it, without moving time."""

    def settle(self) -> None:
        """Let everything that has been started come to its end, whatever time it takes."""

    def advance_to(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, and let happen what is due on the way."""

    def move_clock(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, not past :attr:`next_deadline`; nothing happens yet."""


class SnapshotLike(Protocol):
    """What a machine was at one moment."""

    def put_back(self, machine: MachineLike) -> None:
        """Make ``machine`` what the snapshot holds.

        :raises SnapshotError: the machine is of another release; nothing has changed then.
        """


class ControlLike(Protocol):
    """What control commands keep; see :class:`qbitsim.control.memory.Control`."""

    snapshots: dict[str, SnapshotLike]
    lives: int
    pacing: str | None
    time_moved: bool


class ChardevLike(Protocol):
    """A character device of the process."""

    @property
    def kind(self) -> str:
        """Its type as an object, such as ``chardev-socket``."""

    @property
    def filename(self) -> str:
        """What it talks through, as query-chardev says it."""

    @property
    def in_use(self) -> bool:
        """Whether a monitor, for instance, has it."""


class MachineLike(Protocol):
    """One emulated QEMU process; see :class:`qbitsim.machine.machine.Machine`.

    :ivar scheduler: what is due, and the observer who is told of everything.
    :ivar journal: keeps the end of the conversation, if there is one.
    :ivar devices: those of the guest, None as long as there were none.
    """

    scheduler: Scheduler
    journal: Journal | None
    devices: DeviceTree | None

    @property
    def machine_type(self) -> str:
        """``none``, ``pc`` or ``q35``."""

    @property
    def chardevs(self) -> Mapping[str, ChardevLike]:
        """Its character devices by name."""

    @property
    def networks(self) -> dict[str, str]:
        """What network cards are connected to, by name: the kind of each."""

    @property
    def memory(self) -> int:
        """Bytes that the guest of a PC has."""

    @property
    def processors(self) -> Processors | None:
        """Those of a PC, None as long as it has the one that QEMU gives it."""

    @property
    def objects(self) -> dict[str, Json]:
        """What object-add made, but throttle groups: id -> arguments."""

    @property
    def profile(self) -> Profile:
        """The QEMU release that it is."""

    @property
    def registry(self) -> Registry:
        """Its commands and events."""

    @property
    def images(self) -> ImageStore:
        """The files that it sees."""

    @property
    def monitor_descriptors(self) -> MonitorDescriptors | None:
        """What the client handed over whose request is answered now; None if it cannot hand over anything."""

    @property
    def graph(self) -> Graph:
        """Its block graph."""

    @property
    def jobs(self) -> JobList:
        """Its jobs."""

    @property
    def migration(self) -> MigrationSettings:
        """What is set for a migration."""

    @property
    def outgoing(self) -> Outgoing:
        """The last migration away."""

    @property
    def incoming(self) -> Incoming | None:
        """The migration that it was started to wait for, if it was."""

    def await_migration(self, place: Place) -> None:
        """Wait there for the guest.

        :raises QmpError: that cannot be.
        """

    def connect_for_migration(self, place: Place) -> Connection:
        """Connect to the place that the guest is to migrate to.

        :raises OSError: nobody is there.
        :raises QmpError: it cannot be reached from here.
        """

    @property
    def exports(self) -> Exports:
        """Its NBD server and what that shows."""

    @property
    def events(self) -> EventLog:
        """Every event since it was made."""

    @property
    def clock(self) -> ClockLike:
        """Its time."""

    @property
    def faults(self) -> FaultInjection:
        """What fails on purpose."""

    @property
    def control(self) -> ControlLike | None:
        """What control commands keep, if they are allowed."""

    @property
    def run_state(self) -> str:
        """QAPI's RunState."""

    @property
    def running(self) -> bool:
        """Whether the guest runs."""

    @property
    def closing(self) -> bool:
        """Whether it has ended."""

    @property
    def guest_clock_stands(self) -> bool:
        """Whether the guest's clock stands still, though it runs."""

    @property
    def guest_name(self) -> str | None:
        """What the guest is called, if anything."""

    @property
    def guest_uuid(self) -> str:
        """The guest's UUID; zeroes for none."""

    def stop(self, state: str = "paused") -> None:
        """Stop the guest."""

    def resume(self, state: str) -> None:
        """Put the guest back into a run state that it was in."""

    def cont(self) -> None:
        """Let the guest run."""

    def reset(self) -> None:
        """Reset the guest."""

    def power_down(self) -> None:
        """Press the guest's power button."""

    def shut_down(self, reason: str = "host-qmp-quit") -> None:
        """End cleanly.

        :raises QmpError: a request is stalled.
        """

    def crash(self) -> None:
        """End as ``kill -9`` does."""

    def restart(self, *, crash: bool = False) -> None:
        """End, and start anew on the same files.

        :raises QmpError: a request is stalled.
        """

    announces_images: bool

    def print(self, text: str) -> None:
        """Collect what QEMU would print."""

    def print_pieces(self, pieces: Iterator[str]) -> None:
        """Collect what QEMU would print, which may be long."""

    @property
    def add_disk(self) -> Callable[..., Drive]:
        """Gives it a drive; see :meth:`qbitsim.machine.disks.Disks.add_disk`."""

    def anonymous_drive(self, *, perm: int = 0) -> Drive:
        """A user of a node without a name, for as long as the caller needs it."""

    def state(self) -> Json:
        """Everything that matters, as plain values."""

    def snapshot(self) -> SnapshotLike:
        """Keep it as it is now, running jobs included."""
