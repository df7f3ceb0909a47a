"""L2 tables, refcount blocks and bitmaps of a qcow2 file, read into the working state of an image.

Guest data are not read: a cluster stays the place where it is. Of a file of the host, neither are L2 tables nor
refcount blocks, until somebody wants what they say. Refcounts are taken as they are, right or wrong; what an image in
memory cannot hold is refused: entries that QEMU takes for corruption in its words, though it would open the file and
fail only those requests that meet them, and tables that are in the file once and used twice by name.
"""

from __future__ import annotations

import os

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.allocator import TABLE_ENTRY, Allocator
from qbitsim.images.qcow2.bitmap_places import BitmapPlace
from qbitsim.images.qcow2.metadata import read_entries, read_padded
from qbitsim.images.qcow2.refcounts import MemoryRefcounts
from qbitsim.images.qcow2.structures import BitmapEntry
from qbitsim.images.qcow2.tables import Tables
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qbitsim.bits.bits import Bits
    from qbitsim.files.tree import ByteFile, ByteSource
    from qbitsim.images.host.l2_tables import CachedTables, L2Cache
    from qbitsim.images.qcow2.metadata import Metadata
    from qbitsim.images.qcow2.refcounts import Refcounts

MAXIMUM_MAPPED = 1 << 24
"""So many clusters of an image in memory may have a place, those of snapshots included: 1 TiB with usual clusters."""


class Disk:
    """What the tables of the disk or of a snapshot say.

    :ivar tables: where its clusters are.
    :ivar zeroes: the clusters that read as zeroes, with or without a place, as (first, behind the last).
    """

    __slots__ = ("tables", "zeroes")

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.zeroes: list[tuple[int, int]] = []


class TableReader:
    """Reads the L1 and L2 tables of one file."""

    __slots__ = ("_bits", "_data_file", "_file", "_left", "_unit", "_version")

    def __init__(self, file: ByteSource, metadata: Metadata) -> None:
        self._file = file
        self._unit = metadata.cluster_size
        self._bits = metadata.header.cluster_bits
        self._version = metadata.header.format_version
        self._data_file = bool(metadata.header.incompatible & structures.DATA_FILE)
        self._left = MAXIMUM_MAPPED

    def read(self, offset: int, count: int, entries: Sequence[int] | None = None) -> Disk:
        """What the L1 table of *count* entries at *offset* leads to.

        :param entries: those of the L1 table that are not 0 for sure, if they are known.
        :raises QmpError: an entry is corrupt; :raises UnsupportedError: it is not, but cannot be kept in memory.
        """
        disk = Disk(Tables((offset // self._unit, count)))
        for number, cluster in self._l2_clusters(offset, count, entries):
            disk.tables.l2[number] = cluster
            self._read_l2(disk, number, cluster * self._unit)
        return disk

    def look_up(self, cache: L2Cache, offset: int, count: int, entries: Sequence[int] | None = None) -> CachedTables:
        """As :meth:`read`, but the L2 tables are those of *cache*, which are read when they are wanted."""
        from qbitsim.images.host.l2_tables import CachedTables  # noqa: PLC0415 - where there is a file of the host

        found = CachedTables(cache, (offset // self._unit, count))
        found.l2.update(self._l2_clusters(offset, count, entries))
        return found

    def _l2_clusters(self, offset: int, count: int, entries: Sequence[int] | None) -> Iterator[tuple[int, int]]:
        """The L2 tables to which an L1 table leads: number and cluster of each."""
        if entries is None:
            entries = structures.unpack_table(read_entries(self._file, offset, count))
        seen = set[int]()
        for number, entry in enumerate(entries):
            place = entry & structures.OFFSET_MASK
            if not place:
                continue
            if place % self._unit:
                raise QmpError(f"L2 table offset {place:#x} unaligned (L1 index: {number:#x})")
            if place in seen:
                raise UnsupportedError(f"an L1 table that leads to one L2 table twice (L2 offset: {place:#x})")
            seen.add(place)
            yield number, place // self._unit

    def _read_l2(self, disk: Disk, number: int, offset: int) -> None:
        data = read_padded(self._file, offset, self._unit)
        if not any(data):
            return
        unit, places, packed = self._unit, disk.tables.places, disk.tables.packed
        guest, before = number * (unit // TABLE_ENTRY), len(places) + len(packed)
        for index, entry in enumerate(structures.unpack_table(data)):
            if not entry:
                continue  # most of them
            if entry & structures.COMPRESSED:
                self._check_compressed(offset, index)
                packed[guest + index] = structures.compressed_place(entry, self._bits)
                continue
            place = entry & structures.OFFSET_MASK
            if entry & structures.ZERO:
                self._check_zero(offset, index)
                self._add_zero(disk, guest + index)
            if place % unit:
                raise QmpError(
                    f"Cluster allocation offset {place:#x} unaligned (L2 offset: {offset:#x}, L2 index: {index:#x})"
                )
            if self._data_file and place and place != (guest + index) * unit:
                raise QmpError(
                    f"External data file host cluster offset {place:#x} does not match guest cluster "
                    f"offset: {(guest + index) * unit:#x}, L2 index: {index:#x})"
                )
            if place or (self._data_file and entry & (structures.COPIED | structures.ZERO) == structures.COPIED):
                places[guest + index] = place // unit
        self._left -= len(places) + len(packed) - before
        if self._left < 0:
            raise UnsupportedError(f"qcow2 images with more than {MAXIMUM_MAPPED} allocated clusters")

    def _check_compressed(self, offset: int, index: int) -> None:
        if self._data_file:
            raise QmpError(
                "Compressed cluster entry found in image with external data file "
                f"(L2 offset: {offset:#x}, L2 index: {index:#x})"
            )

    def _check_zero(self, offset: int, index: int) -> None:
        if self._version == 2:
            raise QmpError(f"Zero cluster entry found in pre-v3 image (L2 offset: {offset:#x}, L2 index: {index:#x})")

    def _add_zero(self, disk: Disk, guest: int) -> None:
        if disk.zeroes and disk.zeroes[-1][1] == guest:
            disk.zeroes[-1] = disk.zeroes[-1][0], guest + 1
        else:
            disk.zeroes.append((guest, guest + 1))


# -- refcounts


def read_refcounts(file: ByteSource, metadata: Metadata) -> Allocator:
    """All refcounts of the file, as they are.

    :raises QmpError: a refcount block is where none can be; :raises UnsupportedError: one is used twice.
    """
    unit, bits, blocks, counts = metadata.cluster_size, metadata.refcount_bits, _blocks(metadata), MemoryRefcounts()
    for number, place in blocks.items():
        data = file.read_at(place * unit, unit)
        if any(data):
            block = structures.unpack_refcounts(data.ljust(unit, b"\0"), bits)
            counts.load(number * (unit * 8 // bits), block)
    return _allocator(file, metadata, blocks, counts)


def look_up_refcounts(file: ByteFile, metadata: Metadata) -> Allocator:
    """As :func:`read_refcounts`, but a refcount block is read when it is wanted."""
    from qbitsim.images.host.block_refcounts import BlockRefcounts  # noqa: PLC0415 - where there is a file of the host

    blocks = _blocks(metadata)
    counts = BlockRefcounts(file, metadata.cluster_size, metadata.refcount_bits, blocks.copy())
    return _allocator(file, metadata, blocks, counts)


def _blocks(metadata: Metadata) -> dict[int, int]:
    """The refcount blocks: number -> cluster."""
    unit, blocks = metadata.cluster_size, dict[int, int]()
    for number, entry in enumerate(structures.up_to_last(metadata.refcount_table)):
        place = entry & structures.BLOCK_OFFSET_MASK
        if place % unit:
            raise QmpError(f"Refblock offset {place:#x} unaligned (reftable index: {number:#x})")
        if place:
            blocks[number] = place // unit
    if len(set(blocks.values())) < len(blocks):
        raise UnsupportedError("a refcount table that leads to one refcount block twice")
    return blocks


def _allocator(file: ByteSource, metadata: Metadata, blocks: dict[int, int], counts: Refcounts) -> Allocator:
    unit, header = metadata.cluster_size, metadata.header
    found = Allocator(unit, metadata.refcount_bits)
    found.load((header.refcount_table_offset // unit, header.refcount_table_clusters), blocks, file.length, counts)
    return found


# -- bitmaps


@record
class LoadedBitmap:
    """A bitmap of the file: its directory entry, where it is, its bits."""

    name: str
    entry: BitmapEntry
    place: BitmapPlace
    bits: Bits


def read_bitmaps(file: ByteSource, metadata: Metadata) -> list[LoadedBitmap]:
    """The stored bitmaps, in file order (qcow2_load_dirty_bitmaps, block/qcow2-bitmap.c, 10.0).

    Bits that are not to be trusted, since the bitmap is in use, are read as far as they make sense.
    """
    found: list[LoadedBitmap] = []
    names, tables = set[str](), set[int]()
    for entry in metadata.bitmaps:
        name = os.fsdecode(entry.name.split(b"\0")[0])
        if name in names:
            raise QmpError(f"Bitmap already exists: {name}")
        if entry.table_offset in tables:
            raise UnsupportedError("bitmaps that have one table together")
        names.add(name)
        tables.add(entry.table_offset)
        place = _bitmap_place(file, entry, metadata.cluster_size)
        length = -(-metadata.size // (1 << entry.granularity_bits))
        if not entry.flags & structures.IN_USE:
            _check_trusted(place, name, length, metadata.cluster_size)
        _check_data(place)
        found.append(LoadedBitmap(name, entry, place, _read_bits(file, metadata.cluster_size, place, length)))
    return found


def _bitmap_place(file: ByteSource, entry: BitmapEntry, unit: int) -> BitmapPlace:
    entries = structures.unpack_table(read_entries(file, entry.table_offset, entry.table_entries))
    data = {number: value for number, value in enumerate(entries) if value}
    return BitmapPlace(entry.table_offset // unit, entry.table_entries, data)


def _check_trusted(place: BitmapPlace, name: str, length: int, unit: int) -> None:
    """Refuse a bitmap of *length* bits whose table is not as it should be (load_bitmap)."""
    for value in place.data.values():
        offset = value & structures.OFFSET_MASK
        if value & structures.BITMAP_RESERVED_MASK or (offset and (value & structures.ALL_ONES or offset % unit)):
            raise QmpError(f"Could not read bitmap_table table from image for bitmap '{name}': Invalid argument")
    if place.entries != _table_entries(length, unit):
        raise QmpError(f"Could not read bitmap '{name}' from image: Invalid argument")


def _table_entries(length: int, unit: int) -> int:
    """How many clusters the data of *length* bits, whole 64-bit words, take."""
    words = -(-length // 64)
    return -(-words * 8 // unit)


def _check_data(place: BitmapPlace) -> None:
    offsets = [value for value in place.data.values() if value != structures.ALL_ONES]
    if len(set(offsets)) < len(offsets):
        raise UnsupportedError("a bitmap that has one cluster of data twice")


def _read_bits(file: ByteSource, unit: int, place: BitmapPlace, length: int) -> Bits:
    from qbitsim.bits.bits import Bits  # noqa: PLC0415 - few files have bitmaps

    bits, per_cluster = Bits(length), unit * 8
    for number, value in place.data.items():
        start, stop = number * per_cluster, min((number + 1) * per_cluster, length)
        if start >= stop:
            break
        if value == structures.ALL_ONES:
            bits.set(start, stop)
        elif value & structures.OFFSET_MASK == value:
            data = file.read_at(value, unit)
            if any(data):
                bits.part_from_bytes(start, stop, data.ljust(unit, b"\0"))
    return bits
