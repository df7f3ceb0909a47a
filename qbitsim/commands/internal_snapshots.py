"""Snapshots inside a qcow2 image (internal_snapshot_action, blockdev.c, QEMU 10.0).

They exist, have ids and names, and can be deleted. What the disk held is not kept: no command here goes back to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.context import Context
from qbitsim.commands.mirrors import root_node
from qbitsim.commands.queries import snapshot_info
from qbitsim.errors import QmpError
from qbitsim.images.qcow2.snapshots import StoredSnapshot
from qbitsim.qapi.info import SnapshotInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.jsontypes import Json


@struct
class BlockdevSnapshotInternal:
    """Arguments of blockdev-snapshot-internal-sync; ``device`` is a drive or a node."""

    device: str
    name: str


@struct
class BlockdevSnapshotDeleteInternal:
    """Arguments of blockdev-snapshot-delete-internal-sync; one of ``id`` and ``name`` is needed."""

    device: str
    id: str | None = None
    name: str | None = None


@command("blockdev-snapshot-internal-sync", BlockdevSnapshotInternal, action=True, since="1.7")
def blockdev_snapshot_internal_sync(context: Context, args: BlockdevSnapshotInternal) -> None:
    """Take a snapshot inside the image."""
    context.drain_if_plain()
    node = root_node(context, args.device)
    context.graph.drain_found(node)
    context.transaction.add(clean=node.drained_end)
    node.check_not_blocked("internal-snapshot")
    if node.read_only:
        raise QmpError(f"Device '{args.device}' is read only")
    holder = _holder(node)
    if holder is None:
        raise QmpError(
            f"Block format '{node.driver}' used by device '{args.device}' does not support internal snapshots"
        )
    if not args.name:
        raise QmpError("Name is empty")
    if _find(holder, None, args.name) is not None:
        raise QmpError(f"Snapshot with name '{args.name}' already exists on device '{args.device}'")
    machine = context.machine
    clock = machine.clock() if machine.running else 0
    taken = holder.create_snapshot(args.name, machine.clock.time_of_day() // 1000 * 1000, clock)
    context.transaction.add(abort=lambda: holder.delete_snapshot(taken))


@command(
    "blockdev-snapshot-delete-internal-sync",
    BlockdevSnapshotDeleteInternal,
    returns=SnapshotInfo,
    since="1.7",
)
def blockdev_snapshot_delete_internal_sync(context: Context, args: BlockdevSnapshotDeleteInternal) -> Json:
    """Delete a snapshot inside the image and return what it was."""
    node = root_node(context, args.device)
    if args.id is None and args.name is None:
        raise QmpError("Name or id must be provided")
    node.check_not_blocked("internal-snapshot-delete")
    holder = _holder(node)
    if holder is None:
        raise QmpError("Failed to get a snapshot list: Operation not supported")
    found = _find(holder, args.id, args.name)
    if found is None:
        raise QmpError(
            f"Snapshot with id '{_or_null(args.id)}' and name '{_or_null(args.name)}' does not exist on device "
            f"'{args.device}'"
        )
    holder.delete_snapshot(found)
    return snapshot_info(found)


def _or_null(text: str | None) -> str:
    return "null" if text is None else text


def snapshots_of(node: Node) -> list[StoredSnapshot] | None:
    """Those of the node itself, or of one below filters and raw nodes; None when there is none that can take any."""
    holder = _holder(node)
    return None if holder is None else holder.snapshots


def _holder(node: Node) -> Node | None:
    """The node itself, or one below filters and raw nodes, that can take snapshots (bdrv_snapshot_fallback)."""
    while node.snapshots is None:
        if not (node.is_filter or node.is_format) or len(node.children) != 1:
            return None
        node = node.children[0].node
    return node


def _find(holder: Node, identifier: str | None, name: str | None) -> StoredSnapshot | None:
    for snapshot in holder.snapshots or ():
        if identifier in (None, snapshot.id) and name in (None, snapshot.name):
            return snapshot
    return None
