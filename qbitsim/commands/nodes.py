"""The commands that change the block graph (blockdev.c and block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.activation import activate, activate_all, inactivate, inactivate_all
from qbitsim.block.drive import Drive
from qbitsim.commands.context import Context
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import flag
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.options import Options

MAXIMUM_LENGTH = (1 << 63) - (1 << 30)
"""Bytes: BDRV_MAX_LENGTH, the largest multiple of the largest alignment."""


@struct
class BlockdevDel:
    """Arguments of blockdev-del."""

    node_name: str


@struct
class BlockResize:
    """Arguments of block_resize; ``size`` in bytes."""

    device: str | None = None
    node_name: str | None = None
    size: Int64


@struct
class BlockdevSetActive:
    """Arguments of blockdev-set-active."""

    node_name: str | None = None
    active: bool


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
    node.check_not_blocked("drive-del")
    if not node.monitor_owned:
        raise QmpError(f"Node {node.name} is not owned by the monitor")
    if node.parents:
        raise QmpError(f"Block device {node.device_or_node_name} is in use")
    if context.profile.graph_changes_drain:
        context.machine.jobs.check_not_stalled()
    node.monitor_owned = False
    graph.release(node)


@command("blockdev-set-active", BlockdevSetActive, since="10.0")
def blockdev_set_active(context: Context, args: BlockdevSetActive) -> None:
    """Let a node, or all, belong to this process or to another one (qmp_blockdev_set_active, blockdev.c, QEMU 10.0)."""
    graph = context.graph
    if args.node_name is not None:
        node = graph.nodes.get(args.node_name)
        if node is None:
            raise QmpError(f"Failed to find node with node-name='{args.node_name}'")
        (activate if args.active else inactivate)(graph, node)
    elif args.active:
        activate_all(graph)
    else:
        try:
            inactivate_all(graph)
        except OSError as error:
            raise QmpError(f"Failed to inactivate all nodes: {error.strerror}") from None


def opener(context: Context) -> Opener:
    """What makes nodes for this machine."""
    return Opener(context.graph, context.profile)


def taken_over(node: Node) -> Options:
    """The options that a file takes over that a command opens beside a node (``bs->open_flags``, blockdev.c, 10.0)."""
    taken: Options = {"auto-read-only": True} if flag(node.options, "auto-read-only") else {}
    cache = node.cache_options
    return {**taken, "cache": cache} if cache else taken


@command("block_resize", BlockResize, since="0.14")
def block_resize(context: Context, args: BlockResize) -> None:
    """Change the length of a node; its bitmaps follow."""
    graph = context.graph
    node = graph.lookup(args.device, args.node_name)
    if args.size < 0:
        raise QmpError("Parameter 'size' expects a >0 size")
    try:
        node.check_not_blocked("resize")
    except QmpError:
        if context.profile.resize_blocked_names_job:
            raise
        raise QmpError(f"Device '{args.device or '(null)'}' is in use") from None
    _resize_as_user(context, node, args.size)


def _resize_as_user(context: Context, node: Node, size: int) -> None:
    """Resize on behalf of an anonymous user, which must have the permission."""
    user = context.machine.anonymous_drive(perm=perms.RESIZE)
    user.insert(node)
    try:
        if size > MAXIMUM_LENGTH:
            raise QmpError(f"offset({size}) exceeds maximum({MAXIMUM_LENGTH})")
        if node.read_only:
            raise QmpError("Image is read-only")
        user.truncate(size)
    finally:
        user.eject()
