"""``blockdev-backup`` and ``drive-backup`` (blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.context import Context
from qbitsim.commands.images import create_image
from qbitsim.commands.nodes import taken_over
from qbitsim.drivers.copy_before_write import OnCbwError
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError
from qbitsim.jobs.backup import BackupJob, BackupOptions, create_backup
from qbitsim.qapi.block import BackupPerf, BitmapSyncMode, BlockdevOnError, MirrorSyncMode, NewImageMode
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64, arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node


@struct
class BackupCommon:
    """What both commands take. ``device`` is a drive or a node; ``speed`` in bytes per second."""

    job_id: str | None = arg(since="2.7")
    device: str
    sync: MirrorSyncMode
    speed: Int64 | None = None
    bitmap: str | None = arg(since="2.4")
    bitmap_mode: BitmapSyncMode | None = arg(since="4.2")
    compress: bool | None = arg(since="2.8")
    on_source_error: BlockdevOnError | None = None
    on_target_error: BlockdevOnError | None = None
    on_cbw_error: OnCbwError | None = arg(since="10.1")
    auto_finalize: bool | None = arg(since="2.12")
    auto_dismiss: bool | None = arg(since="2.12")
    filter_node_name: str | None = arg(since="4.2")
    discard_source: bool | None = arg(since="9.1")
    x_perf: BackupPerf | None = arg(since="6.0", features=["unstable"])


@struct
class BlockdevBackup(BackupCommon):
    """Arguments of blockdev-backup: ``target`` is a drive or a node."""

    target: str


@struct
class DriveBackup(BackupCommon):
    """Arguments of drive-backup: ``target`` is a file name."""

    target: str
    format: str | None = None
    mode: NewImageMode | None = None


@command("blockdev-backup", BlockdevBackup, action=True, groupable=True, since="2.3")
def blockdev_backup(context: Context, args: BlockdevBackup) -> None:
    """Start a backup to a node that exists."""
    context.drain_if_plain()
    source = context.graph.lookup(args.device, args.device)
    target = context.graph.lookup(args.target, args.target)
    context.match_aio_contexts()
    source = _quiet(context, source, args.device)
    _launch(context, args, source, target)


@command("drive-backup", DriveBackup, action=True, groupable=True, since="1.6", features=["deprecated"])
def drive_backup(context: Context, args: DriveBackup) -> None:
    """Start a backup to a file, which is created unless ``mode`` is ``existing``.

    A file that was created stays when a later check refuses the backup.
    """
    context.drain_if_plain()
    source = _quiet(context, context.graph.lookup(args.device, args.device), args.device)
    source.check_not_blocked("backup-source")
    opener = Opener(context.graph, context.profile)
    sync, existing = str(args.sync), args.mode is NewImageMode.EXISTING
    backing = source.skip_filters().backing if sync == "top" else source if sync == "none" else None
    if sync == "top" and backing is None:
        sync = "full"
    image_format = args.format
    if not existing:
        image_format = image_format if image_format is not None else source.driver
        opened = sync == "top"  # not for 'none', with BDRV_O_NO_BACKING
        create_image(context, args.target, image_format, source.length, backing, backing_opened=opened)
    target = _open_target(opener, args.target, image_format, source, backed=sync == "none")
    target.held = True
    try:
        context.match_aio_contexts()
        _launch(context, args, source, target, sync)
    finally:
        target.held = False
        context.graph.release(target)


def _open_target(opener: Opener, filename: str, image_format: str | None, source: Node, *, backed: bool) -> Node:
    options: Options = {"discard": "unmap", "detect-zeroes": "unmap", **taken_over(source)}
    if image_format is not None:
        options["driver"] = image_format
    if backed:
        options["backing"] = source.name
    target = opener.open_file(filename, options)
    if backed and not target.supports_backing:
        name = target.name
        opener.graph.release(target)
        raise QmpError(f"Driver '{target.driver}' of node '{name}' does not support backing files")
    return target


def _quiet(context: Context, source: Node, name: str) -> Node:
    """Keep the source quiet until the transaction has ended; return the node that ``name`` then means.

    A job that comes to its end meanwhile takes its filter out, and the drive shows the node below.
    """
    while True:
        context.graph.drain_found(source)
        context.transaction.add(clean=source.drained_end)
        now = context.graph.lookup(name, name)
        if now is source:
            return source
        source = now


def _launch(context: Context, args: BackupCommon, source: Node, target: Node, sync: str | None = None) -> None:
    """Make the job; it starts when the transaction commits (do_backup_common)."""
    job = create_backup(
        context.jobs, source, target, _options(context, args, source, sync or str(args.sync)), context.job_txn
    )
    context.transaction.add(commit=job.start, abort=_Undo(job).cancel)


class _Undo:
    """How a job that was made but not started is undone."""

    __slots__ = ("job",)

    def __init__(self, job: BackupJob) -> None:
        self.job = job

    def cancel(self) -> None:
        # A member of the same group may have taken this job with it.
        if self.job in self.job.jobs.jobs:
            self.job.cancel_sync()


def _options(context: Context, args: BackupCommon, source: Node, sync: str) -> BackupOptions:
    """Check how the bitmap is to be used, and gather the options.

    :raises QmpError: in the order of do_backup_common (blockdev.c, QEMU 10.0).
    """
    sync, mode = _plain_sync(args, sync)
    bitmap = _bitmap(args, source, sync, mode) if args.bitmap is not None else None
    if bitmap is None and mode is not None:
        raise QmpError("Cannot specify bitmap sync mode without a bitmap")
    perf = args.x_perf
    return BackupOptions(
        job_id=args.job_id,
        sync=sync,
        bitmap=bitmap,
        bitmap_mode=mode or "on-success",
        speed=args.speed or 0,
        compress=bool(args.compress),
        on_source_error=str(args.on_source_error or "report"),
        on_target_error=str(args.on_target_error or "report"),
        auto_finalize=args.auto_finalize is not False,
        auto_dismiss=args.auto_dismiss is not False,
        filter_node_name=args.filter_node_name,
        discard_source=bool(args.discard_source),
        copy_range=perf is not None and bool(perf.use_copy_range),
        break_snapshot=args.on_cbw_error is OnCbwError.BREAK_SNAPSHOT,
        **_perf_options(context, perf),
    )


def _perf_options(context: Context, perf: BackupPerf | None) -> dict[str, int]:
    options = {"max_workers": 1} if context.profile.backup_is_sequential else {}
    given = {
        "max_workers": perf.max_workers if perf else None,
        "max_chunk": perf.max_chunk if perf else None,
        "min_cluster_size": perf.min_cluster_size if perf else None,
    }
    return options | {name: value for name, value in given.items() if value is not None}


def _plain_sync(args: BackupCommon, sync: str) -> tuple[str, str | None]:
    """``incremental`` is ``bitmap`` with ``on-success``; return (sync, bitmap mode)."""
    mode = str(args.bitmap_mode) if args.bitmap_mode is not None else None
    if sync in ("bitmap", "incremental") and args.bitmap is None:
        raise QmpError(f"must provide a valid bitmap name for '{sync}' sync mode")
    if sync != "incremental":
        return sync, mode
    if mode not in (None, "on-success"):
        raise QmpError("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'")
    return "bitmap", "on-success"


def _bitmap(args: BackupCommon, source: Node, sync: str, mode: str | None) -> DirtyBitmap:
    assert args.bitmap is not None
    bitmap = source.find_bitmap(args.bitmap)
    if bitmap is None:
        raise QmpError(f"Bitmap '{args.bitmap}' could not be found")
    if mode is None:
        raise QmpError("Bitmap sync mode must be given when providing a bitmap")
    bitmap.check(allow_readonly=True)
    if sync == "none":
        raise QmpError("sync mode 'none' does not produce meaningful bitmap outputs")
    if mode == "never" and sync != "bitmap":
        raise QmpError(f"Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '{sync}'")
    return bitmap
