"""A block node: one layer of a disk, with its children, its parents and its dirty bitmaps.

Theory of operation
===================

1. What enters a node is in :mod:`qbitsim.block.requests`, what a driver adds in :mod:`qbitsim.block.driver_hooks`;
   here is what the node is to its neighbours in the graph.
2. ``parents`` and ``bitmaps`` are newest first, as QEMU's lists are.
3. A node knows the graph that it is in only as :class:`.Surroundings`.
"""

from __future__ import annotations

from qbitsim.block.edge import Edge
from qbitsim.block.limits import Limits, merged
from qbitsim.block.requests import Requests
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.light_library import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qbitsim.bits.bits import Bits
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.breakpoints import Breakpoints
    from qbitsim.block.roles import Surroundings

ALLOWED_ON_BACKING = frozenset({"backup-source", "backup-target", "commit-target", "stream"})
"""Operations on a backing file that the node above does not block (bdrv_backing_attach, block.c, QEMU 10.0)."""


class Node(Requests):
    """The common part of all nodes.

    :ivar name: the node-name, unique in the graph.
    :ivar auto_named: the name was generated (``#block017``).
    :ivar probed: its format was told from its content, because nobody had named it.
    :ivar cache_options: the ``cache`` that it was opened with, with what it took over from its parent then
        (bdrv_inherited_options, block.c, QEMU 10.0).
    :ivar level: how many nodes it stands on, one on the other; layers of a backing chain are none
        (:mod:`qbitsim.block.stacking`).
    :ivar limits: what it asked of requests when it was last asked (:meth:`refresh_limits`).
    :ivar named_backing: the backing file that was opened because the image's header names it, None otherwise.
    :ivar inherits_from: the node whose options it was opened with, as its child; it is reopened together with that one.
    :ivar inactive: the image is in use by another process, from or to which the guest migrates (BDRV_O_INACTIVE).
    :ivar implicit: QEMU put it there by itself; it goes when its job goes.
    :ivar held: a job keeps it, even when it is no parent of it any more.
    :ivar monitor_owned: made by blockdev-add: stays until blockdev-del.
    :ivar options: those that it was opened with.
    :ivar blockers: why operations on the node are refused, newest first.
    :ivar quiesce: how many drained sections the node is in.
    """

    __slots__ = (
        *("_blocked_at", "_read_only", "auto_named", "bitmaps", "bitmaps_by_name", "blockers", "cache_options"),
        *("children", "graph", "held", "implicit", "inactive", "inherits_from", "level", "limits", "monitor_owned"),
        *("name", "named_backing", "options", "parents", "probed", "quiesce"),
    )

    def __init__(self, graph: Surroundings, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(unmap=unmap)
        self.graph = graph
        self.name = ""
        self.auto_named = False
        self.probed = False
        self.named_backing: Node | None = None
        self.inherits_from: Node | None = None
        self.implicit = False
        self.inactive = graph.opens_inactive
        self.held = False
        self.monitor_owned = False
        self._read_only = read_only
        self.options: dict[str, object] = {}
        self.cache_options: dict[str, object] = {}
        self.children: list[Child] = []
        self.parents: list[Child] = []
        self.limits = Limits()
        self.level = 0
        self.bitmaps: list[DirtyBitmap] = []
        self.bitmaps_by_name: dict[str, DirtyBitmap] = {}
        self.blockers: list[str] = []
        self._blocked_at = 0
        self.quiesce = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.length} bytes>"

    # -- names

    @property
    def device_name(self) -> str:
        """The id of a drive of which this node is the root, or an empty string."""
        for parent in self.parents:
            if not isinstance(parent.parent, Node) and parent.parent.device_name:
                return parent.parent.device_name
        return ""

    @property
    def device_or_node_name(self) -> str:
        """What most messages call the node (bdrv_get_device_or_node_name)."""
        return self.device_name or self.name

    @property
    def parent_description(self) -> str:
        """How permission messages call this node as a parent."""
        return f"node '{self.name}'"

    @property
    def filename(self) -> str:
        """What QEMU shows as the file name."""
        child = self.child("file") or self.child("backing")
        return child.node.filename if child is not None else ""

    # -- who is above and below

    def comes_from(self, node: Node) -> bool:
        """Whether it was opened as a child of that node, or of one that was (bdrv_inherits_from_recursive, block.c)."""
        place: Node | None = self
        while place is not None and place is not node:
            place = place.inherits_from
        return place is node

    def child(self, name: str) -> Child | None:
        """The edge to the child of that name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    @property
    def parent_nodes(self) -> list[Node]:
        """The nodes among the parents, newest edge first."""
        return [edge.parent for edge in self.parents if isinstance(edge.parent, Node)]

    @property
    def filtered(self) -> Node | None:
        """The child that a filter filters, None for other nodes (bdrv_filter_bs)."""
        return None

    @property
    def backing(self) -> Node | None:
        """The backing file's node of a copy-on-write format."""
        for child in self.children:
            if child.name == "backing":
                return child.node
        return None

    @property
    def filter_or_cow(self) -> Node | None:
        """What it filters, or its backing file (bdrv_filter_or_cow_bs)."""
        return self.filtered or self.backing

    @property
    def backing_chain_next(self) -> Node | None:
        """The next non-filter node of the backing chain (bdrv_backing_chain_next)."""
        below = self.skip_filters().backing
        return below.skip_filters() if below is not None else None

    def skip_filters(self) -> Node:
        """The first node at or below this one that is no filter."""
        node = self
        while (below := node.filtered) is not None:
            node = below
        return node

    def skip_implicit_filters(self) -> Node:
        """The first node at or below this one that QEMU did not put there by itself."""
        node = self
        while node.implicit and (below := node.filtered) is not None:
            node = below
        return node

    def child_is_replaced(self, child: Child, node: Node) -> None:
        """A child is about to be replaced by ``node``; see :class:`.OwnLengthNode`."""

    def child_is_resized(self, child: Node) -> None:
        """A child is about to become longer or shorter."""

    def ask_for_length(self) -> None:
        """The node was reopened, or resized itself."""

    def leads_to(self, node: Node) -> bool:
        """Whether ``node`` is this one or anywhere below it."""
        return node in downwards((self,))

    def can_replace(self, node: Node) -> bool:
        """Whether a node that shows what this one shows can take the place of ``node``, and nobody sees a change.

        (bdrv_recurse_can_replace, block.c, QEMU 10.0)
        """
        return node is self

    def add_child(self, node: Node) -> None:
        """Take another child (bdrv_add_child).

        :raises QmpError: the driver does not do that.
        """
        del node
        raise QmpError(f"The node {self.device_or_node_name} does not support adding a child")

    def remove_child(self, child: Child) -> None:
        """Give up a child (bdrv_del_child).

        :raises QmpError: the driver does not do that.
        """
        del child
        raise QmpError(f"The node {self.device_or_node_name} does not support removing a child")

    # -- what it does for its driver by way of its children

    def refresh_limits(self) -> None:
        """Ask anew what the driver and the children want of requests (bdrv_refresh_limits, block/io.c, QEMU 10.0).

        QEMU does so when a node is opened or reopened, when it gets another file or backing file, and when something
        is appended above it: what a parent has seen at such a moment it keeps.
        """
        self.limits = self.limits_above(merged(edge.node.limits for edge in self.children))

    def mark_probed(self, *, probed: bool) -> None:
        """Note whether its format was told from its content, on which its limits depend."""
        self.probed = probed
        self.refresh_limits()

    def limits_above(self, below: Limits) -> Limits:
        """What the driver makes of the limits of its children (bdrv_refresh_limits)."""
        return below

    @property
    def breakpoints(self) -> Breakpoints | None:
        """Those of the node that this one is about: its file, or what it filters (bdrv_primary_bs)."""
        below = self.child("file")
        node = below.node if below is not None else self.filtered
        return node.breakpoints if node is not None else None

    @property
    def frees_zeroes(self) -> bool:
        """Whether zeroing may free what held the range: if the driver knows how, and discards are passed on."""
        return self.can_unmap_zeroes and (self.unmap or self.graph.drives_unmap_zeroes)

    def allocated_file_size(self) -> int | None:
        """Bytes that the files below occupy, None if that cannot be told (bdrv_get_allocated_file_size)."""
        sizes = [edge.node.allocated_file_size() for edge in self.children if edge.name != "backing"]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def flushed_children(self) -> list[Child]:
        """Those that a flush goes on to: what may be written to (bdrv_co_flush, block/io.c, QEMU 10.0)."""
        return [child for child in self.children if child.perm & (perms.WRITE | perms.WRITE_UNCHANGED)]

    @property
    def has_unflushed(self) -> bool:
        """Whether something was written, here or below, that a flush would reach."""
        left: list[Node] = [self]
        while left:
            node = left.pop()
            if node.read_only:
                continue
            flushed = node.flushed_children
            if node.unflushed and (flushed or not node.children):
                return True
            left += [child.node for child in flushed]
        return False

    def flush_at_end(self) -> None:
        """Flush what is left, as the node is about to be closed (bdrv_close, block.c); a failure is lost."""
        if self.has_unflushed:
            with suppress(OSError, StalledError):
                self.flush()

    def _flush(self) -> None:
        # Who writes through a drive that no device uses has no permissions, and can flush all the same.
        for child in self.flushed_children or [child for child in self.children if child.name != "backing"]:
            if child.name in ("file", "image"):
                child.node.debug_event("flush_to_os")
                if self.unflushed:
                    child.node.debug_event("flush_to_disk")
            child.node.flush()
        self.unflushed = False

    def delay(self, operation: str, length: int) -> int:
        """Nanoseconds that a request of ``length`` bytes, if it can wait, has to wait for limits here and below.

        :param operation: ``"read"``, ``"write"``, or ``"write-zeroes"``, which a format only notes in its tables.
        """
        below = self.filtered
        if below is None and operation != "write-zeroes":
            file = self.child("file")
            below = file.node if file is not None else None
        return below.delay(operation, length) if below is not None else 0

    @property
    def own_outage(self) -> int:
        """Nanoseconds that a job's request has to wait because the server that this node is about is away."""
        return 0

    @property
    def outage(self) -> int:
        """Nanoseconds that a job's request has to wait because a server here or below is away."""
        longest, left = 0, [self]
        while left:  # chains may be longer than Python's stack is deep
            node = left.pop()
            longest = max(longest, node.own_outage)
            left += [edge.node for edge in node.children]
        return longest

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Take clusters from ``source`` by reference, as if each was read there and written here.

        :param chosen: one bit for each cluster of ``cluster_size`` bytes of both disks, which are of one length.
        :returns: False, with nothing changed, if a fault, bitmap, filter or limit could tell the difference.
        """
        del source, chosen, cluster_size
        return False

    def truncate(self, size: int) -> None:
        """Resize to ``size`` bytes; the bitmaps follow (bdrv_co_truncate, block/io.c).

        :raises QmpError: as the driver says; or an export holds a bitmap, where QEMU dies (bdrv_dirty_bitmap_truncate).
        :raises OSError: as the driver, or a fault, says.
        """
        if self.read_only:
            raise QmpError("Image is read-only")
        for bitmap in self.bitmaps:
            if bitmap.busy:
                bitmap.check()
        for parent in self.parent_nodes:
            parent.child_is_resized(self)
        self._truncate(size)
        self.ask_for_length()
        self.follow_length()

    def follow_length(self) -> None:
        """Resize the bitmaps to the node's length."""
        for bitmap in self.bitmaps:
            bitmap.resize(self.length)

    # -- who may do what

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._read_only

    def set_read_only(self, read_only: bool) -> None:
        """Reopen the node read-only or writable."""
        if read_only != self._read_only:
            if read_only:
                self.on_read_only(read_only=True)
            self._read_only = read_only
            if not read_only:
                self.on_read_only(read_only=False)

    def mark_read_only(self, read_only: bool) -> None:
        """Change what permissions go by, without storing or taking up anything; for a reopen that may be refused."""
        self._read_only = read_only

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What this node needs and shares on ``child`` when its own parents need and share that much.

        The defaults of bdrv_default_perms (block.c, QEMU 10.0): a backing file must not change; a format writes
        metadata to its file by itself.
        """
        if child.name == "backing":
            backing_shared = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
            if shared & perms.WRITE:
                backing_shared |= perms.WRITE | perms.RESIZE
            return perm & perms.CONSISTENT_READ, backing_shared
        if self.inactive:
            return perm | perms.CONSISTENT_READ, shared | perms.WRITE | perms.RESIZE
        if not self.read_only:
            perm |= perms.WRITE | perms.RESIZE
        return perm | perms.CONSISTENT_READ, shared & ~(perms.WRITE | perms.RESIZE)

    def block(self, reason: str) -> None:
        """Refuse operations on the node from now on; those that use it as a backing file later come before that."""
        self.blockers.insert(0, reason)
        self._blocked_at = self.graph.links

    def check_not_blocked(self, operation: str) -> None:
        """Refuse an operation if a job uses the node, or if the node is the backing file of another one.

        :param operation: QEMU's BlockOpType, such as ``"mirror-target"``; :data:`ALLOWED_ON_BACKING` are those that a
            backing file allows.
        :raises QmpError: with the text of bdrv_op_is_blocked; the other node is called as it was when it took this
            one: a new overlay has no device yet then (bdrv_backing_attach, block.c, QEMU 10.0).
        """
        backing = operation not in ALLOWED_ON_BACKING
        if self.blockers and not (backing and any(map(self._is_newer_backing, self.parents))):
            raise QmpError(f"Node '{self.device_or_node_name}' is busy: {self.blockers[0]}")
        for edge in self.parents:
            if not isinstance(edge.parent, Node):
                continue
            if self.graph.hide_filters and edge.parent.implicit:
                edge.parent.check_not_blocked(operation)
            if edge.name == "backing" and not edge.parent.is_filter and backing:
                raise QmpError(
                    f"Node '{self.device_or_node_name}' is busy: node is used as backing hd of '{edge.parent_name}'"
                )

    def _is_newer_backing(self, edge: Child) -> bool:
        """Whether the edge made this node a backing file after it was blocked."""
        is_backing = edge.name == "backing" and isinstance(edge.parent, Node) and not edge.parent.is_filter
        return is_backing and edge.linked > self._blocked_at

    # -- drained sections

    def drained_begin(self, *, nodes_too: bool = True) -> None:
        """Enter a drained section: whoever is above stops sending requests (bdrv_drained_begin).

        :param nodes_too: and nodes above enter one too.
        """
        self.quiesce += 1
        path = [iter(self.parents[:])] if self.quiesce == 1 else []
        while path:
            for edge in path[-1]:
                above = edge.parent
                if not isinstance(above, Node):
                    edge.drained_begin()
                elif nodes_too and not edge.quiesced:
                    edge.quiesced = True
                    above.quiesce += 1
                    if above.quiesce == 1:
                        path.append(iter(above.parents[:]))
                        break
            else:
                path.pop()

    def drained_end(self) -> None:
        """Leave the drained section."""
        self.quiesce -= 1
        path = [] if self.quiesce else [(self, iter(self.parents[:]))]
        while path:
            node, edges = path[-1]
            for edge in edges:
                above = edge.parent
                if not isinstance(above, Node):
                    edge.drained_end()
                elif edge.quiesced:
                    edge.quiesced = False
                    above.quiesce -= 1
                    if not above.quiesce:
                        path.append((above, iter(above.parents[:])))
                        break
            else:
                path.pop()
                self.graph.waiting.resume(node)

    def drained_poll(self) -> None:
        """Finish what is in flight above."""
        poll_all((self,))

    def poll_driver(self) -> None:
        """Finish what the driver itself has in flight."""
        if self.takes_part_in_draining and self.graph.drivers_drain_in_coroutines:
            self.graph.scheduler.run_bottom_halves()


class Child(Edge[Node]):
    """An edge to a node (BdrvChild)."""

    __slots__ = ()


def poll_all(nodes: Iterable[Node]) -> None:
    """Finish what is in flight in all parents of ``nodes``, and above those that are nodes, each once."""
    seen: set[Node] = set()
    for node in nodes:
        if node in seen:
            continue
        seen.add(node)
        node.poll_driver()
        path = [iter(node.parents[:])]
        while path:
            for edge in path[-1]:
                above = edge.parent
                if not isinstance(above, Node):
                    above.drained_poll()
                elif above not in seen:
                    seen.add(above)
                    above.poll_driver()
                    path.append(iter(above.parents[:]))
                    break
            else:
                path.pop()


def downwards(roots: Sequence[Node]) -> list[Node]:
    """``roots`` and all nodes below them, parents before children, older children first (bdrv_topological_dfs)."""
    if len(roots) == 1 and (single := _single_file(roots[0])):
        return single
    order: list[Node] = []
    seen: set[Node] = set()
    for root in roots:
        path = [] if root in seen else [(root, reversed(root.children))]
        seen.add(root)
        while path:  # chains may be longer than Python's stack is deep
            node, edges = path[-1]
            for edge in edges:
                below = edge.node
                if below not in seen:
                    seen.add(below)
                    path.append((below, reversed(below.children)))
                    break
            else:
                order.append(node)
                path.pop()
    order.reverse()
    return order


def _single_file(root: Node) -> list[Node]:
    """As :func:`downwards` if no node there has two children, as is mostly so; an empty list if one has."""
    order = [root]
    edges = root.children
    while edges:
        if len(edges) > 1:
            return []
        order.append(edges[0].node)
        edges = edges[0].node.children
    return order
