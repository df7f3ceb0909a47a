"""What a mirror has in flight (MirrorOp, block/mirror.c, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qbitsim.files.faults import StalledError

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.engine.scheduler import Scheduler, Task
    from qbitsim.files.faults import Stall
    from qbitsim.jobs.mirror_target import MirrorTarget

MAXIMUM_IN_FLIGHT = 16


class MirrorOperation:
    """A piece that is being copied.

    :ivar offset: bytes, :ivar length: bytes.
    :ivar method: ``copy``; or ``zero``, ``discard`` or ``write``, of zeroes: that happens to the target, and nothing is
        read.
    :ivar error: what the target answered when nothing was read, and it is not yet known to the job.
    :ivar stall: what one of its requests waits for; it is made again, as a whole, after that.
    :ivar begun: whether the target has taken what needs no reading.
    """

    __slots__ = ("_done", "_scheduler", "begun", "error", "length", "method", "offset", "stall", "task")

    def __init__(self, offset: int, length: int, method: str, done: Callable[[MirrorOperation], None]) -> None:
        self.offset = offset
        self.length = length
        self.method = method
        self._done = done
        self.task: Task | None = None
        self.error: OSError | None = None
        self.stall: Stall | None = None
        self.begun = False
        self._scheduler: Scheduler | None = None

    def begin(self, source: Node, target: MirrorTarget) -> bool:
        """Ask the target for what needs no reading: it takes that before data, which has to be read first.

        :return: whether source and target have to wait for I/O; if not, it is complete as soon as it has begun.
        :raises StalledError: the target lets it wait; it has not begun.
        """
        offset, length = self.offset, self.length
        waits = source.waits_for_io("read") or target.node.waits_for_io("write")
        try:
            if self.method == "zero":
                waits = target.write_zeroes(offset, length)
            elif self.method == "discard":
                waits = target.discard(offset, length)
            elif self.method == "write":
                target.write(offset, bytes(length))
        except OSError as error:
            self.error = error
            waits = True
        self.begun = True
        return waits

    def suspend(self, stall: Stall, scheduler: Scheduler) -> None:
        """Let it be complete no sooner than ``stall`` lets it go on."""
        self.stall = stall
        self._scheduler = scheduler
        stall.hold(self._resumed)

    def _resumed(self) -> None:
        assert self._scheduler is not None
        self.stall = None
        self.task = self._scheduler.soon(self.complete, f"resumed copy {self.offset}+{self.length}")

    def complete(self) -> None:
        """Tell the job, which copies it."""
        self._done(self)

    def begin_anew(self) -> None:
        """Let all of it be copied, because the server of the source or the target went away meanwhile."""
        self.method = "copy"
        self.error = None

    def overlaps(self, offset: int, length: int) -> bool:
        """Whether it has bytes of the range."""
        return self.offset < offset + length and offset < self.offset + self.length


class MirrorOperations:
    """All of them.

    :param buffer: bytes that may be in memory at once.
    :ivar awaited: somebody waits until they are complete.
    """

    __slots__ = ("_buffer", "_operations", "_scheduler", "awaited")

    def __init__(self, scheduler: Scheduler, buffer: int) -> None:
        self._scheduler = scheduler
        self._buffer = buffer
        self._operations: list[MirrorOperation] = []
        self.awaited = False

    def __bool__(self) -> bool:
        return bool(self._operations)

    @property
    def bytes(self) -> int:
        """How many bytes are in flight."""
        return sum(each.length for each in self._operations)

    def is_full(self, length: int) -> bool:
        """Whether nothing more can be in flight that needs ``length`` bytes of the buffer."""
        used = sum(each.length for each in self._operations if each.method in {"copy", "write"})
        return len(self._operations) >= MAXIMUM_IN_FLIGHT or (bool(used) and used + length > self._buffer)

    def add(self, operation: MirrorOperation, delay: int, label: str) -> None:
        """Complete it after ``delay`` nanoseconds, or in a turn of its own."""
        self._operations.append(operation)
        if delay:
            operation.task = self._scheduler.after(delay, operation.complete, label)
        else:
            operation.task = self._scheduler.soon(operation.complete, label)

    def suspend(self, operation: MirrorOperation, stall: Stall) -> None:
        """Let it wait."""
        self._operations.append(operation)
        operation.suspend(stall, self._scheduler)

    @property
    def stall(self) -> Stall | None:
        """What one of them waits for, if one does."""
        return next((each.stall for each in self._operations if each.stall is not None), None)

    def remove(self, operation: MirrorOperation) -> None:
        """It is complete."""
        self._operations.remove(operation)

    def hurry(self) -> None:
        """Complete in the next turns what waits for its time."""
        for each in self._operations:
            if each.task is not None and each.task.pending:
                each.task.cancel()
                each.task = self._scheduler.soon(each.complete, f"hurried copy {each.offset}+{each.length}")

    def complete_overlapping(self, offset: int, length: int) -> None:
        """Complete what has bytes of the range (mirror_wait_on_conflicts).

        :raises StalledError: it waits.
        """
        self._complete([each for each in self._operations if each.overlaps(offset, length)])

    def complete_all(self) -> None:
        """Complete what is in flight now.

        :raises StalledError: one of them waits.
        """
        self._complete(list(self._operations))

    def _complete(self, operations: list[MirrorOperation]) -> None:
        self.awaited = True
        try:
            for each in operations:
                if each.stall is not None:
                    raise StalledError(each.stall)
                self._scheduler.complete(each.task)
        finally:
            self.awaited = False
