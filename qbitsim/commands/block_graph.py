"""The graph as a whole, and children that come and go (bdrv_get_xdbg_block_graph, block.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jsontypes import Json
from qbitsim.qapi.block_graph import BlockdevChange, XDbgBlockGraph
from qbitsim.qapi.registry import command

if TYPE_CHECKING:
    from qbitsim.block.node import Child

_PERMISSIONS = (
    (perms.RESIZE, "resize"),
    (perms.WRITE_UNCHANGED, "write-unchanged"),
    (perms.WRITE, "write"),
    (perms.CONSISTENT_READ, "consistent-read"),
)
"""In the order in which QEMU lists them."""


class _GraphView:
    """What is seen of the graph so far; numbers go to what is mentioned first, lists are newest first."""

    def __init__(self) -> None:
        self.nodes: list[Json] = []
        self.edges: list[Json] = []
        self._numbers: dict[int, int] = {}

    def add_node(self, seen: object, kind: str, name: str) -> None:
        """A drive, job or node."""
        self.nodes.insert(0, {"id": self._number(seen), "type": kind, "name": name})

    def add_edge(self, edge: Child) -> None:
        """An edge from what was added last."""
        self.edges.insert(
            0,
            {
                "parent": self._number(edge.parent),
                "child": self._number(edge.node),
                "name": edge.name,
                "perm": _names(edge.perm),
                "shared-perm": _names(edge.shared),
            },
        )

    def _number(self, seen: object) -> int:
        return self._numbers.setdefault(id(seen), len(self._numbers) + 1)


def _names(bits: int) -> list[str]:
    return [name for bit, name in _PERMISSIONS if bits & bit]


@command("x-debug-query-block-graph", returns=XDbgBlockGraph, since="4.0", features=["unstable"])
def x_debug_query_block_graph(context: Context, args: None) -> Json:
    """All drives, block jobs and nodes, and who uses what."""
    del args
    view = _GraphView()
    for drive in _all_drives(context):
        view.add_node(drive, "block-backend", drive.id)
        if drive.root is not None:
            view.add_edge(drive.root)
    for job in context.jobs.jobs:
        if job.is_block_job:
            view.add_node(job, "block-job", job.id)
            for edge in reversed(job.edges):
                view.add_edge(edge)
    for node in context.graph.nodes.values():
        view.add_node(node, "block-driver", node.name)
        for edge in reversed(node.children if node.shows_children else []):
            view.add_edge(edge)
    return {"nodes": view.nodes, "edges": view.edges}


def _all_drives(context: Context) -> list[Drive]:
    """Drives with a name and those that jobs and exports have for themselves, as they were made (blk_all_next)."""
    graph = context.graph
    users = (edge.parent for node in graph.nodes.values() for edge in node.parents)
    found = {*graph.drives.values(), *(user for user in users if isinstance(user, Drive))}
    return sorted(found, key=lambda drive: drive.number)


@command("x-blockdev-change", BlockdevChange, since="2.7", features=["unstable"])
def x_blockdev_change(context: Context, args: BlockdevChange) -> None:
    """Remove a child of a node, or give it another one: only a quorum lets itself be changed."""
    graph = context.graph
    parent = graph.lookup(args.parent, args.parent)
    if args.child is not None and args.node is not None:
        raise QmpError("The parameters child and node are in conflict")
    if args.child is not None:
        child = parent.child(args.child)
        if child is None:
            raise QmpError(f"Node '{args.parent}' does not have child '{args.child}'")
        parent.remove_child(child)
        return
    if args.node is None:
        raise QmpError("Either child or node must be specified")
    node = graph.nodes.get(args.node)
    if node is None:
        raise QmpError(f"Node '{args.node}' not found")
    parent.add_child(node)
