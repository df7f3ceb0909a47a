"""Jobs that are no block jobs: clients start them, and dismiss them when they are over."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from qbitsim.jobs.job import Job

if TYPE_CHECKING:
    from qbitsim.errors import QmpError
    from qbitsim.jobs.job_list import JobList


class BackgroundJob(Job):
    """The common part: one unit of work, no node that is used beyond a step, a failure in words."""

    is_block_job: ClassVar[bool] = False

    __slots__ = ("_message",)

    def __init__(self, jobs: JobList, identifier: str) -> None:
        super().__init__(jobs, identifier, auto_dismiss=False)
        self._message: str | None = None

    @property
    def error(self) -> str | None:
        """The text with which the work failed, or None."""
        return self._message if self._message is not None else super().error

    def _fail(self, error: QmpError) -> None:
        self._message = error.desc
        self.progress.done(1)
        self._finish(errno.EINVAL)

    def _done(self) -> None:
        self.progress.done(1)
        self._finish(0)

    def detach_all(self) -> None:
        """Nothing: it uses no node beyond a step."""

    def _emit_end(self) -> None:
        """Nothing: only block jobs have events of their own."""
