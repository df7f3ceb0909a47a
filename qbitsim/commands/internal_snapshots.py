"""Snapshots inside the image of one disk (internal_snapshot_action, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.block.chain import snapshot_holder
from qbitsim.commands.context import Context
from qbitsim.commands.image_info import snapshot_info
from qbitsim.commands.mirrors import root_node
from qbitsim.errors import QmpError
from qbitsim.qapi.info import SnapshotInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.commands.parts import MachineLike
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
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
    holder = snapshot_holder(node)
    if holder is None or node.inactive:
        raise QmpError(
            f"Block format '{node.driver}' used by device '{args.device}' does not support internal snapshots"
        )
    if not args.name:
        raise QmpError("Name is empty")
    if _find(holder, None, args.name) is not None:
        raise QmpError(f"Snapshot with name '{args.name}' already exists on device '{args.device}'")
    taken = holder.create_snapshot(args.name, *snapshot_times(context.machine))
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
    holder = snapshot_holder(node)
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


def snapshot_times(machine: MachineLike) -> tuple[int, int]:
    """When a snapshot is taken: nanoseconds since 1970, in whole microseconds, and those for which the guest ran."""
    ran = machine.clock() if machine.running and not machine.guest_clock_stands else 0
    return machine.clock.time_of_day() // 1000 * 1000, ran


def _find(holder: Node, identifier: str | None, name: str | None) -> StoredSnapshot | None:
    if not holder.lists_snapshots:
        raise QmpError(f"Failed to get a snapshot list: {os.strerror(errno.EOPNOTSUPP)}")
    for snapshot in holder.snapshots or ():
        if identifier in (None, snapshot.id) and name in (None, snapshot.name):
            return snapshot
    return None
