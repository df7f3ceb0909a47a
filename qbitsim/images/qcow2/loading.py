"""A qcow2 file made into the working state of an image: all but its data first, and then an image in memory."""

from __future__ import annotations

import os

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.content import Content, zero_block
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.images.qcow2.data_file import DataFile
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.layout import HostLayout
from qbitsim.images.qcow2.metadata import MAXIMUM_L1, Metadata, read_metadata
from qbitsim.images.qcow2.packing import COMPRESSION_TYPES, Compression, check_compression, pack, unpack
from qbitsim.images.qcow2.snapshots import StoredSnapshot
from qbitsim.images.qcow2.structures import KeptHeader, SnapshotEntry
from qbitsim.images.qcow2.table_reader import Disk, TableReader, look_up_refcounts, read_bitmaps, read_refcounts
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qbitsim.files.tree import ByteFile, ByteSource
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.qcow2.allocator import Allocator

MAXIMUM_STORED = 1 << 30
"""So many bytes of data are taken into memory, no more."""


@record
class ParsedFile:
    """What a file holds but for the guest's data.

    :ivar active: the disk; :ivar saved: those of the snapshots, oldest first.
    :ivar layout: where everything is, its tables being those of the disks.
    :ivar bitmaps: those that are stored, in file order.
    :ivar kept_header: what is to be written back.
    """

    metadata: Metadata
    active: Disk
    saved: list[Disk]
    layout: HostLayout
    bitmaps: list[StoredBitmap]
    kept_header: KeptHeader


def parse_file(file: ByteSource, *, writable: bool = False) -> ParsedFile:
    """Read all of a file but the guest's data.

    :param writable: it is opened for writing: a file that is marked as corrupt refuses that, wrong refcounts of one
        that is marked as dirty are repaired, and autoclear features that are not known are dropped. All this is done
        to what is returned, nothing to the file.
    :raises QmpError: QEMU refuses the file, or requests that meet a corrupt part of it; in its words.
    :raises UnsupportedError: the file holds what nothing here can be.
    """
    metadata, reader = _begin(file, writable=writable)
    header = metadata.header
    active = reader.read(header.l1_offset, header.l1_entries, metadata.l1)
    saved = [reader.read(each.l1_offset, each.l1_entries) for each in metadata.snapshots]
    if any(disk.tables.packed for disk in [active, *saved]):
        check_compression(COMPRESSION_TYPES[header.compression_type])
    if header.incompatible & structures.DATA_FILE:
        active, *saved = _looked_up(file, metadata, reader)
        for each in [active, *saved]:
            each.tables.keep()
    return _parsed(file, metadata, active, saved, read_refcounts(file, metadata), writable=writable)


def look_up_file(file: ByteFile) -> ParsedFile:
    """As :func:`parse_file`, but L2 tables and refcount blocks are read when they are wanted.

    Whoever wants one that is corrupt gets EIO.
    """
    metadata, reader = _begin(file, writable=False)
    active, *saved = _looked_up(file, metadata, reader)
    _check_packed(metadata, active, saved)
    return _parsed(file, metadata, active, saved, look_up_refcounts(file, metadata), writable=False)


def _begin(file: ByteSource, *, writable: bool) -> tuple[Metadata, TableReader]:
    metadata = read_metadata(file, writable=writable)
    _check_snapshot_tables(metadata)
    return metadata, TableReader(file, metadata)


def _looked_up(file: ByteSource, metadata: Metadata, reader: TableReader) -> list[Disk]:
    """The disk and those of the snapshots."""
    from qbitsim.images.host.l2_tables import L2Cache  # noqa: PLC0415 - few images in memory have a data file

    header = metadata.header
    external = bool(header.incompatible & structures.DATA_FILE)
    cache = L2Cache(file, metadata.cluster_size, external=external, zero_clusters=header.format_version > 2)
    active = Disk(reader.look_up(cache, header.l1_offset, header.l1_entries, metadata.l1))
    return [active, *(Disk(reader.look_up(cache, each.l1_offset, each.l1_entries)) for each in metadata.snapshots)]


def _check_packed(metadata: Metadata, active: Disk, saved: list[Disk]) -> None:
    """Refuse clusters that cannot be decompressed; all tables are looked at only where Python might not be able to."""
    kind = COMPRESSION_TYPES[metadata.header.compression_type]
    if kind != "zlib" and any(next(iter(disk.tables.packed), None) is not None for disk in [active, *saved]):
        check_compression(kind)


def _parsed(
    file: ByteSource, metadata: Metadata, active: Disk, saved: list[Disk], clusters: Allocator, *, writable: bool
) -> ParsedFile:
    layout = _layout(metadata, active, saved, clusters)
    bitmaps = _take_bitmaps(layout, file, metadata)
    if writable and metadata.header.incompatible & structures.DIRTY:
        _repair_dirty(file, layout)
    return ParsedFile(metadata, active, saved, layout, bitmaps, _kept_header(metadata, writable=writable))


def load_image(
    target: ImageFile, file: ByteSource, *, writable: bool = False, most: int = MAXIMUM_STORED
) -> Qcow2Image:
    """The image that a qcow2 file holds, all its data read.

    :param target: holds the image from now on.
    :param writable: it is opened for writing, as :func:`parse_file` has it.
    :param most: bytes of data that are taken into memory.
    :raises QmpError: as :func:`parse_file`; :raises UnsupportedError: also of what an image in memory cannot hold.
    """
    parsed = parse_file(file, writable=writable)
    _check_supported(parsed.metadata)
    image = Qcow2Image(target, parsed.metadata.size, **image_options(parsed.metadata))
    data = _DataReader(file, parsed.layout, image.compression, most)
    take_parsed(image, parsed, data.content if image.data_file is None else image.placed_content)
    target.image = image
    return image


def image_options(metadata: Metadata) -> dict[str, Any]:
    """What a new :class:`.Qcow2Image` is told so that it is of the same kind."""
    return {
        "cluster_size": metadata.cluster_size,
        "backing": metadata.backing,
        "backing_format": metadata.backing_format,
        "compat": "0.10" if metadata.header.format_version == 2 else "1.1",
        "lazy_refcounts": bool(metadata.header.compatible & structures.LAZY_REFCOUNTS),
        "refcount_bits": metadata.refcount_bits,
        "data_file": _data_file(metadata),
        "compression": COMPRESSION_TYPES[metadata.header.compression_type],
    }


def _data_file(metadata: Metadata) -> DataFile | None:
    if not metadata.header.incompatible & structures.DATA_FILE:
        return None
    return DataFile(metadata.data_file, is_raw=bool(metadata.header.autoclear & structures.RAW_DATA_FILE))


def take_parsed(image: Qcow2Image, parsed: ParsedFile, make_content: Callable[[Disk, int], Content]) -> None:
    """Let an image that was made with :func:`image_options` be what a file holds.

    :param make_content: gives the content of a disk of so many bytes.
    """
    metadata = parsed.metadata
    image.corrupt = bool(metadata.header.incompatible & structures.CORRUPT)
    image.kept_header = parsed.kept_header
    image.content = make_content(parsed.active, metadata.size)
    image.snapshots = [
        _snapshot(entry, make_content(disk, metadata.size if entry.disk_size is None else entry.disk_size))
        for entry, disk in zip(metadata.snapshots, parsed.saved, strict=True)
    ]
    image.bitmaps = parsed.bitmaps
    image.has_stale_bitmaps = metadata.stale_bitmaps is not None
    image.take_layout(parsed.layout)


def _check_snapshot_tables(metadata: Metadata) -> None:
    offsets = [metadata.header.l1_offset, *(each.l1_offset for each in metadata.snapshots)]
    if len(set(offsets)) < len(offsets) or 0 in offsets[1:]:
        raise UnsupportedError("internal snapshots without an L1 table of their own")
    for each in metadata.snapshots:
        if each.l1_offset % metadata.cluster_size:
            raise QmpError("Snapshot L1 table offset invalid")
        if each.l1_entries > MAXIMUM_L1 // 8:
            raise QmpError("Snapshot L1 table too large")


def _check_supported(metadata: Metadata) -> None:
    if any(each.vm_state_size for each in metadata.snapshots):
        raise UnsupportedError("internal snapshots with the state of a machine")


def _repair_dirty(file: ByteSource, layout: HostLayout) -> None:
    from qbitsim.images.qcow2.check import check_file, repair  # noqa: PLC0415 - few images are damaged

    found = check_file(file, leaks=True, errors=True)
    if found.errors:
        raise QmpError("Could not repair dirty image: Input/output error")
    repair(layout, found)


def _kept_header(metadata: Metadata, *, writable: bool) -> KeptHeader:
    header = metadata.header
    return KeptHeader(
        short=header.format_version == 3 and header.header_length == structures.SHORT_HEADER_LENGTH,
        rest=header.rest,
        extensions=metadata.unknown,
        compatible=header.compatible & ~structures.LAZY_REFCOUNTS,
        autoclear=0 if writable else header.autoclear & ~(structures.BITMAPS | structures.RAW_DATA_FILE),
        dirty=bool(header.incompatible & structures.DIRTY) and not writable,
    )


def _layout(metadata: Metadata, active: Disk, saved: list[Disk], clusters: Allocator) -> HostLayout:
    external = bool(metadata.header.incompatible & structures.DATA_FILE)
    layout = HostLayout(metadata.size, metadata.cluster_size, metadata.refcount_bits, external=external)
    layout.clusters = clusters
    layout.active = active.tables
    layout.snapshots.saved = [disk.tables for disk in saved]
    layout.snapshots.list_place = (
        metadata.header.snapshots_offset // metadata.cluster_size,
        metadata.snapshot_table_length,
    )
    return layout


def _snapshot(entry: SnapshotEntry, content: Content) -> StoredSnapshot:
    return StoredSnapshot(
        id=os.fsdecode(entry.id),
        name=os.fsdecode(entry.name),
        date=entry.seconds * 10**9 + entry.nanoseconds,
        clock=entry.clock,
        content=content,
        state_size=entry.vm_state_size,
        icount=entry.icount,
        extra=entry.extra,
    )


def _take_bitmaps(layout: HostLayout, file: ByteSource, metadata: Metadata) -> list[StoredBitmap]:
    bitmaps: list[StoredBitmap] = []
    for found in read_bitmaps(file, metadata):
        flags, granularity = found.entry.flags, 1 << found.entry.granularity_bits
        in_use, auto = bool(flags & structures.IN_USE), bool(flags & structures.AUTO)
        bitmaps.append(StoredBitmap(found.name, granularity, in_use, auto, found.bits))
        layout.bitmaps.by_name[found.name] = found.place
    extension, stale = metadata.bitmaps_extension, metadata.stale_bitmaps
    if extension is not None:
        layout.bitmaps.directory = extension.directory_offset, extension.directory_length
    if stale is not None:
        layout.bitmaps.stale = stale.count, stale.directory_offset, stale.directory_length
    return bitmaps


class _DataReader:
    """Reads clusters of data; those that are in the file once are in memory once."""

    def __init__(self, file: ByteSource, layout: HostLayout, compression: Compression, most: int) -> None:
        self._file = file
        self._compression = compression
        self._layout = layout
        self._left = most
        self._known: dict[int | tuple[int, int], bytes] = {}

    def content(self, disk: Disk, size: int) -> Content:
        """The content of a disk of *size* bytes."""
        unit, tables = self._layout.cluster_size, disk.tables
        content, clusters = Content(size, unit), -(-size // unit)
        last = max([*tables.places, *tables.packed, *(stop - 1 for _, stop in disk.zeroes[-1:])], default=-1)
        if last >= clusters:
            raise UnsupportedError("qcow2 images with clusters behind the end of the disk")
        for first, stop in disk.zeroes:
            content.zero_clusters_in(first, stop)
        zeroes = {guest for first, stop in disk.zeroes for guest in range(first, stop)} & tables.places.keys()
        for guest, place in tables.places.items():
            if guest not in zeroes:
                content.store_cluster(guest, self._cluster(place))
        for guest, packed in tables.packed.items():
            content.store_cluster(guest, self._packed_cluster(packed))
        return content

    def _cluster(self, place: int) -> bytes:
        known = self._known.get(place)
        if known is None:
            unit = self._layout.cluster_size
            known = self._file.read_at(place * unit, unit)
            if not any(known):
                known = zero_block(unit)
            else:
                self._count(unit)
            self._known[place] = known = known.ljust(unit, b"\0")
        return known

    def _packed_cluster(self, place: tuple[int, int]) -> bytes:
        known = self._known.get(place)
        if known is None:
            unit, (offset, length) = self._layout.cluster_size, place
            data = self._file.read_at(offset, length)
            found = unpack(data, unit, self._compression)
            if found is None:
                raise QmpError(f"Compressed cluster at {offset:#x} is damaged")
            known, used = found
            self._count(unit)
            self._known[place] = known
            if pack(known, self._compression) != data[:used]:
                self._layout.packed_bytes[offset] = data[:used]
        return known

    def _count(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise UnsupportedError("qcow2 images with that much data in memory")
