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
    for root in roots:
        path = [] if root in seen else [(root, iter(below(root)))]
        seen.add(root)
        while path:
            node, children = path[-1]
            for child in children:
                if child not in seen:
                    seen.add(child)
                    path.append((child, iter(below(child))))
                    break
            else:
                order.append(node)
                path.pop()
    order.reverse()
    return order
