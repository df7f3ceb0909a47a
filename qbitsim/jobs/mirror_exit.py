"""How the target of a mirror takes the place of its source (mirror_exit_common, block/mirror.c, QEMU 10.0)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jobs.loop import set_writable

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node


def pivot(graph: Graph, source: Node, replaced: Node, target: Node) -> bool:
    """Let all users of ``replaced`` use the target; return whether it went well.

    :param replaced: the source, or a node that reads like it.
    """
    if target.read_only != replaced.read_only:
        with suppress(QmpError):  # QEMU does not look whether it worked
            set_writable(graph, target, writable=not replaced.read_only)
    try:
        with graph.drained(replaced):
            if not source.can_replace(replaced):
                return False
            graph.insert_above(replaced, target)
    except QmpError:
        return False
    return True


def attach_backing(graph: Graph, target: Node, backing: Node) -> None:
    """Give the target, which has none, the backing file that its header names, as a node of this graph."""
    node = target.skip_filters()
    if node.supports_backing and node.backing is None:
        graph.attach(node, "backing", backing, 0, perms.ALL)
