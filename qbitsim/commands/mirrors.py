"""``blockdev-mirror`` and ``drive-mirror`` (blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.commands.context import Context
from qbitsim.commands.images import create_image
from qbitsim.commands.nodes import opener, taken_over
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError
from qbitsim.jobs.mirror_options import MirrorOptions
from qbitsim.qapi.block import BlockdevOnError, MirrorCopyMode, MirrorSyncMode, NewImageMode
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64, UInt32, arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node

MAXIMUM_GRANULARITY = 64 << 20


@struct
class BlockdevMirror:
    """Arguments of blockdev-mirror; ``speed`` in bytes per second, sizes in bytes."""

    job_id: str | None = arg(since="2.7")
    device: str
    target: str
    replaces: str | None = None
    sync: MirrorSyncMode
    speed: Int64 | None = None
    granularity: UInt32 | None = None
    buf_size: Int64 | None = None
    on_source_error: BlockdevOnError | None = None
    on_target_error: BlockdevOnError | None = None
    filter_node_name: str | None = arg(since="2.9")
    copy_mode: MirrorCopyMode | None = arg(since="3.0")
    auto_finalize: bool | None = arg(since="3.1")
    auto_dismiss: bool | None = arg(since="3.1")
    target_is_zero: bool | None = arg(since="10.1")


@struct
class DriveMirror:
    """Arguments of drive-mirror; ``speed`` in bytes per second, sizes in bytes."""

    job_id: str | None = arg(since="2.7")
    device: str
    target: str
    format: str | None = None
    node_name: str | None = None
    replaces: str | None = None
    sync: MirrorSyncMode
    mode: NewImageMode | None = None
    speed: Int64 | None = None
    granularity: UInt32 | None = None
    buf_size: Int64 | None = None
    on_source_error: BlockdevOnError | None = None
    on_target_error: BlockdevOnError | None = None
    unmap: bool | None = None
    copy_mode: MirrorCopyMode | None = arg(since="3.0")
    auto_finalize: bool | None = arg(since="3.1")
    auto_dismiss: bool | None = arg(since="3.1")


def root_node(context: Context, name: str) -> Node:
    """The node of that drive or name, if only drives use it (qmp_get_root_bs).

    :raises QmpError: there is none, or another node uses it.
    """
    node = context.graph.lookup(name, name)
    if any(not isinstance(edge.parent, Drive) for edge in node.parents):
        raise QmpError("Need a root block node")
    return node


@command("blockdev-mirror", BlockdevMirror, since="2.6")
def blockdev_mirror(context: Context, args: BlockdevMirror) -> None:
    """Keep a node that exists equal to another one."""
    source = root_node(context, args.device)
    target = context.graph.lookup(args.target, args.target)
    context.match_aio_contexts()
    _start(context, args, source, target, zero_target=args.sync is MirrorSyncMode.FULL)


@command("drive-mirror", DriveMirror, since="1.3")
def drive_mirror(context: Context, args: DriveMirror) -> None:
    """Keep a file, which is created unless ``mode`` is ``existing``, equal to a drive.

    A file that was created stays when a later check refuses the mirror.
    """
    source = root_node(context, args.device)
    source.check_not_blocked("mirror-source")
    existing = args.mode is NewImageMode.EXISTING
    backing = source.skip_filters().backing
    sync = MirrorSyncMode.FULL if args.sync is MirrorSyncMode.TOP and backing is None else args.sync
    if args.sync is MirrorSyncMode.NONE:
        backing = source
    if args.replaces is not None and args.node_name is None:
        raise QmpError("a node-name must be provided when replacing a named node of the graph")
    image_format = args.format
    if not existing:
        image_format = image_format if image_format is not None else source.driver
        created_backing = None if sync is MirrorSyncMode.FULL else backing
        create_image(context, args.target, image_format, source.length, created_backing)
    target = _open_target(context, args, image_format, source)
    try:
        context.match_aio_contexts()
        zero_target = sync is MirrorSyncMode.FULL and (existing or not target.is_zero_when_new)
        _start(context, args, source, target, zero_target=zero_target)
    except QmpError:
        context.graph.release(target)
        raise


def _open_target(context: Context, args: DriveMirror, image_format: str | None, source: Node) -> Node:
    """Open the target as the source was opened: if that passes discards on, so does the target (qmp_drive_mirror)."""
    image_format = image_format if image_format is not None else opener(context).complete({}, args.target)[0]["driver"]
    options: Options = {"driver": image_format, "discard": "unmap" if source.unmap else "ignore"}
    options |= taken_over(source)
    if args.node_name is not None:
        options["node-name"] = args.node_name
    if image_format == "qcow2":
        options["backing"] = None
    return opener(context).open_file(args.target, options)


def _start(
    context: Context, args: BlockdevMirror | DriveMirror, source: Node, target: Node, *, zero_target: bool
) -> None:
    """What both commands do (blockdev_mirror_common and mirror_start, in their order)."""
    granularity = args.granularity or 0
    if granularity and not 512 <= granularity <= MAXIMUM_GRANULARITY:
        raise QmpError("Parameter 'granularity' expects a value in range [512B, 64MB]")
    if granularity & (granularity - 1):
        raise QmpError("Parameter 'granularity' expects a power of 2")
    source.check_not_blocked("mirror-source")
    target.check_not_blocked("mirror-target")
    replaces = args.replaces
    if replaces is None and (shown := source.skip_implicit_filters()) is not source:
        replaces = shown.name
    if replaces is not None:
        _check_replaces(context, source, replaces)
    sync = str(args.sync)
    below = source.backing_chain_next
    if sync == "top" and below is None:
        sync = "full"
    if sync in ("incremental", "bitmap"):
        raise QmpError(f"Sync mode '{sync}' not supported")
    opens_backing = isinstance(args, DriveMirror) and args.mode is NewImageMode.EXISTING
    new_backing = None
    if isinstance(args, DriveMirror) and not opens_backing and sync != "full":
        new_backing = source if sync == "none" else below
    from qbitsim.jobs.mirror_start import create_mirror  # noqa: PLC0415 - most machines have no mirror

    job = create_mirror(
        context.jobs,
        source,
        target,
        MirrorOptions(
            job_id=args.job_id,
            base=below if sync == "top" else None,
            copy_nothing=sync == "none",
            zero_target=zero_target,
            target_is_zero=_is_known_zero(args, target),
            replaces=replaces,
            new_backing=new_backing,
            opens_backing=opens_backing,
            granularity=granularity,
            buffer=args.buf_size or 0,
            speed=args.speed or 0,
            on_source_error=str(args.on_source_error or "report"),
            on_target_error=str(args.on_target_error or "report"),
            unmap=not isinstance(args, DriveMirror) or args.unmap is not False,
            auto_finalize=args.auto_finalize is not False,
            auto_dismiss=args.auto_dismiss is not False,
            filter_node_name=args.filter_node_name if isinstance(args, BlockdevMirror) else None,
            copy_mode=str(args.copy_mode or "background"),
        ),
    )
    context.transaction.add(commit=job.start)


def _is_known_zero(args: BlockdevMirror | DriveMirror, target: Node) -> bool:
    """Whether nobody has to look whether the target is all zeroes: so a new file is (qmp_drive_mirror, QEMU 11.1)."""
    if isinstance(args, BlockdevMirror):
        return bool(args.target_is_zero)
    return args.mode is not NewImageMode.EXISTING and target.is_zero_when_new


def _check_replaces(context: Context, source: Node, name: str) -> None:
    """Refuse a node that the mirror could not replace (check_to_replace_node)."""
    node = context.graph.nodes.get(name)
    if node is None:
        raise QmpError(f"Failed to find node with node-name='{name}'")
    node.check_not_blocked("replace")
    if not source.can_replace(node):
        raise QmpError(
            f"Cannot replace '{name}' by a node mirrored from '{source.name}', because it cannot be guaranteed that "
            "doing so would not lead to an abrupt change of visible data"
        )
    if node.length != source.length:
        raise QmpError("cannot replace image with a mirror image of different size")
