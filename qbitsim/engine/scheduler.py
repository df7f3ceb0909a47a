"""Virtual time and the order of everything that happens.

Theory of operation
===================

1. Time is an integer number of nanoseconds and moves only in :meth:`Scheduler.advance_to`.
2. A *task* is something that happens later: the completion of a piece of I/O (due now) or
   a timer (due at some instant). Every task carries (when, sequence). A timer without delay
   comes before I/O, which takes its time; those that are due together run in one turn.
3. A *bottom half* is something that happens as soon as the code that is running returns,
   before any other task and before the reply of the command that caused it. QEMU's jobs
   end in one (job.c, job_co_entry, QEMU 10.0), which is why the end of a job without I/O
   comes before the reply of the command that started it.
4. Among the tasks that are due the :data:`Policy` chooses; the default takes the first in.

Callbacks are bound methods, never closures, so that a whole machine can be copied.
"""

from __future__ import annotations

from itertools import takewhile

from qbitsim.light_library import deque, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from qbitsim.engine.observer import Observer

NANOSECONDS = 1_000_000_000

Policy: TypeAlias = "Callable[[Sequence[Task]], int]"
"""Chooses which of the tasks that are due runs next: an index into them."""


def first_in_first_out(ready: Sequence[Task]) -> int:  # noqa: ARG001 - the shape of a Policy
    """The default policy: the task that became due first."""
    return 0


def _nothing() -> None:
    """What a request ends with that somebody waits for."""


class Task:
    """Something that happens later.

    :ivar when: instant in nanoseconds of virtual time.
    :ivar sequence: position among all tasks ever made; breaks ties.
    :ivar label: what a person or a policy reads: ``"copy drive0 65536"``.
    :ivar needs_io: it may stand for I/O.
    """

    __slots__ = ("callback", "label", "needs_io", "sequence", "when")

    def __init__(
        self, when: int, sequence: int, callback: Callable[[], None], label: str, *, needs_io: bool = True
    ) -> None:
        self.when = when
        self.sequence = sequence
        self.callback: Callable[[], None] | None = callback
        self.label = label
        self.needs_io = needs_io

    def __lt__(self, other: Task) -> bool:
        return (self.when, self.sequence) < (other.when, other.sequence)

    def __repr__(self) -> str:
        return f"<Task {self.label} at {self.when} ns>"

    def cancel(self) -> None:
        """Make sure that it never runs; harmless when it has run."""
        self.callback = None

    @property
    def pending(self) -> bool:
        """Whether it will still run."""
        return self.callback is not None


class _Pending:
    """A task that is due as a bottom half, unless somebody has run it before."""

    __slots__ = ("scheduler", "task")

    def __init__(self, scheduler: Scheduler, task: Task) -> None:
        self.scheduler = scheduler
        self.task = task

    def run(self) -> None:
        self.scheduler.complete(self.task)


class Scheduler:
    """The clock and the queue of one machine.

    :ivar now: nanoseconds of virtual time since the machine was made.
    :ivar steps: how many tasks have run.
    :ivar observer: who is told what happens to the machine, or None.
    """

    __slots__ = (
        "_bottom_halves",
        "_polled",
        "_ready",
        "_runs_until_idle",
        "_sequence",
        "_timers",
        "now",
        "observer",
        "policy",
        "steps",
    )

    def __init__(self, policy: Policy = first_in_first_out) -> None:
        self.now = 0
        self.steps = 0
        self.policy = policy
        self.observer: Observer | None = None
        self._sequence = 0
        self._ready: deque[Task] = deque()
        self._timers: list[Task] = []
        self._bottom_halves: list[Callable[[], None]] = []
        self._polled: deque[list[Callable[[], None]]] = deque()
        self._runs_until_idle = False

    def soon(self, callback: Callable[[], None], label: str) -> Task:
        """Let a task be due at once, behind those that are due already."""
        self._sequence += 1
        task = Task(self.now, self._sequence, callback, label)
        self._ready.append(task)
        return task

    def before_io(self, callback: Callable[[], None], label: str) -> Task:
        """Let a task be due at once, before all that stands for I/O: a timer without delay."""
        self._sequence += 1
        task = Task(self.now, self._sequence, callback, label, needs_io=False)
        place = next((index for index, other in enumerate(self._ready) if other.needs_io), len(self._ready))
        self._ready.insert(place, task)
        return task

    def after(self, delay: int, callback: Callable[[], None], label: str) -> Task:
        """Let a task be due in ``delay`` nanoseconds."""
        self._sequence += 1
        task = Task(self.now + delay, self._sequence, callback, label)
        heappush(self._timers, task)
        return task

    def bottom_half(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once the code that is running now has returned."""
        self._bottom_halves.append(callback)

    def at_once(self, callback: Callable[[], None], label: str) -> Task:
        """Let a task run as a bottom half."""
        self._sequence += 1
        task = Task(self.now, self._sequence, callback, label)
        self._bottom_halves.append(_Pending(self, task).run)
        return task

    def poll(self) -> None:
        """Run the bottom halves that there are now; those that they add are left (aio_bh_poll)."""
        own, self._bottom_halves = self._bottom_halves, []
        if own:
            self._polled.append(own)
        while own:
            self._poll_one()

    def run_bottom_halves(self) -> None:
        """Run the bottom halves, and those that they add.

        Those that were added since the last poll run newest first; a poll within one of them goes on with the rest of
        the outer one before what is new (aio_bh_poll, util/async.c, QEMU 10.0).
        """
        while self._bottom_halves or self._polled:
            if self._bottom_halves:
                self._polled.append(self._bottom_halves)
                self._bottom_halves = []
            while self._polled:
                self._poll_one()

    def run_before_io(self) -> None:
        """Run the bottom halves and the timers that need no I/O, until none is left.

        So it is while something is waited for that does need I/O (aio_poll, util/aio-posix.c, QEMU 10.0).
        """
        self.run_bottom_halves()
        self._collect()
        while timers := self._timers_before_io():
            self._run_all(timers)
            self._collect()

    def wait_for_io(self, requests: int, label: str) -> None:
        """Wait for as many requests of one's own, one after the other, each behind what is due when it begins.

        So it is when the code that is running needs I/O (bdrv_poll_co, block/block-gen.h, QEMU 10.0).
        """
        self.run_before_io()
        for _ in range(requests):
            own = self.soon(_nothing, label)
            while own.pending:
                self.run(self.ready()[0])
                self.run_before_io()

    def _poll_one(self) -> None:
        first = self._polled[0]
        callback = first.pop()
        if not first:
            self._polled.popleft()
        callback()

    def ready(self) -> list[Task]:
        """The tasks that are due, in the order in which they became due."""
        self._collect()
        return [task for task in self._ready if task.pending]

    def step(self) -> bool:
        """Run one task that is due, or all timers without delay, and the bottom halves; False if there is none."""
        if self._bottom_halves or self._polled:
            self.run_bottom_halves()
            return True
        self._collect()
        if not self._ready:
            return False
        if len(self._ready) == 1 or self.policy is first_in_first_out:
            if not self._ready[0].needs_io:
                self._run_together(self._timers_before_io())
                return True
            task = self._ready.popleft()
        else:
            chosen = self.policy(self._ready)
            task = self._ready[chosen]
            del self._ready[chosen]
        if self.observer is not None:
            self.observer.stepping(task.label)
        self.run(task)
        self.run_bottom_halves()
        if self.observer is not None:
            self.observer.stepped()
        return True

    def _run_together(self, timers: list[Task]) -> None:
        if self.observer is not None:
            self.observer.stepping(", ".join(task.label for task in timers))
        self._run_all(timers)
        if self.observer is not None:
            self.observer.stepped()

    def _timers_before_io(self) -> list[Task]:
        """They run in one pass, and what they leave to bottom halves after all of them (timerlist_run_timers)."""
        return list(takewhile(lambda task: not task.needs_io, self._ready))

    def _run_all(self, tasks: list[Task]) -> None:
        for task in tasks:
            if task.pending:
                self.run(task)
        self.run_bottom_halves()

    def run(self, task: Task) -> None:
        """Run ``task`` now, whether or not its turn has come; the bottom halves are left."""
        callback, task.callback = task.callback, None
        assert callback is not None
        self.steps += 1
        callback()

    def complete(self, task: Task | None) -> None:
        """Run ``task`` now, unless it has run, was cancelled or is None."""
        if task is not None and task.pending:
            self.run(task)

    def run_until_idle(self, limit: int | None = None) -> int:
        """Run tasks until none is due, or ``limit`` of them; return how many ran."""
        count = 0
        self._runs_until_idle = limit is None and self.policy is first_in_first_out
        try:
            while (limit is None or count < limit) and self.step():
                count += 1
        finally:
            self._runs_until_idle = False
        return count

    def runs_exclusively(self, own: int) -> bool:
        """Whether ``own`` tasks are all that is due, and the caller runs until nothing is.

        Their owner may then do the rest of the work in one go: it makes no difference to anybody else.
        """
        alone = self._runs_until_idle and self.observer is None
        return alone and not self._bottom_halves and not self._polled and len(self._ready) == own

    @property
    def next_deadline(self) -> int | None:
        """The instant of the next timer, or None."""
        while self._timers and not self._timers[0].pending:
            heappop(self._timers)
        return self._timers[0].when if self._timers else None

    def move_clock(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, not past the next deadline; nothing runs."""
        deadline = self.next_deadline
        assert self.now <= when
        assert deadline is None or when <= deadline
        self.now = when

    def advance_to(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, running each task at its own instant."""
        assert when >= self.now
        self.run_until_idle()
        while (deadline := self.next_deadline) is not None and deadline <= when:
            self.now = max(self.now, deadline)
            self.run_until_idle()
        self.now = when

    def _collect(self) -> None:
        """Move timers that are due to the ready queue and drop cancelled tasks."""
        while self._timers and self._timers[0].when <= self.now:
            task = heappop(self._timers)
            if task.pending:
                self._ready.append(task)
        ready = self._ready
        while ready and not ready[0].pending:
            ready.popleft()
        if self.policy is not first_in_first_out and any(not task.pending for task in ready):
            self._ready = deque(task for task in ready if task.pending)
