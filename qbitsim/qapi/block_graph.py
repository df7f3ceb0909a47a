"""What x-debug-query-block-graph returns, and the arguments of x-blockdev-change (qapi/block-core.json)."""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


class BlockPermission(StrEnum):
    """What a parent may do with a child."""

    CONSISTENT_READ = "consistent-read"
    WRITE = "write"
    WRITE_UNCHANGED = "write-unchanged"
    RESIZE = "resize"


class XDbgBlockGraphNodeType(StrEnum):
    """What a node of the graph stands for."""

    BLOCK_BACKEND = "block-backend"
    BLOCK_JOB = "block-job"
    BLOCK_DRIVER = "block-driver"


class XDbgBlockGraphNode(TypedDict):
    """A node of the graph: a drive, a job or a block node."""

    id: int
    type: XDbgBlockGraphNodeType
    name: str


"""A drive, a job or a node."""

XDbgBlockGraphEdge = TypedDict(
    "XDbgBlockGraphEdge",
    {
        "parent": int,
        "child": int,
        "name": str,
        "perm": list[BlockPermission],
        "shared-perm": list[BlockPermission],
    },
)
"""Who uses what, and what it needs and shares."""


class XDbgBlockGraph(TypedDict):
    """The whole graph."""

    nodes: list[XDbgBlockGraphNode]
    edges: list[XDbgBlockGraphEdge]


@struct
class BlockdevChange:
    """Arguments of x-blockdev-change: the name of a child to remove, or of a node to add."""

    parent: str
    child: str | None = None
    node: str | None = None
