"""Requests of guests that wait for limits (throttle_group_co_io_limits_intercept, block/throttle-groups.c, QEMU 10.0).

A request that somebody waits for is made and answered in one call, in no time. One that nobody waits for, such as an
``aio_write`` of qemu-io, begins when the limits of its drive, and of nodes below, let it through.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.edges import Edges
    from qbitsim.engine.scheduler import Task


class ThrottledRequest:
    """A request that waits.

    :ivar operation: ``"read"``, ``"write"`` or ``"write-zeroes"``; :ivar length: of so many bytes.
    :ivar task: what makes it.
    """

    __slots__ = ("_go_on", "_queue", "length", "operation", "task")

    task: Task

    def __init__(self, queue: ThrottledRequests, operation: str, length: int, go_on: Callable[[], None]) -> None:
        self._queue = queue
        self._go_on = go_on
        self.operation = operation
        self.length = length

    def plan(self, delay: int) -> None:
        """Make it in ``delay`` nanoseconds."""
        label = f"throttled {self.operation} of {self.length} bytes"
        self.task = self._queue.graph.scheduler.after(delay, self.make, label)

    def make(self) -> None:
        """Wait no more."""
        self._queue.remove(self)
        self._go_on()


class ThrottledRequests:
    """Those of one drive, oldest first.

    They are in flight: a drained section waits for them, so that they are made when it begins.

    :param graph: where the drive is.
    :ivar finishing: those that wait are being made because a drained section has begun.
    """

    __slots__ = ("_waiting", "finishing", "graph")

    def __init__(self, graph: Edges) -> None:
        self.graph = graph
        self.finishing = False
        self._waiting: list[ThrottledRequest] = []

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, operation: str, length: int, delay: int, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` in ``delay`` nanoseconds, or when a drained section begins before."""
        request = ThrottledRequest(self, operation, length, go_on)
        self._waiting.append(request)
        self.graph.watchers += 1
        request.plan(delay)

    def remove(self, request: ThrottledRequest) -> None:
        """A request waits no more."""
        self._waiting.remove(request)
        self.graph.watchers -= 1

    def finish(self) -> None:
        """Make all that wait, whatever the limits say (blk_root_drained_begin, block/block-backend.c)."""
        self.finishing = True
        try:
            while self._waiting:
                self.graph.scheduler.complete(self._waiting[0].task)
        finally:
            self.finishing = False

    def plan_anew(self, delay: Callable[[str, int], int]) -> None:
        """The limits are others now (throttle_group_restart_tgm); ``delay`` tells how long a request waits for them."""
        for request in self._waiting:
            request.task.cancel()
            request.plan(delay(request.operation, request.length))
