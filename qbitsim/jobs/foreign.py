"""A job of somebody else.

It works on no node and ends when the test says so. All monitors see its events, so it shows whether a client takes any
job's end for the end of its own.
"""

from __future__ import annotations

from errno import EIO
from typing import TYPE_CHECKING, Literal, TypeAlias

from qbitsim.errnos import Errno, errno_number
from qbitsim.jobs.job import Job

if TYPE_CHECKING:
    from qbitsim.jobs.job_list import JobList


class ForeignJob(Job):
    """The common part of foreign jobs of all kinds; made by :meth:`.Machine.foreign_job`."""

    __slots__ = ("_outcome",)

    def __init__(self, jobs: JobList, identifier: str, length: int) -> None:
        super().__init__(jobs, identifier)
        self._outcome: int | None = None
        self.progress.set_remaining(length)
        self.start()

    @property
    def text(self) -> str:
        """In plain words: ``a backup job of another client, running``."""
        return f"a {self.kind} job of another client, {self.status}"

    def _run(self) -> None:
        if self._outcome is None and not self.is_cancelled:
            self._yield(self._run)
            return
        if self._outcome == 0:
            self.progress.done(self.progress.total)
        self._finish(self._outcome or 0)

    def finish(self) -> None:
        """Let it come to its end; a job that is paused does so once it is resumed.

        :raises ValueError: it has ended already.
        """
        self._end(0)

    def fail(self, errno: Errno = EIO) -> None:
        """Let it fail with that errno, likewise.

        :raises ValueError: it has ended already, or there is no such errno.
        """
        self._end(errno_number(errno))

    def cancel(self) -> None:
        """Let the other client cancel it.

        :raises ValueError: it has ended already.
        """
        self._check_alive()
        self.user_cancel(force=True)
        self.jobs.scheduler.run_bottom_halves()

    def _check_alive(self) -> None:
        if self._outcome is not None or self.deferred:
            raise ValueError(f"the foreign job {self.id!r} has ended already")

    def _end(self, outcome: int) -> None:
        self._check_alive()
        self._outcome = outcome
        if not self.paused:
            self.enter()
        self.jobs.scheduler.run_bottom_halves()


class ForeignBackup(ForeignJob):
    """Somebody else's backup."""

    kind = "backup"
    __slots__ = ()


class ForeignCommit(ForeignJob):
    """Somebody else's commit of an inner image, which ends by itself."""

    kind = "commit"
    __slots__ = ()


class ForeignStream(ForeignJob):
    """Somebody else's stream."""

    kind = "stream"
    __slots__ = ()


ForeignKind: TypeAlias = Literal["backup", "commit", "stream"]
KINDS: dict[str, type[ForeignJob]] = {each.kind: each for each in (ForeignBackup, ForeignCommit, ForeignStream)}
"""The kinds that there are."""


def foreign_job(jobs: JobList, identifier: str, kind: str, length: int) -> ForeignJob:
    """Start one.

    :raises ValueError: there is no such kind.
    :raises QmpError: the id is ill-formed or taken.
    """
    if kind not in KINDS:
        raise ValueError(f"no foreign job is of the kind {kind!r}: choose one of {', '.join(KINDS)}")
    return KINDS[kind](jobs, identifier, length)
