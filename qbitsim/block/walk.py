"""Walks through a graph of nodes in loops: a chain can be longer than Python's stack is deep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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


def parents_first(roots: Iterable[NodeT], below: Callable[[NodeT], Iterable[NodeT]]) -> list[NodeT]:
    """``roots`` and all that are below them, each once and before what is below it."""
    order: list[NodeT] = []
    seen: set[NodeT] = set()

    def visit(node: NodeT) -> Iterator[NodeT]:
        seen.add(node)
        for child in below(node):
            if child not in seen:
                yield child
        order.append(node)

    for root in roots:
        if root not in seen:
            depth_first(root, visit)
    order.reverse()
    return order
