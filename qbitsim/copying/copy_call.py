"""Copying in the background: what a job has in flight (BlockCopyCallState, block/block-copy.c, QEMU 10.0).

A call goes over the disk until nothing is left to copy there, keeps up to ``max_workers`` chunks in flight, and waits
when the speed limit says so. When nobody could tell the difference it copies all that is left in one go. QEMU's goes
over the disk again if the copy before a guest write has failed behind it; here such a copy ends at the instant at which
it begins, so that nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qbitsim.copying.block_copy import BlockCopyState, CopyFailure, CopyTask

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task


class BlockCopyCall:
    """One run over the disk, in the background.

    :param done: called once it has finished: everything is copied, something failed, or it was cancelled.
    :ivar failure: the first one.
    """

    __slots__ = (
        "_done",
        "_in_flight",
        "_position",
        "_sleep",
        "_waiting",
        "cancelled",
        "failure",
        "finished",
        "label",
        "max_chunk",
        "max_workers",
        "state",
    )

    def __init__(
        self,
        state: BlockCopyState,
        *,
        max_workers: int,
        max_chunk: int,
        label: str,
        done: Callable[[], None],
    ) -> None:
        self.state = state
        self.max_workers = max_workers
        self.max_chunk = max_chunk
        self.label = label
        self.failure: CopyFailure | None = None
        self.finished = False
        self.cancelled = False
        self._done = done
        self._position = 0
        self._in_flight = 0
        self._waiting: CopyTask | None = None
        self._sleep: Task | None = None

    def start(self) -> None:
        """Begin: put the first chunks in flight."""
        self._pump()

    def cancel(self) -> bool:
        """Start no more chunks; return whether it has finished, or will when those in flight have."""
        self.cancelled = True
        self.kick()
        return self.finished

    def kick(self) -> None:
        """Stop sleeping, for instance because the speed limit changed."""
        if self._sleep is not None:
            self._sleep.cancel()
            self._sleep = None
            self._pump()

    def finish_in_flight(self) -> None:
        """Complete every chunk that is in flight, before its turn.

        :raises StalledError: one of them is stalled.
        """
        while not self.finished and self._in_flight:
            self.free_slot()

    def free_slot(self) -> None:
        """Complete the oldest chunk that is in flight, before its turn.

        :raises StalledError: it is stalled.
        """
        next(task for task in self.state.in_flight if task.call is self).run_now()

    def completed(self, failure: CopyFailure | None) -> None:
        """A chunk of this call has ended."""
        self._in_flight -= 1
        self.failure = self.failure or failure
        self._pump()

    def _wake(self) -> None:
        self._sleep = None
        self._pump()

    def _pump(self) -> None:
        """Put chunks in flight until a slot, the speed limit or the work runs out."""
        assert not self.finished
        if self._waiting is not None:
            self._launch_waiting()
        if not self._is_held:
            self._copy_rest()
        while not self._is_held and (task := self._next()) is not None:
            self._submit(task)
        if not self._is_held and not self._in_flight:
            self.finished = True
            self._done()

    @property
    def _is_held(self) -> bool:
        """Whether a chunk waits for a slot, or the speed limit lets none go."""
        return self._waiting is not None or self._sleep is not None

    def _copy_rest(self) -> None:
        """Copy all that is left in one go, if nobody can tell the difference; nothing more is found then."""
        if self.cancelled or self.failure:
            return
        if self.state.needs_no_io or self.state.scheduler.runs_exclusively(self._in_flight):
            self.state.copy_rest()

    def _next(self) -> CopyTask | None:
        """Make one chunk; None when there is nothing more to make in this round."""
        if self.cancelled or self.failure:
            return None
        return self.state.start_task(self, self._position, self.state.length, self.max_chunk)

    def _submit(self, task: CopyTask) -> None:
        """Put the chunk in flight, or let it wait for a slot; or give it up and sleep, if the speed limit says so."""
        limit, now = self.state.rate_limit, self.state.scheduler.now
        delay = limit.delay(now)
        if delay:
            self.state.end_task(task, failed=True)
            self._sleep = self.state.scheduler.after(delay, self._wake, f"{self.label}: speed limit")
        else:
            limit.delay(now, task.length)
            self._position = task.end
            self._waiting = task
            self._launch_waiting()

    def _launch_waiting(self) -> None:
        """Put the chunk that waits for a slot in flight, or drop it after a failure (block_copy_task_run)."""
        task = self._waiting
        assert task is not None
        if self.failure:
            self._waiting = None
            self.state.end_task(task, failed=True)
        elif self._in_flight < self.max_workers:
            self._waiting = None
            if self.state.completes_at_once(task):
                # No I/O, no yield: QEMU's coroutine runs on.
                self.failure = self.state.copy_chunk(task)
            else:
                self._in_flight += 1
                task.label = f"{self.label}: copy {task.offset}+{task.length}"
                self.state.launch(task)
