"""Jobs that make or change an image: they use no node that others could notice (block/create.c and amend.c, 10.0)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Protocol

from qbitsim.errors import QmpError
from qbitsim.jobs.job import Job

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task
    from qbitsim.jobs.coroutine import Continuation
    from qbitsim.jobs.job_list import JobList


class Work(Protocol):
    """What such a job does."""

    def check(self) -> None:
        """Refuse, without any I/O, what cannot be done.

        :raises QmpError: the job fails with this text.
        """

    def write(self) -> None:
        """Write the image.

        :raises QmpError: likewise.
        """


class ImageJob(Job):
    """The common part; it ends by itself, and is kept until a client dismisses it.

    :param work: what to do.
    :param checks_at_once: it comes to know what is refused before it first waits.
    :param writes_nothing: there is nothing to write once the work is checked.
    """

    is_block_job: ClassVar[bool] = False

    __slots__ = ("_checks_at_once", "_message", "_timer", "_work", "_writes_nothing")

    def __init__(
        self, jobs: JobList, identifier: str, work: Work, *, checks_at_once: bool, writes_nothing: bool = False
    ) -> None:
        super().__init__(jobs, identifier, auto_dismiss=False)
        self._work = work
        self._checks_at_once = checks_at_once
        self._writes_nothing = writes_nothing
        self._message: str | None = None
        self._timer: Task | None = None

    @property
    def error(self) -> str | None:
        """The text with which the work failed, or None."""
        return self._message if self._message is not None else super().error

    def _run(self) -> None:
        self.progress.set_remaining(1)
        if self._checks_at_once:
            self._check()
        else:
            self._wait("check", self._check)

    def _wait(self, what: str, then: Continuation) -> None:
        self._wait_for_io(then)
        self._timer = self.jobs.scheduler.soon(self.wake, f"{self.id}: {what}")

    def finish_in_flight(self) -> None:
        """The next step is taken at once."""
        if self._timer is not None and not self.deferred:
            self._timer.cancel()
            self.wake()

    def _check(self) -> None:
        try:
            self._work.check()
        except QmpError as error:
            self._fail(error)
            return
        if self._writes_nothing:
            self._done()
        else:
            self._wait("write", self._write)

    def _write(self) -> None:
        try:
            self._work.write()
        except QmpError as error:
            self._fail(error)
            return
        self._done()

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


class CreateJob(ImageJob):
    """Makes an image."""

    kind = "create"
    __slots__ = ()


class AmendJob(ImageJob):
    """Changes an image."""

    kind = "amend"
    __slots__ = ()
