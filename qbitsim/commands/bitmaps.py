"""The commands on dirty bitmaps (block/monitor/bitmap-qmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.bits.bits import Bits
from qbitsim.block.bitmap import DirtyBitmap, check_granularity
from qbitsim.commands.context import Context, find_bitmap, find_node
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.block import BlockDirtyBitmapOrStr, BlockDirtyBitmapSha256
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import UInt32, arg
from qbitsim.qapi.structs import struct


@struct
class BlockDirtyBitmapAdd:
    """Arguments of block-dirty-bitmap-add; ``granularity`` in bytes."""

    node: str
    name: str
    granularity: UInt32 | None = None
    persistent: bool | None = arg(since="2.10")
    disabled: bool | None = arg(since="4.0")


@struct
class BlockDirtyBitmapRemove:
    """Arguments of block-dirty-bitmap-remove."""

    node: str
    name: str


@struct
class BlockDirtyBitmapClear:
    """Arguments of block-dirty-bitmap-clear."""

    node: str
    name: str


@struct
class BlockDirtyBitmapEnable:
    """Arguments of block-dirty-bitmap-enable."""

    node: str
    name: str


@struct
class BlockDirtyBitmapDisable:
    """Arguments of block-dirty-bitmap-disable."""

    node: str
    name: str


@struct
class BlockDirtyBitmapMerge:
    """Arguments of block-dirty-bitmap-merge: OR ``bitmaps`` into ``target`` of ``node``."""

    node: str
    target: str
    bitmaps: list[BlockDirtyBitmapOrStr]


@struct
class BlockDirtyBitmapSha256Arguments:
    """Arguments of x-debug-block-dirty-bitmap-sha256."""

    node: str
    name: str


class _Named:
    """A bitmap by its name.

    A later action of the same transaction, a backup with bitmap-mode always, may put its successor in its place even
    when it is undone. QEMU 10.0 keeps a pointer to the bitmap that is gone, and dies.
    """

    __slots__ = ("name", "node")

    def __init__(self, bitmap: DirtyBitmap) -> None:
        assert bitmap.name is not None
        self.node = bitmap.node
        self.name = bitmap.name

    @property
    def bitmap(self) -> DirtyBitmap:
        found = self.node.find_bitmap(self.name)
        assert found is not None
        return found


class _Restore(_Named):
    """How one change of a bitmap is undone. The change must put new bits in the place of the old ones."""

    __slots__ = ("bits", "disabled")

    def __init__(self, bitmap: DirtyBitmap) -> None:
        super().__init__(bitmap)
        self.bits = bitmap.bits
        self.disabled = bitmap.disabled

    def restore_bits(self) -> None:
        self.bitmap.bits = self.bits

    def restore_recording(self) -> None:
        self.bitmap.disabled = self.disabled


@command("block-dirty-bitmap-add", BlockDirtyBitmapAdd, action=True, since="2.4")
def block_dirty_bitmap_add(context: Context, args: BlockDirtyBitmapAdd) -> None:
    """Make a bitmap on a node; it records unless ``disabled``."""
    if not args.name:
        raise QmpError("Bitmap name cannot be empty")
    node = context.graph.lookup(args.node, args.node)
    if args.granularity is not None:
        check_granularity(args.granularity)
    granularity = args.granularity or node.default_granularity
    if args.persistent:
        if context.profile.persistent_bitmaps_need_writable_node and (node.read_only or node.inactive):
            raise QmpError(f"Cannot add a persistent bitmap to read-only or inactive node '{node.name}'")
        node.check_can_store(args.name, granularity)
    bitmap = node.create_bitmap(args.name, granularity)
    bitmap.disabled = bool(args.disabled)
    bitmap.persistent = bool(args.persistent)
    context.transaction.add(abort=_Added(bitmap).release)


class _Added(_Named):
    __slots__ = ()

    def release(self) -> None:
        self.node.release_bitmap(self.bitmap)


class _Removal:
    """A removal that can still be undone: the bitmap only becomes busy (BDRV_ACTION bitmap remove)."""

    __slots__ = ("bitmap",)

    def __init__(self, bitmap: DirtyBitmap) -> None:
        self.bitmap = bitmap
        bitmap.skip_store = True
        bitmap.busy = True

    def undo(self) -> None:
        self.bitmap.skip_store = False
        self.bitmap.busy = False

    def finish(self) -> None:
        self.bitmap.busy = False
        self.bitmap.node.release_bitmap(self.bitmap)


@command("block-dirty-bitmap-remove", BlockDirtyBitmapRemove, action=True, since="2.4", action_since="4.2")
def block_dirty_bitmap_remove(context: Context, args: BlockDirtyBitmapRemove) -> None:
    """Remove a bitmap; one that is stored goes from the file at once, even if the transaction fails later."""
    bitmap = find_bitmap(find_node(context, args.node), args.name)
    told_of_node = context.profile.persistent_bitmaps_need_writable_node and bitmap.persistent
    bitmap.check(allow_inconsistent=True, allow_readonly=told_of_node and bitmap.node.read_only)
    if told_of_node and bitmap.node.read_only:
        raise QmpError(f"Cannot remove persistent bitmap '{args.name}': no write access to node '{bitmap.node.name}'")
    if bitmap.persistent:
        bitmap.node.remove_stored_bitmap(args.name)
    removal = _Removal(bitmap)
    context.transaction.add(commit=removal.finish, abort=removal.undo)


@command("block-dirty-bitmap-clear", BlockDirtyBitmapClear, action=True, since="2.4")
def block_dirty_bitmap_clear(context: Context, args: BlockDirtyBitmapClear) -> None:
    """Make every granule clean."""
    bitmap = find_bitmap(find_node(context, args.node), args.name)
    bitmap.check()
    context.transaction.add(abort=_Restore(bitmap).restore_bits)
    bitmap.bits = Bits(bitmap.bits.length)


@command("block-dirty-bitmap-enable", BlockDirtyBitmapEnable, action=True, since="4.0")
def block_dirty_bitmap_enable(context: Context, args: BlockDirtyBitmapEnable) -> None:
    """Let the bitmap record."""
    _set_recording(context, args.node, args.name, recording=True)


@command("block-dirty-bitmap-disable", BlockDirtyBitmapDisable, action=True, since="4.0")
def block_dirty_bitmap_disable(context: Context, args: BlockDirtyBitmapDisable) -> None:
    """Let the bitmap stop recording."""
    _set_recording(context, args.node, args.name, recording=False)


def _set_recording(context: Context, node: str, name: str, *, recording: bool) -> None:
    bitmap = find_bitmap(find_node(context, node), name)
    bitmap.check(allow_readonly=True)
    context.transaction.add(abort=_Restore(bitmap).restore_recording)
    bitmap.disabled = not recording


@command("block-dirty-bitmap-merge", BlockDirtyBitmapMerge, action=True, since="4.0")
def block_dirty_bitmap_merge(context: Context, args: BlockDirtyBitmapMerge) -> None:
    """OR bitmaps of this or other nodes into one, all or nothing.

    An empty list changes nothing; real QEMU dies of it (hbitmap_free(NULL), 7.2 and 10.0).
    """
    node = find_node(context, args.node)
    target = find_bitmap(node, args.target)
    context.transaction.add(abort=_Restore(target).restore_bits)
    target.bits = target.bits.copy()
    for source in args.bitmaps:
        if isinstance(source, str):
            target.merge_checked(find_bitmap(node, source))
        else:
            target.merge_checked(find_bitmap(find_node(context, source.node), source.name))


@command(
    "x-debug-block-dirty-bitmap-sha256",
    BlockDirtyBitmapSha256Arguments,
    returns=BlockDirtyBitmapSha256,
    since="2.10",
    features=["unstable"],
)
def block_dirty_bitmap_sha256(context: Context, args: BlockDirtyBitmapSha256Arguments) -> Json:
    """The hash of the bits; no state of the bitmap refuses it."""
    bitmap = find_bitmap(find_node(context, args.node), args.name)
    return {"sha256": bitmap.bits.sha256()}
