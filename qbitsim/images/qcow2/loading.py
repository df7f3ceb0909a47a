"""An image in memory made of the bytes of a qcow2 file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.content import Content, zero_block
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.layout import HostLayout
from qbitsim.images.qcow2.metadata import Metadata, read_metadata
from qbitsim.images.qcow2.packing import pack, unpack
from qbitsim.images.qcow2.snapshots import StoredSnapshot
from qbitsim.images.qcow2.structures import KeptHeader, SnapshotEntry
from qbitsim.images.qcow2.table_reader import Disk, TableReader, read_bitmaps, read_refcounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.files.tree import ByteFile
    from qbitsim.images.image_file import ImageFile

MAXIMUM_STORED = 1 << 30
"""So many bytes of data are taken into memory, no more."""


def load_image(target: ImageFile, file: ByteFile, *, writable: bool = False, most: int = MAXIMUM_STORED) -> Qcow2Image:
    """The image that a qcow2 file holds, all its data read.

    :param target: holds the image from now on.
    :param writable: it is opened for writing, which a file that is marked as corrupt refuses.
    :param most: bytes of data that are taken into memory.
    :raises QmpError: QEMU refuses the file, or requests that meet a corrupt part of it; in its words.
    :raises UnsupportedError: the file holds what an image in memory cannot.
    """
    metadata = read_metadata(file, writable=writable)
    image = Qcow2Image(target, metadata.size, **image_options(metadata))
    data = _DataReader(file, metadata.cluster_size, most)
    load_into(image, file, metadata, data.content)
    image.layout.packed_bytes.update(data.packed_bytes)
    return image


def image_options(metadata: Metadata) -> dict[str, Any]:
    """What a new :class:`.Qcow2Image` is told so that it is of the same kind."""
    header = metadata.header
    return {
        "cluster_size": metadata.cluster_size,
        "backing": metadata.backing,
        "backing_format": metadata.backing_format,
        "compat": "0.10" if header.version == 2 else "1.1",
        "lazy_refcounts": bool(header.compatible & structures.LAZY_REFCOUNTS),
        "refcount_bits": metadata.refcount_bits,
        "compression_type": "zstd" if header.compression_type else "zlib",
    }


def load_into(
    image: Qcow2Image, file: ByteFile, metadata: Metadata, make_content: Callable[[Disk, int], Content]
) -> None:
    """Let an image that was made with :func:`image_options` be what a file holds.

    :param make_content: gives the content of a disk of so many bytes.
    :raises QmpError: QEMU refuses the file, or requests that meet a corrupt part of it; in its words.
    :raises UnsupportedError: the file holds what an image cannot.
    """
    _check_supported(metadata)
    header, reader = metadata.header, TableReader(file, metadata)
    active = reader.read(header.l1_offset, header.l1_entries, metadata.l1)
    saved = [reader.read(each.l1_offset, each.l1_entries) for each in metadata.snapshots]
    for disk, size in [(active, metadata.size), *zip(saved, _snapshot_sizes(metadata), strict=True)]:
        _check_reach(disk, -(-size // metadata.cluster_size))
    if header.compression_type and any(disk.tables.packed for disk in [active, *saved]):
        raise UnsupportedError("clusters compressed by zstd")
    image.corrupt = bool(header.incompatible & structures.CORRUPT)
    image.kept_header = _kept_header(metadata)
    layout = _layout(file, metadata, active, saved)
    image.content = make_content(active, metadata.size)
    image.snapshots = [
        _snapshot(entry, make_content(disk, size))
        for entry, disk, size in zip(metadata.snapshots, saved, _snapshot_sizes(metadata), strict=True)
    ]
    _take_bitmaps(image, layout, file, metadata)
    image.take_layout(layout)


def _snapshot_sizes(metadata: Metadata) -> list[int]:
    return [metadata.size if each.disk_size is None else each.disk_size for each in metadata.snapshots]


def _check_reach(disk: Disk, clusters: int) -> None:
    tables = disk.tables
    last = max([*tables.places, *tables.packed, *(stop - 1 for _, stop in disk.zeroes[-1:])], default=-1)
    if last >= clusters:
        raise UnsupportedError("qcow2 images with clusters behind the end of the disk")


def _check_supported(metadata: Metadata) -> None:
    if metadata.header.incompatible & structures.DATA_FILE:
        raise UnsupportedError("qcow2 images with an external data file")
    offsets = [metadata.header.l1_offset, *(each.l1_offset for each in metadata.snapshots)]
    if len(set(offsets)) < len(offsets) or 0 in offsets[1:]:
        raise UnsupportedError("internal snapshots without an L1 table of their own")
    for each in metadata.snapshots:
        if each.l1_offset % metadata.cluster_size:
            raise QmpError("Snapshot L1 table offset invalid")
        if each.l1_entries > (32 << 20) // 8:
            raise QmpError("Snapshot L1 table too large")
        if each.vm_state_size:
            raise UnsupportedError("internal snapshots with the state of a machine")


def _kept_header(metadata: Metadata) -> KeptHeader:
    header = metadata.header
    return KeptHeader(
        short=header.version == 3 and header.header_length == structures.SHORT_HEADER_LENGTH,
        rest=header.rest,
        extensions=metadata.unknown,
        compatible=header.compatible & ~structures.LAZY_REFCOUNTS,
        autoclear=header.autoclear & ~structures.BITMAPS,
        dirty=bool(header.incompatible & structures.DIRTY),
    )


def _layout(file: ByteFile, metadata: Metadata, active: Disk, saved: list[Disk]) -> HostLayout:
    layout = HostLayout(metadata.size, metadata.cluster_size, metadata.refcount_bits)
    layout.clusters = read_refcounts(file, metadata)
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
        icount=entry.icount,
        extra=entry.extra,
    )


def _take_bitmaps(image: Qcow2Image, layout: HostLayout, file: ByteFile, metadata: Metadata) -> None:
    for found in read_bitmaps(file, metadata):
        flags = found.entry.flags
        in_use, auto = bool(flags & structures.IN_USE), bool(flags & structures.AUTO)
        image.bitmaps.append(StoredBitmap(found.name, 1 << found.entry.granularity_bits, in_use, auto, found.bits))
        layout.bitmaps.by_name[found.name] = found.place
    extension = metadata.bitmaps_extension
    if extension is not None:
        layout.bitmaps.directory = extension.directory_offset, extension.directory_length
    stale = metadata.stale_bitmaps
    if stale is not None:
        layout.bitmaps.stale = stale.count, stale.directory_offset, stale.directory_length
        image.has_stale_bitmaps = True


class _DataReader:
    """Reads clusters of data; those that are in the file once are in memory once.

    :ivar packed_bytes: compressed data that the compressor here would have made otherwise: offset -> bytes.
    """

    def __init__(self, file: ByteFile, cluster_size: int, most: int) -> None:
        self._file = file
        self._unit = cluster_size
        self._left = most
        self._known: dict[int | tuple[int, int], bytes] = {}
        self.packed_bytes: dict[int, bytes] = {}

    def content(self, disk: Disk, size: int) -> Content:
        """The content of a disk of *size* bytes."""
        unit, tables = self._unit, disk.tables
        content = Content(size, unit)
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
            unit = self._unit
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
            unit, (offset, length) = self._unit, place
            data = self._file.read_at(offset, length)
            found = unpack(data, unit)
            if found is None:
                raise QmpError(f"Compressed cluster at {offset:#x} is damaged")
            known, used = found
            self._count(unit)
            self._known[place] = known
            if pack(known) != data[:used]:
                self.packed_bytes[offset] = data[:used]
        return known

    def _count(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise UnsupportedError("qcow2 images with that much data in memory")
