"""The work of a job, which stops where it is told to and goes on from there (job.c, QEMU 10.0).

QEMU runs it as a coroutine. Here it is a chain of bound methods: where QEMU yields, the job stores the method with
which it goes on when :meth:`Coroutine.enter` is called. It is either *busy* (working, or waiting for its own I/O) or
waiting to be entered.

Pauses nest: users, errors and drained sections each count. The job stops at its next pause point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qbitsim.qapi.job import JobStatus

Continuation = Callable[[], None]


class Coroutine:
    """The part of a job that works.

    :ivar started: :meth:`start` was called.
    :ivar pause_count: for how many reasons it should pause; not to have been started is one.
    :ivar paused: it has stopped for them.
    :ivar busy: it works, or waits for I/O of its own; :meth:`enter` does nothing then.
    :ivar deferred: its work has ended.
    """

    __slots__ = ("_after_pause", "_continuation", "busy", "deferred", "pause_count", "paused", "started")

    if TYPE_CHECKING:
        status: JobStatus

        @property
        def is_cancelled(self) -> bool: ...

        def transition(self, status: JobStatus) -> None: ...

        def _run(self) -> None: ...

        def _pause_driver(self) -> bool: ...

    def _wait_for_start(self) -> None:
        self.pause_count = 1
        self.paused = False
        self.busy = False
        self.started = False
        self.deferred = False
        self._continuation: Continuation | None = None
        self._after_pause: Continuation | None = None

    def start(self) -> None:
        """Begin to run."""
        assert not self.started
        self.started = True
        self.pause_count -= 1
        self.busy = True
        self.transition(JobStatus.RUNNING)
        self._pause_point(self._run)

    def enter(self) -> None:
        """Go on where the job yielded, unless it is busy or has nothing more to do."""
        if not self.started or self.deferred or self.busy:
            return
        self.busy = True
        self.wake()

    def wake(self) -> None:
        """Go on where the job waits for I/O of its own."""
        continuation, self._continuation = self._continuation, None
        assert continuation is not None
        continuation()

    def _wait_for_io(self, then: Continuation) -> None:
        self._continuation = then

    def _yield(self, then: Continuation) -> None:
        """Wait to be entered, unless cancelled, with a pause point behind (job_yield)."""
        if self.pause_count or self.is_cancelled:
            self._pause_point(then)
        else:
            self._after_pause = then
            self.busy = False
            self._continuation = self._entered

    def _entered(self) -> None:
        then = self._after_pause
        assert then is not None
        self._pause_point(then)

    def _pause_point(self, then: Continuation) -> None:
        """Stop here if somebody wants a pause, then go on with ``then`` (job_pause_point)."""
        if not self.pause_count or self.is_cancelled:
            then()
            return
        self._after_pause = then
        if self._pause_driver():
            self._pause_now()
        else:
            self._continuation = self._pause_now

    def _pause_now(self) -> None:
        if not self.pause_count or self.is_cancelled:
            self._resumed()
            return
        self.transition(JobStatus.STANDBY if self.status is JobStatus.READY else JobStatus.PAUSED)
        self.paused = True
        self.busy = False
        self._continuation = self._unpaused

    def _unpaused(self) -> None:
        self.paused = False
        self.transition(JobStatus.READY if self.status is JobStatus.STANDBY else JobStatus.RUNNING)
        self._resumed()

    def _resumed(self) -> None:
        then, self._after_pause = self._after_pause, None
        assert then is not None
        then()

    def pause(self) -> None:
        """Add a reason to pause."""
        self.pause_count += 1
        if not self.paused:
            self.enter()

    def resume(self) -> None:
        """Take a reason to pause away."""
        assert self.pause_count > 0
        self.pause_count -= 1
        if not self.pause_count:
            self.enter()
