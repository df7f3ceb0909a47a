"""What is in one image file, in memory.

An :class:`Image` is the disk's content and, for qcow2, the name of the backing file and the stored bitmaps. It knows
nothing of the graph: a node opens an image, and several images form a chain only by their names.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from qbitsim.bits.bits import Bits
from qbitsim.files.faults import Faults
from qbitsim.files.locks import Locks
from qbitsim.images.content import FILE_CLUSTER, FILE_PAGE, Content, Reader
from qbitsim.images.layout import HostLayout
from qbitsim.images.packing import Packing
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


@record(kw_only=True)
class StoredSnapshot:
    """An internal snapshot in a qcow2 file.

    :ivar id: a decimal number; :ivar name: what people call it.
    :ivar date: nanoseconds since 1970, whole microseconds; :ivar clock: nanoseconds for which the guest had run.
    """

    id: str
    name: str
    date: int
    clock: int


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
    :ivar locks: who has the file open.
    :ivar packing: which clusters can be written compressed.
    :ivar snapshots: internal ones, oldest first; what the disk held is not kept, for nobody here can go back to it.
    """

    __slots__ = (
        *("_layout", "backing", "backing_format", "bitmaps", "capacity", "cluster_size", "compat", "content"),
        *("corrupt", "faults", "format", "lazy_refcounts", "locks", "name", "packing", "refcount_bits", "snapshots"),
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
        self.faults: Faults | None = None
        self.locks = Locks()
        self.packing = Packing()
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
        self.content.write(offset, data, below)
        if self._layout is not None:
            self.packing.written(self.content, offset, len(data))

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        in_place: bool = True,
    ) -> None:
        """:meth:`.Content.write_zeroes`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it.

        :param in_place: clusters that had data keep their places in the file.
        """
        self.check_room_for_zeroes(offset, length, below)
        if self._layout is not None:
            self.packing.zeroing(self.content, offset, length, in_place=in_place)
        if self._layout is not None and self.compat != "0.10" and length > 0:
            unit = self._layout.cluster_size
            self._layout.add_tables(offset // unit, -(-(offset + length) // unit), self.content)
        self.content.write_zeroes(offset, length, below, below_is_zero)

    def discard(self, offset: int, length: int) -> None:
        """:meth:`.Content.discard`."""
        if self._layout is not None:
            self.packing.zeroing(self.content, offset, length, in_place=False)
            first, last = self.content.whole_clusters(offset, length)
            if first < last:
                self._layout.add_tables(first, last, self.content)
        self.content.discard(offset, length, backed=self.backing is not None)

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """:meth:`.Content.resize`; the stored bitmaps keep their bits as far as the disk reaches."""
        self.content.resize(size, zero_new=zero_new)
        if self._layout is not None:
            self._layout.grow(size)
        for bitmap in self.bitmaps:
            bitmap.bits.resize(-(-size // bitmap.granularity))

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """:meth:`.Content.copy_clusters`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it."""
        chosen = list(clusters)
        if self.capacity is not None:
            unit, stored = source.cluster_size, source.allocation_order()
            wanted = (n * unit for n in chosen if n in stored or self.compat == "0.10")
            self._check_capacity(sum(self.content.growth(at, min(unit, self.size - at)) for at in wanted))
        self.packing.copied(self.content, source, chosen)
        self.content.copy_clusters(source, chosen)
        if self._layout is not None and self.compat != "0.10":
            self._layout.want_tables(chosen)

    def make_empty(self) -> None:
        """Forget all that is stored, so that the backing file shows (qcow2_make_empty, block/qcow2.c, 10.0).

        A file of version 3 with nothing else in it is cut behind its first tables; otherwise the clusters become free.
        """
        assert self._layout is not None
        self._synced(self._layout)
        unit = self.content.cluster_size
        self.content = Content(self.size, unit, zero_clusters=self.content.zero_clusters)
        self.packing = Packing()
        if self.compat != "0.10" and not self.bitmaps and not self.snapshots:
            self._layout = HostLayout(self.size, unit, self.refcount_bits)
            self._layout.end = -(-self._layout.end // unit) * unit

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """Whether :meth:`copy_clusters` can take clusters of that size from *source*, and no limit stops it."""
        return self.capacity is None and source.content.cluster_size == self.content.cluster_size == cluster_size

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
        if self.compat == "0.10":
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
        """Where in the file the byte at *offset* of the disk is kept; None if it has no place."""
        if self._layout is None:
            return offset
        cluster, skip = divmod(offset, self._layout.cluster_size)
        place = self._synced(self._layout).place(cluster)
        return None if place is None else place + skip

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
        assert self._layout is not None
        unit = self._layout.cluster_size
        self._synced(self._layout).reserve(range(offset // unit, -(-(offset + length) // unit)))

    def settle(self) -> None:
        """Take back the reserved places of the clusters that were not stored."""
        assert self._layout is not None
        self._layout.settle(self.content)

    def extend_file(self, end: int) -> None:
        """Something was written up to the byte before *end*, so that the file is at least as long."""
        if self._layout is not None:
            self._layout.extend(end)

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
        table = -(-self.size // (unit * (unit // L1_ENTRY))) * L1_ENTRY
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

    def find_bitmap(self, name: str) -> StoredBitmap | None:
        """The stored bitmap of that name, None if there is none."""
        return next((bitmap for bitmap in self.bitmaps if bitmap.name == name), None)

    def store_bitmaps(self, bitmaps: Iterable[StoredBitmap]) -> None:
        """Replace the stored bitmaps by *bitmaps*, in this order in the file."""
        self.bitmaps = list(bitmaps)
        if self._layout is not None:
            layout = self._synced(self._layout)
            kept = {bitmap.name for bitmap in self.bitmaps if bitmap.in_use and layout.has_bitmap(bitmap.name)}
            shapes = [self._bitmap_shape(bitmap) for bitmap in self.bitmaps if bitmap.name not in kept]
            layout.store_bitmaps(shapes, kept)

    def remove_bitmap(self, name: str) -> None:
        """Take the bitmap called *name* out of the file; KeyError if it is not there."""
        found = self.find_bitmap(name)
        if found is None:
            raise KeyError(name)
        self.bitmaps.remove(found)
        if self._layout is not None:
            self._synced(self._layout).remove_bitmap(name)

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
        twin.packing = self.packing.copy()
        twin.capacity, twin.corrupt = self.capacity, self.corrupt
        twin._layout = self._layout.copy() if self._layout else None
        return twin
