"""How many nodes stand on each other.

A request goes down through filters, formats and files in calls of one another, so that there may not be more of them
than the stack has room for. Backing chains are walked in loops, and can be as long as one likes.
"""

from __future__ import annotations

from qbitsim.block.node import Node
from qbitsim.errors import UnsupportedError

MOST_STACKED = 64
"""So many nodes may stand on another one; QEMU has no limit but its stack."""


def check_stack(parent: Node, name: str, node: Node) -> None:
    """Refuse a child that would let too many nodes stand on each other.

    :raises UnsupportedError: it would.
    """
    if _stands_on(parent, name):
        check_height(node.level + 1, parent)


def check_height(level: int, node: Node) -> None:
    """Refuse to let a node stand so high, with all that stands on it.

    :raises UnsupportedError: there are too many.
    """
    layer = {node}
    while layer := {
        edge.parent
        for each in layer
        for edge in each.parents
        if isinstance(edge.parent, Node) and _stands_on(edge.parent, edge.name)
    }:
        level += 1
    check_level(level)


def check_level(level: int) -> None:
    """Refuse to let a node stand so high.

    :raises UnsupportedError: there are too many below it.
    """
    if level > MOST_STACKED:
        raise UnsupportedError(f"more than {MOST_STACKED} nodes that stand on one another")


def settle_level(node: Node) -> None:
    """Work out the level of a node that has got or lost a child, and of those that stand on it."""
    changed = [node]
    while changed:
        each = changed.pop()
        level = max((below.node.level + 1 for below in each.children if _stands_on(each, below.name)), default=0)
        if level != each.level:
            each.level = level
            changed += [edge.parent for edge in each.parents if isinstance(edge.parent, Node)]


def _stands_on(parent: Node, name: str) -> bool:
    return name != "backing" or parent.is_filter
