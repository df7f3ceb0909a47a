"""Walks through a graph of nodes in loops: a chain can be longer than Python's stack is deep."""

from __future__ import annotations

from qbitsim.light_typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NodeT = TypeVar("NodeT")


def depth_first(start: NodeT, visit: Callable[[NodeT], Iterator[NodeT]]) -> None:
    """Visit ``start``; each node that a visit yields is visited before it goes on, as if ``visit`` called itself."""
    visits = [visit(start)]
    while visits:
        further = next(visits[-1], None)
        if further is None:
            visits.pop()
        else:
            visits.append(visit(further))
