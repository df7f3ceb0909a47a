"""The edges of a graph: made, led elsewhere, and removed.

Theory of operation
===================

1. A node lives as long as somebody needs it: a parent, the monitor (blockdev-add) or a command
   that is running. When the last edge goes, the node is closed and its children may follow.
2. Every change of an edge refreshes the permissions below it; if two users disagree, the change
   is taken back and refused (block.c, bdrv_refresh_perms, QEMU 10.0).
"""

from __future__ import annotations

from qbitsim.block.drained import DrainedSections
from qbitsim.block.node import Child, Node, downwards
from qbitsim.block.permissions import refresh_permissions
from qbitsim.block.stacking import check_height, check_stack, settle_level
from qbitsim.block.waiting import WaitingRequests
from qbitsim.block.walk import depth_first
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.light_library import contextmanager, nullcontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qbitsim.block.roles import Parent
    from qbitsim.engine.scheduler import Scheduler


class Edges(DrainedSections):
    """The nodes of a graph with the edges between them, and those of drives and jobs.

    :ivar scheduler: the clock of the machine, for nodes and drives whose requests are timed.
    :ivar links: how often an edge was led to a node.
    :ivar drives_made: how many drives were made, named or not.
    :ivar waiting: requests of guests that wait for the end of a drained section.
    """

    __slots__ = ("drives_made", "links", "scheduler", "waiting")

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.waiting = WaitingRequests(scheduler)
        self.links = 0
        self.drives_made = 0

    def attach(
        self,
        parent: Parent,
        name: str,
        node: Node,
        perm: int = 0,
        shared: int = perms.ALL,
        *,
        stays: bool = False,
        is_part: bool = False,
    ) -> Child:
        """Make an edge from ``parent`` to ``node``.

        :param perm: what the parent needs, and :param shared: what it lets others have; a node knows that itself
            (:meth:`.Node.child_permissions`).
        :param stays: it keeps its node when another one takes the node's place.
        :param is_part: it is part of a change that the caller makes.
        :raises QmpError: if permissions disagree, or the node is a filter whose job ends at this moment; nothing has
            changed then.
        """
        if self.active_have_active_children and node.inactive and isinstance(parent, Node) and not parent.inactive:
            raise QmpError(f"Inactive '{node.name}' can't be a {name} child of active '{parent.name}'")
        if node.inactive and not isinstance(parent, Node) and perm & ~perms.CONSISTENT_READ:
            wanted = perms.names(perm & ~perms.CONSISTENT_READ)
            raise QmpError(f"Permission '{wanted}' unavailable on inactive node")
        if isinstance(parent, Node):
            check_stack(parent, name, node)
        edge = Child(parent, name, node, perm, shared, stays=stays)
        if not (stays or is_part):
            is_new = self.nodes.get(node.name) is not node
            self.changing()
            if not is_new:
                self.check_not_gone(node)
        if isinstance(parent, Node):
            parent.children.append(edge)
        self._link(edge, node)
        try:
            self.refresh_permissions(parent if isinstance(parent, Node) else node)
        except QmpError:
            self._unlink(edge)
            if isinstance(parent, Node):
                parent.children.remove(edge)
            raise
        if isinstance(parent, Node):
            settle_level(parent)
        return edge

    def detach(
        self, edge: Child, meanwhile: Callable[[], None] | None = None, *, keeps_permissions: bool = False
    ) -> None:
        """Remove an edge; a node that nobody uses any more is closed.

        :param meanwhile: what is waiting to happen once all nodes are quiet.
        :param keeps_permissions: the node goes on needing of those below it what it needed for the parent that it has
            lost, until they are worked out for some other reason (bdrv_set_backing_hd, block.c, QEMU 10.0).
        """
        with nullcontext() if edge.stays else self.forced_change():
            if meanwhile is not None:
                meanwhile()
            self._cut(edge, keeps_permissions=keeps_permissions)
            self.release(edge.node)

    def _cut(self, edge: Child, *, keeps_permissions: bool = False) -> None:
        self.watchers -= edge.watched
        if isinstance(edge.parent, Node):
            _unset_inherits_from(edge.parent, edge)
            edge.parent.children.remove(edge)
            settle_level(edge.parent)
        self._unlink(edge)
        if not keeps_permissions:
            self.refresh_permissions(edge.node)

    def replace_child(self, edge: Child, node: Node) -> None:
        """Let an edge lead to another node; permissions are the caller's to refresh.

        A parent that is quiet stays so if the new node is in a drained section too (bdrv_replace_child_noperm).
        """
        if isinstance(edge.parent, Node):
            edge.parent.child_is_replaced(edge, node)
        edge.node.parents.remove(edge)
        self._link(edge, node)
        if isinstance(edge.parent, Node):
            settle_level(edge.parent)
        if not node.quiesce:
            edge.drained_end()

    def set_child(self, parent: Node, name: str, node: Node | None) -> None:
        """Give a node another file or backing file, or none; permissions are the caller's to refresh, but for one where
        none was.

        A node that was opened somewhere below its new parent counts as opened with it from then on
        (bdrv_set_file_or_backing_noperm, block.c, QEMU 10.0).

        :raises QmpError: as :meth:`attach`.
        """
        if node is not None:
            check_stack(parent, name, node)
        comes_from_parent = node is not None and node.comes_from(parent)
        edge = parent.child(name)
        if edge is not None and node is not None:
            _unset_inherits_from(parent, edge)
            self.replace_child(edge, node)
        elif edge is not None:
            self.detach(edge)
        elif node is not None:
            self.attach(parent, name, node)
        if node is not None and comes_from_parent:
            node.inherits_from = parent
        parent.refresh_limits()

    def replace_node(self, old: Node, new: Node) -> list[Child]:
        """Let the parents of ``old`` use ``new`` instead, but for those at or below ``new`` and those that stay.

        Each becomes the newest of its parents, so that they stand the other way round there. Return the moved edges,
        the last one first, so that the change can be taken back in that order. Permissions are the caller's to refresh.
        (bdrv_replace_node_noperm and should_update_child, block.c, QEMU 10.0)
        """
        below = {node.name for node in downwards((new,))}
        moved = [
            edge
            for edge in old.parents
            if not edge.stays and not (isinstance(edge.parent, Node) and edge.parent.name in below)
        ]
        for edge in moved:
            self.replace_child(edge, new)
        moved.reverse()
        return moved

    def check_append(self, node: Node) -> None:
        """Refuse to put a node above one of which QEMU then never hears what its limits are.

        bdrv_append(), block.c, asks with the graph locked; a driver that asks its child in turn with bdrv_get_info(),
        which is a coroutine, waits for that lock (seen with 10.0 and 11.1; 7.2 has none).

        :raises UnsupportedError: it is such a node.
        """
        if self.drains_on_change and node.limits_ask_for_info:
            raise UnsupportedError(f"a node right above '{node.name}', whose driver is {node.driver}: real QEMU hangs")

    def insert_above(self, node: Node, top: Node) -> None:
        """Put ``top``, which has no parents yet, in the place of ``node``, which it has as a child or leaves alone.

        :raises QmpError: if permissions disagree, or too many stand on each other; nothing has changed then.
        """
        check_height(top.level, node)
        self.changing()
        moved = self.replace_node(node, top)
        try:
            self.refresh_permissions(node, top)
        except QmpError:
            for edge in moved:
                self.replace_child(edge, node)
            self.refresh_permissions(node, top)
            raise

    def remove_above(self, top: Node, node: Node) -> None:
        """The counterpart of :meth:`insert_above`: the parents of ``top`` use ``node`` again.

        ``top`` keeps its children; closing it is the caller's.
        """
        below = next((edge for edge in top.children if edge.node is node), None)
        self.changing()
        # A job that came to its end just now may have taken its own filter out from below. What replaces the
        # filter of a mirror or commit is no child of it.
        node = below.node if below is not None else node
        for edge in top.children:
            edge.perm, edge.shared = 0, perms.ALL
        self.replace_node(top, node)
        self.refresh_permissions(node)

    def release(self, node: Node, *, half_open: bool = False) -> None:
        """Close ``node`` and what it alone used, if nobody uses it.

        :param half_open: its driver could not open it, so that nothing is flushed (bdrv_open_driver, block.c, 10.0).
        """
        depth_first(node, lambda each: self._release(each, half_open=half_open and each is node))

    def _release(self, node: Node, *, half_open: bool) -> Iterator[Node]:
        if node.parents or node.monitor_owned or node.held or self.nodes.get(node.name) is not node:
            return
        with self.forced_change():
            if not half_open:
                node.flush_at_end()
            node.close()
            for edge in list(node.children):
                self._cut(edge)
                yield edge.node
            self.nodes.pop(node.name, None)

    def refresh_permissions(self, *roots: Node) -> None:
        """As :func:`.permissions.refresh_permissions`."""
        refresh_permissions(*roots)

    @contextmanager
    def kept(self, *nodes: Node) -> Iterator[None]:
        """Nodes that nobody else uses live on to the end of the section (bdrv_ref and bdrv_unref)."""
        before = [node.held for node in nodes]
        for node in nodes:
            node.held = True
        try:
            yield
        finally:
            for node, held in zip(nodes, before, strict=True):
                node.held = held
            for node in nodes:
                self.release(node)

    def _link(self, edge: Child, node: Node) -> None:
        edge.node = node
        self.links += 1
        edge.linked = self.links
        if edge.name == "backing" and isinstance(edge.parent, Node):
            edge.parent_name = edge.parent.device_or_node_name
        node.parents.insert(0, edge)
        if node.quiesce:
            edge.drained_begin()

    def _unlink(self, edge: Child) -> None:
        edge.node.parents.remove(edge)
        edge.drained_end()


def _unset_inherits_from(root: Node, edge: Child) -> None:
    """What is reached by an edge of *root* that goes no more counts as opened with it.

    (bdrv_unset_inherits_from, block.c, QEMU 10.0)
    """
    for node in downwards((edge.node,)):
        if node.inherits_from is root and all(other is edge or other.node is not node for other in root.children):
            node.inherits_from = None
