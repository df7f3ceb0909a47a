"""``block-stream`` (qmp_block_stream, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import chain
from qbitsim.commands.context import Context
from qbitsim.commands.filenames import ShownFilenames, shown_filename
from qbitsim.errors import QmpError
from qbitsim.images.store import has_protocol
from qbitsim.qapi.block import BlockdevOnError
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64, arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node


@struct
class BlockStream:
    """Arguments of block-stream; ``speed`` in bytes per second."""

    job_id: str | None = arg(since="2.7")
    device: str
    base: str | None = None
    base_node: str | None = arg(since="2.8")
    backing_file: str | None = None
    backing_mask_protocol: bool | None = arg(since="9.0")
    bottom: str | None = arg(since="6.0")
    speed: Int64 | None = None
    on_error: BlockdevOnError | None = None
    filter_node_name: str | None = arg(since="6.0")
    auto_finalize: bool | None = arg(since="3.1")
    auto_dismiss: bool | None = arg(since="3.1")


@command("block-stream", BlockStream, since="1.1")
def block_stream(context: Context, args: BlockStream) -> None:
    """Copy what backing files hold into the node above them."""
    _check_exclusive(args)
    node = context.graph.lookup(args.device, args.device)
    base = _base(context, args, node)
    bottom = _bottom(context, args, node)
    end = bottom.filter_or_cow if bottom is not None else base
    for layer in chain(node):
        if layer is end:
            break
        layer.check_not_blocked("stream")
    if base is None and args.backing_file is not None:
        raise QmpError("backing file specified, but streaming the entire chain")
    overlay = bottom if bottom is not None else _overlay(node, base)
    above_base = _above(overlay, base) if bottom is None else overlay
    base = overlay.backing
    from qbitsim.jobs.stream import StreamOptions, create_stream  # noqa: PLC0415 - most machines have no stream

    job = create_stream(
        context.jobs,
        node,
        StreamOptions(
            job_id=args.job_id,
            overlay=overlay,
            above_base=above_base,
            backing_name=args.backing_file,
            base_name=shown_filename(base.skip_filters()) if base is not None else None,
            shown_filename=shown_filename,
            speed=args.speed or 0,
            on_error=str(args.on_error or "report"),
            auto_finalize=args.auto_finalize is not False,
            auto_dismiss=args.auto_dismiss is not False,
            filter_node_name=args.filter_node_name,
        ),
    )
    context.transaction.add(commit=job.start)


def _above(overlay: Node, base: Node | None) -> Node:
    """The node right above the base: a filter, if the base is named below some (stream_start, block/stream.c)."""
    node = overlay
    while base is not None and (below := node.filter_or_cow) is not None and below is not base:
        node = below
    return node


def _check_exclusive(args: BlockStream) -> None:
    given = {"base": args.base, "base-node": args.base_node, "bottom": args.bottom}
    for one, other in (("base", "base-node"), ("base", "bottom"), ("bottom", "base-node")):
        if given[one] is not None and given[other] is not None:
            raise QmpError(f"'{one}' and '{other}' cannot be specified at the same time")


def find_backing(node: Node, filename: str) -> Node | None:
    """The node of the backing chain with that file name (bdrv_find_backing_image).

    A name is relative to the folder of the image that has the backing file, as in that image's header.
    """
    layer, names = node.skip_filters(), ShownFilenames()
    while layer.backing is not None:
        below = layer.backing.skip_filters()
        if _is_backing_name(layer, below, filename, names):
            return below
        layer = below
    return None


def _is_backing_name(node: Node, below: Node, filename: str, names: ShownFilenames) -> bool:
    """Whether ``filename`` means what is below ``node``."""
    header, images = node.header_backing, node.graph.images
    if header is None or names.backing_overridden(node):
        return filename == names.of(below)
    full = images.backing_name(node.filename, header)
    if has_protocol(filename) or has_protocol(header):
        return filename in (header, full)
    meant = images.backing_name(node.filename, filename)
    return meant in images and full in images and images.same_file(meant, full)


def _base(context: Context, args: BlockStream, node: Node) -> Node | None:
    if args.base is not None:
        base = find_backing(node, args.base)
        if base is None:
            raise QmpError(f"Can't find '{args.base}' in the backing chain")
        return base
    if args.base_node is None:
        return None
    base = context.graph.lookup(None, args.base_node)
    if base is node or base not in list(chain(node)):
        raise QmpError(f"Node '{args.base_node}' is not a backing image of '{args.device}'")
    return base


def _bottom(context: Context, args: BlockStream, node: Node) -> Node | None:
    if args.bottom is None:
        return None
    bottom = context.graph.lookup(None, args.bottom)
    if bottom.is_filter:
        raise QmpError(f"Node '{args.bottom}' is a filter, use a non-filter node as 'bottom'")
    if bottom not in list(chain(node)):
        raise QmpError(f"Node '{args.bottom}' is not in a chain starting from '{args.device}'")
    return bottom


def _overlay(node: Node, base: Node | None) -> Node:
    """The lowest format node above ``base`` (bdrv_find_overlay)."""
    overlay = node.skip_filters()
    while (below := overlay.backing) is not None and below is not base and below.skip_filters() is not base:
        overlay = below.skip_filters()
    return overlay
