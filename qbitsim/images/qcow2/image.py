"""``qcow2``: the disk in a file with clusters, its bitmaps and its internal snapshots."""

from __future__ import annotations

import errno
import os

from qbitsim.errors import QmpError
from qbitsim.files.failures import StepError
from qbitsim.images.content import Content, Kind, zero_block
from qbitsim.images.file_holes import FileHoles
from qbitsim.images.image import Image
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.plain_content import FILE_CLUSTER
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.content import Qcow2Content
from qbitsim.images.qcow2.layout import HostLayout
from qbitsim.images.qcow2.metadata import MAXIMUM_L1
from qbitsim.images.qcow2.packing import Compression, packed_length
from qbitsim.images.qcow2.snapshots import StoredSnapshot
from qbitsim.images.qcow2.structures import KeptHeader
from qbitsim.images.qcow2.unsaved import UnsavedTables
from qbitsim.light_library import contextmanager
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeGuard

    from qbitsim.images.content import Reader
    from qbitsim.images.host.clusters import PlacedContent
    from qbitsim.images.host.l2_tables import CachedTables
    from qbitsim.images.image import Preallocation
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.qcow2.bitmaps import StoredBitmap
    from qbitsim.images.qcow2.check import CheckResult
    from qbitsim.images.qcow2.data_file import DataFile
    from qbitsim.images.qcow2.table_reader import Disk
    from qbitsim.images.qcow2.tables import Part, Tables

_LONGEST_SNAPSHOT_NAME = 255
"""Bytes."""


class Qcow2Image(Image):
    """A qcow2 image.

    :param size: bytes of the virtual disk.
    :ivar cluster_size: bytes.
    :ivar backing: the backing file's name as written in the header, None if there is none.
    :ivar backing_format: its format, None if not written down.
    :ivar compat: ``"1.1"`` (version 3) or ``"0.10"`` (version 2); change it with :mod:`.version`.
    :ivar refcount_bits: bits of one reference count.
    :ivar compression: how clusters are compressed.
    :ivar data_file: where the disk's clusters are, None if they are in the image's own file.
    :ivar bitmaps: in the order in the file; change them with :meth:`store_bitmaps` and :meth:`remove_bitmap`.
    :ivar snapshots: oldest first; change them with :meth:`create_snapshot` and the like.
    :ivar corrupt: the incompatible feature bit of that name.
    :ivar kept_header: what the header has that other programs put there.
    :ivar has_stale_bitmaps: its header still has the directory of bitmaps that were lost when it became version 2.
    """

    __slots__ = (
        *("_holes", "_layout", "_preallocated_end", "backing", "backing_format", "bitmaps", "cluster_size", "compat"),
        *("compression", "corrupt", "data_file", "has_stale_bitmaps", "kept_header", "lazy_refcounts"),
        *("refcount_bits", "snapshots"),
    )

    format = "qcow2"
    backing: str | None
    backing_format: str | None
    bitmaps: list[StoredBitmap]
    cluster_size: int
    data_file: DataFile | None
    snapshots: list[StoredSnapshot]

    def __init__(
        self,
        file: ImageFile,
        size: int,
        *,
        cluster_size: int = FILE_CLUSTER,
        backing: str | None = None,
        backing_format: str | None = None,
        compat: str = "1.1",
        lazy_refcounts: bool = False,
        refcount_bits: int = 16,
        data_file: DataFile | None = None,
        compression: Compression = "zlib",
    ) -> None:
        self.compression = compression
        super().__init__(file, Qcow2Content(size, cluster_size, zero_clusters=compat != "0.10"))
        self.cluster_size = cluster_size
        self.backing = backing
        self.backing_format = backing_format
        self.compat = compat
        self.lazy_refcounts = lazy_refcounts
        self.refcount_bits = refcount_bits
        self.bitmaps = []
        self.snapshots = []
        self.corrupt = False
        self.has_stale_bitmaps = False
        self.kept_header = KeptHeader()
        self._preallocated_end = 0
        self._holes = FileHoles()
        self.data_file = data_file
        self._layout = self._empty_layout(size)
        if data_file is not None:
            self.content = self._empty_content(self._layout.active, size)

    def _empty_layout(self, size: int) -> HostLayout:
        """That of a new file."""
        if self.data_file is None:
            return HostLayout(size, self.cluster_size, self.refcount_bits)
        from qbitsim.images.host.l2_tables import CachedTables, L2Cache  # noqa: PLC0415 - few have a data file

        tables = CachedTables(L2Cache(None, self.cluster_size, external=True))
        return HostLayout(size, self.cluster_size, self.refcount_bits, external=True, tables=tables)

    def _empty_content(self, tables: Tables, size: int) -> Content:
        if self.data_file is None:
            return Qcow2Content(size, self.cluster_size, zero_clusters=self.content.zero_clusters)
        from qbitsim.images.host.clusters import PlacedContent  # noqa: PLC0415 - few have a data file

        assert is_cached(tables)
        return PlacedContent(self.data_file, tables, size, compression=self.compression)

    def placed_content(self, disk: Disk, size: int) -> PlacedContent:
        """The content of a disk that was found in the file, of which the data are left where they are."""
        content = self._empty_content(disk.tables, size)
        assert is_placed(content)
        return content

    def refusal(self, *, write: bool) -> str | None:
        """As every image; one that is marked as corrupt can only be read (qcow2_do_open)."""
        if write and self.corrupt:
            return "qcow2: Image is corrupt; cannot be opened read/write"
        return None

    def repair(self, found: CheckResult) -> None:
        """Do what a check says; if nothing is left to do, the file is trusted again (qcow2_co_check_locked)."""
        from qbitsim.images.qcow2.check import repair  # noqa: PLC0415 - few images are damaged

        repair(self.layout, found)
        if not found.errors and not found.corruptions:
            self.corrupt = False
            self.mark_clean()

    def mark_clean(self) -> None:
        """It is closed after it was open for writing, repaired or not (qcow2_inactivate)."""
        self.kept_header = changed(self.kept_header, dirty=False)

    def repair_if_dirty(self) -> list[str]:
        """It is opened for writing: if it was not closed after it had lazy refcounts, repair it (qcow2_do_open).

        :returns: what QEMU says of it on its standard error.
        :raises QmpError: that cannot be done.
        """
        if not self.kept_header.dirty:
            return []
        from qbitsim.images.qcow2.check import check_file  # noqa: PLC0415

        found = check_file(self.file.bytes_read, leaks=True, errors=True)
        if found.errors:
            raise QmpError("Could not repair dirty image: Input/output error")
        self.repair(found)
        return found.lines

    def drop_unknown_autoclear(self) -> None:
        """It is opened for writing by who does not know what these features are about (qcow2_do_open)."""
        if self.kept_header.autoclear:
            self.kept_header = changed(self.kept_header, autoclear=0)

    # -- the disk

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every image."""
        if self.file.capacity is not None:
            self.check_room(offset, len(data))
        layout = self._layout
        try:
            if layout.is_lazy and offset % layout.cluster_size + len(data) <= layout.cluster_size and not self._holes:
                self.content.write(offset, data, below)
                return
            below = self.read_around(offset, len(data), below)
        except OSError:
            self._write_in_vain(offset, data, below)
            raise
        with self.placing():
            stored = self.content.allocation_order()
            touched = range(*self._touched(offset, len(data))) if self._holes else ()
            new = [guest for guest in touched if guest not in stored]
            layout.write(*self._touched(offset, len(data)))
            self.content.write(offset, data, below)
            self._fill_holes(offset, len(data))
            for guest in new:  # all of it is written
                self._fill_holes(guest * self.cluster_size, self.cluster_size)

    def _write_in_vain(self, offset: int, data: bytes, below: Reader | None) -> None:
        """What was to be copied into a cluster of a write could not be read; what QEMU has stored before stays."""
        front = self.front_of_copied(offset, len(data))
        if front:
            self.write(offset, data[:front], below)
        self._place_in_vain(offset + front, len(data) - front)

    def front_of_copied(self, offset: int, length: int) -> int:
        """How many bytes are in front of the clusters that get a place together with the last one.

        QEMU writes the data before it copies into a cluster, unless it can write both at once, which it cannot where
        they begin in another one (qcow2_co_pwritev_task and merge_cow, block/qcow2.c, 10.0). 0 if the last cluster has
        a place, or is filled.
        """
        first, stop = self._touched(offset, length)
        last = stop - 1
        if not (offset + length) % self.cluster_size or self._is_in_place(last):
            return 0
        own = next((guest for guest in range(last - 1, first - 1, -1) if self._is_in_place(guest)), None)
        return 0 if own is None else (own + 1) * self.cluster_size - offset

    def _place_in_vain(self, offset: int, length: int) -> None:
        """What was to be copied into the clusters of a write could not be read; QEMU has placed them before."""
        self.reserve(offset, length)
        self.settle(written=False)

    def read_around(self, offset: int, length: int, below: Reader | None) -> Reader | None:
        """What gives a write the rest of its first and of its last cluster, where these are holes.

        All of it is read from *below* before anything is written (perform_cow, block/qcow2-cluster.c, 10.0).
        """
        if below is None:
            return None
        unit = self.cluster_size
        edges = sorted({at - at % unit for at in (offset, offset + length) if at % unit})
        found = {at: below(at, unit) for at in edges if self.content.status(at, 1)[0] is Kind.HOLE}
        return lambda at, length: found[at - at % unit][at % unit : at % unit + length]

    def _fill_holes(self, offset: int, length: int) -> None:
        """The range was written to its places in the file."""
        unit, end = self.cluster_size, offset + length
        while self._holes and offset < end:
            stop = min(end, offset - offset % unit + unit)
            place = self._layout.host_offset(offset)
            if place is not None:
                self._holes.fill(place, place + stop - offset)
            offset = stop

    def shrinks(self, data: bytes) -> bool:
        """As every image, if it gets smaller.

        :raises UnsupportedError: this Python does not have the image's compression.
        """
        return packed_length(data.ljust(self.cluster_size, b"\0"), self.compression) is not None

    def takes_compressed(self, offset: int) -> bool:
        """Whether the cluster at *offset* has no place in the file, so that a compressed one can be put there.

        Asking is the first half of writing: the L2 table is made ready.
        """
        return self.layout.takes_packed(offset // self.cluster_size)

    def write_compressed(self, offset: int, data: bytes) -> int:
        """Store one cluster compressed; :meth:`shrinks` and :meth:`takes_compressed` say that it can be.

        :returns: how many bytes are stored.
        :raises OSError: as :meth:`write`.
        """
        unit = self.cluster_size
        length = packed_length(data.ljust(unit, b"\0"), self.compression)
        assert length is not None
        self.check_room(offset, len(data))
        with self.placing() as layout:
            layout.write_packed(offset // unit, length)
            self.content.write(offset, data)
        return length

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """As every image."""
        self.check_room_for_zeroes(offset, length, below)
        self._zero_data_file(offset, length, unmap=unmap)
        unit = self.cluster_size
        for start, stop, as_zero in self.content.zero_pieces(offset, length, below, below_is_zero):
            if not as_zero:
                self._write_zero_bytes(start, stop - start, below)
                continue
            with self.placing() as layout:
                first, last = start // unit, -(-stop // unit)
                layout.zero(first, last, unmap=unmap or self.compat == "0.10")
                self._remember_holes(first, last)
                self.content.zero_clusters_in(first, last)

    def _remember_holes(self, first: int, last: int) -> None:
        """The clusters from *first* to before *last* are about to be ZERO."""
        if self._layout.order is not None:
            self._layout.order.remember_holes(first, last)

    def _write_zero_bytes(self, offset: int, length: int, below: Reader | None) -> None:
        """Write zeroes where a cluster cannot say that it is zero; the room has been checked."""
        try:
            below = self.read_around(offset, length, below)
        except OSError:
            self._write_in_vain(offset, zero_block(length), below)
            raise
        with self.placing() as layout:
            layout.write(*self._touched(offset, length))
            self.content.write(offset, zero_block(length), below)
            self._fill_holes(offset, length)

    def can_discard(self, *, backed: bool) -> bool:
        """Whether a cluster can be given up: version 2 cannot hide what a backing file has in its place."""
        return not backed or self.compat != "0.10"

    def _zero_data_file(self, offset: int, length: int, *, unmap: bool) -> None:
        """Zero a range of a raw data file first, which must always read as the disk (zero_in_l2_slice, 10.0)."""
        if self.data_file is None:
            return
        if self.data_file.is_raw:
            self.data_file.write_zeroes(offset, length, unmap=unmap)
        elif unmap:
            self._discard_data(offset, length)

    def _discard_data(self, offset: int, length: int) -> None:
        """Let an external data file have the whole clusters of a range back."""
        if self.data_file is not None:
            first, last = self.content.whole_clusters(offset, length)
            self.data_file.discard(first * self.cluster_size, (last - first) * self.cluster_size)

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """As every image."""
        if self.can_discard(backed=backed):
            self._discard_data(offset, length)
            with self.placing() as layout:
                layout.discard(*self.content.whole_clusters(offset, length))
                if backed:
                    self._remember_holes(*self.content.whole_clusters(offset, length))
                self.content.discard(offset, length, backed=backed)

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every image."""
        chosen, stored = list(clusters), source.allocation_order()
        self._check_room_for_clusters(source, chosen)
        emptied = [number for number in chosen if number not in stored]
        for number in emptied if self._layout.order is not None else ():
            self._remember_holes(number, number + 1)
        if self._is_placed_later(emptied):
            self.content.copy_clusters(source, chosen)
            return
        with self.placing() as layout:
            for number in chosen:
                if number in stored:
                    layout.write(number, number + 1)
                else:
                    layout.zero(number, number + 1, unmap=self.compat == "0.10")
            self.content.copy_clusters(source, chosen)
            for number in chosen if self._holes else ():
                if number in stored:
                    self._fill_holes(number * self.cluster_size, self.cluster_size)

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """As every image; not with a data file, which has its own bytes."""
        return self.data_file is None and super().can_share_clusters(source, cluster_size)

    def _is_placed_later(self, emptied: list[int]) -> bool:
        """Whether clusters may be copied without a look at their places, of which *emptied* become zero."""
        if not self._layout.is_lazy or self._holes:
            return False
        if not emptied:
            return True
        return self.content.allocation_order().isdisjoint(emptied) and self._layout.has_tables(emptied)

    @contextmanager
    def placing(self) -> Iterator[HostLayout]:
        """Change layout and content together: what was to be placed later is placed before."""
        yield self.layout
        self._layout.settle(self.content)

    def _touched(self, offset: int, length: int) -> tuple[int, int]:
        """The first of the clusters that a range touches, and the one behind the last."""
        return offset // self.cluster_size, -(-(offset + length) // self.cluster_size)

    def check_room_for_zeroes(self, offset: int, length: int, below: Reader | None = None) -> None:
        """OSError(ENOSPC) if the capacity does not allow the range to be zeroed."""
        if self.file.capacity is not None:
            self._check_capacity(self._zero_growth(offset, length, below))

    def _zero_growth(self, offset: int, length: int, below: Reader | None) -> int:
        """What writing zeroes would allocate: in version 3 only parts of clusters over a backing file."""
        if self.compat == "0.10" and below is not None:
            return self.content.growth(offset, length)
        unit, end = self.cluster_size, offset + length
        edges = {at // unit for at in (offset, end) if at % unit and at != self.size} if below else set()
        return sum(self.content.growth(number * unit, 1) for number in edges)

    # -- its size

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """As every image."""
        old, unit = self.size, self.cluster_size
        self._check_l1(size)
        if self.data_file is not None:
            if self.data_file.is_raw and preallocation == "off" and size > old:
                preallocation = "metadata"
            self.data_file.resize(size, preallocation)
        with self.placing() as layout:
            self.content.resize(size)
            if size < old:
                layout.shrink(size, old)
            layout.grow(size)
            if size > old:
                self.save()  # before what the old L1 table took is used again
            if preallocation != "off" and (size > old or not size):  # a new image of no bytes has an L2 table, too
                self._preallocate(old, preallocation, below)
            # What is preallocated as data is zero in the file (BDRV_REQ_ZERO_WRITE of the file's own truncation).
            zero_new = zero_new and size > old and (preallocation in {"off", "metadata"} or self.data_file is not None)
            if zero_new and self.compat != "0.10":
                layout.zero(-(-old // unit), -(-size // unit), unmap=False)
                self.content.zero_clusters_in(-(-old // unit), -(-size // unit))
        if zero_new and old % unit:
            self.write(old, bytes(min(size, -(-old // unit) * unit) - old), below)
        for bitmap in self.bitmaps:
            bitmap.bits.resize(-(-size // bitmap.granularity))

    def _check_l1(self, size: int) -> None:
        unit = self.cluster_size
        if size > max(self.size, MAXIMUM_L1 // TABLE_ENTRY * (unit // TABLE_ENTRY) * unit):
            raise StepError(errno.EFBIG, f"Failed to grow the L1 table: {os.strerror(errno.EFBIG)}")

    def _preallocate(self, old: int, preallocation: Preallocation, below: Reader | None) -> None:
        """Give places to what is new of a disk that had *old* bytes (preallocate_co and qcow2_co_truncate, 10.0)."""
        unit = self.cluster_size
        first, stop = old // unit, -(-self.size // unit)
        as_data = preallocation != "metadata" and self.data_file is None
        moved = first if as_data or not self._is_in_place(first) else first + 1
        edges = list(self._edges(old, moved, below, tail=not as_data))

        def store(begin: int, end: int, part: Part) -> None:
            self._store_preallocated(max(old, max(begin, moved) * unit), end, part, preallocation)

        place = self._layout.preallocate if as_data else self._layout.write
        place(first, stop, store)
        for cluster, skip, data in edges:
            self.content.store_part(cluster, skip, data)
            self._fill_holes(cluster * unit + skip, len(data))

    def _edges(self, old: int, moved: int, below: Reader | None, *, tail: bool) -> Iterator[tuple[int, int, bytes]]:
        """What is copied in front of and behind what is preallocated (perform_cow, block/qcow2-cluster.c, 10.0).

        :param moved: the first cluster that gets a new place; :param tail: the last one is filled up.
        :returns: clusters, how far in them, and bytes.
        """
        unit = self.cluster_size
        first, skip = divmod(old, unit)
        if skip and first == moved:
            yield first, 0, self._cluster_bytes(old - skip, skip, below)
        last, skip = divmod(self.size, unit)
        if skip and last >= moved and tail:
            yield last, skip, self._cluster_bytes(self.size, unit - skip, below)

    def _is_in_place(self, guest: int) -> bool:
        """Whether what a cluster reads as is where it is to be written: it has a place of its own, and is not ZERO."""
        return self.layout.is_own(guest) and guest in self.content.allocation_order()

    def _cluster_bytes(self, offset: int, length: int, below: Reader | None) -> bytes:
        """What a part of one cluster reads as, which may be behind the end of the disk."""
        guest, skip = divmod(offset, self.cluster_size)
        if below is not None and self.content.is_hole(guest):
            return below(offset, length)
        if offset + length <= self.size:
            return self.content.read(offset, length)
        return self.content.whole_cluster(guest)[skip : skip + length]

    def _store_preallocated(self, offset: int, stop: int, part: Part, preallocation: Preallocation) -> None:
        """Let the clusters from the one at *offset* to before *stop*, which have new places, hold zeroes.

        :param offset: what is in front of it in its cluster is written afterwards.
        :param part: what was changed for them.
        """
        del part
        unit, end = self.cluster_size, min(stop * self.cluster_size, self.size)
        if is_placed(self.content):
            for _ in self.content.take_places(offset // unit, stop):
                pass  # the data file was given room already
            return
        for number in range(offset // unit, stop):
            self.content.store_cluster(number, zero_block(unit))
        if preallocation == "metadata" and offset < end:
            for place, length in self._layout.host_runs(offset, end - offset):
                self._holes.add(place, place + length)

    @property
    def can_be_reset(self) -> bool:
        """Whether nothing but the disk is in the file, so that it becomes as short as a new one when it is emptied."""
        return self.compat != "0.10" and not self.snapshots and not self.bitmaps and self._layout.can_be_reset

    def change_refcount_bits(self, bits: int) -> int:
        """Count references in *bits* bits from now on, which must do for all; as :class:`.Allocator` does it."""
        with self.placing() as layout:
            walks = layout.clusters.change_refcount_bits(bits)
            self.refcount_bits = bits
        return walks

    def make_empty(self) -> None:
        """Forget all clusters, so that the backing file shows (qcow2_make_empty, block/qcow2.c, 10.0)."""
        with self.placing() as layout:
            if self.can_be_reset:
                layout.reset()
            else:
                layout.discard(0, -(-self.size // self.cluster_size))
                self._discard_data(0, self.size)
            if is_placed(self.content):
                self.content.forget()
            self.content = self._empty_content(layout.active, self.size)
        self.tables_written()

    # -- the file

    @property
    def layout(self) -> HostLayout:
        """Where the file keeps what, brought up to date."""
        self._layout.sync(self.content)
        return self._layout

    def take_layout(self, layout: HostLayout) -> None:
        """What the content has stored by now is where *layout* says."""
        self._layout = layout
        layout.settle(self.content)

    # -- what of the tables is in the file

    def keep_tables(self) -> None:
        """It is opened for writing: changes of its tables are in memory until :meth:`tables_written`."""
        if self.data_file is None:
            self.layout.clusters.order = UnsavedTables(self)

    def tables_written(self) -> None:
        """All changes of the tables are in the file (qcow2_write_caches)."""
        order = self._layout.order
        if order is not None:
            order.save()

    def save_header(self) -> None:
        """Write down what the header says (qcow2_update_header); of an image in memory there is nothing to write."""

    def release_tables(self) -> None:
        """It is open for writing no more, and all is in the file."""
        self._layout.clusters.order = None

    @property
    def has_unsaved_tables(self) -> bool:
        """Whether another process would find something else in the file."""
        return bool(self.layout.order)

    def lose_unsaved_tables(self) -> None:
        """Who had it open for writing was killed: be what the file says."""
        order = self.layout.order
        self.release_tables()
        if order is not None:
            order.put_back(self)

    def is_punched(self, cluster: int) -> bool:
        """Whether the host was given back a cluster of the file; that is a hole among the data from now on."""
        start, unit, clusters = cluster * self.cluster_size, self.cluster_size, self._layout.clusters
        found = clusters.holes.run(start, start + unit) == (True, unit)
        if found:
            clusters.holes.fill(start, start + unit)
            self._holes.add(start, start + unit)
        return found

    def copy_as_saved(self, file: ImageFile) -> None:
        """Let *file* hold an independent image of what the file says."""
        order, twin = self.layout.order, self.copy_into(file)
        if order is not None:
            order.put_back(twin)

    def host_offset(self, offset: int) -> int | None:
        """As every image."""
        return self.layout.host_offset(offset)

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """The kind at ``offset`` and for how many bytes one look at the tables tells it (qcow2_get_host_offset).

        That is at most ``length``, inside one slice of an L2 table, and of data what is in one piece in the file.
        """
        unit = self.cluster_size
        first = offset // unit
        kind, run = self.content.status(offset, min(length, self._layout.slice_end(first) * unit - offset))
        if kind is not Kind.HOLE:
            end = self.layout.run_end(first, -(-(offset + run) // unit))
            run = min(run, end * unit - offset)
        return kind, run

    def reserve(self, offset: int, length: int) -> None:
        """Give places in the file to all clusters of the range, which are about to be written; then :meth:`settle`."""
        self.layout.reserve(*self._touched(offset, length))

    def settle(self, *, written: bool) -> None:
        """End what :meth:`reserve` began; if nothing was *written*, clusters get back the places that they had.

        New L2 tables stay in any case.
        """
        self.layout.settle_reserved(stored=lambda _: written)

    def extend_file(self, end: int) -> None:
        """As every image."""
        self._layout.clusters.written(0, end)

    def note_given_back(self, offset: int, length: int, *, used: bool) -> None:
        """As every image."""
        unit, clusters = self.cluster_size, self.layout.clusters
        if used:
            clusters.holes.add(offset, offset + length)
            return
        for cluster in clusters.unused(range(offset // unit, (offset + length) // unit)).numbers():
            clusters.holes.add(cluster * unit, (cluster + 1) * unit)

    @property
    def file_length(self) -> int:
        """As every image."""
        return max(self.written_length, -(-self._preallocated_end // SECTOR) * SECTOR)

    @property
    def written_length(self) -> int:
        """As every image."""
        return -(-self.layout.end // SECTOR) * SECTOR

    def end_file(self, end: int) -> None:
        """As every image."""
        assert end >= self.written_length
        self._preallocated_end = end

    @property
    def actual_size(self) -> int:
        """As every image."""
        end = self.file_length
        return -(-end // FILE_PAGE) * FILE_PAGE - self._holes.size(end) - self.layout.clusters.holes.size(end)

    @property
    def shows_holes(self) -> bool:
        """Whether so much of the file is a hole that QEMU tells holes in data.

        (qcow2_detect_metadata_preallocation, block/qcow2-refcount.c, 10.0)
        """
        if self.data_file is not None:
            return False
        full = self.actual_size // self.cluster_size
        in_use = self.layout.clusters.clusters_in_use(-(-self.file_length // self.cluster_size))
        return in_use >= max(full * 10 // 9, full + 2)

    @property
    def holes(self) -> FileHoles:
        """Pages of the file that are in use although nobody has written them."""
        return self._holes

    def data_run(self, offset: int, length: int) -> tuple[bool, int]:
        """Whether the data at *offset* are a hole of the file, and for how many of *length* bytes that goes on."""
        unit, layout, end = self.cluster_size, self.layout, offset + length
        hole, stop = False, offset
        while stop < end:
            place = layout.host_offset(stop)
            limit = min(end, layout.run_end(stop // unit, -(-end // unit)) * unit)
            found, run = (False, limit - stop) if place is None else self._holes.run(place, place + limit - stop)
            if not found:
                found, run = self.content.unwritten(stop, run)
            if stop > offset and found != hole:
                break
            hole, stop = found, stop + run
        return hole, stop - offset

    @property
    def image_end(self) -> int:
        """As every image."""
        return self.layout.image_end

    def reopen(self) -> None:
        """The next allocations look for free clusters from the file's beginning."""
        self.layout.reopen()

    def close_written(self) -> None:
        """The bitmaps are stored anew."""
        if self.bitmaps:
            self.store_bitmaps(self.bitmaps)

    # -- bitmaps

    @property
    def keeps_bitmaps(self) -> bool:
        """From version 3 on."""
        return self.compat != "0.10"

    def store_bitmaps(self, bitmaps: Iterable[StoredBitmap]) -> None:
        """Replace the stored bitmaps by *bitmaps*, in this order in the file."""
        self.bitmaps = list(bitmaps)
        places, clusters = self.layout.bitmaps, self._layout.clusters
        kept = {bitmap.name for bitmap in self.bitmaps if bitmap.in_use and bitmap.name in places}
        stored = (bitmap for bitmap in self.bitmaps if bitmap.name not in kept)
        places.store(clusters, [(bitmap.name, *bitmap.shape(self.cluster_size)) for bitmap in stored], kept)

    def remove_bitmap(self, name: str) -> None:
        """Take the bitmap called *name* out of the file; KeyError if it is not there."""
        found = self.find_bitmap(name)
        if found is None:
            raise KeyError(name)
        self.bitmaps.remove(found)
        self.layout.bitmaps.remove(self._layout.clusters, name)

    # -- internal snapshots (block/qcow2-snapshot.c, 10.0); they hold no bitmaps, and the data file has no room for them

    @property
    def can_take_snapshot(self) -> bool:
        """Whether all clusters can have one reference more."""
        return self.layout.most_references < (1 << self.refcount_bits) - 1

    def save_state(self, length: int) -> None:
        """Write *length* bytes of the machine's state, for the snapshot that is created next."""
        self.layout.save_state(length)

    def create_snapshot(
        self, name: str, date: int, clock: int, state_size: int = 0, *, icount: int = -1
    ) -> StoredSnapshot:
        """Keep the disk as it is, and the machine's state, under the lowest number above all others.

        A long name is cut (QEMUSnapshotInfo, block/snapshot.h).
        """
        made = StoredSnapshot(
            id=str(max((snapshot.number for snapshot in self.snapshots), default=0) + 1),
            name=os.fsdecode(os.fsencode(name)[:_LONGEST_SNAPSHOT_NAME]),
            date=date,
            clock=clock,
            content=self.content.clone(),
            state_size=state_size,
            icount=icount,
        )
        self.snapshots.append(made)
        self.layout.create_snapshot((each.entry_length for each in self.snapshots), state_size)
        return made

    def create_snapshot_in_vain(self) -> None:
        """Keep nothing, and leave leaked clusters behind, as QEMU does where not all can have one reference more."""
        self.layout.create_snapshot_in_vain()

    def apply_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Put the disk back to what it was; the bitmaps stay as they are. Both must have the same size."""
        assert snapshot.content.size == self.size
        with self.placing() as layout:
            layout.apply_snapshot(self.snapshots.index(snapshot))
            self.content = snapshot.content.clone()
        self.tables_written()

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Forget a snapshot."""
        index = self.snapshots.index(snapshot)
        del self.snapshots[index]
        self.layout.delete_snapshot(index, (each.entry_length for each in self.snapshots))

    def copy_into(self, file: ImageFile) -> Qcow2Image:
        """As every image."""
        twin = Qcow2Image(
            file,
            0,
            cluster_size=self.cluster_size,
            backing=self.backing,
            backing_format=self.backing_format,
            compat=self.compat,
            lazy_refcounts=self.lazy_refcounts,
            refcount_bits=self.refcount_bits,
            data_file=None if self.data_file is None else self.data_file.copy(),
            compression=self.compression,
        )
        twin.content = self.content.clone()
        twin.bitmaps = [bitmap.copy() for bitmap in self.bitmaps]
        twin.snapshots = list(self.snapshots)
        twin.corrupt, twin.has_stale_bitmaps = self.corrupt, self.has_stale_bitmaps
        twin.kept_header = self.kept_header
        twin._layout, twin._preallocated_end = self._layout.copy(), self._preallocated_end
        twin._holes = self._holes.copy()
        if twin.data_file is not None:
            assert is_placed(twin.content)
            assert is_cached(twin._layout.active)
            twin.content.move_to(twin.data_file, twin._layout.active)
        file.image = twin
        return twin


def is_placed(content: Content) -> TypeGuard[PlacedContent]:
    """Whether the bytes of a disk are in a file."""
    return hasattr(content, "placed")


def is_cached(tables: Tables) -> TypeGuard[CachedTables]:
    """Whether the L2 tables are read from a file when they are wanted, or are as they would be in one."""
    return hasattr(tables, "cache")
