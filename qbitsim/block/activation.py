"""Images that belong to one of two processes between which a guest migrates, or that the client deactivates.

Theory of operation (block.c and block/block-backend.c, QEMU 10.0)
==================================================================

1. A process whose nodes are *inactive* may neither write nor lock out others: its drives need nothing and share
   everything meanwhile. What they would need is kept.
2. A node is written down and inactive before those below it (bdrv_inactivate_recurse); they are active, and looked at
   anew, before it is (bdrv_activate).
3. What fails half-way stays as far as it came, as in QEMU.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.block.node import Node, downwards
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.light_library import suppress

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph


def is_inactive(graph: Graph) -> bool:
    """Whether any node is."""
    return any(node.inactive for node in graph.nodes.values())


def inactivate_all(graph: Graph) -> None:
    """Give the images away (bdrv_inactivate_all).

    :raises OSError: somebody other than a drive writes, or an image cannot be written down.
    """
    for node in graph.disks():
        if not node.parent_nodes:
            _inactivate_from(graph, node)


def inactivate(graph: Graph, node: Node) -> None:
    """Give away a node and all below it that nobody active uses (bdrv_inactivate).

    :raises QmpError: an active node uses it, or it is as with :func:`inactivate_all`.
    """
    if _has_active_parent(node):
        raise QmpError("Node has active parent node")
    try:
        _inactivate_from(graph, node)
    except OSError as error:
        raise QmpError(f"Failed to inactivate node: {error.strerror}") from None


def _inactivate_from(graph: Graph, top: Node) -> None:
    due = [top]
    while due:
        node = due.pop()
        if node.inactive or _has_active_parent(node):
            continue
        node.inactivate()
        for edge in node.parents:
            if isinstance(edge.parent, Drive):
                edge.parent.suspend()
        if any(edge.perm & (perms.WRITE | perms.WRITE_UNCHANGED) for edge in node.parents):
            raise io_error(errno.EPERM)
        node.inactive = True
        with suppress(QmpError):  # less is needed than before
            graph.refresh_permissions(node)
        due += [edge.node for edge in reversed(node.children)]


def _has_active_parent(node: Node) -> bool:
    return any(not parent.inactive for parent in node.parent_nodes)


def activate_all(graph: Graph) -> None:
    """Take the images over (bdrv_activate_all).

    :raises QmpError: as :func:`activate`.
    """
    graph.opens_inactive = False
    for node in graph.disks():
        activate(graph, node)


def activate(graph: Graph, node: Node) -> None:
    """Take over what is at and below a node (bdrv_activate).

    While a guest is still to come, the drives above need nothing: an export may use the node then, and more.

    :raises QmpError: another process has an image, or it cannot be opened.
    """
    for each in reversed(downwards([node])):
        if each.inactive:
            _activate_one(graph, each)
        if not graph.opens_inactive:
            for edge in each.parents:
                if isinstance(edge.parent, Drive):
                    edge.parent.resume()


def _activate_one(graph: Graph, node: Node) -> None:
    node.inactive = False
    try:
        graph.refresh_permissions(node)
        node.activate()
    except QmpError:
        node.inactive = True
        raise
    for bitmap in node.bitmaps:
        bitmap.skip_store = False
