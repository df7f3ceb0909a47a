"""The commands that change the block graph (blockdev.c and block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block import permissions as perms
from qbitsim.block.drive import Drive
from qbitsim.block.open import Opener
from qbitsim.commands.context import Context
from qbitsim.commands.images import create_image
from qbitsim.errors import QmpError
from qbitsim.qmp.registry import command
from qbitsim.qmp.schema import Int64, arg
from qbitsim.qmp.structs import struct
from qbitsim.qmp.types_block import NewImageMode
from qbitsim.qmp.types_blockdev import BlockdevOptions
from qbitsim.qmp.values import to_json

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.block.permissions import Child


@struct
class BlockdevDel:
    """Arguments of blockdev-del."""

    node_name: str


@struct
class BlockdevSnapshot:
    """Arguments of blockdev-snapshot."""

    node: str
    overlay: str


@struct
class BlockdevSnapshotSync:
    """Arguments of blockdev-snapshot-sync."""

    device: str | None = None
    node_name: str | None = None
    snapshot_file: str
    snapshot_node_name: str | None = None
    format: str | None = None
    mode: NewImageMode | None = None


@struct
class BlockResize:
    """Arguments of block_resize; ``size`` in bytes."""

    device: str | None = None
    node_name: str | None = None
    size: Int64


@struct
class Eject:
    """Arguments of eject."""

    device: str | None = arg(features=["deprecated"])
    id: str | None = arg(since="2.8")
    force: bool | None = None


@command("blockdev-add", BlockdevOptions, since="2.9")
def blockdev_add(context: Context, args: BlockdevOptions) -> None:
    """Make a node; it stays until blockdev-del."""
    options = to_json(args)
    if "node-name" not in options:
        raise QmpError("'node-name' must be specified for the root node")
    node = opener(context).open(options)
    node.monitor_owned = True


@command("blockdev-del", BlockdevDel, since="2.9")
def blockdev_del(context: Context, args: BlockdevDel) -> None:
    """Remove a node that blockdev-add made."""
    graph = context.graph
    node = graph.nodes.get(args.node_name)
    if node is None:
        raise QmpError(f"Failed to find node with node-name='{args.node_name}'")
    if any(isinstance(edge.parent, Drive) for edge in node.parents):
        raise QmpError(f"Node {args.node_name} is in use")
    node.check_not_blocked()
    node.check_not_backing()
    if not node.monitor_owned:
        raise QmpError(f"Node {node.name} is not owned by the monitor")
    if node.parents:
        raise QmpError(f"Block device {node.device_or_node_name} is in use")
    node.monitor_owned = False
    graph.release(node)


def opener(context: Context) -> Opener:
    """What makes nodes for this machine."""
    return Opener(context.graph, on_filter=context.profile.backup_bitmap_on_filter)


# -- snapshots


class _Overlay:
    """An overlay on its way in: how it is finished and undone."""

    def __init__(self, graph: Graph, overlay: Node, old: Node) -> None:
        self.graph = graph
        self.overlay = overlay
        self.old = old
        self.edge: Child | None = None
        self.moved: list[Child] = []

    def insert(self) -> None:
        """Let the overlay take the place of the old node, which becomes its backing file (bdrv_append)."""
        graph, old, overlay = self.graph, self.old, self.overlay
        self.edge = graph.attach(overlay, "backing", old, 0, perms.ALL)
        self.moved = graph.replace_node(old, overlay)
        try:
            graph.refresh_permissions(overlay)
        except QmpError:
            self.undo()
            raise

    def undo(self) -> None:
        """Take it out again; its file stays."""
        assert self.edge is not None
        for edge in self.moved:
            self.graph.replace_child(edge, self.old)
        self.moved = []
        self.graph.detach(self.edge)
        self.graph.refresh_permissions(self.old)
        self.graph.release(self.overlay)

    def finish(self) -> None:
        """Nobody writes to the old node any more (external_snapshot_commit)."""
        self.old.set_read_only(True)
        file = self.old.child("file")
        if file is not None:
            file.node.set_read_only(True)
        self.graph.refresh_permissions(self.overlay)


@command("blockdev-snapshot", BlockdevSnapshot, action=True, since="2.5")
def blockdev_snapshot(context: Context, args: BlockdevSnapshot) -> None:
    """Put a node that exists on top of another one."""
    context.drain_if_plain()
    old = context.graph.lookup(args.node, args.node)
    _check_can_snapshot(context, old)
    overlay = context.graph.lookup(args.overlay, args.overlay)
    if overlay.device_name:
        raise QmpError("The overlay is already in use")
    if not overlay.supports_backing:
        raise QmpError("The overlay does not support backing images")
    if overlay.backing is not None:
        raise QmpError("The overlay already has a backing image")
    _insert(context, overlay, old)


@command("blockdev-snapshot-sync", BlockdevSnapshotSync, action=True)
def blockdev_snapshot_sync(context: Context, args: BlockdevSnapshotSync) -> None:
    """Create an overlay file and put it on top of a node."""
    context.drain_if_plain()
    graph = context.graph
    old = graph.lookup(args.device, args.node_name)
    _check_can_snapshot(context, old)
    name = args.snapshot_node_name
    if args.node_name is not None and name is None:
        raise QmpError("New overlay node-name missing")
    if name is not None and (name in graph.nodes or name in graph.drives):
        raise QmpError("New overlay node-name already in use")
    image_format = args.format or "qcow2"
    if args.mode is not NewImageMode.EXISTING:
        create_image(graph, args.snapshot_file, image_format, old.length, old)
    options = {"driver": image_format, "backing": None, **({"node-name": name} if name is not None else {})}
    overlay = opener(context).open_file(args.snapshot_file, options)
    try:
        _insert(context, overlay, old)
    except QmpError:
        graph.release(overlay)
        raise


def _check_can_snapshot(context: Context, old: Node) -> None:
    """Keep ``old`` quiet until the transaction has ended, and refuse if a job uses it."""
    context.graph.drain(old)
    context.transaction.add(clean=old.drained_end)
    old.check_not_blocked()
    old.check_not_backing()


def _insert(context: Context, overlay: Node, old: Node) -> None:
    change = _Overlay(context.graph, overlay, old)
    change.insert()
    context.transaction.add(commit=change.finish, abort=change.undo)


# -- others


@command("block_resize", BlockResize)
def block_resize(context: Context, args: BlockResize) -> None:
    """Change the length of a node; its bitmaps follow."""
    graph = context.graph
    node = graph.lookup(args.device, args.node_name)
    if args.size < 0:
        raise QmpError("Parameter 'size' expects a >0 size")
    try:
        node.check_not_blocked()
        node.check_not_backing()
    except QmpError:
        if context.profile.resize_blocked_names_job:
            raise
        raise QmpError(f"Device '{args.device or '(null)'}' is in use") from None
    _resize_as_user(context, node, args.size)


def _resize_as_user(context: Context, node: Node, size: int) -> None:
    """Resize on behalf of an anonymous user, which must have the permission."""
    context.graph.drain_all()
    user = context.machine.anonymous_drive(perm=perms.RESIZE)
    user.insert(node)
    try:
        user.truncate(size)
    finally:
        user.eject()


@command("eject", Eject)
def eject(context: Context, args: Eject) -> None:
    """Take the medium out of a drive."""
    name = args.id if args.id is not None else args.device or ""
    drive = context.graph.drives.get(name)
    if drive is None:
        raise QmpError(f"Device '{name}' not found", "DeviceNotFound")
    if drive.root is not None:
        drive.root.node.check_not_blocked()
    drive.eject()
