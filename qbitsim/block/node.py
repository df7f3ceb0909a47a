"""A block node: one layer of a disk, with its children, its parents and its dirty bitmaps.

Theory of operation
===================

1. Requests enter at :meth:`Node.write` and its siblings, which call the driver's hook
   (``_write``) and then mark the node's bitmaps. A write that reaches the node and fails below
   it marks the bits all the same; one that is refused above it never arrives
   (bdrv_co_write_req_finish, block/io.c, QEMU 10.0).
2. Failures of I/O are :class:`OSError` with an errno.
3. ``parents`` and ``bitmaps`` are newest first, as QEMU's lists are.
4. Offsets and lengths are bytes. Callers above the graph have checked them against the length.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.block.bitmap_owner import BitmapOwner
from qbitsim.block.limits import Limits, merged
from qbitsim.block.permissions import Child
from qbitsim.block.status import Status
from qbitsim.block.write_end import WriteEnd
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.files.faults import FaultOwner
    from qbitsim.images.image import Image, StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

ALLOWED_ON_BACKING = frozenset({"backup-source", "backup-target", "commit-target", "stream"})
"""Operations on a backing file that the node above does not block (bdrv_backing_attach, block.c, QEMU 10.0)."""

MAXIMUM_BOUNCE = 16 << 20
"""Bytes that copy-on-read moves at once (MAX_BOUNCE_BUFFER, block/io.c, QEMU 10.0)."""


class Node(BitmapOwner, WriteEnd):
    """The common part of all drivers.

    :ivar name: the node-name, unique in the graph.
    :ivar auto_named: the name was generated (``#block017``).
    :ivar probed: its format was told from its content, because nobody had named it.
    :ivar implicit: QEMU put it there by itself; it goes when its job goes.
    :ivar held: a job keeps it, even when it is no parent of it any more.
    :ivar monitor_owned: made by blockdev-add: stays until blockdev-del.
    :ivar unmap: discards are passed on (``discard=unmap``).
    :ivar detect_zeroes: ``on``: writes of nothing but zeroes become zero-writes; ``unmap``: which may discard; ``off``.
    :ivar copy_on_read: what is read from the backing file is kept (``-drive copy-on-read=on``).
    :ivar blockers: why operations on the node are refused, newest first.
    :ivar quiesce: how many drained sections the node is in.
    """

    driver: ClassVar[str]
    is_filter: ClassVar[bool] = False
    is_format: ClassVar[bool] = False
    supports_backing: ClassVar[bool] = False
    supports_compression: ClassVar[bool] = False
    can_store_bitmaps: ClassVar[bool] = False
    filename_prefix: ClassVar[str] = ""
    strong_options: ClassVar[tuple[str, ...]] = ()
    shows_filename_of_child: ClassVar[bool] = False

    __slots__ = (
        "_read_only",
        "auto_named",
        "bitmaps",
        "blockers",
        "children",
        "copy_on_read",
        "detect_zeroes",
        "graph",
        "held",
        "implicit",
        "monitor_owned",
        "name",
        "options",
        "parents",
        "probed",
        "quiesce",
        "unmap",
    )

    def __init__(self, graph: Graph, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__()
        self.graph = graph
        self.name = ""
        self.auto_named = False
        self.probed = False
        self.implicit = False
        self.held = False
        self.monitor_owned = False
        self._read_only = read_only
        self.unmap = unmap
        self.detect_zeroes = "off"
        self.copy_on_read = False
        self.options: dict[str, object] = {}
        self.children: list[Child] = []
        self.parents: list[Child] = []
        self.bitmaps: list[DirtyBitmap] = []
        self.blockers: list[str] = []
        self.quiesce = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.length} bytes>"

    # -- what drivers provide

    @property
    def length(self) -> int:
        """Bytes. A filter is as long as what it filters."""
        return self._filtered.length

    @property
    def cluster_size(self) -> int:
        """Bytes, or 0 if the format has none (bdrv_get_info)."""
        filtered = self.filtered
        return filtered.cluster_size if filtered is not None else 0

    @property
    def knows_cluster_size(self) -> bool:
        """Whether bdrv_get_info works at all; it does not on null-co."""
        filtered = self.filtered
        return filtered.knows_cluster_size if filtered is not None else True

    @property
    def limits(self) -> Limits:
        """What it asks of requests."""
        return merged(edge.node.limits for edge in self.children)

    @property
    def cache_options(self) -> dict[str, object]:
        """The ``cache`` that it was opened with. A child without options of its own has its parent's."""
        place: Node | None = self
        while place is not None and "cache" not in place.options:
            above = place.parent_nodes
            place = above[0] if len(above) == 1 and not place.monitor_owned else None
        given = place.options["cache"] if place is not None else {}
        assert isinstance(given, dict)
        return given

    @property
    def filename(self) -> str:
        """What QEMU shows as the file name."""
        child = self.child("file") or self.child("backing")
        return child.node.filename if child is not None else ""

    @property
    def opened_as(self) -> str | None:
        """The name under which the node opened a file of the image store, None if it is no such file."""
        return None

    @property
    def image(self) -> Image | None:
        """The image that the node itself keeps open, as a file or as a format; None for other nodes."""
        return None

    @property
    def disk_image(self) -> Image | None:
        """The image whose disk the node shows, itself or through what it filters; None if there is no such one."""
        image = self.image
        if image is None and (filtered := self.filtered) is not None:
            return filtered.disk_image
        return image

    @property
    def fault_owner(self) -> FaultOwner | None:
        """What keeps the rules about the disk that the node shows; those of ``blkdebug`` are not among them."""
        image = self.image
        if image is None and (filtered := self.filtered) is not None:
            return filtered.fault_owner
        return image

    @property
    def header_backing(self) -> str | None:
        """The backing file that the image's header names (auto_backing_file), None if there is none."""
        return None

    @property
    def snapshots(self) -> list[StoredSnapshot] | None:
        """The internal snapshots in the image, oldest first; None if the driver takes none."""
        return None

    def create_snapshot(self, name: str, date: int, clock: int) -> StoredSnapshot:
        """Take an internal snapshot of a node whose :attr:`snapshots` are not None.

        :param date: nanoseconds since 1970.
        :param clock: nanoseconds for which the guest has run.
        """
        raise AssertionError(f"{self.driver} takes no snapshots")

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Delete one of :attr:`snapshots`."""
        raise AssertionError(f"{self.driver} takes no snapshots")

    def allocated_file_size(self) -> int | None:
        """Bytes that the files below occupy, None if that cannot be told (bdrv_get_allocated_file_size)."""
        below = [self.filtered] if self.filtered else [edge.node for edge in self.children if edge.name != "backing"]
        sizes = [node.allocated_file_size() for node in below]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def specific_info(self, profile: Profile) -> Json | None:
        """What only this driver tells of an image (ImageInfoSpecific, bdrv_get_specific_info)."""
        del profile
        return None

    def _read(self, offset: int, length: int) -> bytes:
        return self._filtered.read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._filtered.write(offset, data, compressed=compressed)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        below = self._filtered
        below.write_zeroes(offset, length, unmap=unmap and below.unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._filtered.discard(offset, length)

    def _flush(self) -> None:
        for child in self.children:
            if child.name in ("file", "image"):
                # bdrv_co_flush (block/io.c, QEMU 10.0)
                child.node.debug_event("flush_to_os")
                child.node.debug_event("flush_to_disk")
            child.node.flush()

    def _status(self, offset: int, length: int) -> Status:
        return self._filtered.status(offset, length)

    def _truncate(self, size: int) -> None:
        self._filtered.truncate(size)

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        """Let a request of :meth:`pread` or :meth:`pwrite` happen, or fail."""
        filtered = self.filtered
        if filtered is not None:
            if operation == "read":
                filtered.pread(offset, length)
            else:
                filtered.pwrite(offset, length)

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What this node needs and shares on ``child`` when its own parents need and share that much.

        The defaults of bdrv_default_perms (block.c, QEMU 10.0): a backing file must not change; a
        filter passes on; a format writes metadata to its file by itself.
        """
        if child.name == "backing" and not self.is_filter:
            backing_shared = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
            if shared & perms.WRITE:
                backing_shared |= perms.WRITE | perms.RESIZE
            return perm & perms.CONSISTENT_READ, backing_shared
        if self.is_filter:
            return perm, shared
        if not self.read_only:
            perm |= perms.WRITE | perms.RESIZE
        return perm | perms.CONSISTENT_READ, shared & ~(perms.WRITE | perms.RESIZE)

    def on_opened(self) -> None:
        """Follow the opening of the node, which is complete now."""

    def on_permissions(self, perm: int, shared: int) -> None:
        """Follow a change of what all parents need and share; may refuse with :class:`QmpError`."""

    def on_read_only(self, read_only: bool) -> None:
        """Follow a change between read-only and writable (qcow2 stores or takes up its bitmaps)."""

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Check the driver's own options of a reopen (bdrv_reopen_prepare); nothing changes yet.

        :param options: under QAPI's names; all that were given.
        :param read_only: the node is to be read-only.
        :raises QmpError: with QEMU's text.
        """

    def reopen_commit(self, options: Mapping[str, Any]) -> None:
        """Take over the driver's own options (bdrv_reopen_commit)."""

    def change_backing_file(self, name: str | None, driver: str | None) -> None:
        """Let the image's header name another backing file, and its driver (bdrv_change_backing_file)."""
        raise AssertionError("only a format that supports backing files has a header that names one")

    def add_child(self, node: Node) -> None:
        """Take another child (bdrv_add_child).

        :raises QmpError: the driver does not do that.
        """
        del node
        raise QmpError(f"The node {self.device_or_node_name} does not support adding a child")

    def remove_child(self, child: Child) -> None:
        """Give up a child (bdrv_del_child).

        :raises QmpError: the driver does not do that.
        """
        del child
        raise QmpError(f"The node {self.device_or_node_name} does not support removing a child")

    def close(self) -> None:
        """Give up everything outside the graph; called once, when nobody uses the node any more."""

    def abandon(self) -> None:
        """The process was killed: nothing is stored, but the locks of a file are gone with it."""

    # -- requests

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``.

        :raises OSError: as the driver, or a fault, says.
        """
        if self.copy_on_read:
            self.copy_up(offset, length)
        return self._read(offset, length)

    def copy_up(self, offset: int, length: int, *, zeroes: bool = False) -> None:
        """Write here what this layer does not have of the range, as it reads now (bdrv_co_do_copy_on_readv).

        Whole clusters are copied. The disk stays the same, so that no bitmap is marked.

        :param zeroes: without a backing file, too: what was a hole is a cluster of zeroes then.
        :raises OSError: as reading below, or writing, fails.
        """
        if self.supports_backing and self.backing is None and not zeroes:
            return
        cluster = self.cluster_size or 1
        position, end = offset - offset % cluster, min(-(-(offset + length) // cluster) * cluster, self.length)
        while position < end:
            status = self.layer_status(position, min(end - position, MAXIMUM_BOUNCE))
            run = min(MAXIMUM_BOUNCE, self.looked_up_at_once(position, status.length))
            if not status.allocated:
                data = self._read(position, run)
                self.debug_event("cor_write")
                self.write_unchanged(position, data)
            position += run

    def write(self, offset: int, data: bytes, *, compressed: bool = False) -> None:
        """Write ``data``, which is not empty.

        :raises OSError: as the driver, or a fault, says; the bits are marked all the same.
        """
        if offset + len(data) > self.noticed_end:
            self.note_write_end(offset + len(data))
        try:
            if self.detect_zeroes != "off" and not compressed and data.count(0) == len(data):
                # bdrv_aligned_pwritev (block/io.c, QEMU 10.0)
                self._write_zeroes(offset, len(data), unmap=self.detect_zeroes == "unmap")
            elif compressed and not self.supports_compression:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            else:
                self._write(offset, data, compressed=compressed)
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, len(data))

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Make ``length`` > 0 bytes zero.

        :raises OSError: as :meth:`write`.
        """
        if offset + length > self.noticed_end:
            self.note_write_end(offset + length)
        try:
            self._write_zeroes(offset, length, unmap=unmap)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            # What cannot be zeroed is written (bdrv_co_do_pwrite_zeroes, block/io.c, QEMU 10.0).
            self._write(offset, bytes(length), compressed=False)
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, length)

    def zero_fast(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Make ``length`` > 0 bytes zero, but fail where that would mean to write them (BDRV_REQ_NO_FALLBACK).

        A cluster that is touched in part is a request of its own (bdrv_co_do_pwrite_zeroes, block/io.c, QEMU 10.0).

        :raises OSError: ENOTSUP, with a part of it done; or as :meth:`write`.
        """
        unit, end, place = self.limits.zeroes or 1, offset + length, offset
        try:
            while place < end:
                in_part = place % unit or end - place < unit
                stop = min(place - place % unit + unit, end) if in_part else end - end % unit
                if not self.zeroes_fast(place, stop - place):
                    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
                self._write_zeroes(place, stop - place, unmap=unmap)
                place = stop
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, length)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Whether the range, which is whole clusters or a part of one, can become zero without being written."""
        filtered = self.filtered
        return filtered is not None and filtered.zeroes_fast(offset, length)

    def discard(self, offset: int, length: int) -> None:
        """Forget ``length`` > 0 bytes, if the node was opened to pass discards on.

        Otherwise nothing happens, not even to the bitmaps (bdrv_co_pdiscard, block/io.c, QEMU 10.0).
        """
        if not self.unmap:
            return
        try:
            self._discard(offset, length)
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, length)

    def flush(self) -> None:
        """Flush down to the files.

        :raises OSError: if a fault says so.
        """
        self._flush()

    def status(self, offset: int, length: int) -> Status:
        """What is known of the bytes from ``offset``, for at most ``length`` of them."""
        status = self._status(offset, length)
        if not status.allocated and self.supports_backing:
            backing = self.child("backing")
            if backing is None or offset >= backing.node.length:
                status.zero = True
        return status

    def delay(self, length: int, *, writing: bool) -> int:
        """Nanoseconds that a job's request of ``length`` bytes has to wait for limits here and below."""
        below = self.filtered
        if below is None:
            file = self.child("file")
            below = file.node if file is not None else None
        return below.delay(length, writing=writing) if below is not None else 0

    def layer_status(self, offset: int, length: int) -> Status:
        """What this layer itself has there, whatever its backing file adds (bdrv_co_is_allocated)."""
        return self._status(offset, length)

    def looked_up_at_once(self, offset: int, length: int) -> int:
        """For how many of ``length`` bytes, all of one status, a single look at the layer's tables tells it."""
        filtered = self.filtered
        return filtered.looked_up_at_once(offset, length) if filtered is not None else length

    def write_unchanged(self, offset: int, data: bytes) -> None:
        """Store what the range reads as already; no bitmap is marked.

        :raises OSError: as the driver, or a fault, says.
        """
        if data.count(0) == len(data):
            self._write_zeroes(offset, len(data), unmap=False)
        else:
            self._write(offset, data, compressed=False)

    # -- what a format asks of its file

    @property
    def notices_requests(self) -> bool:
        """Whether what a format asks of this node can be noticed; if not, the format may leave it unasked."""
        return True

    def debug_event(self, event: str) -> None:
        """A format is about to do something that ``blkdebug`` can wait for (BLKDBG_EVENT)."""

    def pread(self, offset: int, length: int) -> None:
        """The format above reads its tables or data at that place of its file (bdrv_pread).

        A format keeps the working state of its file itself, so that no bytes are handed over here.

        :raises OSError: as the driver, or a rule of ``blkdebug``, says.
        """
        self._format_request("read", offset, length)

    def pwrite(self, offset: int, length: int) -> None:
        """The format above writes its tables or data at that place, which may be behind the end (bdrv_pwrite).

        :raises OSError: as :meth:`pread`; the bits are marked all the same.
        """
        if offset + length > self.noticed_end:
            self.note_write_end(offset + length)
        try:
            self._format_request("write", offset, length)
        finally:
            if self.bitmaps:
                if self.bitmaps[0].size != self.length:
                    self.follow_length()
                inside = min(length, self.length - offset)
                if inside > 0:
                    self.mark_dirty(offset, inside)

    # -- what a job may know before it asks

    @property
    def takes_compressed_writes(self) -> bool:
        """Whether compressed writes get through to a format that compresses (bdrv_supports_compressed_writes)."""
        below = self.filtered
        return self.supports_compression and (below is None or below.takes_compressed_writes)

    def waits_for_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether a request has to wait for I/O; if not, it is answered at once, and it cannot fail.

        :param operation: one of :data:`.OPERATIONS`, or ``"status"``.
        """
        del offset, length
        return operation != "status"

    @property
    def zeroes_by_unmapping(self) -> bool:
        """Whether zeroing may free the clusters, so that it costs nothing (bdrv_can_write_zeroes_with_unmap)."""
        return self.unmap and self.can_unmap_zeroes

    @property
    def can_unmap_zeroes(self) -> bool:
        """Whether the driver, and what it filters, knows how (BDRV_REQ_MAY_UNMAP among its supported_zero_flags)."""
        filtered = self.filtered
        return filtered is not None and filtered.can_unmap_zeroes

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether the next request of that kind is refused before any I/O: as a bottom half."""
        filtered = self.filtered
        return filtered is not None and filtered.fails_without_io(operation, offset, length)

    @property
    def reads_plainly(self) -> bool:
        """Whether reading the node has no effect that anybody could notice."""
        return self.plain_image is not None

    @property
    def plain_image(self) -> Image | None:
        """The image, if to read the node is nothing but to read the disk in it; no fault or filter could notice."""
        return None

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Take clusters from ``source`` by reference, as if each was read there and written here.

        :param chosen: one bit for each cluster of ``cluster_size`` bytes of both disks, which are of one length.
        :returns: False, with nothing changed, if a fault, bitmap, filter or limit could tell the difference.
        """
        del source, chosen, cluster_size
        return False

    @property
    def copies_ranges(self) -> bool:
        """Whether the host can copy from or to the node's file by itself (bdrv_co_copy_range)."""
        return False

    def tell_writes(self) -> None:
        """Let the file know how far the format has written it, where it was not asked each time."""

    def discard_stats(self) -> tuple[int, int, int] | None:
        """How many discards of the file succeeded and failed, and their bytes; None if the driver does not count."""
        return None

    def note_discarded(self, offset: int, length: int) -> None:
        """The format above gives up a part of its file (bdrv_pdiscard)."""
        filtered = self.filtered
        if filtered is not None and self.unmap:
            filtered.note_discarded(offset, length)

    def truncate(self, size: int) -> None:
        """Resize to ``size`` bytes; the bitmaps follow (bdrv_co_truncate, block/io.c).

        :raises QmpError: as the driver says; or an export holds a bitmap, where QEMU dies (bdrv_dirty_bitmap_truncate).
        :raises OSError: as the driver, or a fault, says.
        """
        for node in self.shown_by():
            for bitmap in node.bitmaps:
                if bitmap.busy:
                    bitmap.check()
        self._truncate(size)
        self.follow_length()

    def make_empty(self) -> None:
        """Forget what the layer holds, so that its backing file shows; other drivers than qcow2 leave it as it is."""

    def follow_length(self) -> None:
        """Resize the bitmaps of this node and of the filters above it to the node's length."""
        for node in self.shown_by():
            for bitmap in node.bitmaps:
                bitmap.resize(self.length)

    def shown_by(self) -> Iterator[Node]:
        """This node and the filters above it, which show what it shows."""
        yield self
        for parent in self.parent_nodes:
            if parent.is_filter:
                yield from parent.shown_by()

    # -- the graph around it

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._read_only

    def set_read_only(self, read_only: bool) -> None:
        """Reopen the node read-only or writable."""
        if read_only != self._read_only:
            if read_only:
                self.on_read_only(read_only=True)
            self._read_only = read_only
            if not read_only:
                self.on_read_only(read_only=False)

    def mark_read_only(self, read_only: bool) -> None:
        """Change what permissions go by, without storing or taking up anything; for a reopen that may be refused."""
        self._read_only = read_only

    @property
    def parent_nodes(self) -> list[Node]:
        """The nodes among the parents, newest edge first."""
        return [edge.parent for edge in self.parents if isinstance(edge.parent, Node)]

    def child(self, name: str) -> Child | None:
        """The edge to the child of that name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    @property
    def filtered(self) -> Node | None:
        """The child that a filter filters, None for other nodes (bdrv_filter_bs)."""
        if not self.is_filter:
            return None
        child = self.child("file") or self.child("backing") or self.child("image")
        return child.node if child is not None else None

    @property
    def _filtered(self) -> Node:
        filtered = self.filtered
        assert filtered is not None
        return filtered

    @property
    def backing(self) -> Node | None:
        """The backing file's node of a copy-on-write format."""
        child = None if self.is_filter else self.child("backing")
        return child.node if child is not None else None

    def can_replace(self, node: Node) -> bool:
        """Whether a node that shows what this one shows can take the place of ``node``, and nobody sees a change.

        (bdrv_recurse_can_replace, block.c, QEMU 10.0)
        """
        filtered = self.filtered
        return node is self or (filtered is not None and filtered.can_replace(node))

    def skip_filters(self) -> Node:
        """The first node at or below this one that is no filter."""
        node = self
        while (below := node.filtered) is not None:
            node = below
        return node

    def skip_implicit_filters(self) -> Node:
        """The first node at or below this one that QEMU did not put there by itself."""
        node = self
        while node.implicit and (below := node.filtered) is not None:
            node = below
        return node

    @property
    def backing_chain_next(self) -> Node | None:
        """The next non-filter node of the backing chain (bdrv_backing_chain_next)."""
        below = self.skip_filters().backing
        return below.skip_filters() if below is not None else None

    @property
    def device_name(self) -> str:
        """The id of a drive of which this node is the root, or an empty string."""
        for parent in self.parents:
            if not isinstance(parent.parent, Node) and parent.parent.device_name:
                return parent.parent.device_name
        return ""

    @property
    def device_or_node_name(self) -> str:
        """What most messages call the node (bdrv_get_device_or_node_name)."""
        return self.device_name or self.name

    @property
    def parent_description(self) -> str:
        """How permission messages call this node as a parent."""
        return f"node '{self.name}'"

    def drained_begin(self, *, nodes_too: bool = True) -> None:
        """Enter a drained section: whoever is above stops sending requests (bdrv_drained_begin).

        :param nodes_too: and nodes above enter one too.
        """
        self.quiesce += 1
        if self.quiesce == 1:
            for edge in list(self.parents):
                if nodes_too or not isinstance(edge.parent, Node):
                    edge.drained_begin()

    def drained_end(self) -> None:
        """Leave the drained section."""
        self.quiesce -= 1
        if not self.quiesce:
            for edge in list(self.parents):
                edge.drained_end()

    def drained_poll(self) -> None:
        """Finish what is in flight above."""
        for edge in list(self.parents):
            edge.parent.drained_poll()

    def check_not_blocked(self, operation: str) -> None:
        """Refuse an operation if a job uses the node, or if the node is the backing file of another one.

        :param operation: QEMU's BlockOpType, such as ``"mirror-target"``; :data:`ALLOWED_ON_BACKING` are those that a
            backing file allows.
        :raises QmpError: with the text of bdrv_op_is_blocked; the other node is called as it was when it took this
            one: a new overlay has no device yet then (bdrv_backing_attach, block.c, QEMU 10.0).
        """
        if self.blockers:
            raise QmpError(f"Node '{self.device_or_node_name}' is busy: {self.blockers[0]}")
        for edge in self.parents:
            if not isinstance(edge.parent, Node):
                continue
            if self.graph.hide_filters and edge.parent.implicit:
                edge.parent.check_not_blocked(operation)
            if edge.name == "backing" and not edge.parent.is_filter and operation not in ALLOWED_ON_BACKING:
                raise QmpError(
                    f"Node '{self.device_or_node_name}' is busy: node is used as backing hd of '{edge.parent_name}'"
                )
