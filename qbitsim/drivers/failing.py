"""Where the faults that a test injects go.

A drive or a node stands for the disk that it shows: filters are passed by, and a format keeps the rules at its image,
so that they strike whoever opens the file. Offsets are those of that disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.argument_types import OPERATIONS
from qbitsim.files.faults import FaultOwner, Faults
from qbitsim.nearest import nearest

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph


def faults_of(graph: Graph, where: str) -> Faults:
    """The rules of a drive, a node or an image file.

    :param where: a drive's id, a node-name, or the name of a file that exists; the first that fits.
    :raises ValueError: nothing of that name can fail.
    """
    drive = graph.drives.get(where)
    node = drive.root.node if drive is not None and drive.root is not None else graph.nodes.get(where)
    owner: FaultOwner | None = None
    if node is not None:
        owner = node.fault_owner
    elif where in graph.images:
        owner = graph.images.file(where)
    if owner is not None:
        if owner.faults is None:
            owner.faults = Faults()
        return owner.faults
    meant = nearest(where, [*(key for key, each in graph.drives.items() if each.root is not None), *graph.nodes])
    raise ValueError(f"no drive with a medium, no node and no image file is called {where!r}{meant}")


def checked_operations(operation: str) -> frozenset[str]:
    """The kinds of requests that a person means: to write zeroes is to write.

    :raises ValueError: no such operation.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r}: choose one of {', '.join(OPERATIONS)}")
    return frozenset(("write", "write-zeroes") if operation == "write" else (operation,))


def check_range(graph: Graph, where: str, offset: int | None, length: int) -> None:
    """Refuse a range that no request can ever touch.

    :raises ValueError: it is empty, negative, or behind the end of the disk.
    """
    if offset is None:
        return
    size = _size(graph, where)
    if length < 1 or offset < 0 or offset >= size:
        raise ValueError(f"no request can touch {length} bytes at {offset}: {where!r} has {size} bytes")


def _size(graph: Graph, where: str) -> int:
    drive = graph.drives.get(where)
    if drive is not None:
        return drive.size
    node = graph.nodes.get(where)
    return node.length if node is not None else graph.images.lookup(where).size


def check_often(after: int, times: int | None, probability: float) -> None:
    """Refuse a rule that can never strike.

    :raises ValueError: it says why.
    """
    if after < 0 or (times is not None and times < 1):
        raise ValueError(f"a fault after {after} requests, {times} times, never strikes")
    if not 0 < probability <= 1:
        raise ValueError(f"probability {probability} is not above 0 and at most 1")
