"""Jobs that make or change an image: they use no node that others could notice (block/create.c and amend.c, 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qbitsim.errors import QmpError
from qbitsim.jobs.background import BackgroundJob

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


class ImageJob(BackgroundJob):
    """The common part.

    :param work: what to do.
    :param checks_at_once: it comes to know what is refused before it first waits.
    :param writes_nothing: there is nothing to write once the work is checked.
    """

    __slots__ = ("_checks_at_once", "_timer", "_work", "_writes_nothing")

    def __init__(
        self, jobs: JobList, identifier: str, work: Work, *, checks_at_once: bool, writes_nothing: bool = False
    ) -> None:
        super().__init__(jobs, identifier)
        self._work = work
        self._checks_at_once = checks_at_once
        self._writes_nothing = writes_nothing
        self._timer: Task | None = None

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
        self.jobs.scheduler.complete(self._timer)

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


class CreateJob(ImageJob):
    """Makes an image."""

    kind = "create"
    __slots__ = ()


class AmendJob(ImageJob):
    """Changes an image."""

    kind = "amend"
    __slots__ = ()
