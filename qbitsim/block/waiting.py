"""Requests of guests that wait for the end of a drained section.

Most drained sections begin and end within one command, and no guest comes between. The one that lasts is that of a
mirror or an active commit: its source stays drained from the end of its work until it is finalized or cancelled. QEMU
lets a guest's request wait for that long, whatever it is, even one that would be refused (blk_wait_while_drained,
block/block-backend.c; measured with 7.2, 10.0 and 11.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from qbitsim.errors import WouldWaitError

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.block.permissions import Child
    from qbitsim.engine.scheduler import Scheduler


class DrainedError(WouldWaitError):
    """A guest's request came to a node that is drained.

    :ivar node: the node.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        super().__init__(
            f"qbitsim does not wait for ever: '{node.device_or_node_name}' is drained{_until(node)}, "
            "and requests to it wait"
        )

    def when_over(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once the drained section has ended."""
        self.node.graph.waiting.add(self.node, go_on)


class WaitingRequests:
    """What is to be done when drained sections end, oldest first."""

    __slots__ = ("_due", "_scheduler", "_waiting")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: list[tuple[Node, Callable[[], None]]] = []
        self._due: deque[Callable[[], None]] = deque()

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, node: Node, go_on: Callable[[], None]) -> None:
        """Let ``go_on`` wait for the end of the drained section that ``node`` is in."""
        assert node.quiesce, "nobody would call it"
        self._waiting.append((node, go_on))

    def resume(self, node: Node) -> None:
        """The drained section of ``node`` has ended: let go on what waits for it."""
        if self._waiting:
            self._let_go([entry for entry in self._waiting if entry[0] is node])

    def resume_all(self) -> None:
        """No node is left to wait for."""
        self._let_go(self._waiting)

    def _let_go(self, entries: list[tuple[Node, Callable[[], None]]]) -> None:
        if entries:
            self._due += [go_on for _, go_on in entries]
            self._waiting = [entry for entry in self._waiting if entry not in entries]
            self._scheduler.bottom_half(self._go_on)

    def _go_on(self) -> None:
        while self._due:
            self._due.popleft()()


def _until(node: Node) -> str:
    """For how long, in words, if a job keeps the node drained."""
    jobs = [edge for edge in _edges_around(node) if edge.stays]
    return f" until {jobs[0].parent.parent_description} is finalized or cancelled" if jobs else ""


def _edges_around(node: Node) -> list[Child]:
    """The edges to the node and to those that it filters, for the filter of a job is drained with its source."""
    below = node.filtered
    return [*node.parents, *(_edges_around(below) if below is not None else ())]
