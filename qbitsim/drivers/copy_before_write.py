"""``copy-before-write``: the filter that makes a backup a point in time.

A ``copy-before-write`` node sits above the disk. Before a guest write reaches the disk, the clusters it
touches are copied to the target, unless that has been done already (block/copy-before-write.c, QEMU 10.0).
A ``snapshot-access`` node above it reads the disk as it was when the filter was put there.

Three internal bitmaps are shown at the filter, newest first: what may be read through the snapshot, what
was copied by guest writes, and what is still to be copied. Up to 7.2 the last one was at the source.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.block.node import Child, Node
from qbitsim.block.status import Status
from qbitsim.copying.block_copy import MINIMUM_CLUSTER, BlockCopyState
from qbitsim.drivers.driver import driver
from qbitsim.drivers.file import image_below
from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.enums import StrEnum
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.qapi.block import BlockDirtyBitmap
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat, BlockdevRef
from qbitsim.qapi.schema import Size, UInt32, arg
from qbitsim.qapi.structs import struct
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener

MAXIMUM_GRANULARITY = 1 << 31


def copy_cluster_size(target: Node, minimum: int) -> int:
    """Bytes that are copied together: at least 64 KiB and the target's cluster (block_copy_calculate_cluster_size)."""
    return max(minimum, MINIMUM_CLUSTER, target.cluster_size)


def check_minimum_cluster(size: int) -> None:
    """Refuse a min-cluster-size, in bytes, with which nothing can be copied.

    :raises QmpError: with the text of block_copy_state_new (block/block-copy.c, QEMU 10.0).
    :raises UnsupportedError: it is above 2 GiB: QEMU 10.0 dies of it, since its bitmaps count granules in 32 bits.
    """
    if size & (size - 1):
        raise QmpError("Cannot create block-copy-state: min-cluster-size needs to be a power of 2")
    if size > MAXIMUM_GRANULARITY:
        raise UnsupportedError(f"min-cluster-size={size}: real QEMU crashes")


class OnCbwError(StrEnum):
    """Who suffers from a failed copy before write."""

    BREAK_GUEST_WRITE = "break-guest-write"
    BREAK_SNAPSHOT = "break-snapshot"


@struct
class BlockdevOptionsCbw(BlockdevOptionsGenericFormat):
    """A filter that copies old data to ``target``; timeout in seconds, cluster size in bytes."""

    target: BlockdevRef
    bitmap: BlockDirtyBitmap | None = None
    on_cbw_error: OnCbwError | None = arg(since="7.1")
    cbw_timeout: UInt32 | None = arg(since="7.1")
    min_cluster_size: Size | None = arg(since="9.2")


@driver(
    "copy-before-write",
    options=BlockdevOptionsCbw,
    sizes=["min-cluster-size"],
)
class CopyBeforeWriteNode(FilterDriverNode):
    """``copy-before-write``, whose children are ``file`` and ``target``.

    :ivar break_snapshot: a failed copy spoils the snapshot (``on-cbw-error=break-snapshot``) instead of failing
        the guest's write.
    :ivar detached: it was taken out of the graph so that it has nothing below it that its end could flush.
    :ivar snapshot_error: errno of the copy that spoilt the snapshot, or 0.
    :ivar stays_unchanged: what is written now is what is there already.
    :ivar timeout: nanoseconds after which a copy has failed, 0 for none (``cbw-timeout``).
    """

    flushes_in_any_case = True
    shows_filename_of_child = True

    __slots__ = (
        *("_has_tables", "access_bitmap", "break_snapshot", "copy_state", "detached", "discard_source"),
        *("done_bitmap", "snapshot_error", "stays_unchanged", "timeout"),
    )

    def __init__(
        self,
        graph: Graph,
        *,
        break_snapshot: bool = False,
        discard_source: bool = False,
        read_only: bool = False,
        unmap: bool = False,
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.break_snapshot = break_snapshot
        self.discard_source = discard_source
        self.detached = False
        self.snapshot_error = 0
        self.stays_unchanged = False
        self.timeout = 0
        self._has_tables = False  # those of the format above were copied
        self.copy_state: BlockCopyState | None = None
        self.done_bitmap: DirtyBitmap | None = None
        self.access_bitmap: DirtyBitmap | None = None

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Begin at once; without a bitmap all is of interest."""
        graph = opener.graph
        break_snapshot = options.get("on-cbw-error") == "break-snapshot"
        read_only, unmap = flag(options, "read-only"), passes_discards(options)
        node = cls(graph, break_snapshot=break_snapshot, read_only=read_only, unmap=unmap)
        node.timeout = options.get("cbw-timeout", 0) * NANOSECONDS
        opener.open_filter(node, options, "file")
        opener.open_child(node, "target", options)
        bitmap = None
        if "bitmap" in options:
            bitmap = graph.find_bitmap(options["bitmap"]["node"], options["bitmap"]["name"])
        minimum = options.get("min-cluster-size", 0)
        check_minimum_cluster(minimum)
        if bitmap is not None:
            try:
                bitmap.check_merged_into(node.length)
            except QmpError as error:
                text = f"Failed to merge bitmap '{bitmap.name}' to internal copy-bitmap: {error.desc}"
                raise QmpError(f"Cannot create block-copy-state: {text}") from None
        node.begin(
            bitmap=bitmap, minimum_cluster=minimum, compress=False, on_filter=opener.profile.backup_bitmap_on_filter
        )
        return node

    def begin(self, *, bitmap: DirtyBitmap | None, minimum_cluster: int, compress: bool, on_filter: bool) -> None:
        """Start to watch, once the children are there.

        :param bitmap: only what is dirty in it is of interest; None for everything.
        :param minimum_cluster: bytes, a power of two.
        :param on_filter: show the copy bitmap at the filter (8.0 and later), or at the source.
        """
        source, target = self.child("file"), self.child("target")
        assert source is not None
        assert target is not None
        cluster = copy_cluster_size(target.node, minimum_cluster)
        self.copy_state = BlockCopyState(
            self.graph.scheduler,
            self if on_filter else source.node,
            source,
            target,
            cluster,
            compress=compress,
            discard_source=self.discard_source,
        )
        self.done_bitmap = self.create_bitmap(None, cluster)
        self.done_bitmap.disabled = True
        self.access_bitmap = self.create_bitmap(None, cluster)
        self.access_bitmap.disabled = True
        self.access_bitmap.bits.set_all()
        if bitmap is not None:
            for own in (self.copy_state.copy_bitmap, self.access_bitmap):
                own.bits.clear_all()
                own.merge_from(bitmap)

    @property
    def flushed_children(self) -> list[Child]:
        """What is filtered."""
        return [] if self.detached else super().flushed_children

    def child_node(self, name: str) -> Node:
        """The node of the child of that name."""
        child = self.child(name)
        assert child is not None
        return child.node

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """The target is ours to write, the source nobody else's (cbw_child_perm)."""
        if child.name == "target":
            return perms.WRITE, perms.ALL & ~perms.RESIZE
        if not self.parents:
            return perm, shared
        needed = perm | (perms.WRITE if self.discard_source else 0)
        if self.graph.copy_before_write_always_reads or perm & perms.WRITE:
            needed |= perms.CONSISTENT_READ
        return needed, shared & ~(perms.WRITE | perms.RESIZE)

    def close(self) -> None:
        """Drop the bitmap that is shown at the source."""
        if self.copy_state is not None:
            self.copy_state.close()

    def _copy_first(self, offset: int, length: int) -> None:
        """Copy what the guest is about to overwrite; may fail the guest's request."""
        if self.snapshot_error or self.copy_state is None or self.stays_unchanged:
            return
        cluster = self.copy_state.cluster_size
        start, end = offset - offset % cluster, min(-(-(offset + length) // cluster) * cluster, self.length)
        if start >= end:
            return  # what a format adds to its file
        try:
            self.copy_state.copy_now(start, end, self.timeout)
        except OSError as error:
            if not self.break_snapshot:
                raise
            self.snapshot_error = errno_of(error)
            return
        assert self.done_bitmap is not None
        self.done_bitmap.mark(start, end - start)

    def truncate(self, size: int) -> None:
        """Resize to whole sectors: the driver is not asked what came of it (bdrv_co_truncate, block/io.c, 10.0)."""
        super().truncate(size)
        if size % SECTOR:
            self._kept_length = size - size % SECTOR
            self.follow_length()

    def write_unchanged(self, offset: int, data: bytes) -> None:
        """Copy nothing before, as what is there stays (cbw_do_copy_before_write)."""
        self.stays_unchanged = True
        try:
            super().write_unchanged(offset, data)
        finally:
            self.stays_unchanged = False

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._copy_first(offset, len(data))
        super()._write(offset, data, compressed=compressed)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._copy_first(offset, length)
        super()._write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._copy_first(offset, length)
        super()._discard(offset, length)

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        if operation == "write":
            self._copy_first(offset, length)
        super()._format_request(operation, offset, length)

    def before_table_change(self, lost: Iterable[tuple[int, int]] = ()) -> None:
        """Copy the tables of the format above, once, and what is lost: that changes here without a request."""
        image = image_below(self)
        if not self._has_tables and isinstance(image, Qcow2Image):
            self._has_tables = True
            for place, length in list(image.layout.table_places()):
                if length:
                    self._copy_first(place, length)
        for place, length in lost:
            self._copy_first(place, length)
        super().before_table_change(lost)

    # -- the snapshot

    def snapshot_read(self, offset: int, length: int) -> bytes:
        """The bytes as they were when the filter was put there (cbw_co_preadv_snapshot).

        :raises OSError: EACCES outside of what is of interest or after the snapshot was spoilt.
        """
        if not self._may_read(offset, length):
            raise io_error(errno.EACCES)
        parts, end = [], offset + length
        while offset < end:
            child, run = self._holder(offset, end)
            parts.append(child.read(offset, run))
            offset += run
        return b"".join(parts)

    def snapshot_status(self, offset: int, length: int) -> Status:
        """What is known of the bytes from ``offset`` as they were (cbw_co_snapshot_block_status).

        :raises OSError: EACCES where the bytes cannot be read.
        """
        if not self._may_read(offset, length):
            raise io_error(errno.EACCES)
        child, run = self._holder(offset, offset + length)
        return child.status(offset, run)

    def _may_read(self, offset: int, length: int) -> bool:
        """Whether all of the range is of interest, and the snapshot is not spoilt."""
        assert self.access_bitmap is not None
        place = _granules(self.access_bitmap, offset, offset + length)
        return not self.snapshot_error and self.access_bitmap.bits.next_clear(*place) < 0

    def _holder(self, offset: int, end: int) -> tuple[Node, int]:
        """The child that has the bytes from ``offset`` as they were, and how many it has."""
        assert self.done_bitmap is not None
        cluster = self.done_bitmap.granularity
        copied = self.done_bitmap.any_dirty(offset, offset + 1)
        stop = offset
        while stop < end and self.done_bitmap.any_dirty(stop, stop + 1) == copied:
            stop = min(stop - stop % cluster + cluster, end)
        return self.child_node("target" if copied else "file"), stop - offset

    def snapshot_discard(self, offset: int, length: int) -> None:
        """The reader of the snapshot is done with whole clusters of it (cbw_co_pdiscard_snapshot).

        :raises OSError: what the target says.
        """
        assert self.copy_state is not None
        assert self.access_bitmap is not None
        cluster = self.copy_state.cluster_size
        start, end = -(-offset // cluster) * cluster, offset + length
        end -= end % cluster
        if start >= end:
            return
        self.access_bitmap.reset(start, end - start)
        self.copy_state.reset(start, end - start)
        self.child_node("target").discard(start, end - start)


def _granules(bitmap: DirtyBitmap, offset: int, end: int) -> tuple[int, int]:
    return offset >> bitmap.shift, -(-end >> bitmap.shift)


def insert_filter(
    graph: Graph,
    source: Node,
    target: Node,
    name: str | None,
    *,
    break_snapshot: bool,
    discard_source: bool,
    minimum_cluster: int,
    compress: bool,
    on_filter: bool,
) -> CopyBeforeWriteNode:
    """Put a filter between ``source`` and its parents, for a backup job (bdrv_cbw_append).

    :raises QmpError: ``Could not create node: …`` or ``Could not replace node: …``, with the texts and the drains of
        bdrv_insert_node (block.c, QEMU 10.0); nothing has changed then.
    """
    node = CopyBeforeWriteNode(graph, break_snapshot=break_snapshot, discard_source=discard_source)
    node.implicit = graph.hide_filters
    try:
        graph.register(node, name)
    except QmpError as error:
        graph.changing()  # to close the node without a name
        raise QmpError(f"Could not create node: {error.desc}") from None
    try:
        graph.attach(node, "file", source)
        graph.attach(node, "target", target)
        check_minimum_cluster(minimum_cluster)
        node.refresh_limits()
    except QmpError as error:
        graph.changing()  # bdrv_open_driver gives up the file before the node is closed
        graph.release(node, half_open=True)
        raise QmpError(f"Could not create node: {error.desc}") from None
    try:
        graph.insert_above(source, node)
    except QmpError as error:
        graph.release(node)
        raise QmpError(f"Could not replace node: {error.desc}") from None
    node.held = True
    node.begin(bitmap=None, minimum_cluster=minimum_cluster, compress=compress, on_filter=on_filter)
    return node


def drop_filter(graph: Graph, node: CopyBeforeWriteNode, *, detached: bool) -> None:
    """Take the filter out again (bdrv_cbw_drop).

    :param detached: it has nothing below it then that its end could flush.
    """
    graph.remove_above(node, node.child_node("file"))
    node.detached = detached
    node.held = False
    graph.release(node)
