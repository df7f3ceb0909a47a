"""The graph of block nodes of one machine, with its drives and its files.

Theory of operation
===================

1. A node lives as long as somebody needs it: a parent, the monitor (blockdev-add) or a command
   that is running. When the last edge goes, the node is closed and its children may follow.
2. Every change of an edge refreshes the permissions below it; if two users disagree, the change
   is taken back and refused (block.c, bdrv_refresh_perms, QEMU 10.0).
3. ``nodes`` is in order of creation, which is the order in which QEMU drains them; node lists
   in replies are newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.block.drive import Drive
from qbitsim.block.names import is_well_formed
from qbitsim.block.node import Node
from qbitsim.block.permissions import Child, Parent, check_conflict, cumulative
from qbitsim.block.throttle_group import ThrottleGroup
from qbitsim.engine.scheduler import Scheduler
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.images.store import ImageStore
from qbitsim.jsontypes import Json

MAXIMUM_NODE_NAME = 31

NodeT = TypeVar("NodeT", bound=Node)


class Graph:
    """All nodes, drives and files of one machine.

    :ivar images: the files.
    :ivar nodes: by name, in order of creation.
    :ivar drives: by id, in order of creation; anonymous ones that guest devices use are under their path.
    :ivar drives_unmap_zeroes: zeroing through a drive frees clusters even if its node was not opened to do so.
    :ivar hide_filters: names of drives mean what is below the filters that QEMU put there by itself (QEMU of old).
    :ivar drains_on_change: every change of the graph drains all nodes (QEMU 8.0 and later).
    :ivar quiet_during_change: and keeps them quiet until it is made (QEMU 11.1).
    :ivar watchers: how many edges jobs have: without one nobody notices that nodes are drained.
    :ivar throttle_groups: by id.
    :ivar emit: called with the name and the data of each event.
    :ivar scheduler: the clock, for nodes whose requests take time.
    """

    __slots__ = (
        *("_generated", "drains_on_change", "drives", "drives_unmap_zeroes", "emit", "hide_filters", "images", "nodes"),
        *("_start", "quiet_during_change", "scheduler", "throttle_groups", "watchers"),
    )

    def __init__(self, images: ImageStore, scheduler: Scheduler) -> None:
        self.images = images
        self.scheduler = scheduler
        self.nodes: dict[str, Node] = {}
        self.drives: dict[str, Drive] = {}
        self.hide_filters = False
        self.drives_unmap_zeroes = False
        self.drains_on_change = False
        self.quiet_during_change = False
        self.watchers = 0
        self.throttle_groups: dict[str, ThrottleGroup] = {}
        self.emit: Callable[[str, Json], None] = lambda _name, _data: None
        self._generated = 0
        self._start = images.starts
        images.starts += 1

    # -- names

    def register(self, node: NodeT, name: str | None) -> NodeT:
        """Give ``node`` its name, or a generated one, and put it into the graph.

        :raises QmpError: with the texts and in the order of bdrv_assign_node_name (block.c, QEMU 10.0).
        """
        if name is None:
            # QEMU's generated names end in two random digits (util/id.c, id_generate); another start, other digits.
            name = f"#block{self._generated}{(self._generated * 37 + self._start * 61) % 100:02d}"
            self._generated += 1
            node.auto_named = True
        else:
            self.check_name(name)
        node.name = name
        self.nodes[name] = node
        return node

    def check_name(self, name: str) -> None:
        """Refuse a node-name that is ill-formed or taken.

        :raises QmpError: with the texts and in the order of bdrv_assign_node_name (block.c, QEMU 10.0).
        """
        if not is_well_formed(name):
            raise QmpError(f"Invalid node-name: '{name}'")
        if name in self.drives:
            raise QmpError(f"node-name={name} is conflicting with a device id")
        if name in self.nodes:
            raise QmpError(f"Duplicate nodes with node-name='{name}'")
        if len(name) > MAXIMUM_NODE_NAME:
            raise QmpError("Node name too long")

    def lookup(self, device: str | None, node: str | None) -> Node:
        """The node that a command means: the root of a drive first, then a node-name.

        :raises QmpError: with the texts of bdrv_lookup_bs (block.c, QEMU 10.0).
        """
        if device is not None and (drive := self.drives.get(device)) is not None and drive.id:
            if drive.root is None:
                raise QmpError(f"Device '{device}' has no medium")
            return drive.root.node.skip_implicit_filters() if self.hide_filters else drive.root.node
        if node is not None and (found := self.nodes.get(node)) is not None:
            return found
        raise QmpError(f"Cannot find device='{device or ''}' nor node-name='{node or ''}'")

    def find_bitmap(self, owner: str, name: str) -> DirtyBitmap:
        """The bitmap of that name of a drive or node.

        :raises QmpError: with the texts of block_dirty_bitmap_lookup (block/monitor/bitmap-qmp-cmds.c, QEMU 10.0).
        """
        try:
            node = self.lookup(owner, owner)
        except QmpError:
            raise QmpError(f"Node '{owner}' not found") from None
        bitmap = node.find_bitmap(name)
        if bitmap is None:
            raise QmpError(f"Dirty bitmap '{name}' not found")
        return bitmap

    def add_drive(self, identifier: str, node: Node | None) -> Drive:
        """Make a drive with that id on ``node``, or without a medium."""
        assert identifier not in self.drives
        # Nothing but to read, until a device of the guest uses it (blk_new_open, and blk_new without a medium).
        drive = Drive(self, identifier, perm=perms.CONSISTENT_READ if node is not None else 0)
        if node is not None:
            drive.insert(node)
        self.drives[identifier] = drive
        return drive

    def forget_drive_id(self, drive: Drive) -> None:
        """A drive that a guest device uses has only the device's path from now on (monitor_remove_blk)."""
        places = list(self.drives.items())
        self.drives.clear()
        self.drives.update((drive.qdev if each is drive else name, each) for name, each in places)
        drive.id = ""

    # -- limits of drives

    def limit_drive(self, drive: Drive, limits: Mapping[str, int], group: str) -> None:
        """Let ``drive`` share the limits of a group, which is made if there is none of that name, and set these."""
        found = self.throttle_groups.get(group)
        if found is None:
            found = self.throttle_groups[group] = ThrottleGroup(limits, group, of_drives=True)
        if drive.throttle_group is not found:
            self.unlimit_drive(drive)
            drive.throttle_group = found
            found.members += 1
        found.set_limits(limits)

    def unlimit_drive(self, drive: Drive) -> None:
        """Let ``drive`` leave its group, if it is in one."""
        group, drive.throttle_group = drive.throttle_group, None
        if group is not None:
            self.leave_group(group)

    def leave_group(self, group: ThrottleGroup) -> None:
        """A member leaves a group; one that was made for drives goes with its last member."""
        group.members -= 1
        if group.of_drives and not group.members:
            del self.throttle_groups[group.name]

    # -- edges

    def attach(
        self,
        parent: Parent,
        name: str,
        node: Node,
        perm: int,
        shared: int,
        *,
        stays: bool = False,
        is_part: bool = False,
    ) -> Child:
        """Make an edge from ``parent`` to ``node``.

        :param stays: it keeps its node when another one takes the node's place.
        :param is_part: it is part of a change that the caller makes.
        :raises QmpError: if permissions disagree; nothing has changed then.
        """
        edge = Child(parent, name, node, perm, shared, stays=stays)
        if not (stays or is_part):
            self.changing()
        if isinstance(parent, Node):
            parent.children.append(edge)
        self._link(edge, node)
        self.watchers += stays
        try:
            self.refresh_permissions(parent if isinstance(parent, Node) else node)
        except QmpError:
            self._unlink(edge)
            self.watchers -= stays
            if isinstance(parent, Node):
                parent.children.remove(edge)
            raise
        return edge

    def detach(self, edge: Child, meanwhile: Callable[[], None] | None = None) -> None:
        """Remove an edge; a node that nobody uses any more is closed.

        :param meanwhile: what is waiting to happen once all nodes are quiet.
        """
        if edge.stays:
            self._detach(edge)
            return
        with self.parting():
            if meanwhile is not None:
                meanwhile()
            self._detach(edge)

    def _detach(self, edge: Child) -> None:
        node = edge.node
        self.watchers -= edge.stays
        if isinstance(edge.parent, Node):
            edge.parent.children.remove(edge)
        self._unlink(edge)
        self.refresh_permissions(node)
        self.release(node)

    def replace_child(self, edge: Child, node: Node) -> None:
        """Let an edge lead to another node; permissions are the caller's to refresh.

        A parent that is quiet stays so if the new node is in a drained section too (bdrv_replace_child_noperm).
        """
        edge.node.parents.remove(edge)
        self._link(edge, node)
        if not node.quiesce:
            edge.drained_end()

    def replace_node(self, old: Node, new: Node) -> list[Child]:
        """Let the parents of ``old`` use ``new`` instead, but for those at or below ``new`` and those that stay.

        Return the moved edges, oldest first, so that the change can be taken back. Permissions are the caller's to
        refresh. (bdrv_replace_node and should_update_child, block.c, QEMU 10.0)
        """
        below = {node.name for node in self._downwards((new,))}
        moved = [
            edge
            for edge in reversed(old.parents)
            if not edge.stays and not (isinstance(edge.parent, Node) and edge.parent.name in below)
        ]
        for edge in moved:
            self.replace_child(edge, new)
        return moved

    def insert_above(self, node: Node, top: Node) -> None:
        """Put ``top``, which has ``node`` as a child and no parents yet, between ``node`` and its parents.

        :raises QmpError: if permissions disagree; nothing has changed then.
        """
        self.changing()
        moved = self.replace_node(node, top)
        try:
            self.refresh_permissions(top)
        except QmpError:
            for edge in moved:
                self.replace_child(edge, node)
            self.refresh_permissions(top)
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

    def release(self, node: Node) -> None:
        """Close ``node`` and what it alone used, if nobody uses it."""
        if node.parents or node.monitor_owned or node.held or self.nodes.get(node.name) is not node:
            return
        with self.parting():
            node.close()
            for edge in list(node.children):
                self._detach(edge)
            self.nodes.pop(node.name, None)

    def _link(self, edge: Child, node: Node) -> None:
        edge.node = node
        if edge.name == "backing" and isinstance(edge.parent, Node):
            edge.parent_name = edge.parent.device_or_node_name
        node.parents.insert(0, edge)
        if node.quiesce:
            edge.drained_begin()

    def _unlink(self, edge: Child) -> None:
        edge.node.parents.remove(edge)
        edge.drained_end()

    # -- permissions

    def refresh_permissions(self, *roots: Node) -> None:
        """Work out what every node at or below ``roots`` needs and shares on its children.

        :raises QmpError: if two users disagree or a read-only node would be written; nothing has changed then.
        """
        order = self._downwards(roots)
        undo: list[tuple[Child, int, int]] = []
        try:
            for node in order:
                self._refresh_node(node, undo)
        except QmpError:
            for edge, perm, shared in reversed(undo):
                edge.perm, edge.shared = perm, shared
            for node in order:
                node.on_permissions(*cumulative(node.parents))
            raise

    @staticmethod
    def _refresh_node(node: Node, undo: list[tuple[Child, int, int]]) -> None:
        if len(node.parents) > 1:
            check_conflict(node)
        perm, shared = cumulative(node.parents)
        if node.read_only and perm & (perms.WRITE | perms.WRITE_UNCHANGED):
            raise QmpError("Block node is read-only")
        for edge in node.children:
            wanted = node.child_permissions(edge, perm, shared)
            if wanted != (edge.perm, edge.shared):
                undo.append((edge, edge.perm, edge.shared))
                edge.perm, edge.shared = wanted
        node.on_permissions(perm, shared)

    @staticmethod
    def _downwards(roots: tuple[Node, ...]) -> list[Node]:
        """``roots`` and all nodes below them, parents before children."""
        order: list[Node] = []
        seen: set[str] = set()

        def visit(node: Node) -> None:
            if node.name not in seen:
                seen.add(node.name)
                for edge in node.children:
                    visit(edge.node)
                order.append(node)

        for root in roots:
            visit(root)
        order.reverse()
        return order

    # -- drained sections

    def drain(self, node: Node) -> None:
        """Enter a drained section of ``node`` and wait until it is quiet (bdrv_drained_begin).

        :raises StalledError: it never would be; nothing has changed then.
        """
        node.drained_begin()
        try:
            node.drained_poll()
        except StalledError:
            node.drained_end()
            raise

    def drain_found(self, node: Node) -> None:
        """As :meth:`drain`, for a node that a command has looked up.

        :raises QmpError: the node has gone meanwhile, with a job that was about to end; QEMU goes on with memory that
            is freed, and dies (external_snapshot_action, blockdev.c, seen with 7.2, 10.0 and 11.1).
        """
        self.drain(node)
        if self.nodes.get(node.name) is not node:
            node.drained_end()
            raise QmpError(f"Node '{node.name}' is gone: the job that it belonged to has just ended")

    @contextmanager
    def drained(self, node: Node) -> Iterator[None]:
        """A drained section of ``node``.

        :raises StalledError: as :meth:`drain`.
        """
        self.drain(node)
        try:
            yield
        finally:
            node.drained_end()

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

    def changing(self, times: int = 1) -> None:
        """The graph is about to change ``times`` times, and QEMU drains every node each time.

        So it is since 8.0 (bdrv_graph_wrlock, block/graph-lock.c): jobs pause for a moment, and what they had left to
        do at their end is done.
        """
        if self.drains_on_change and self.watchers:
            for _ in range(times):
                self.drain_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """A change of the graph, which is made inside: all nodes are drained before it, and stay so since 11.1.

        :raises StalledError: one never would be quiet; nothing has changed then.
        """
        quiet = self._quieten()
        try:
            yield
        finally:
            for node in quiet:
                node.drained_end()

    @contextmanager
    def parting(self) -> Iterator[None]:
        """As :meth:`change`, for what cannot be given up any more, such as undoing: who is stalled is left alone."""
        try:
            quiet = self._quieten()
        except StalledError:
            quiet = []
        yield
        for node in quiet:
            node.drained_end()

    def _quieten(self) -> list[Node]:
        """Drain all nodes for a change; return those that are to be let go on when it is made."""
        if self.watchers and self.quiet_during_change:
            return self.drain_all_begin()
        self.changing()
        return []

    def drain_all_begin(self) -> list[Node]:
        """Make every node quiet; return them, in the order in which they are to be let go on.

        Up to 7.2 each node's turn concerns no other node (``ignore_bds_parents`` in block/io.c, gone in 8.0), so that
        a job goes on once the last node that it uses itself does.

        :raises StalledError: one never would be; all go on then.
        """
        nodes = list(self.nodes.values())
        for node in nodes:
            node.drained_begin(nodes_too=self.drains_on_change)
        try:
            for node in nodes:
                node.drained_poll()
        except StalledError:
            for node in nodes:
                node.drained_end()
            raise
        return nodes

    def drain_all(self) -> None:
        """Let every node become quiet once (bdrv_drain_all, block/io.c, QEMU 10.0)."""
        for node in self.drain_all_begin():
            node.drained_end()

    def close(self) -> None:
        """Close every node as a clean shutdown does: drives and monitor references go, newest first."""
        for drive in list(self.drives.values()):
            drive.eject()
        for node in reversed(list(self.nodes.values())):
            if node.monitor_owned:
                node.monitor_owned = False
                self.release(node)
