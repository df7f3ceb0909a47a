"""Jobs that save, load and delete snapshots of the machine (migration/savevm.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.jobs.background import BackgroundJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.jobs.job_list import JobList


class SnapshotJob(BackgroundJob):
    """The common part. All is done in one bottom half, before the reply to the command that starts the job.

    :param work: does it; a QmpError is the failure of the job.
    """

    __slots__ = ("_work",)

    def __init__(self, jobs: JobList, identifier: str, work: Callable[[], None]) -> None:
        super().__init__(jobs, identifier)
        self._work: Callable[[], None] | None = work

    def _run(self) -> None:
        self.jobs.scheduler.bottom_half(self._do)

    def _do(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        self.progress.set_remaining(1)
        try:
            work()
        except QmpError as error:
            self._fail(error)
        else:
            self._done()


class SnapshotSaveJob(SnapshotJob):
    """Saves one."""

    kind = "snapshot-save"
    __slots__ = ()


class SnapshotLoadJob(SnapshotJob):
    """Goes back to one."""

    kind = "snapshot-load"
    __slots__ = ()


class SnapshotDeleteJob(SnapshotJob):
    """Deletes one."""

    kind = "snapshot-delete"
    __slots__ = ()
