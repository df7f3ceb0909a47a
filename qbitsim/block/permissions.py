"""Who may do what to a node: QEMU's permission system.

Every edge of the graph says which permissions its parent *needs* on the child and which ones
it lets others *share*. An operation that would make two parents of a node disagree is refused
(bdrv_parent_perms_conflict, block.c, QEMU 10.0), with a text that names both.
"""

from __future__ import annotations

from qbitsim.block.node import Child, Node, downwards
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ReadOnlyNodeError(QmpError):
    """A node that cannot be written would be.

    :ivar node: that one.
    """

    def __init__(self, node: Node) -> None:
        super().__init__("Block node is read-only")
        self.node = node


def cumulative(edges: Iterable[Child]) -> tuple[int, int]:
    """What all parents together need and share, as (perm, shared)."""
    perm, shared = 0, perms.ALL
    for edge in edges:
        perm |= edge.perm
        shared &= edge.shared
    return perm, shared


def check_conflict(node: Node) -> None:
    """Refuse if two parents of ``node`` disagree.

    :raises QmpError: with the text of bdrv_a_allow_b (block.c, QEMU 10.0).
    """
    for allowing in node.parents:
        for needing in node.parents:
            missing = needing.perm & ~allowing.shared
            if needing is not allowing and missing:
                raise QmpError(
                    f"Permission conflict on node '{node.name}': permissions '{perms.names(missing)}' are both "
                    f"required by {needing.description} and unshared by {allowing.description}."
                )


def refresh_permissions(*roots: Node) -> None:
    """Work out what every node at or below ``roots`` needs and shares on its children.

    :raises QmpError: if two users disagree or a read-only node would be written; nothing has changed then.
    """
    order = downwards(roots)
    undo: list[tuple[Child, int, int]] = []
    told: list[Node] = []
    try:
        for node in order:
            _refresh_node(node, undo)
            told.append(node)
    except QmpError:
        for edge, perm, shared in reversed(undo):
            edge.perm, edge.shared = perm, shared
        for node in told:
            node.on_permissions(*cumulative(node.parents))
        raise


def kept_permissions(roots: Iterable[Node]) -> Callable[[], None]:
    """What lets all edges below ``roots`` need and share what they do now, when there are the same edges again.

    What is taken back is as it was, not as it would be worked out today (tran_abort(), QEMU 10.0).
    """
    kept = {
        (node, edge.name, edge.node): (edge.perm, edge.shared) for node in downwards([*roots]) for edge in node.children
    }

    def restore() -> None:
        changed: list[Node] = []
        for (node, name, below), was in kept.items():
            edge = node.child(name)
            if edge is not None and edge.node is below and (edge.perm, edge.shared) != was:
                edge.perm, edge.shared = was
                changed.append(below)
        for below in changed:
            below.on_permissions(*cumulative(below.parents))

    return restore


def _refresh_node(node: Node, undo: list[tuple[Child, int, int]]) -> None:
    if len(node.parents) > 1:
        check_conflict(node)
    perm, shared = cumulative(node.parents)
    if node.read_only and perm & (perms.WRITE | perms.WRITE_UNCHANGED):
        raise ReadOnlyNodeError(node)
    for edge in node.children:
        wanted = node.child_permissions(edge, perm, shared)
        if wanted != (edge.perm, edge.shared):
            undo.append((edge, edge.perm, edge.shared))
            edge.perm, edge.shared = wanted
    node.on_permissions(perm, shared)
