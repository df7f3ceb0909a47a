"""What ``snapshot=on`` puts over a node: an overlay in a file that nobody else can find.

(bdrv_append_temp_snapshot, block.c, QEMU 10.0)
"""

from __future__ import annotations

from qbitsim.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener

_DIRECTORY = "/var/tmp"
_DIGITS = 6


def add_temporary_overlay(opener: Opener, node: Node, *, read_only: bool) -> Node:
    """Open an overlay over ``node``, whose file is unlinked at once; what is written there is lost at the end.

    :raises QmpError: as :meth:`.Opener.open` and :meth:`.Edges.check_append`; ``node`` is closed then, if nobody else
        uses it.
    """
    graph = opener.graph
    try:
        graph.check_append(node)
    except UnsupportedError:
        graph.release(node)
        raise
    for directory in ("/var", _DIRECTORY):
        if not graph.images.is_directory(directory):
            graph.images.mkdir(directory)
    number = 0
    while (name := f"{_DIRECTORY}/vl.{number:0{_DIGITS}}") in graph.images:
        number += 1
    graph.images.create(name, "qcow2", node.length)
    try:
        overlay = opener.open(
            {
                "driver": "qcow2",
                "read-only": read_only,
                "cache": {"no-flush": True},
                "file": {"driver": "file", "filename": name},
                "backing": None,
            }
        )
    finally:
        graph.images.remove(name)
    graph.attach(overlay, "backing", node)
    node.refresh_limits()
    overlay.options = {**overlay.options, "backing": node.name}
    return overlay
