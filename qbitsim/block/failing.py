"""Where the faults that a test injects go.

A drive or a node stands for the disk that it shows: filters are passed by, and a format keeps the rules at its image,
so that they strike whoever opens the file. Offsets are those of that disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.faults import Faults
from qbitsim.block.files import FileNode, NullNode, RawNode
from qbitsim.block.qcow2 import Qcow2Node

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.images import Image
    from qbitsim.block.node import Node


def faults_of(graph: Graph, where: str) -> Faults:
    """The rules of a drive, a node or an image file.

    :param where: a drive's id, a node-name, or the name of a file that exists; the first that fits.
    :raises ValueError: nothing of that name can fail.
    """
    drive = graph.drives.get(where)
    node = drive.root.node if drive is not None and drive.root is not None else graph.nodes.get(where)
    if node is not None:
        return _made(_owner(node))
    if where in graph.images:
        return _made(graph.images.lookup(where))
    raise ValueError(f"no drive with a medium, no node and no image file is called {where!r}")


def _made(owner: Image | NullNode) -> Faults:
    if owner.faults is None:
        owner.faults = Faults()
    return owner.faults


def _owner(node: Node) -> Image | NullNode:
    """What keeps the rules of the disk that ``node`` shows."""
    while True:
        node = node.skip_filters()
        if isinstance(node, (Qcow2Node, FileNode)):
            return node.image
        if isinstance(node, NullNode):
            return node
        assert isinstance(node, RawNode)
        node = node.children[0].node
