"""``qcow2``: a format with clusters, a backing file, stored bitmaps and internal snapshots.

The node works on the disk in the image; what this asks of the file is in :mod:`.qcow2_requests`, and what becomes of
bitmaps in :mod:`.qcow2_bitmaps`.
"""

from __future__ import annotations

import errno

from qbitsim.block.chain import read_below, status_above
from qbitsim.block.limits import Limits
from qbitsim.block.node import Child, Node
from qbitsim.block.roles import ReadPart
from qbitsim.block.status import Status
from qbitsim.drivers.data_file import open_data_file
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.file import STATUS_OF, file_below, image_below
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.drivers.qcow2_bitmaps import PersistentBitmaps
from qbitsim.drivers.qcow2_caches import check_cache_sizes, check_clean_interval, check_entry_size
from qbitsim.drivers.qcow2_info import specific_info
from qbitsim.drivers.qcow2_options import BlockdevOptionsQcow2
from qbitsim.drivers.qcow2_requests import MAXIMUM_WRITTEN, FileRequests
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.images.content import Kind, known_zeroes
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.structures import MAGIC
from qbitsim.images.spans import Spans
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image import Image
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

MAXIMUM_L1_ENTRIES = 1 << 22
SIZE_IN_HEADER = 24

COMPRESSING = 8
"""How many clusters of a request are compressed at a time (QCOW2_MAX_WORKERS, block/qcow2.h, QEMU 10.0)."""

_SIZES = ("cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size")


_MOST_TAKEN = 1 << 20
"""Clusters that are taken over one by one; more of them are mostly holes, which requests for ranges make quickly."""


@driver(
    "qcow2",
    options=BlockdevOptionsQcow2,
    format=True,
    creates=True,
    children=["file", "data-file"],
    accepts={"encrypt": (), "discard-no-unref": (False,)},
    sizes=_SIZES,
    reopens=[
        *("lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "discard-no-unref"),
        *("overlap-check", "cache-clean-interval", *_SIZES),
    ],
)
class Qcow2Node(DriverNode):
    """The disk in a qcow2 file.

    :param image: what is in the file that the child ``file`` leads to.
    """

    supports_backing = True
    supports_compression = True
    can_store_bitmaps = True

    __slots__ = (
        *("_counted", "_data_place", "_header_changed", "_requests", "_shows_holes", "_stored_bitmaps", "_written"),
        "image",
    )

    image: Qcow2Image

    def __init__(self, graph: Graph, image: Qcow2Image, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.image = image
        self._requests = FileRequests(self, image)
        self._written = self._requests.written
        self._stored_bitmaps = PersistentBitmaps(self, image, self._requests)
        self._counted = False
        self._data_place = 0 if image.data_file is None else 1
        self._shows_holes = False
        self._header_changed = False

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The image in the file."""
        file = opener.open_file_child(options)
        if file.read_only and not flag(options, "read-only"):
            raise QmpError("Block node is read-only")  # before anybody reads of it (bdrv_open_file_child)
        found = file_below(file)
        try:
            file.pread(0, SECTOR)
        except OSError as error:
            raise QmpError(f"Could not read qcow2 header: {error.strerror}") from None
        if found is not None:
            found.refresh()
        image = image_below(file)
        if not isinstance(image, Qcow2Image):
            if found is None and int.from_bytes(file.read(0, 4), "big") == MAGIC:
                raise UnsupportedError(f"qcow2 in a '{file.skip_filters().driver}' node")
            raise QmpError("Image is not in qcow2 format")
        refusal = image.refusal(write=not flag(options, "read-only"))
        if refusal is not None:
            raise QmpError(refusal)
        if not (flag(options, "read-only") or opener.graph.opens_inactive):
            image.drop_unknown_autoclear()
            image.repair_if_dirty()
        node = cls(opener.graph, image, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.open_format(node, file, options)
        check_entry_size(options, image.cluster_size)
        check_clean_interval(options)
        open_data_file(opener, node, image, options)
        return node

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse sizes of caches that do not fit together."""
        check_cache_sizes(options)

    @property
    def length(self) -> int:
        """Bytes of the disk."""
        return self.image.size

    @property
    def cluster_size(self) -> int:
        """Bytes."""
        return self.image.cluster_size

    @property
    def is_dirty(self) -> bool:
        """Whether it had lazy refcounts when it was not closed."""
        return self.image.kept_header.dirty

    def limits_above(self, below: Limits) -> Limits:
        """Whole clusters are best discarded and zeroed (qcow2_refresh_limits)."""
        return changed(below, discard=self.cluster_size, zeroes=self.cluster_size)

    @property
    def can_unmap_zeroes(self) -> bool:
        """Version 3 has clusters of zeroes."""
        return self.image.compat != "0.10"

    @property
    def header_changed(self) -> bool:
        """As long as it is open."""
        return self._header_changed

    @property
    def header_backing(self) -> str | None:
        """As the header says."""
        return self.image.backing

    @property
    def lists_snapshots(self) -> bool:
        """Not with an external data file (qcow2_snapshot_list)."""
        return self.image.data_file is None

    @property
    def snapshots(self) -> list[StoredSnapshot]:
        """Those of the image."""
        return self.image.snapshots

    def save_state(self, length: int) -> None:
        """Write it into the image."""
        l1, tables = self.image.layout.active.l1, dict(self.image.layout.active.l2)
        self.image.save_state(length)
        self._requests.note_grown(l1)
        self._requests.note_state(length, tables)

    def create_snapshot(self, name: str, date: int, clock: int, state_size: int = 0) -> StoredSnapshot:
        """Take it in the image.

        :raises OSError: ENOTSUP: the data are in another file.
        """
        if self.image.data_file is not None:
            raise io_error(errno.ENOTSUP)
        old_list = self.image.layout.snapshots.list_clusters(self.cluster_size)
        made = self.image.create_snapshot(name, date, clock, state_size)
        self._requests.note_snapshot()
        self._requests.note_freed(Spans([(old_list.start, old_list.stop)]))
        return made

    def apply_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Put back what the image held."""
        layout = self.image.layout
        old = layout.snapshots.led_to(layout.clusters, layout.active)
        self.image.apply_snapshot(snapshot)
        self._requests.note_freed(layout.clusters.unused(old))

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Delete it from the image: the list of snapshots goes, then what it led to, then its L1 table."""
        layout = self.image.layout
        old_list = layout.snapshots.list_clusters(self.cluster_size)
        parts = layout.snapshots.parts(layout.clusters, self.image.snapshots.index(snapshot))
        self.image.delete_snapshot(snapshot)
        self._requests.note_snapshot_list()
        self._requests.note_freed(layout.clusters.unused(old_list))
        self._requests.note_shared_tables(1)
        for freed in parts:
            self._requests.note_freed(layout.clusters.unused(freed))

    def change_backing_file(self, name: str | None, driver: str | None) -> None:
        """Write it into the header, which is in the first cluster."""
        self.image.backing, self.image.backing_format, self._header_changed = name, driver, True
        self.image.save_header()
        self._file.note_write_end(self.cluster_size)
        self.graph.scheduler.wait_for_io(1, f"header of {self.name}")

    def specific_info(self, profile: Profile) -> Json:
        """ImageInfoSpecificQCow2."""
        return specific_info(self.image, profile)

    # -- requests

    def _read(self, offset: int, length: int) -> bytes:
        self._ask_to_read(offset, length)
        below = self.backing
        if below is None:
            return self.image.content.read(offset, length)
        content = self.image.content
        parts = [
            read_below(below, part.offset, part.length)
            if part.source is below
            else content.read(part.offset, part.length)
            for part in self._parts(below, offset, length)
        ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _ask_to_read(self, offset: int, length: int) -> None:
        if self.image.file.faults is not None:
            self.image.file.faults.check("read", offset, length)
        if self._data.notices_requests:
            self._requests.ask_for_runs("read", offset, length)

    def _parts(self, below: Node, offset: int, length: int) -> Iterator[ReadPart]:
        """The parts of a range of which this layer says what is there, and those that are *below*."""
        content, end = self.image.content, offset + length
        while offset < end:
            kind, run = content.status(offset, end - offset)
            yield ReadPart(below if kind is Kind.HOLE else content, offset, run)
            offset += run

    def read_in_parts(self, offset: int, length: int) -> list[ReadPart] | None:
        """Where each part of the range is; None if it is a read that copies, or needs no other layer."""
        below = self.backing
        if below is None or self.copy_on_read:
            return None
        self._ask_to_read(offset, length)
        return list(self._parts(below, offset, length))

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        if compressed:
            self._write_compressed(offset, data)
            return
        unit, written = self.image.cluster_size, self._written.reach
        if not written:
            self._written.begin()
        cluster, start = divmod(offset, unit)
        reach = start + len(data)
        if reach > unit or len(written) > MAXIMUM_WRITTEN:
            self._requests.note_written(offset, offset + len(data))
        elif reach > written.get(cluster, 0):
            written[cluster] = reach
        if self.image.file.faults is not None:
            self.image.file.faults.check("write", offset, len(data))
        shared = self._requests.shared_clusters(offset, len(data)) if self.image.snapshots else ()
        if self._data_place:
            self._requests.note_tables_of(offset, len(data))
        if self._notices:
            self._requests.write(offset, data, self._below)
        else:
            try:
                self.image.write(offset, data, self._below)
            except OSError:
                self._requests.note_tables_in_vain(offset, len(data))
                raise
        if shared:
            written.update(dict.fromkeys(shared, unit))
            self._requests.note_replaced(shared)

    def _write_compressed(self, offset: int, data: bytes) -> None:
        """Write whole clusters, each for itself (qcow2_co_pwritev_compressed_part, block/qcow2.c, QEMU 10.0).

        After one that fails no other is begun; QEMU has begun some more by then, mostly as many as work at a time.

        :raises OSError: EINVAL for a part of a cluster, EIO for one that has a place in the file; others are written.
        """
        unit, end = self.cluster_size, offset + len(data)
        if self.image.data_file is not None:
            raise io_error(errno.ENOTSUP)
        if offset % unit or (end % unit and end != self.length):
            raise io_error(errno.EINVAL)
        failed_at: int | None = None
        for start in range(0, len(data), unit):
            if failed_at is not None and start > failed_at + COMPRESSING * unit:
                break
            piece, place = data[start : start + unit], offset + start
            if not self.image.shrinks(piece):
                self._write(place, piece, compressed=False)
                continue
            self._make_table(place, len(piece))
            if self.image.takes_compressed(place):
                self._write_packed(place, piece)
            elif failed_at is None:
                failed_at = start
        if failed_at is not None:
            raise io_error(errno.EIO)

    def _make_table(self, offset: int, length: int) -> None:
        """Ask for the L2 table of a compressed cluster, which is needed even if the cluster cannot be put there."""
        if self._file.notices_requests:
            self.image.check_room(offset, length)
            self._file.before_table_change()
            self._requests.ask_for_tables(offset)
        self._requests.note_tables(offset)

    def _write_packed(self, offset: int, data: bytes) -> None:
        self._written.load_slices(offset, len(data))
        if self.image.file.faults is not None:
            self.image.file.faults.check("write", offset, len(data))
        self._requests.note_packed(offset, self.image.write_compressed(offset, data))
        if self._file.notices_requests:
            self._requests.ask_for_runs("write", offset, len(data))

    @property
    def copies_ranges(self) -> bool:
        """Whether the file does."""
        return self.children[0].node.copies_ranges

    @property
    def _file(self) -> Node:
        return self.children[0].node

    @property
    def _data(self) -> Node:
        """Where the disk's clusters are: an external data file, or the file."""
        return self.children[self._data_place].node

    @property
    def _notices(self) -> bool:
        """Whether the file, or the data file, notices requests."""
        return self._file.notices_requests or (self._data_place > 0 and self._data.notices_requests)

    @property
    def _watched(self) -> bool:
        return self.image.file.faults is not None or self._notices

    @property
    def plain_image(self) -> Image | None:
        """Itself, without a backing file and with nobody who watches."""
        return None if self._watched or self.backing is not None else self.image

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Let the image take them, if nobody watches; the slices of the L2 tables are in memory then."""
        image = source.plain_image
        if image is None or self.plain_image is None or self.bitmaps or chosen.count > _MOST_TAKEN:
            return False
        if not self.image.can_share_clusters(image, cluster_size):
            return False
        clusters = list(chosen.indices())
        self.image.copy_clusters(image.content, clusters)
        self._written.reach.update(dict.fromkeys(clusters, cluster_size))
        if clusters:
            end = min((max(clusters) + 1) * cluster_size, self.length)
            if end > self.noticed_end:
                self.note_write_end(end)
        return True

    def waits_for_io(self, operation: str) -> bool:
        """For a status only once.

        Then it looks whether the metadata were preallocated, for which it needs the first refcounts; writing may have
        read them already (qcow2_co_block_status and qcow2_detect_metadata_preallocation).
        """
        return operation != "status" or not (self._counted or self._written)

    def zeroing_waits_for_io(self, offset: int, length: int) -> bool:
        """Unless slices of the L2 tables in memory say what is there."""
        return self._watched or not self._written.has_slices(offset, length)

    def reads_nothing(self, offset: int, length: int) -> bool:
        """Clusters of zeroes, and those that no layer has (qcow2_co_preadv_part)."""
        if self.image.file.faults is not None or self.copy_on_read:
            return False
        end, backing = offset + length, self.backing
        while offset < end:
            status = self.layer_status(offset, end - offset)
            below = 0 if backing is None or status.allocated else min(status.length, backing.length - offset)
            if status.data or (backing is not None and below > 0 and not backing.reads_nothing(offset, below)):
                return False
            offset += status.length
        return True

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if self._notices:
            self._file.before_table_change(list(self.image.layout.host_runs(offset, length)))
        self._written.load_slices(offset, length)
        if self.image.file.faults is not None:
            self.image.file.faults.check("write-zeroes", offset, length)
        self._requests.note_tables(offset)
        if unmap:
            self._requests.free_places(offset, length)
        else:
            self._requests.tell_writes()  # of clusters that are none of the new ones any more afterwards
        if self._notices:
            self.image.check_room_for_zeroes(offset, length, self._below)
            if self.image.data_file is not None and self.image.data_file.is_raw:
                self._data.pwrite(offset, length)
            self._requests.ask_for_tables(offset)
        below = None if self.backing is None else self._below
        stored = self._stored_zeroes(offset, length)
        filled = [start // self.cluster_size for start, stop in stored if self._gets_place(start, stop)]
        self.image.write_zeroes(offset, length, below, self._below_is_zero, unmap=unmap)
        self._requests.note_changed_tables(offset, length)
        self._written.begin()
        self._written.reach.update(dict.fromkeys(filled, self.cluster_size))
        for start, stop in stored:
            self._requests.note_written(start, stop)
            if self._notices:
                self._requests.ask_for_runs("write", start, stop - start)

    def _stored_zeroes(self, offset: int, length: int) -> list[tuple[int, int]]:
        """The parts of clusters in a range that can be zero only as bytes in the file, as (start, stop)."""
        if not offset % self.cluster_size and not length % self.cluster_size:
            return []
        below = None if self.backing is None else self._below
        pieces = self.image.content.zero_pieces(offset, length, below, self._below_is_zero)
        return [(start, stop) for start, stop, as_zero in pieces if not as_zero]

    def _gets_place(self, start: int, stop: int) -> bool:
        """Whether the cluster that a piece is in gets a place, or another one than a snapshot's."""
        if start // self.cluster_size not in self.image.content.allocation_order():
            return True
        return bool(self.image.snapshots and self._requests.shared_clusters(start, stop - start))

    def _discard(self, offset: int, length: int) -> None:
        backed = self.backing is not None
        if self.image.file.faults is not None:
            self.image.file.faults.check("discard", offset, length)
        if self._notices:
            self._file.before_table_change(list(self.image.layout.host_runs(offset, length)))
        first, last = self.image.content.whole_clusters(offset, length)
        changes = self._discard_changes(first, last)
        if first < last:
            self._requests.note_tables(offset)
        if self.unmap and self.image.can_discard(backed=backed):
            self._requests.free_places(offset, length)
        if self._file.notices_requests and first < last:
            self._requests.ask_for_tables(first * self.cluster_size)
        self.image.discard(offset, length, backed=backed)
        if changes:
            self._requests.note_changed_tables(offset, length)

    def _discard_changes(self, first: int, last: int) -> bool:
        """Whether a discard of the clusters from *first* to before *last* changes their entries in the L2 tables.

        It hides what is below, but what has no place over nothing stays as it is (discard_in_l2_slice, QEMU 10.0).
        """
        if first >= last or self.backing is not None:
            return first < last
        length = (last - first) * self.cluster_size
        return self.image.content.status(first * self.cluster_size, length) != (Kind.HOLE, length)

    def _flush(self) -> None:
        if self.image.file.faults is not None:
            self.image.file.faults.check("flush", 0, 0)
        self._requests.flush_tables()
        super()._flush()

    def _status(self, offset: int, length: int) -> Status:
        status = self.layer_status(offset, length)
        if status.data and self._shows_holes:
            status.zero, status.length = self.image.data_run(offset, status.length)
        return status

    def layer_status(self, offset: int, length: int) -> Status:
        """As of every node; what is allocated is told by the tables alone (want_zero of qcow2_co_block_status)."""
        if not self._counted:
            self._counted, self._shows_holes = True, self.image.shows_holes
        kind, run = self.image.status(offset, length)
        data, zero = STATUS_OF[kind]
        return Status(run, data=data, zero=zero)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Whole clusters; and a part of one, if all of it reads as zeroes then (qcow2_co_pwrite_zeroes, QEMU 10.0)."""
        if self.image.compat == "0.10":
            return False
        unit, end = self.cluster_size, offset + length
        head, tail = offset % unit, 0 if end == self.length else -end % unit
        if not head and not tail:
            return True
        around = ((offset - head, head), (end, min(tail, self.length - end)))
        is_data = STATUS_OF[self.image.content.status(offset, 1)[0]][0]
        return not is_data and all(status_above(self, None, *part).zero for part in around if part[1])

    def _truncate(self, size: int) -> None:
        """With the refusals of qcow2_co_truncate (block/qcow2.c, QEMU 10.0), in its order."""
        if size % SECTOR:
            raise QmpError(f"The new size must be a multiple of {SECTOR}")
        if self.image.snapshots and self.image.compat == "0.10":
            raise QmpError("Can't resize a v2 image which has snapshots")
        for stored in self.image.bitmaps:
            bitmap = self.find_bitmap(stored.name)
            if bitmap is not None:
                bitmap.check()
        if size > MAXIMUM_L1_ENTRIES * (self.cluster_size // 8) * self.cluster_size:
            raise QmpError("Failed to grow the L1 table: File too large")
        backing = self.backing
        zero_new = backing is not None and backing.length > self.length
        if zero_new and not self.can_unmap_zeroes and size > -(-self.length // self.cluster_size) * self.cluster_size:
            raise QmpError("Failed to zero out new clusters: Operation not supported")
        try:
            self._file.pwrite(SIZE_IN_HEADER, 8)
        except OSError as error:
            raise QmpError(f"Failed to update the image size: {error.strerror}") from None
        old, table = self.length, self.image.layout.active.l1
        shrinking = self._requests.begin_shrinking(size, old) if size < old else None
        try:
            self.image.resize(size, zero_new=zero_new, below=self._below if zero_new else None)
        except OSError as error:
            if not zero_new:
                raise
            self.image.resize(old)  # QEMU changes the length last
            raise QmpError(f"Failed to zero out the new area: {error.strerror}") from None
        if shrinking is not None:
            self._requests.end_shrinking(shrinking)
        else:
            self._requests.note_grown(table)
        self._requests.flush_tables()
        if self._data_place:
            self._data.follow_length()
            self._requests.ask_for_preallocated()

    def make_empty(self) -> None:
        """Forget what the layer holds (qcow2_make_empty, block/qcow2.c, QEMU 10.0); no bitmap is marked."""
        self.image.make_empty()

    def _below(self, offset: int, length: int) -> bytes:
        backing = self.backing
        if backing is None or (not backing.reads_plainly and self._is_known_zero(offset, length)):
            return known_zeroes(length)
        found, zeroes = read_below(backing, offset, length), known_zeroes(length)
        return zeroes if found == zeroes and self._is_known_zero(offset, length) else found

    def _is_known_zero(self, offset: int, length: int) -> bool:
        """Whether QEMU knows that a range is zero below without reading it (is_zero_cow, block/qcow2.c)."""
        backing = self.backing
        while backing is not None and not self.graph.allocation_looks_for_zeroes:
            layer = backing.skip_filters()
            if not isinstance(layer, Qcow2Node):
                return False
            backing = layer.backing
        return self._below_is_zero(offset, length)

    def _below_is_zero(self, offset: int, length: int) -> bool:
        """Whether the layers below say that they are zero, without a look at bytes (is_zero, block/qcow2.c, 10.0)."""
        backing = self.backing
        end = min(offset + length, backing.length) if backing is not None else 0
        while backing is not None and offset < end:
            status = status_above(backing, None, offset, end - offset)
            if not status.zero:
                return False
            offset += status.length
        return True

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """As of every format; a data file has no metadata, so that others may write to it, too."""
        if child.name != "data-file":
            return super().child_permissions(child, perm, shared)
        if perm & (perms.WRITE | perms.WRITE_UNCHANGED):
            perm |= perms.WRITE | perms.RESIZE
        return perm, shared & ~perms.RESIZE

    def tell_writes(self) -> None:
        """Let the file know how far its clusters were written."""
        self._requests.tell_writes()

    # -- stored bitmaps

    def on_opened(self) -> None:
        """Take up what the file has stored."""
        if self.inactive:
            return
        if not self.read_only:
            self.image.file.let_format_write()
            self.image.keep_tables()
        self._stored_bitmaps.load()

    def inactivate(self) -> None:
        """Store the bitmaps, which are the image's alone then, and write all down (qcow2_inactivate)."""
        stored = [each for each in self.bitmaps if each.persistent and not (each.skip_store or each.inconsistent)]
        if self.read_only or self.store_bitmaps():
            for bitmap in stored:
                self.release_bitmap(bitmap)
        if not self.read_only:
            self.flush()
            self.image.save()
            self.image.release_tables()

    def activate(self) -> None:
        """Open the image in the file again, with the bitmaps that it has now (qcow2_co_invalidate_cache)."""
        found = file_below(self._file)
        if found is not None:
            found.refresh()
        image = image_below(self._file)
        if not isinstance(image, Qcow2Image):
            raise QmpError("Could not reopen qcow2 layer: Image is not in qcow2 format")
        if not self.read_only:
            image.drop_unknown_autoclear()
            image.repair_if_dirty()
        self.image = image
        self._requests = FileRequests(self, image)
        self._written = self._requests.written
        self._stored_bitmaps = PersistentBitmaps(self, image, self._requests)
        self._counted = False
        self.follow_length()
        self.on_opened()

    def store_bitmaps(self) -> bool:
        """Write the persistent bitmaps into the file; whether it worked."""
        return self._stored_bitmaps.store()

    def check_room_for_bitmaps(self) -> None:
        """Refuse to become read-only if there is no room for the bitmaps that would be stored."""
        self._stored_bitmaps.check_room()

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Refuse caches that do not fit, and to be read-only if bitmaps could not be stored then.

        They are stored at once, and stay readonly if the reopening is refused later (qcow2_reopen_prepare,
        block/qcow2.c, QEMU 10.0, measured on 7.2 and 11.1, too): the node cannot be written until one is not.
        """
        check_cache_sizes(options)
        check_entry_size(options, self.cluster_size)
        check_clean_interval(options)
        if read_only and not self.read_only:
            self.check_room_for_bitmaps()
            self.on_read_only(read_only=True)
            self.has_readonly_bitmaps = any(bitmap.readonly for bitmap in self.bitmaps)
        elif read_only and any(each.persistent and not (each.readonly or each.inconsistent) for each in self.bitmaps):
            raise QmpError("No write access")

    def set_read_only(self, read_only: bool) -> None:
        """As every node; one that stays writable takes up bitmaps that an earlier attempt made readonly."""
        super().set_read_only(read_only)
        if self.has_readonly_bitmaps and not read_only:
            self.on_read_only(read_only=False)

    def on_read_only(self, read_only: bool) -> None:
        """Store the bitmaps and make them readonly, or take them up for writing again."""
        if read_only:
            self._stored_bitmaps.make_readonly()
            self.image.release_tables()
        else:
            self.has_readonly_bitmaps = False
            self.image.file.let_format_write()
            self.image.keep_tables()
            self._stored_bitmaps.make_writable()

    def check_stays_read_only(self) -> None:
        """QEMU would store the bitmaps that were added to the read-only node (qcow2_reopen_bitmaps_ro)."""
        if self._stored_bitmaps.lacks_some:
            raise QmpError("No write access")

    def close(self) -> None:
        """Store the bitmaps (qcow2_close)."""
        if not (self.read_only or self.inactive):
            self.store_bitmaps()
            self.image.release_tables()
        if self.image.data_file is not None:
            self.image.data_file.is_held = False

    def abandon(self) -> None:
        """What of the tables was only in memory is lost."""
        if not (self.read_only or self.inactive):
            self.image.lose_unsaved_tables()

    def check_can_store(self, name: str, granularity: int) -> None:
        """Refuse a bitmap that cannot be stored in this image."""
        self._stored_bitmaps.check_can_store(name, granularity)

    def remove_stored_bitmap(self, name: str) -> None:
        """Take it off the file at once; one that was never stored is not there (qcow2_co_remove_persistent_...)."""
        if self.image.find_bitmap(name) is not None:
            self._stored_bitmaps.remove(name)
            self.image.tables_written()  # before the directory is (update_ext_header_and_dir)
