"""``block-commit`` (qmp_block_commit, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import chain
from qbitsim.block.permissions import cumulative
from qbitsim.commands.context import Context
from qbitsim.commands.filenames import shown_filename
from qbitsim.commands.mirrors import root_node
from qbitsim.commands.streams import find_backing
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jobs.loop import LoopJob, set_writable
from qbitsim.jobs.mirror_options import MirrorOptions
from qbitsim.qapi.block import BlockdevOnError
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64, arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.jobs.commit import CommitOptions


@struct
class BlockCommit:
    """Arguments of block-commit; ``speed`` in bytes per second."""

    job_id: str | None = arg(since="2.7")
    device: str
    base_node: str | None = arg(since="3.1")
    base: str | None = arg(features=["deprecated"])
    top_node: str | None = arg(since="3.1")
    top: str | None = arg(features=["deprecated"])
    backing_file: str | None = None
    backing_mask_protocol: bool | None = arg(since="9.0")
    speed: Int64 | None = None
    on_error: BlockdevOnError | None = arg(since="5.0")
    filter_node_name: str | None = arg(since="2.9")
    auto_finalize: bool | None = arg(since="3.1")
    auto_dismiss: bool | None = arg(since="3.1")


@command("block-commit", BlockCommit, since="1.3")
def block_commit(context: Context, args: BlockCommit) -> None:
    """Write what layers of a chain hold into a lower one."""
    root = _root(context, args.device)
    root.check_not_blocked("commit-source")
    top = _top(context, args, root)
    base = _base(context, args, top)
    for layer in chain(top):
        layer.check_not_blocked("commit-target")
        if layer is base:
            break
    if top is base:
        raise QmpError("cannot commit an image into itself")
    is_active = top.skip_filters() is root.skip_filters()
    if is_active or cumulative(top.parents)[0] & perms.WRITE:
        if args.backing_file is not None:
            why = "is the active layer" if is_active else "has a writer on it"
            raise QmpError(f"'backing-file' specified, but 'top' {why}")
        job = _commit_active(context, args, root, top, base)
    else:
        _overlay_of(root, top).check_not_blocked("commit-target")
        from qbitsim.jobs.commit import create_commit  # noqa: PLC0415 - most machines have no commit

        job = create_commit(context.jobs, root, top, base, _options(args))
    context.transaction.add(commit=job.start)


def _overlay_of(root: Node, top: Node) -> Node:
    """The layer above ``top``, whose header will name another backing file (bdrv_find_overlay)."""
    layers = [layer for layer in chain(root) if not layer.is_filter]
    return layers[layers.index(top.skip_filters()) - 1]


def _root(context: Context, device: str) -> Node:
    """The drive's node; a name that nobody has, or a drive without a medium, gets an error class of its own."""
    graph = context.graph
    drive = graph.drives.get(device) if device else None
    if device not in graph.nodes and (drive is None or drive.root is None):
        raise QmpError(f"Device '{device}' not found", "DeviceNotFound")
    return root_node(context, device)


def _top(context: Context, args: BlockCommit, root: Node) -> Node:
    if args.top_node is not None and args.top is not None:
        raise QmpError("'top-node' and 'top' are mutually exclusive")
    if args.top_node is not None:
        top = context.graph.lookup(None, args.top_node)
        if top not in list(chain(root)):
            raise QmpError(f"'{args.top_node}' is not in this backing file chain")
        return top
    if args.top is None or args.top == shown_filename(root):
        return root
    found = find_backing(root, args.top)
    if found is None:
        raise QmpError(f"Top image file {args.top} not found")
    return found


def _base(context: Context, args: BlockCommit, top: Node) -> Node:
    if args.base_node is not None and args.base is not None:
        raise QmpError("'base-node' and 'base' are mutually exclusive")
    if args.base_node is not None:
        base = context.graph.lookup(None, args.base_node)
        if base not in list(chain(top)):
            raise QmpError(f"'{args.base_node}' is not in this backing file chain")
        return base
    if args.base is not None:
        found = find_backing(top, args.base)
        if found is None:
            raise QmpError(f"Can't find '{args.base}' in the backing chain")
        return found
    return [layer for layer in chain(top) if not layer.is_filter][-1]


def _options(args: BlockCommit) -> CommitOptions:
    from qbitsim.jobs.commit import CommitOptions  # noqa: PLC0415 - as above

    return CommitOptions(
        job_id=args.job_id,
        backing_name=args.backing_file,
        shown_filename=shown_filename,
        speed=args.speed or 0,
        on_error=str(args.on_error or "report"),
        auto_finalize=args.auto_finalize is not False,
        auto_dismiss=args.auto_dismiss is not False,
        filter_node_name=args.filter_node_name,
    )


def _commit_active(context: Context, args: BlockCommit, root: Node, top: Node, base: Node) -> LoopJob:
    """A mirror into the base, which stays writable unless the job cannot be made (commit_active_start)."""
    policy = str(args.on_error or "report")
    options = MirrorOptions(
        job_id=args.job_id if args.job_id is not None else root.device_name,
        is_commit=True,
        restore_read_only=base.read_only and context.profile.failed_active_commit_closes_base,
        base=base,
        speed=args.speed or 0,
        on_source_error=policy,
        on_target_error=policy,
        auto_finalize=args.auto_finalize is not False,
        auto_dismiss=args.auto_dismiss is not False,
        filter_node_name=args.filter_node_name,
    )
    was_read_only = base.read_only
    if was_read_only:
        set_writable(context.graph, base, writable=True)
    try:
        from qbitsim.jobs.mirror_start import create_mirror  # noqa: PLC0415 - as for other commits

        return create_mirror(context.jobs, top, base, options)
    except QmpError:
        if was_read_only:
            set_writable(context.graph, base, writable=False)
        raise
