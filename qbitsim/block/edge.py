"""An edge of the graph: who uses which node, what for, and with which permissions."""

from __future__ import annotations

from qbitsim.block.roles import Named
from qbitsim.light_typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.roles import Parent

NodeT = TypeVar("NodeT", bound=Named)


class Edge(Generic[NodeT]):
    """An edge of the graph, to nodes of one kind.

    :ivar name: what the parent calls the child: ``file``, ``backing``, ``target``, ``root``, …
    :ivar perm: bits that the parent needs.
    :ivar shared: bits that the parent lets other parents have.
    :ivar quiesced: the parent was told to be quiet through this edge.
    :ivar parent_name: what a parent with a backing file was called when the edge was led to its node.
    :ivar frozen: jobs that rely on the edge, so that no client may lead it elsewhere.
    :ivar linked: a number that grows with each time that an edge was led to a node.
    :ivar watched: the parent is a job that was started, which notices when the node is drained.
    :ivar stays: the edge keeps its node when another one takes the node's place (jobs, stay_at_node in block.c).
    """

    __slots__ = (
        *("frozen", "linked", "name", "node", "parent", "parent_name", "perm", "quiesced", "shared", "stays"),
        "watched",
    )

    def __init__(self, parent: Parent, name: str, node: NodeT, perm: int, shared: int, *, stays: bool = False) -> None:
        self.parent = parent
        self.name = name
        self.node = node
        self.perm = perm
        self.shared = shared
        self.quiesced = False
        self.linked = 0
        self.frozen = 0
        self.parent_name = ""
        self.stays = stays
        self.watched = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.parent.parent_description}: {self.node.name}>"

    @property
    def description(self) -> str:
        """The edge as messages describe it."""
        return f"{self.parent.parent_description} (uses node '{self.node.name}' as '{self.name}' child)"

    def drained_begin(self) -> None:
        """Tell the parent to be quiet, once."""
        if not self.quiesced:
            self.quiesced = True
            self.parent.drained_begin()

    def drained_end(self) -> None:
        """Tell the parent to go on, if it was told to be quiet."""
        if self.quiesced:
            self.quiesced = False
            self.parent.drained_end()
