"""What a history needs of the machine that it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.engine.events import EventLog
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.jobs.job_list import JobList
    from qbitsim.profiles import Profile
    from qbitsim.qmp.journal import Journal


class Watchable(Protocol):
    """A machine, as far as it is watched."""

    graph: Graph
    jobs: JobList
    scheduler: Scheduler
    events: EventLog
    profile: Profile
    journal: Journal | None

    def time_of_day(self) -> int:
        """Nanoseconds since 1970 on the machine's clock."""
