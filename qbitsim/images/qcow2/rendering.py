"""The bytes of each structure of a qcow2 file, as they follow from an image and its layout.

One function for one structure, so that who keeps a file can write only what changed. The safe order, which is QEMU's:
refcounts that grow, then new tables and data, then what refers to them, the header last; then refcounts that fall.

The COPIED flag is set exactly where the refcount is 1, and never in the tables of a snapshot, where QEMU leaves what
was there by chance: nobody reads it.
"""

from __future__ import annotations

import os

from qbitsim.images.content import Kind
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.packing import COMPRESSION_TYPES
from qbitsim.images.qcow2.structures import COPIED, ZERO, BitmapEntry, Extension, Header, SnapshotEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qbitsim.images.content import Content
    from qbitsim.images.qcow2.allocator import Allocator
    from qbitsim.images.qcow2.bitmap_places import BitmapPlaces
    from qbitsim.images.qcow2.bitmaps import StoredBitmap
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.layout import HostLayout
    from qbitsim.images.qcow2.tables import Tables


# -- header


def header_cluster(image: Qcow2Image) -> bytes:
    """The first cluster: header, extensions, name of the backing file (qcow2_update_header)."""
    layout, kept = image.layout, image.kept_header
    unit = layout.cluster_size
    backing = os.fsencode(image.backing) if image.backing is not None else b""
    extensions = structures.pack_extensions(_extensions(image))
    version = 2 if image.compat == "0.10" else 3
    length = structures.SHORT_HEADER_LENGTH if version == 3 and kept.short else structures.HEADER_LENGTH[version]
    length += len(kept.rest)
    snapshots, snapshots_length = layout.snapshots.list_place
    header = Header(
        format_version=version,
        backing_offset=length + len(extensions) if backing else 0,
        backing_length=len(backing),
        cluster_bits=unit.bit_length() - 1,
        size=image.size,
        l1_entries=layout.active.l1[1],
        l1_offset=layout.active.l1[0] * unit,
        refcount_table_offset=layout.clusters.table[0] * unit,
        refcount_table_clusters=layout.clusters.table[1],
        snapshot_count=len(image.snapshots),
        snapshots_offset=snapshots * unit if snapshots_length else 0,
        incompatible=_incompatible(image),
        compatible=kept.compatible | (structures.LAZY_REFCOUNTS if image.lazy_refcounts else 0),
        autoclear=kept.autoclear | _autoclear(image),
        refcount_order=layout.clusters.refcount_bits.bit_length() - 1,
        header_length=length,
        compression_type=COMPRESSION_TYPES.index(image.compression),
        rest=kept.rest,
    )
    return (structures.pack_header(header) + extensions + backing).ljust(unit, b"\0")


def _incompatible(image: Qcow2Image) -> int:
    features = (
        (structures.DIRTY, image.kept_header.dirty),
        (structures.CORRUPT, image.corrupt),
        (structures.DATA_FILE, image.data_file is not None),
        (structures.COMPRESSION, image.compression != "zlib"),
    )
    return sum(bit for bit, is_set in features if is_set)


def _autoclear(image: Qcow2Image) -> int:
    bitmaps = structures.BITMAPS if image.layout.bitmaps.directory is not None else 0
    return bitmaps | (structures.RAW_DATA_FILE if image.data_file is not None and image.data_file.is_raw else 0)


def _extensions(image: Qcow2Image) -> Iterator[Extension]:
    if image.backing_format is not None:
        yield Extension(structures.BACKING_FORMAT, os.fsencode(image.backing_format))
    if image.data_file is not None and image.data_file.name is not None:
        yield Extension(structures.DATA_FILE_NAME, os.fsencode(image.data_file.name))
    unit = image.content.cluster_size
    if image.compat != "0.10" and unit >= structures.FEATURE_TABLE_MINIMUM:
        yield Extension(structures.FEATURE_TABLE, structures.FEATURE_TABLE_DATA)
    bitmaps = image.layout.bitmaps
    place = bitmaps.stale if image.has_stale_bitmaps else None
    if bitmaps.directory is not None:
        offset, length = bitmaps.directory
        place = len(bitmaps.by_name), offset, length
    if place is not None:
        count, offset, length = place
        found = structures.BitmapsExtension(count, 0, length, offset)
        yield Extension(structures.BITMAPS_EXTENSION, structures.pack_bitmaps_extension(found))
    yield from image.kept_header.extensions


# -- refcounts


def refcount_table(clusters: Allocator, blocks: Mapping[int, int]) -> bytes:
    """The refcount table, all its clusters; it leads to these *blocks* as far as it has room."""
    unit = clusters.cluster_size
    table = bytearray(clusters.table_clusters * unit)
    for number, place in blocks.items():
        start = number * TABLE_ENTRY
        if start < len(table):
            table[start : start + TABLE_ENTRY] = structures.pack_table((place * unit,))
    return bytes(table)


def refcount_block(clusters: Allocator, number: int) -> bytes:
    """Refcount block *number*."""
    first = number * clusters.per_block
    return structures.pack_refcounts(clusters.refcounts(first, clusters.per_block), clusters.refcount_bits)


# -- the guest's clusters


def l1_table(layout: HostLayout, tables: Tables, first: int = 0, stop: int | None = None) -> bytes:
    """The L1 table of the disk or of a snapshot, or its entries from *first* to before *stop*."""
    unit, active, last = layout.cluster_size, tables is layout.active, tables.l1[1]
    entries = [0] * (min(last, last if stop is None else stop) - first)
    for number in tables.l2 if stop is None else range(first, first + len(entries)):
        place = tables.l2.get(number)
        if place is not None:
            entries[number - first] = place * unit | (COPIED if active and layout.clusters.refcount(place) == 1 else 0)
    return structures.pack_table(entries)


def l2_table(layout: HostLayout, tables: Tables, content: Content, number: int) -> bytes:
    """L2 table *number* of the disk or of a snapshot.

    :param content: what *tables* lead to.
    """
    unit = layout.cluster_size
    bits, per_table = unit.bit_length() - 1, unit // TABLE_ENTRY
    first, entries = number * per_table, [0] * per_table
    for start, stop in _zero_runs(content, first, first + per_table):
        entries[start - first : stop - first] = [ZERO] * (stop - start)
    places, packed, refcount, active = tables.places, tables.packed, layout.clusters.refcount, tables is layout.active
    for guest in range(first, first + per_table):
        place = places.get(guest)
        if place is not None:
            copied = active and (layout.external or refcount(place) == 1)
            entries[guest - first] |= place * unit | (COPIED if copied else 0)
        elif guest in packed:
            entries[guest - first] = structures.compressed_entry(*packed[guest], bits)
    return structures.pack_table(entries)


def _zero_runs(content: Content, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """The runs of ZERO clusters among those from *first* to before *stop*."""
    unit = content.cluster_size
    at, end = first * unit, min(stop * unit, content.size)
    while at < end:
        kind, length = content.status(at, end - at)
        if kind is Kind.ZERO:
            yield at // unit, -(-(at + length) // unit)
        at += length


# -- snapshots


def snapshot_table(image: Qcow2Image) -> bytes:
    """The table of internal snapshots, empty if there are none."""
    layout, table = image.layout, b""
    for snapshot, tables in zip(image.snapshots, layout.snapshots.saved, strict=True):
        seconds = min(snapshot.date // 10**9, (1 << 32) - 1)
        entry = SnapshotEntry(
            l1_offset=tables.l1[0] * layout.cluster_size,
            l1_entries=tables.l1[1],
            id=os.fsencode(snapshot.id),
            name=os.fsencode(snapshot.name),
            seconds=seconds,
            nanoseconds=snapshot.date - seconds * 10**9,
            clock=snapshot.clock,
            vm_state_size=snapshot.state_size,
            disk_size=snapshot.content.size,
            icount=snapshot.icount,
            extra=snapshot.extra,
        )
        table = table.ljust(structures.padded(len(table)), b"\0") + structures.pack_snapshot(entry)
    return table


# -- bitmaps


def bitmap_directory(image: Qcow2Image) -> bytes:
    """The directory of the stored bitmaps, empty if none was stored."""
    found, places = b"", image.layout.bitmaps
    for bitmap in image.bitmaps:
        if bitmap.name in places:
            found += structures.pack_bitmap_entry(_bitmap_entry(bitmap, places, image.content.cluster_size))
    return found


def _bitmap_entry(bitmap: StoredBitmap, places: BitmapPlaces, unit: int) -> BitmapEntry:
    place = places.by_name[bitmap.name]
    return BitmapEntry(
        table_offset=place.table * unit,
        table_entries=place.entries,
        flags=(structures.IN_USE if bitmap.in_use else 0) | (structures.AUTO if bitmap.auto else 0),
        granularity_bits=bitmap.granularity.bit_length() - 1,
        name=os.fsencode(bitmap.name),
    )


def bitmap_table(places: BitmapPlaces, name: str) -> bytes:
    """The table of a stored bitmap."""
    place = places.by_name[name]
    entries = [0] * place.entries
    for number, entry in place.data.items():
        entries[number] = entry
    return structures.pack_table(entries)


def bitmap_data(bitmap: StoredBitmap, number: int, cluster_size: int) -> bytes:
    """The cluster of data to which entry *number* of the bitmap's table leads."""
    first = number * cluster_size * 8
    stop = min(first + cluster_size * 8, bitmap.bits.length)
    return bitmap.bits.part_to_bytes(first, stop).ljust(cluster_size, b"\0") if first < stop else bytes(cluster_size)
