"""The jobs of a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.files.faults import StalledError

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.jobs.job import Job
    from qbitsim.profiles import Profile


class JobList:
    """All jobs, newest first, and what they need to work.

    :param emit: called with the name and the data of each event.
    """

    __slots__ = ("emit", "graph", "jobs", "profile", "scheduler")

    def __init__(
        self, graph: Graph, scheduler: Scheduler, profile: Profile, emit: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.graph = graph
        self.scheduler = scheduler
        self.profile = profile
        self.emit = emit
        self.jobs: list[Job] = []

    def find(self, identifier: str) -> Job | None:
        """The job with that id."""
        for job in self.jobs:
            if job.id == identifier:
                return job
        return None

    def check_new_id(self, identifier: str) -> None:
        """Refuse an id that is ill-formed or taken.

        :raises QmpError: with the texts of job_create (job.c, QEMU 10.0).
        """
        if not is_well_formed(identifier):
            raise QmpError(f"Invalid job ID '{identifier}'")
        if self.find(identifier) is not None:
            raise QmpError(f"Job ID '{identifier}' already in use")

    def check_not_stalled(self) -> None:
        """Refuse what would wait for a job that is stalled.

        :raises StalledError: one is.
        """
        for job in self.jobs:
            if job.stall is not None:
                raise StalledError(job.stall)

    def check_settled(self, settled: Job) -> None:
        """Refuse to settle a job if that would wait for another one that is stalled.

        A member of its transaction is waited for, users of the same nodes, and everyone if a change of the graph
        drains all nodes (:meth:`.Graph.changing`).

        :raises StalledError: it would; nothing has changed then.
        """
        nodes = {edge.node for edge in settled.edges}
        for job in self.jobs:
            if job is settled or job.stall is None or job.completed:
                continue
            if self.graph.drains_on_change or job in settled.txn.jobs or any(e.node in nodes for e in job.edges):
                raise StalledError(job.stall)

    def run_timers(self) -> None:
        """Let the jobs go on that have slept long enough."""
        for job in list(self.jobs):
            job.wake_if_due()

    def cancel_all(self) -> None:
        """Cancel every job and wait for it, as a shutdown does (job_cancel_sync_all)."""
        while self.jobs:
            self.jobs[0].cancel_sync()
