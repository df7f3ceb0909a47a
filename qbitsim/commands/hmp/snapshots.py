"""The human monitor's commands on snapshots of single drives (block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands import internal_snapshots as internal
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.commands.snapshots import BlockdevSnapshotSync, blockdev_snapshot_sync
from qbitsim.errors import QmpError
from qbitsim.qapi.block import NewImageMode

if TYPE_CHECKING:
    from qbitsim.commands.context import Context


@hmp(
    "snapshot_blkdev",
    "reuse:-n,device:B,snapshot-file:s?,format:s?",
    params="[-n] device [new-image-file] [format]",
    help="initiates a live snapshot\n"
    "\t\t\tof device. If a new image file is specified, the\n"
    "\t\t\tnew image file will become the new root image.\n"
    "\t\t\tIf format is specified, the snapshot file will\n"
    "\t\t\tbe created in that format.\n"
    "\t\t\tThe default format is qcow2.  The -n flag requests QEMU\n"
    "\t\t\tto reuse the image found in new-image-file, instead of\n"
    "\t\t\trecreating it from scratch.",
)
def snapshot_blkdev(
    context: Context,
    reuse: bool,
    device: str,
    snapshot_file: str | None = None,
    format: str | None = None,  # noqa: A002
) -> None:
    """Put an overlay on top of a drive."""
    if snapshot_file is None:
        raise QmpError("Parameter 'snapshot-file' is missing")
    mode = NewImageMode.EXISTING if reuse else NewImageMode.ABSOLUTE_PATHS
    arguments = BlockdevSnapshotSync(device=device, snapshot_file=snapshot_file, format=format, mode=mode)
    execute(context, blockdev_snapshot_sync, arguments)


@hmp(
    "snapshot_blkdev_internal",
    "device:B,name:s",
    params="device name",
    help="take an internal snapshot of device.\n"
    "\t\t\tThe format of the image used by device must\n"
    "\t\t\tsupport it, such as qcow2.\n"
    "\t\t\t",
)
def snapshot_blkdev_internal(context: Context, *, device: str, name: str) -> None:
    """Take a snapshot inside the image of a drive."""
    arguments = internal.BlockdevSnapshotInternal(device=device, name=name)
    execute(context, internal.blockdev_snapshot_internal_sync, arguments)


@hmp(
    "snapshot_delete_blkdev_internal",
    "device:B,name:s,id:s?",
    params="device name [id]",
    help="delete an internal snapshot of device.\n"
    "\t\t\tIf id is specified, qemu will try delete\n"
    "\t\t\tthe snapshot matching both id and name.\n"
    "\t\t\tThe format of the image used by device must\n"
    "\t\t\tsupport it, such as qcow2.\n"
    "\t\t\t",
)
def snapshot_delete_blkdev_internal(context: Context, *, device: str, name: str, id: str | None = None) -> None:  # noqa: A002
    """Delete a snapshot inside the image of a drive."""
    arguments = internal.BlockdevSnapshotDeleteInternal(device=device, id=id, name=name)
    execute(context, internal.blockdev_snapshot_delete_internal_sync, arguments)
