"""What a migration needs of the machine at its end, which stands above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.jsontypes import Json
    from qbitsim.migration.settings import MigrationSettings
    from qbitsim.profiles import Profile


class MigratingMachine(Protocol):
    """A machine that a guest leaves or comes to; see :class:`qbitsim.machine.machine.Machine`.

    :ivar run_state: QAPI's RunState.
    """

    run_state: str
    scheduler: Scheduler

    @property
    def profile(self) -> Profile:
        """The QEMU release that it is."""

    @property
    def graph(self) -> Graph:
        """Its block graph."""

    @property
    def migration(self) -> MigrationSettings:
        """What is set for a migration."""

    @property
    def running(self) -> bool:
        """Whether the guest runs."""

    def emit(self, name: str, data: Json | None = None) -> None:
        """Emit an event."""

    def stop(self, state: str = "paused") -> None:
        """Stop the guest."""

    def resume(self, state: str) -> None:
        """Put the guest back into a run state that it was in."""

    def crash(self) -> None:
        """End as a process does that gives up."""
