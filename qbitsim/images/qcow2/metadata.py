"""What a qcow2 file says of itself: header, extensions, L1 and refcount table, snapshots and bitmaps.

Read and refused as QEMU does when it opens the file (qcow2_do_open, block/qcow2.c, 10.0), check by check in its order
and in its words. What lies behind the end of the file reads as zeroes, and nothing is made larger than the file is,
whatever numbers it holds. L2 tables, refcount blocks, bitmap tables and data are left
alone; :mod:`.table_reader` reads them.
"""

from __future__ import annotations

import os

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.structures import BitmapEntry, BitmapsExtension, Extension, Header, SnapshotEntry
from qbitsim.records import changed, record
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from qbitsim.files.tree import ByteSource

MAXIMUM_REFCOUNT_TABLE = 8 << 20
MAXIMUM_L1 = 32 << 20
MAXIMUM_SNAPSHOTS = 65536
MAXIMUM_SNAPSHOT_TABLE = 1024 * MAXIMUM_SNAPSHOTS
MAXIMUM_EXTRA_DATA = 1024
MAXIMUM_BITMAPS = 65535
MAXIMUM_BITMAP_DIRECTORY = 1024 * MAXIMUM_BITMAPS
MAXIMUM_BITMAP_TABLE = 0x8000000
MAXIMUM_BITMAP_LENGTH = 0x20000000
MAXIMUM_BITMAP_NAME = 1023
_MAXIMUM_BACKING_NAME = 1023
_BACKING_FORMAT_LENGTH = 16
_INT_MAX, _INT64_MAX = (1 << 31) - 1, (1 << 63) - 1
_KNOWN_INCOMPATIBLE = (1 << 5) - 1
_KNOWN_AUTOCLEAR = structures.BITMAPS | structures.RAW_DATA_FILE
_AES, _LUKS = 1, 2


@record(kw_only=True)
class Metadata:
    """What was read.

    :ivar size: bytes of the disk, whole sectors.
    :ivar backing: name of the backing file, None if there is none; :ivar backing_format: its format if written down.
    :ivar data_file: name of the external data file if written down.
    :ivar l1: the entries of the L1 table that the file holds; the others are 0. :ivar refcount_table: likewise.
    :ivar bitmaps_extension: where the bitmaps are, None if there are none to trust.
    :ivar stale_bitmaps: an extension that a program which does not know bitmaps has left behind.
    :ivar unknown: extensions of unknown types.
    :ivar bitmaps: the bitmap directory.
    """

    header: Header
    size: int
    cluster_size: int
    backing: str | None
    backing_format: str | None
    data_file: str | None
    l1: array[int]
    refcount_table: array[int]
    snapshots: list[SnapshotEntry]
    snapshot_table_length: int
    bitmaps_extension: BitmapsExtension | None
    stale_bitmaps: BitmapsExtension | None
    unknown: tuple[Extension, ...]
    bitmaps: list[BitmapEntry]

    @property
    def refcount_bits(self) -> int:
        """Bits of one refcount."""
        return 1 << self.header.refcount_order


def read_metadata(file: ByteSource, *, writable: bool = False, checking: bool = False) -> Metadata:
    """Read what the file says of itself.

    :param writable: it is opened for writing.
    :param checking: it is opened to be checked: snapshots are not looked at, nor is a missing refcount table refused.
    :raises QmpError: QEMU refuses to open the file.
    :raises UnsupportedError: QEMU would open it, and qbitsim cannot.
    :raises OSError: the file cannot be read.
    """
    first = file.read_at(0, structures.HEADER_LENGTH[3])
    header = _checked_header(structures.unpack_header(first))
    unit = 1 << header.cluster_bits
    if header.header_length > structures.HEADER_LENGTH[3]:
        rest = header.header_length - structures.HEADER_LENGTH[3]
        header = changed(header, rest=read_padded(file, structures.HEADER_LENGTH[3], rest))
    _check_features(file, header, writable=writable, checking=checking)
    _check_tables(header, checking=checking)
    l1 = structures.unpack_table(read_entries(file, header.l1_offset, header.l1_entries))
    table_entries = header.refcount_table_clusters * unit // 8
    refcount_table = structures.unpack_table(read_entries(file, header.refcount_table_offset, table_entries))
    if header.crypt_method not in {0, _AES, _LUKS}:
        raise QmpError(f"Unsupported encryption method {header.crypt_method}")
    extensions = list(_extensions(file, header))
    known = _Known(header, extensions)
    if header.autoclear & structures.RAW_DATA_FILE and not header.incompatible & structures.DATA_FILE:
        raise QmpError("data-file-raw requires a data file")
    _check_encryption(header)
    backing = _backing_name(file, header)
    snapshots, length = ([], 0) if checking else read_snapshots(file, header)
    bitmaps = _read_bitmaps(file, header, known.bitmaps)
    if header.incompatible & structures.EXTENDED_L2:
        raise UnsupportedError("qcow2 images with extended L2 entries")
    return Metadata(
        header=header,
        size=header.size // SECTOR * SECTOR,
        cluster_size=unit,
        backing=backing,
        backing_format=known.backing_format,
        data_file=known.data_file,
        l1=l1,
        refcount_table=refcount_table,
        snapshots=snapshots,
        snapshot_table_length=length,
        bitmaps_extension=known.bitmaps,
        stale_bitmaps=known.stale_bitmaps,
        unknown=tuple(known.unknown),
        bitmaps=bitmaps,
    )


def read_padded(file: ByteSource, offset: int, length: int) -> bytes:
    """*length* bytes, zeroes behind the end of the file; for lengths that need not be doubted."""
    return file.read_at(offset, length).ljust(length, b"\0")


def read_entries(file: ByteSource, offset: int, count: int) -> bytes:
    """The entries of a table of 64-bit entries that the file holds at least in part, as bytes."""
    length = max(0, min(count * 8, file.length - offset))
    return read_padded(file, offset, structures.padded(length)) if length else b""


# -- header


def _checked_header(header: Header) -> Header:
    if header.magic != structures.MAGIC:
        raise QmpError("Image is not in qcow2 format")
    if header.format_version not in structures.HEADER_LENGTH:
        raise QmpError(f"Unsupported qcow2 version {header.format_version}")
    if not 9 <= header.cluster_bits <= 21:
        raise QmpError(f"Unsupported cluster size: 2^{header.cluster_bits}")
    if header.format_version == 3 and header.header_length < structures.SHORT_HEADER_LENGTH:
        raise QmpError("qcow2 header too short")
    if header.header_length > 1 << header.cluster_bits:
        raise QmpError("qcow2 header exceeds cluster size")
    return header


def _check_features(file: ByteSource, header: Header, *, writable: bool, checking: bool) -> None:
    unit = 1 << header.cluster_bits
    if header.backing_offset > unit:
        raise QmpError("Invalid backing file offset")
    if header.compression_type > 1:
        raise QmpError(f"qcow2: unknown compression type: {header.compression_type}")
    if bool(header.compression_type) != bool(header.incompatible & structures.COMPRESSION):
        must = "must" if header.compression_type else "must not"
        raise QmpError(f"qcow2: Compression type incompatible feature bit {must} be set")
    unknown = header.incompatible & ~_KNOWN_INCOMPATIBLE
    if unknown:
        raise QmpError(f"Unsupported qcow2 feature(s): {', '.join(_unknown_features(file, header, unknown))}")
    if header.incompatible & structures.CORRUPT and writable and not checking:
        raise QmpError("qcow2: Image is corrupt; cannot be opened read/write")
    if header.incompatible & structures.EXTENDED_L2 and unit // 32 < 512:
        raise QmpError(f"Unsupported subcluster size: {unit // 32}")
    if header.refcount_order > 6:
        raise QmpError("Reference count entry width too large; may not exceed 64 bits")


def _unknown_features(file: ByteSource, header: Header, mask: int) -> Iterator[str]:
    """The names of the unknown incompatible features in *mask*, as far as the file knows them."""
    table = b""
    try:
        for extension in _extensions(file, header):
            if extension.type == structures.FEATURE_TABLE:
                table = extension.data
    except QmpError:
        pass  # what was found until then is good enough to name features
    for kind, bit, name in structures.feature_names(table):
        if kind == 0 and mask & 1 << bit % 64:
            yield name
            mask &= ~(1 << bit % 64)
    if mask:
        yield f"Unknown incompatible feature: {mask:x}"


def _check_tables(header: Header, *, checking: bool) -> None:
    unit = 1 << header.cluster_bits
    if not header.refcount_table_clusters and not checking:
        raise QmpError("Image does not contain a reference count table")
    clusters = header.refcount_table_clusters
    _check_table(
        header, (header.refcount_table_offset, clusters), unit, MAXIMUM_REFCOUNT_TABLE, "Reference count table"
    )
    if not checking:
        most = structures.SNAPSHOT_FIXED * MAXIMUM_SNAPSHOTS
        place = header.snapshots_offset, header.snapshot_count
        _check_table(header, place, structures.SNAPSHOT_FIXED, most, "Snapshot table")
    _check_table(header, (header.l1_offset, header.l1_entries), 8, MAXIMUM_L1, "Active L1 table")
    entry_length = 16 if header.incompatible & structures.EXTENDED_L2 else 8
    reach = unit * (unit // entry_length)
    wanted = ((header.size + reach - 1) % (1 << 64)) // reach
    if wanted > _INT_MAX or header.size > _INT64_MAX:
        raise QmpError("Image is too big")
    if header.l1_entries < wanted:
        raise QmpError("L1 table is too small")


def _check_table(header: Header, place: tuple[int, int], entry_length: int, most: int, name: str) -> None:
    """Refuse a place, offset and number of entries, that no table can be at (qcow2_validate_table)."""
    offset, entries = place
    if entries > most // entry_length:
        raise QmpError(f"{name} too large")
    if offset > _INT64_MAX - entries * entry_length or offset % (1 << header.cluster_bits):
        raise QmpError(f"{name} offset invalid")


def _check_encryption(header: Header) -> None:
    if header.crypt_method == _AES:
        raise UnsupportedError("encrypted qcow2 images")
    if header.crypt_method:
        raise QmpError(f"Missing CRYPTO header for crypt method {header.crypt_method}")


def _backing_name(file: ByteSource, header: Header) -> str | None:
    if not header.backing_offset:
        return None
    room = (1 << header.cluster_bits) - header.backing_offset
    if header.backing_length > min(_MAXIMUM_BACKING_NAME, room):
        raise QmpError("Backing file name too long")
    name = read_padded(file, header.backing_offset, header.backing_length).split(b"\0")[0]
    return os.fsdecode(name) or None


# -- extensions


def _extensions(file: ByteSource, header: Header) -> Iterator[Extension]:
    """All extensions in the header (qcow2_read_extensions)."""
    end = header.backing_offset or 1 << header.cluster_bits
    offset, data = header.header_length, read_padded(file, 0, 1 << header.cluster_bits)
    while offset < end:
        kind, length = structures.unpack_extension_start(data[offset : offset + structures.EXTENSION_FIXED])
        offset += structures.EXTENSION_FIXED
        if offset > end or length > end - offset:
            raise QmpError("Header extension too large")
        if kind == structures.END:
            return
        yield Extension(kind, data[offset : offset + length])
        offset += structures.padded(length)


class _Known:
    """What the extensions say; QmpError if QEMU refuses one of them."""

    __slots__ = ("backing_format", "bitmaps", "data_file", "stale_bitmaps", "unknown")

    def __init__(self, header: Header, extensions: list[Extension]) -> None:
        self.backing_format: str | None = None
        self.data_file: str | None = None
        self.bitmaps: BitmapsExtension | None = None
        self.stale_bitmaps: BitmapsExtension | None = None
        self.unknown: list[Extension] = []
        for extension in extensions:
            data = extension.data
            match extension.type:
                case structures.BACKING_FORMAT:
                    self.backing_format = _backing_format(data)
                case structures.FEATURE_TABLE:
                    pass
                case structures.CRYPTO_HEADER:
                    _check_crypto_header(header, data)
                case structures.BITMAPS_EXTENSION:
                    self._take_bitmaps(header, data)
                case structures.DATA_FILE_NAME:
                    self.data_file = os.fsdecode(data.split(b"\0")[0])
                case _:
                    self.unknown.append(extension)

    def _take_bitmaps(self, header: Header, data: bytes) -> None:
        if len(data) != structures.BITMAPS_EXTENSION_LENGTH:
            raise QmpError("bitmaps_ext: Invalid extension length")
        found = structures.unpack_bitmaps_extension(data)
        if not header.autoclear & structures.BITMAPS:
            self.stale_bitmaps = found
            return
        _check_bitmaps_extension(header, found)
        self.bitmaps = found


def _backing_format(data: bytes) -> str:
    if len(data) >= _BACKING_FORMAT_LENGTH:
        raise QmpError(f"ERROR: ext_backing_format: len={len(data)} too large (>={_BACKING_FORMAT_LENGTH})")
    return os.fsdecode(data.split(b"\0")[0])


def _check_crypto_header(header: Header, data: bytes) -> None:
    if header.crypt_method != _LUKS:
        raise QmpError("CRYPTO header extension only expected with LUKS encryption method")
    if len(data) != 16:
        raise QmpError(f"CRYPTO header extension size {len(data)}, but expected size 16")
    offset, unit = int.from_bytes(data[:8], "big"), 1 << header.cluster_bits
    if offset % unit:
        raise QmpError(f"Encryption header offset '{offset}' is not a multiple of cluster size '{unit}'")
    raise UnsupportedError("encrypted qcow2 images")


def _check_bitmaps_extension(header: Header, found: BitmapsExtension) -> None:
    if found.reserved:
        raise QmpError("bitmaps_ext: Reserved field is not zero")
    if found.count > MAXIMUM_BITMAPS:
        raise QmpError(
            f"bitmaps_ext: Image has {found.count} bitmaps, exceeding the QEMU supported maximum of {MAXIMUM_BITMAPS}"
        )
    if not found.count:
        raise QmpError("found bitmaps extension with zero bitmaps")
    if found.directory_offset % (1 << header.cluster_bits):
        raise QmpError("bitmaps_ext: invalid bitmap directory offset")
    if found.directory_length > MAXIMUM_BITMAP_DIRECTORY:
        raise QmpError(
            f"bitmaps_ext: bitmap directory size ({found.directory_length}) exceeds "
            f"the maximum supported size ({MAXIMUM_BITMAP_DIRECTORY})"
        )


# -- snapshots


def read_snapshots(file: ByteSource, header: Header) -> tuple[list[SnapshotEntry], int]:
    """The table of snapshots, and its bytes (qcow2_do_read_snapshots)."""
    found: list[SnapshotEntry] = []
    start = offset = header.snapshots_offset
    for number in range(header.snapshot_count):
        offset = structures.padded(offset)
        fixed = read_padded(file, offset, structures.SNAPSHOT_FIXED)
        offset += structures.SNAPSHOT_FIXED
        extra_length, id_length, name_length = structures.snapshot_lengths(fixed)
        if extra_length > MAXIMUM_EXTRA_DATA:
            raise QmpError(
                f"Too much extra metadata in snapshot table entry {number}",
                hint="You can force-remove this extra metadata with qemu-img check -r all\n",
            )
        rest = read_padded(file, offset, extra_length + id_length + name_length)
        offset += len(rest)
        found.append(structures.unpack_snapshot(fixed, rest[:extra_length], rest[extra_length:]))
        if offset - start > MAXIMUM_SNAPSHOT_TABLE:
            left = header.snapshot_count - number
            raise QmpError(
                "Snapshot table is too big",
                hint=f"You can force-remove all {left} overhanging snapshots with qemu-img check -r all\n",
            )
    return found, offset - start


# -- bitmaps


def _read_bitmaps(file: ByteSource, header: Header, extension: BitmapsExtension | None) -> list[BitmapEntry]:
    """The bitmap directory (bitmap_list_load, block/qcow2-bitmap.c, 10.0)."""
    if extension is None:
        return []
    length = extension.directory_length
    if not length:
        raise QmpError("Requested bitmap directory size is zero")
    found: list[BitmapEntry] = []
    directory, at = file.read_at(extension.directory_offset, length), 0
    while at < length:
        if at + structures.BITMAP_FIXED > length:
            raise QmpError("Broken bitmap directory")
        if len(found) == extension.count:
            raise QmpError("More bitmaps found than specified in header extension")
        most = structures.BITMAP_FIXED + (1 << 16)
        entry, entry_length = structures.unpack_bitmap_entry(directory[at : at + most].ljust(most, b"\0"))
        if at + entry_length > length:
            raise QmpError("Broken bitmap directory")
        if entry.extra_length:
            raise QmpError("Bitmap extra data is not supported")
        _check_bitmap(header, entry)
        found.append(entry)
        at += entry_length
    if len(found) != extension.count:
        raise QmpError("Less bitmaps found than specified in header extension")
    return found


def _check_bitmap(header: Header, entry: BitmapEntry) -> None:
    """Refuse an entry that QEMU does not trust (check_dir_entry)."""
    unit = 1 << header.cluster_bits
    length = entry.table_entries * unit
    size = header.size // SECTOR * SECTOR
    if (
        not entry.table_entries
        or not entry.table_offset
        or entry.table_offset % unit
        or entry.table_entries > MAXIMUM_BITMAP_TABLE
        or not 9 <= entry.granularity_bits <= 31
        or entry.flags & ~(structures.IN_USE | structures.AUTO)
        or len(entry.name) > MAXIMUM_BITMAP_NAME
        or entry.type != structures.DIRTY_TRACKING
        or length > MAXIMUM_BITMAP_LENGTH
        or (not entry.flags & structures.IN_USE and size > length * 8 << entry.granularity_bits)
    ):
        raise QmpError(f"Bitmap '{os.fsdecode(entry.name)}' doesn't satisfy the constraints")
