"""What is in one image file, in memory.

An :class:`Image` is the disk's content and, for qcow2, the name of the backing file and the stored bitmaps. It knows
nothing of the graph: a node opens an image, and several images form a chain only by their names.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from qbitsim.bits.bits import Bits
from qbitsim.files.faults import Faults
from qbitsim.files.locks import Locks
from qbitsim.images.content import FILE_CLUSTER, FILE_PAGE, Content, Reader, zero_block
from qbitsim.images.layout import HostLayout
from qbitsim.images.packing import packed_length
from qbitsim.records import record
from qbitsim.sizes import SECTOR

L1_ENTRY = 8
QCOW2_FIRST_CLUSTERS = 3
"""The header, the refcount table and the first refcount block, in front of the first L1 table."""


@record(frozen=False)
class StoredBitmap:
    """A bitmap in a qcow2 file.

    :ivar name: unique in the file.
    :ivar granularity: bytes per bit.
    :ivar in_use: it was open for writing and never stored: its bits are not to be trusted.
    :ivar auto: it is enabled when the image is opened.
    :ivar bits: one bit per granule of the disk.
    """

    name: str
    granularity: int
    in_use: bool
    auto: bool
    bits: Bits

    def copy(self) -> StoredBitmap:
        """An independent bitmap of the same value."""
        return StoredBitmap(self.name, self.granularity, self.in_use, self.auto, self.bits.copy())


@record(kw_only=True, eq=False)
class StoredSnapshot:
    """An internal snapshot in a qcow2 file.

    :ivar id: a decimal number; :ivar name: what people call it.
    :ivar date: nanoseconds since 1970, whole microseconds; :ivar clock: nanoseconds for which the guest had run.
    :ivar content: the disk at that time; it does not change.
    """

    id: str
    name: str
    date: int
    clock: int
    content: Content


class Image:
    """One file.

    :ivar name: the name that it was created under.
    :ivar format: ``"raw"`` or ``"qcow2"``.
    :ivar content: the disk.
    :ivar cluster_size: bytes, None for raw.
    :ivar backing: the backing file's name as written in the header, None if there is none.
    :ivar backing_format: its format, None if not written down.
    :ivar compat: ``"1.1"`` (version 3) or ``"0.10"`` (version 2).
    :ivar bitmaps: in the order in the file; change them with :meth:`store_bitmaps` and :meth:`remove_bitmap`.
    :ivar capacity: the most bytes that the content, and bitmaps that are to be stored, may take; None for no limit.
    :ivar faults: rules that make requests on the disk fail, None if there are none.
    :ivar corrupt: qcow2's incompatible feature bit of that name.
    :ivar has_stale_bitmaps: its header still has the directory of bitmaps that were lost when it became version 2.
    :ivar locks: who has the file open.
    :ivar snapshots: internal ones, oldest first; change them with :meth:`create_snapshot` and the like.
    """

    __slots__ = (
        *("_layout", "backing", "backing_format", "bitmaps", "capacity", "cluster_size", "compat", "content"),
        *(
            "corrupt",
            "faults",
            "format",
            "has_stale_bitmaps",
            "lazy_refcounts",
            "locks",
            "name",
            "refcount_bits",
            "snapshots",
        ),
    )

    def __init__(
        self,
        name: str,
        format: str,  # noqa: A002 (QEMU's word)
        size: int,
        *,
        cluster_size: int = FILE_CLUSTER,
        backing: str | None = None,
        backing_format: str | None = None,
        compat: str = "1.1",
        lazy_refcounts: bool = False,
        refcount_bits: int = 16,
    ) -> None:
        assert format in {"raw", "qcow2"}
        qcow2 = format == "qcow2"
        self.name = name
        self.format = format
        self.cluster_size = cluster_size if qcow2 else None
        self.backing = backing
        self.backing_format = backing_format
        self.compat = compat
        self.lazy_refcounts = lazy_refcounts
        self.refcount_bits = refcount_bits
        self.bitmaps: list[StoredBitmap] = []
        self.snapshots: list[StoredSnapshot] = []
        self.capacity: int | None = None
        self.corrupt = False
        self.has_stale_bitmaps = False
        self.faults: Faults | None = None
        self.locks = Locks()
        self._layout: HostLayout | None = None
        if qcow2:
            self.content = Content(size, cluster_size, zero_clusters=compat != "0.10")
            self._layout = HostLayout(size, cluster_size, refcount_bits)
        else:
            self.content = Content(size, FILE_CLUSTER, allocation=FILE_PAGE)

    def __repr__(self) -> str:
        return f"<Image {self.name!r} {self.format} {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes of the virtual disk."""
        return self.content.size

    # -- the disk

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """:meth:`.Content.write`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it."""
        if self.capacity is not None:
            self.check_room(offset, len(data))
        layout = self._layout
        if layout is None or (layout.is_lazy and offset % layout.cluster_size + len(data) <= layout.cluster_size):
            self.content.write(offset, data, below)
            return
        with self._placing(layout):
            layout.write(*self._touched(offset, len(data)))
            self.content.write(offset, data, below)

    def shrinks(self, data: bytes) -> bool:
        """Whether a cluster of these bytes, or what the disk's last one has of it, can be stored compressed."""
        return packed_length(data.ljust(self.content.cluster_size, b"\0")) is not None

    def takes_compressed(self, offset: int) -> bool:
        """Whether the cluster at *offset* has no place in the file, so that a compressed one can be put there.

        Asking is the first half of writing: the L2 table is made ready.
        """
        return self.synced_layout.takes_packed(offset // self.content.cluster_size)

    def write_compressed(self, offset: int, data: bytes) -> None:
        """Store one cluster compressed; :meth:`shrinks` and :meth:`takes_compressed` say that it can be.

        :raises OSError: as :meth:`write`.
        """
        layout, unit = self._layout, self.content.cluster_size
        length = packed_length(data.ljust(unit, b"\0"))
        assert layout is not None
        assert length is not None
        self.check_room(offset, len(data))
        with self._placing(layout):
            layout.write_packed(offset // unit, length)
            self.content.write(offset, data)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """:meth:`.Content.write_zeroes`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it.

        :param unmap: clusters that become zero give back their places in the file.
        """
        self.check_room_for_zeroes(offset, length, below)
        layout, unit = self._layout, self.content.cluster_size
        if layout is None:
            self.content.write_zeroes(offset, length, below, below_is_zero)
            return
        for start, stop, as_zero in self.content.zero_pieces(offset, length, below, below_is_zero):
            with self._placing(layout):
                first, last = start // unit, -(-stop // unit)
                if as_zero:
                    layout.zero(first, last, unmap=unmap or self.compat == "0.10")
                    self.content.zero_clusters_in(first, last)
                else:
                    layout.write(first, last)
                    self.content.write(start, zero_block(stop - start), below)

    def discard(self, offset: int, length: int) -> None:
        """:meth:`.Content.discard`."""
        layout = self._layout
        if layout is None:
            self.content.discard(offset, length)
        elif self.backing is None or self.compat != "0.10":
            with self._placing(layout):
                layout.discard(*self.content.whole_clusters(offset, length))
                self.content.discard(offset, length, backed=self.backing is not None)

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocated: bool = False
    ) -> None:
        """:meth:`.Content.resize`; the stored bitmaps keep their bits as far as the disk reaches.

        :param preallocated: the new clusters of a qcow2 image have places and hold zeroes.
        :param below: what the backing chain reads as, for a cluster of which only the new part is to be zero.
        """
        old, unit, layout = self.size, self.content.cluster_size, self._layout
        if layout is None:
            self.content.resize(size)
            return
        with self._placing(layout):
            self.content.resize(size, zero_new=zero_new)
            if size < old:
                layout.shrink(size, old)
            layout.grow(size)
            if preallocated and size > old:
                self._preallocate(layout, old)
            elif zero_new and size > old and self.compat != "0.10":
                layout.zero(-(-old // unit), -(-size // unit), unmap=False)
        if zero_new and not preallocated and old < size and old % unit:
            self.write(old, bytes(min(size, -(-old // unit) * unit) - old), below)
        for bitmap in self.bitmaps:
            bitmap.bits.resize(-(-size // bitmap.granularity))

    def _preallocate(self, layout: HostLayout, old: int) -> None:
        unit = layout.cluster_size
        layout.preallocate(old // unit, -(-self.size // unit))
        known = self.content.allocation_order()
        for number in range(old // unit, -(-self.size // unit)):
            if number not in known:
                start = number * unit
                self.content.write(start, zero_block(min(unit, self.size - start)))

    def make_empty(self) -> None:
        """Forget all clusters, so that the backing file shows (qcow2_make_empty, block/qcow2.c, 10.0).

        If nothing but the disk is in the file, it becomes as short as a new one; otherwise clusters are freed.
        """
        layout = self.synced_layout
        if self.compat != "0.10" and not self.snapshots and not self.bitmaps and layout.can_be_reset:
            layout.reset()
        else:
            layout.discard(0, -(-self.size // layout.cluster_size))
        self.content = Content(self.size, layout.cluster_size, zero_clusters=self.content.zero_clusters)
        layout.settle(self.content)

    # -- its version (qcow2_amend_options, block/qcow2.c, 10.0)

    def upgrade(self) -> None:
        """Version 3 from now on."""
        if self.compat == "0.10":
            self.compat = "1.1"
            self.content.zero_clusters = True

    def downgrade(self, *, backed: bool) -> None:
        """Version 2 from now on, which has no ZERO clusters and no bitmaps; the places of bitmaps are lost.

        Zeroed clusters that have a place, or hide a backing file, are stored as zeroes; the others become holes.

        :param backed: there is a backing file.
        """
        layout = self.synced_layout
        contents = [self.content, *(found.content for found in self.snapshots)]
        for content, tables in zip(contents, [layout.active, *layout.snapshots], strict=True):
            layout.expand_zeroes(tables, content, backed=backed)
            content.expand_zeroes(tables.places)
        layout.settle(self.content)
        self.compat, self.lazy_refcounts = "0.10", False
        if self.bitmaps:
            self.store_bitmaps(self.bitmaps)
            self.bitmaps = []
            self.has_stale_bitmaps = True
            layout.lose_bitmaps()

    def change_refcount_bits(self, bits: int) -> None:
        """Count references in *bits* bits from now on."""
        self.synced_layout.clusters.change_refcount_bits(bits)
        self.refcount_bits = bits

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """:meth:`.Content.copy_clusters`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it."""
        chosen, stored = list(clusters), source.allocation_order()
        if self.capacity is not None:
            unit = source.cluster_size
            wanted = (n * unit for n in chosen if n in stored)
            self._check_capacity(sum(self.content.growth(at, min(unit, self.size - at)) for at in wanted))
        layout = self._layout
        if layout is None or self._is_placed_later(layout, [n for n in chosen if n not in stored]):
            self.content.copy_clusters(source, chosen)
            return
        with self._placing(layout):
            for number in chosen:
                if number in stored:
                    layout.write(number, number + 1)
                else:
                    layout.zero(number, number + 1, unmap=self.compat == "0.10")
            self.content.copy_clusters(source, chosen)

    def _is_placed_later(self, layout: HostLayout, emptied: list[int]) -> bool:
        """Whether clusters may be copied without a look at their places, of which *emptied* become zero."""
        if not layout.is_lazy:
            return False
        if not emptied:
            return True
        known = self.content.allocation_order()
        return known.isdisjoint(emptied) and layout.has_tables(emptied)

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """Whether :meth:`copy_clusters` can take clusters of that size from *source*, and no limit stops it."""
        return self.capacity is None and source.content.cluster_size == self.content.cluster_size == cluster_size

    @contextmanager
    def _placing(self, layout: HostLayout) -> Iterator[None]:
        """Change layout and content together: what was to be placed later is placed before."""
        layout.sync(self.content)
        yield
        layout.settle(self.content)

    def _touched(self, offset: int, length: int) -> tuple[int, int]:
        """The first of the clusters that a range touches, and the one behind the last."""
        unit = self.content.cluster_size
        return offset // unit, -(-(offset + length) // unit)

    def check_room(self, offset: int, length: int) -> None:
        """OSError(ENOSPC) if the capacity does not allow the range to be written."""
        if self.capacity is not None:
            self._check_capacity(self.content.growth(offset, length))

    def check_room_for_zeroes(self, offset: int, length: int, below: Reader | None = None) -> None:
        """OSError(ENOSPC) if the capacity does not allow the range to be zeroed."""
        if self.capacity is not None and self.cluster_size is not None:
            self._check_capacity(self._zero_growth(offset, length, below))

    def _check_capacity(self, growth: int) -> None:
        if growth and self.capacity is not None and self.content.allocated + growth > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)

    def _zero_growth(self, offset: int, length: int, below: Reader | None) -> int:
        """What writing zeroes would allocate: in version 3 only parts of clusters over a backing file."""
        if self.compat == "0.10" and below is not None:
            return self.content.growth(offset, length)
        unit, end = self.content.cluster_size, offset + length
        edges = {at // unit for at in (offset, end) if at % unit and at != self.size} if below else set()
        return sum(self.content.growth(number * unit, 1) for number in edges)

    def replace_content(self, other: Image) -> None:
        """Hold what ``other`` holds, in the same file: who has it open keeps it, with its locks and its faults."""
        for name in set(self.__slots__) - {"capacity", "faults", "locks", "name"}:
            setattr(self, name, getattr(other, name))

    # -- the file

    def host_offset(self, offset: int) -> int | None:
        """Where in the file the byte at *offset* of the disk is kept.

        None if it has no place of its own: it is not allocated, or compressed. A zeroed cluster may have a place.
        """
        if self._layout is None:
            return offset
        cluster, skip = divmod(offset, self._layout.cluster_size)
        place = self._synced(self._layout).place(cluster)
        return None if place is None else place + skip

    def host_run(self, offset: int, length: int) -> tuple[int, int] | None:
        """Where in the file a range inside one cluster is kept, as (offset, length): compressed data as a whole."""
        place = self.host_offset(offset)
        if place is not None:
            return place, length
        packed = self._layout.active.packed if self._layout is not None else {}
        return packed.get(offset // self.content.cluster_size)

    def looked_up_at_once(self, offset: int, length: int) -> int:
        """For how many of *length* bytes, all of one kind, a single look at the tables of the file tells that."""
        if self._layout is None:
            return length
        unit = self._layout.cluster_size
        stop = self._synced(self._layout).looked_up_at_once(offset // unit, -(-(offset + length) // unit))
        return min(stop * unit - offset, length)

    def is_compressed(self, offset: int) -> bool:
        """Whether the byte at *offset* of the disk is kept compressed."""
        return self._layout is not None and offset // self._layout.cluster_size in self._layout.active.packed

    @property
    def keeps_places_of_zeroes(self) -> bool:
        """Whether some clusters that were zeroed still have their places in the file."""
        return self._layout is not None and self._synced(self._layout).keeps_zeroes(self.content)

    @property
    def leaks(self) -> list[int]:
        """The clusters of a qcow2 file that are in use, and nothing refers to them; ascending."""
        return sorted(self.synced_layout.leaked)

    def free_leaks(self) -> None:
        """Free the clusters of :attr:`leaks`."""
        self.synced_layout.free_leaks()

    @property
    def fragments(self) -> tuple[int, int, int]:
        """Of a qcow2 image: how many clusters are allocated, do not follow the one before, are compressed."""
        assert self._layout is not None
        return self._synced(self._layout).fragments()

    def places(self, clusters: Iterable[int]) -> Iterator[int | None]:
        """Where in the file clusters of the disk begin, None for those without a place of their own."""
        assert self._layout is not None
        return map(self._synced(self._layout).place, clusters)

    def new_table_places(self, offset: int) -> list[tuple[int, int]]:
        """Where in the file QEMU writes before the byte at *offset*, the first in reach of its L2 table, can be stored.

        That is the refcounts, one entry of the L1 table and the new L2 table itself, which is put right in front of the
        data; later changes of the tables stay in memory until they are flushed (l2_allocate and qcow2_write_l1_entry,
        block/qcow2-cluster.c, 10.0). Nothing if the table exists, or in a raw file.

        :returns: pairs of offset and length, in bytes.
        """
        if self._layout is None:
            return []
        layout = self._synced(self._layout)
        if layout.has_table(offset // layout.cluster_size):
            return []
        unit = layout.cluster_size
        entry = layout.l1_place + offset // (unit * (unit // L1_ENTRY)) * L1_ENTRY
        return [(2 * unit, unit), (entry, L1_ENTRY), (layout.next_place, unit)]

    def reserve(self, offset: int, length: int) -> None:
        """Give places in the file to all clusters of the range, which are about to be stored; then :meth:`settle`."""
        layout = self.synced_layout
        layout.reserve(*self._touched(offset, length))

    def settle(self) -> None:
        """Take back the reserved places of the clusters that were not stored; new L2 tables stay in any case."""
        layout = self.synced_layout
        layout.give_back(self.content)

    def extend_file(self, end: int) -> None:
        """Something was written up to the byte before *end*, so that the file is at least as long."""
        if self._layout is not None:
            self._layout.clusters.written(0, end)

    @property
    def synced_layout(self) -> HostLayout:
        """Where a qcow2 file keeps what, brought up to date."""
        assert self._layout is not None
        return self._synced(self._layout)

    @property
    def file_length(self) -> int:
        """Bytes of the file, rounded up to sectors as QEMU shows it."""
        end = self.size if self._layout is None else self._synced(self._layout).end
        return -(-end // SECTOR) * SECTOR

    @property
    def actual_size(self) -> int:
        """Bytes that a host's file system would need: all that was written of the file, in whole pages.

        In qcow2 nothing is written behind the end of an L1 table that is shorter than its clusters.
        """
        if self._layout is None:
            return self.content.allocated
        unit, pages = self.content.cluster_size, -(-self.file_length // FILE_PAGE)
        table = max(1, -(-self.size // (unit * (unit // L1_ENTRY)))) * L1_ENTRY
        clusters = -(-table // unit)
        if self.file_length >= (QCOW2_FIRST_CLUSTERS + clusters) * unit:
            pages -= clusters * unit // FILE_PAGE - -(-table // FILE_PAGE)
        return pages * FILE_PAGE

    @property
    def image_end(self) -> int:
        """First byte behind the last cluster in use (qcow2), as ``qemu-img check`` reports it."""
        return self.size if self._layout is None else self._synced(self._layout).image_end

    def reopen(self) -> None:
        """The file is being opened anew; the next allocations look for free clusters from its beginning."""
        if self._layout is not None:
            self._synced(self._layout).reopen()

    def _synced(self, layout: HostLayout) -> HostLayout:
        layout.sync(self.content)
        return layout

    # -- bitmaps

    @property
    def keeps_bitmaps(self) -> bool:
        """Whether bitmaps can be stored in it."""
        return self._layout is not None and self.compat != "0.10"

    def find_bitmap(self, name: str) -> StoredBitmap | None:
        """The stored bitmap of that name, None if there is none."""
        return next((bitmap for bitmap in self.bitmaps if bitmap.name == name), None)

    def store_bitmaps(self, bitmaps: Iterable[StoredBitmap]) -> None:
        """Replace the stored bitmaps by *bitmaps*, in this order in the file."""
        self.bitmaps = list(bitmaps)
        if self._layout is not None:
            layout = self._synced(self._layout)
            kept = {bitmap.name for bitmap in self.bitmaps if bitmap.in_use and bitmap.name in layout.bitmaps}
            shapes = [self._bitmap_shape(bitmap) for bitmap in self.bitmaps if bitmap.name not in kept]
            layout.bitmaps.store(layout.clusters, shapes, kept)

    def remove_bitmap(self, name: str) -> None:
        """Take the bitmap called *name* out of the file; KeyError if it is not there."""
        found = self.find_bitmap(name)
        if found is None:
            raise KeyError(name)
        self.bitmaps.remove(found)
        if self._layout is not None:
            layout = self._synced(self._layout)
            layout.bitmaps.remove(layout.clusters, name)

    def close_written(self) -> None:
        """The file was open for writing and is closed: the bitmaps are stored anew."""
        if self.bitmaps:
            self.store_bitmaps(self.bitmaps)

    def mark_bitmaps(self, offset: int, length: int) -> None:
        """Something wrote to a range: set its bits in the bitmaps that record."""
        for bitmap in self.bitmaps:
            if bitmap.auto and not bitmap.in_use and length:
                bitmap.bits.set(offset // bitmap.granularity, -(-(offset + length) // bitmap.granularity))

    def bitmap_length(self, bitmap: StoredBitmap) -> int:
        """Bytes of the file that a bitmap takes when it is stored."""
        unit = self.content.cluster_size
        _, data, entries = self._bitmap_shape(bitmap)
        return (data - (-entries * L1_ENTRY // unit)) * unit

    def _bitmap_shape(self, bitmap: StoredBitmap) -> tuple[str, int, int]:
        """The name, the clusters of data and the entries of the table of a stored bitmap."""
        bits_per_cluster = self.content.cluster_size * 8
        entries = -(-bitmap.bits.length // bits_per_cluster)
        data: set[int] = set()
        for start, stop in bitmap.bits.ranges():
            data.update(range(start // bits_per_cluster, (stop - 1) // bits_per_cluster + 1))
        return bitmap.name, len(data), entries

    # -- internal snapshots (block/qcow2-snapshot.c, 10.0); they hold no bitmaps

    @property
    def can_take_snapshot(self) -> bool:
        """Whether all clusters can have one reference more. Where they cannot, QEMU leaves leaked clusters behind."""
        layout = self.synced_layout
        return layout.most_references < (1 << self.refcount_bits) - 1

    def create_snapshot(self, name: str, date: int, clock: int) -> StoredSnapshot:
        """Keep the disk as it is, under the lowest number above all others."""
        number = max((int(snapshot.id) for snapshot in self.snapshots), default=0) + 1
        made = StoredSnapshot(id=str(number), name=name, date=date, clock=clock, content=self.content.clone())
        self.snapshots.append(made)
        self.synced_layout.create_snapshot(self._snapshot_names())
        return made

    def apply_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Put the disk back to what it was; the bitmaps stay as they are. Both must have the same size."""
        assert snapshot.content.size == self.size
        layout = self.synced_layout
        layout.apply_snapshot(self.snapshots.index(snapshot))
        self.content = snapshot.content.clone()
        layout.settle(self.content)

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Forget a snapshot."""
        index = self.snapshots.index(snapshot)
        del self.snapshots[index]
        self.synced_layout.delete_snapshot(index, self._snapshot_names())

    def _snapshot_names(self) -> list[tuple[str, str]]:
        return [(snapshot.id, snapshot.name) for snapshot in self.snapshots]

    def clone(self) -> Image:
        """An independent image of the same value, which nobody has open; the stored bytes are shared."""
        twin = Image(
            self.name,
            self.format,
            0,
            cluster_size=self.content.cluster_size,
            backing=self.backing,
            backing_format=self.backing_format,
            compat=self.compat,
            lazy_refcounts=self.lazy_refcounts,
            refcount_bits=self.refcount_bits,
        )
        twin.content = self.content.clone()
        twin.bitmaps = [bitmap.copy() for bitmap in self.bitmaps]
        twin.snapshots = list(self.snapshots)
        twin.capacity, twin.corrupt = self.capacity, self.corrupt
        twin.has_stale_bitmaps = self.has_stale_bitmaps
        twin._layout = self._layout.copy() if self._layout else None
        return twin
