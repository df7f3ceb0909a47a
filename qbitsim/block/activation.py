"""Images that belong to one of two processes between which a guest migrates (bdrv_inactivate_all, bdrv_activate_all).

Theory of operation (block.c and block/block-backend.c, QEMU 10.0)
==================================================================

1. A process whose nodes are *inactive* may neither write nor lock out others: its drives need nothing and share
   everything meanwhile. What they would need is kept.
2. The process that gives the guest away writes all down; the other one looks at the images anew, when it may lock them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.block.node import Node, downwards
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.block.graph import Graph


def is_inactive(graph: Graph) -> bool:
    """Whether any node is."""
    return any(node.inactive for node in graph.nodes.values())


def inactivate_all(graph: Graph) -> None:
    """Give the images away.

    :raises QmpError: somebody other than a drive writes, or an image cannot be written down; all is active then.
    """
    drives, roots = _drives(graph), _roots(graph)
    _suspend(drives)
    changed: list[Node] = []
    try:
        for node in downwards(roots):
            _inactivate(node, changed)
    except (QmpError, OSError):
        for node in changed:
            node.inactive = False
        _resume(drives)
        graph.refresh_permissions(*roots)
        for node in reversed(changed):
            node.activate()
        raise QmpError("bdrv_inactivate_all() failed (-1)") from None


def _inactivate(node: Node, changed: list[Node]) -> None:
    if node.inactive:
        return
    node.inactivate()
    if any(edge.perm & (perms.WRITE | perms.WRITE_UNCHANGED) for edge in node.parents):
        raise QmpError("its parents need to write")
    node.inactive = True
    changed.append(node)
    for edge in node.children:
        edge.perm, edge.shared = node.child_permissions(edge, 0, perms.ALL)
        edge.node.on_permissions(edge.perm, edge.shared)


def activate_all(graph: Graph) -> None:
    """Take the images over.

    :raises QmpError: another process has one, or it cannot be opened; all is inactive then.
    """
    drives, roots = _drives(graph), _roots(graph)
    _resume(drives)
    try:
        _activate(graph, roots)
    except QmpError:
        _suspend(drives)
        graph.refresh_permissions(*roots)
        raise
    graph.opens_inactive = False


def activate(graph: Graph, node: Node) -> None:
    """Take over what is at and below a node, for an export, while the guest is still to come (bdrv_activate).

    The drives above need nothing until then (blk_root_activate, block/block-backend.c, QEMU 10.0).

    :raises QmpError: as :func:`activate_all`.
    """
    _activate(graph, [node])


def _activate(graph: Graph, roots: list[Node]) -> None:
    nodes = [node for node in downwards(roots) if node.inactive]
    for node in nodes:
        node.inactive = False
    done: list[Node] = []
    try:
        graph.refresh_permissions(*roots)
        for node in reversed(nodes):
            node.activate()
            for bitmap in node.bitmaps:
                bitmap.skip_store = False
            done.append(node)
    except QmpError:
        for node in done:
            node.inactivate()
        for node in nodes:
            node.inactive = True
        graph.refresh_permissions(*roots)
        raise


def _drives(graph: Graph) -> list[Drive]:
    """Those with a name or a device, and those of jobs that allow it (blk_can_inactivate)."""
    users = [edge.parent for node in graph.nodes.values() for edge in node.parents if isinstance(edge.parent, Drive)]
    return [*graph.drives.values(), *(each for each in users if each.allows_inactivation)]


def _roots(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes.values() if not node.parent_nodes]


def _suspend(drives: Iterable[Drive]) -> None:
    for drive in drives:
        drive.suspended = True
        if drive.root is not None:
            drive.root.perm, drive.root.shared = 0, perms.ALL


def _resume(drives: Iterable[Drive]) -> None:
    for drive in drives:
        drive.suspended = False
        if drive.root is not None:
            drive.root.perm, drive.root.shared = drive.perm, drive.shared
