"""The structures of a qcow2 file: bytes to records and back (docs/interop/qcow2, QEMU 10.0).

Pure functions; nothing here reads a file or knows what a value is good for. All integers in a file are big endian;
offsets and lengths are in bytes unless a name says otherwise.
"""

from __future__ import annotations

import sys

from qbitsim.light_library import Struct, array
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAGIC = 0x514649FB
HEADER_LENGTH = {2: 72, 3: 112}
"""Bytes of the header that QEMU writes, by version."""
SHORT_HEADER_LENGTH = 104
"""Bytes of a header of version 3 without the compression type: the shortest there is."""

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
"""Incompatible features."""
LAZY_REFCOUNTS = 1
"""Compatible feature."""
BITMAPS, RAW_DATA_FILE = 1, 2
"""Autoclear features."""

END, BACKING_FORMAT, FEATURE_TABLE = 0, 0xE2792ACA, 0x6803F857
CRYPTO_HEADER, BITMAPS_EXTENSION, DATA_FILE_NAME = 0x0537BE77, 0x23852875, 0x44415441
"""Types of header extensions."""

COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
"""Flags of entries of L1 and L2 tables."""
OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
"""The offset in an entry of an L1, L2 or bitmap table."""
BLOCK_OFFSET_MASK = 0xFFFF_FFFF_FFFF_FE00
"""The offset in an entry of the refcount table."""
ALL_ONES = 1
"""Entry of a bitmap table: all bits are set, no data are stored."""
BITMAP_RESERVED_MASK = 0xFF00_0000_0000_01FE
L1_RESERVED_MASK = 0x7F00_0000_0000_01FF
L2_RESERVED_MASK = 0x3F00_0000_0000_01FE
BLOCK_RESERVED_MASK = 0x1FF

IN_USE, AUTO = 1, 2
"""Flags of bitmap directory entries."""
DIRTY_TRACKING = 1
"""The one type of bitmap."""
COMPRESSED_SECTOR = 512
"""The unit in which an L2 entry says how long compressed data are."""

_HEADER = Struct(">IIQIIQIIQQIIQ")
_VERSION_3 = Struct(">QQQII")
_EXTENSION = Struct(">II")
_BITMAPS_EXTENSION = Struct(">IIQQ")
_SNAPSHOT = Struct(">QIHHIIQII")
_SNAPSHOT_EXTRA = Struct(">QQQ")
_BITMAP = Struct(">QIIBBHI")
_FEATURE = Struct(">BB46s")
_NO_ICOUNT = (1 << 64) - 1

SNAPSHOT_FIXED = _SNAPSHOT.size
"""Bytes of an entry of the snapshot table in front of its extra data."""
SNAPSHOT_EXTRA = _SNAPSHOT_EXTRA.size
"""Bytes of extra data that QEMU knows."""
BITMAP_FIXED = _BITMAP.size
"""Bytes of an entry of the bitmap directory in front of its extra data."""
EXTENSION_FIXED = _EXTENSION.size
BITMAPS_EXTENSION_LENGTH = _BITMAPS_EXTENSION.size

_FEATURES = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)


def padded(length: int) -> int:
    """*length* rounded up to 8 bytes, as many things in the file are."""
    return -(-length // 8) * 8


# -- header


@record(kw_only=True)
class Header:
    """The fields of a header.

    :ivar l1_entries: number of entries of the L1 table.
    :ivar header_length: bytes up to the first extension.
    :ivar rest: what is in the header behind the fields known here.
    """

    magic: int = MAGIC
    format_version: int
    backing_offset: int = 0
    backing_length: int = 0
    cluster_bits: int
    size: int
    crypt_method: int = 0
    l1_entries: int
    l1_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    snapshot_count: int = 0
    snapshots_offset: int = 0
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    header_length: int
    compression_type: int = 0
    rest: bytes = b""


def with_refcounts(header: bytes, new: bytes) -> bytes:
    """A header that says what *new* says of refcounts: where their table is, and how wide they are.

    In everything else it is *header*. Version 2 does not say how wide they are.
    """
    table, width = slice(_HEADER.size - 24, _HEADER.size - 12), slice(_HEADER.size + 24, _HEADER.size + 28)
    changed = header[: table.start] + new[table] + header[table.stop :]
    if 2 in {header[7], new[7]}:
        return changed
    return changed[: width.start] + new[width] + changed[width.stop :]


def unpack_header(data: bytes) -> Header:
    """The header in the first :data:`HEADER_LENGTH` bytes of *data*, zeroes being added; nothing is checked.

    Its *rest* is empty. In version 2 the fields of version 3 have the values that they stand for.
    """
    data = data[:112].ljust(112, b"\0")
    first = _HEADER.unpack_from(data)
    (magic, version, backing_offset, backing_length, cluster_bits, size, crypt, l1_entries, l1_offset) = first[:9]
    incompatible, compatible, autoclear, order, length = _VERSION_3.unpack_from(data, _HEADER.size)
    if version == 2:
        incompatible, compatible, autoclear, order, length = 0, 0, 0, 4, HEADER_LENGTH[2]
    return Header(
        magic=magic,
        format_version=version,
        backing_offset=backing_offset,
        backing_length=backing_length,
        cluster_bits=cluster_bits,
        size=size,
        crypt_method=crypt,
        l1_entries=l1_entries,
        l1_offset=l1_offset,
        refcount_table_offset=first[9],
        refcount_table_clusters=first[10],
        snapshot_count=first[11],
        snapshots_offset=first[12],
        incompatible=incompatible,
        compatible=compatible,
        autoclear=autoclear,
        refcount_order=order,
        header_length=length,
        compression_type=data[104] if length > SHORT_HEADER_LENGTH else 0,
    )


def pack_header(header: Header) -> bytes:
    """The ``header_length`` bytes of a header."""
    fixed = _HEADER.pack(
        header.magic,
        header.format_version,
        header.backing_offset,
        header.backing_length,
        header.cluster_bits,
        header.size,
        header.crypt_method,
        header.l1_entries,
        header.l1_offset,
        header.refcount_table_offset,
        header.refcount_table_clusters,
        header.snapshot_count,
        header.snapshots_offset,
    )
    if header.format_version == 2:
        return fixed + header.rest
    more = (header.incompatible, header.compatible, header.autoclear, header.refcount_order, header.header_length)
    known = fixed + _VERSION_3.pack(*more)
    if header.header_length > SHORT_HEADER_LENGTH:
        known += bytes((header.compression_type,)).ljust(HEADER_LENGTH[3] - SHORT_HEADER_LENGTH, b"\0")
    return known + header.rest


@record
class Extension:
    """A header extension: its type, and its data without padding."""

    type: int
    data: bytes


def pack_extensions(extensions: Iterable[Extension]) -> bytes:
    """Header extensions, with the one that ends them."""
    parts = [
        _EXTENSION.pack(each.type, len(each.data)) + each.data.ljust(padded(len(each.data)), b"\0")
        for each in extensions
    ]
    return b"".join(parts) + _EXTENSION.pack(END, 0)


@record(kw_only=True)
class KeptHeader:
    """What other programs, or other releases, put into a header, and is written back as it was.

    :ivar short: the header ends in front of the compression type.
    :ivar rest: what is behind the known fields.
    :ivar extensions: those of unknown types.
    :ivar compatible: unknown features; :ivar autoclear: likewise, until the file is opened for writing.
    :ivar dirty: refcounts may be wrong.
    """

    short: bool = False
    rest: bytes = b""
    extensions: tuple[Extension, ...] = ()
    compatible: int = 0
    autoclear: int = 0
    dirty: bool = False


def unpack_extension_start(data: bytes) -> tuple[int, int]:
    """Type of a header extension and length of its data, from its first bytes."""
    return _EXTENSION.unpack(data.ljust(EXTENSION_FIXED, b"\0"))


def feature_names(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Kind (0 for incompatible), bit and name of each feature in a feature name table, up to the first without name.

    The last one may be short (qcow2_read_extensions, block/qcow2.c, QEMU 10.0).
    """
    for start in range(0, len(data), _FEATURE.size):
        kind, bit, name = _FEATURE.unpack(data[start : start + _FEATURE.size].ljust(_FEATURE.size, b"\0"))
        if not name[0]:
            return
        yield kind, bit, name.split(b"\0")[0].decode(errors="replace")


FEATURE_TABLE_DATA = b"".join(_FEATURE.pack(kind, bit, name.encode()) for kind, bit, name in _FEATURES)
"""The feature name table as QEMU writes it (7.2, 10.0 and 11.1 alike)."""
FEATURE_TABLE_MINIMUM = 8192
"""Smaller clusters have no room for a feature name table, so that QEMU leaves it out (qcow2_update_header)."""


@record
class BitmapsExtension:
    """Where the bitmap directory is: number of bitmaps, bytes, offset; *reserved* should be 0."""

    count: int
    reserved: int
    directory_length: int
    directory_offset: int


def pack_bitmaps_extension(extension: BitmapsExtension) -> bytes:
    """The data of a bitmaps extension."""
    return _BITMAPS_EXTENSION.pack(
        extension.count, extension.reserved, extension.directory_length, extension.directory_offset
    )


def unpack_bitmaps_extension(data: bytes) -> BitmapsExtension:
    """The bitmaps extension in :data:`BITMAPS_EXTENSION_LENGTH` bytes."""
    return BitmapsExtension(*_BITMAPS_EXTENSION.unpack(data))


# -- tables of 64-bit entries


def pack_table(entries: Iterable[int]) -> bytes:
    """The bytes of a table of 64-bit entries."""
    values = entries[:] if isinstance(entries, array) else array("Q", entries)
    if sys.byteorder == "little":
        values.byteswap()
    return values.tobytes()


def unpack_table(data: bytes) -> array[int]:
    """The 64-bit entries in *data*; bytes behind the last whole one are ignored."""
    values = array("Q", data[: len(data) // 8 * 8])
    if sys.byteorder == "little":
        values.byteswap()
    return values


def up_to_last(table: array[int]) -> array[int]:
    """The entries of a table up to the last that is not 0, found without looking at each."""
    return table[: -(-len(table.tobytes().rstrip(b"\0")) // table.itemsize)]


def compressed_entry(offset: int, length: int, cluster_bits: int) -> int:
    """The L2 entry of *length* bytes of compressed data at *offset*."""
    sectors = (offset + length - 1) // COMPRESSED_SECTOR - offset // COMPRESSED_SECTOR
    return COMPRESSED | sectors << _compressed_shift(cluster_bits) | offset


def compressed_place(entry: int, cluster_bits: int) -> tuple[int, int]:
    """Offset of compressed data, and the bytes up to the end of their last sector (qcow2_parse_compressed_l2_entry)."""
    shift = _compressed_shift(cluster_bits)
    offset = entry & ((1 << shift) - 1)
    sectors = (entry >> shift & ((1 << cluster_bits - 8) - 1)) + 1
    return offset, sectors * COMPRESSED_SECTOR - offset % COMPRESSED_SECTOR


def _compressed_shift(cluster_bits: int) -> int:
    return 62 - (cluster_bits - 8)


# -- refcount blocks


def pack_refcounts(counts: Sequence[int], bits: int) -> bytes:
    """The bytes of a refcount block; *bits*, 1 to 64, are those of one count. Small ones fill a byte from below."""
    if bits < 8:
        per_byte, packed = 8 // bits, 0
        for shift in range(per_byte):
            packed |= int.from_bytes(bytes(list(counts[shift::per_byte])), "little") << shift * bits
        return packed.to_bytes(len(counts) // per_byte, "little")
    code = _CODES[bits]
    values = counts[:] if isinstance(counts, array) and counts.typecode == code else array(code, counts)
    if sys.byteorder == "little":
        values.byteswap()
    return values.tobytes()


def unpack_refcounts(data: bytes, bits: int) -> Sequence[int]:
    """The counts in a refcount block."""
    if bits < 8:
        per_byte, mask = 8 // bits, (1 << bits) - 1
        counts = bytearray(len(data) * per_byte)
        for shift in range(per_byte):
            counts[shift::per_byte] = data.translate(bytes(byte >> shift * bits & mask for byte in range(256)))
        return bytes(counts)
    if bits == 8:
        return data
    values = array(_CODES[bits], data)
    if sys.byteorder == "little":
        values.byteswap()
    return values


_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


# -- snapshots


@record(kw_only=True)
class SnapshotEntry:
    """An entry of the snapshot table.

    :ivar seconds: since 1970; :ivar nanoseconds: the rest of the date.
    :ivar clock: nanoseconds for which the guest had run.
    :ivar vm_state_size: bytes behind the disk in which the state of the machine is.
    :ivar disk_size: None if the entry does not say.
    :ivar icount: instructions executed, -1 if the entry does not say.
    :ivar extra: bytes of extra data behind those known here.
    :ivar extra_length: bytes of all extra data as the entry says.
    """

    l1_offset: int
    l1_entries: int
    id: bytes
    name: bytes
    seconds: int
    nanoseconds: int
    clock: int
    vm_state_size: int = 0
    disk_size: int | None
    icount: int = -1
    extra: bytes = b""
    extra_length: int = SNAPSHOT_EXTRA


def pack_snapshot(entry: SnapshotEntry) -> bytes:
    """The bytes of an entry of the snapshot table, without padding, as QEMU writes it (qcow2_write_snapshots)."""
    assert entry.disk_size is not None
    fixed = _SNAPSHOT.pack(
        entry.l1_offset,
        entry.l1_entries,
        len(entry.id),
        len(entry.name),
        entry.seconds,
        entry.nanoseconds,
        entry.clock,
        entry.vm_state_size if entry.vm_state_size < 1 << 32 else 0,
        SNAPSHOT_EXTRA + len(entry.extra),
    )
    known = _SNAPSHOT_EXTRA.pack(entry.vm_state_size, entry.disk_size, entry.icount % (1 << 64))
    return fixed + known + entry.extra + entry.id + entry.name


def snapshot_lengths(fixed: bytes) -> tuple[int, int, int]:
    """Bytes of the extra data, the id and the name of a snapshot table entry, from its first bytes."""
    _, _, id_length, name_length, _, _, _, _, extra_length = _SNAPSHOT.unpack(fixed)
    return extra_length, id_length, name_length


def unpack_snapshot(fixed: bytes, extra: bytes, texts: bytes) -> SnapshotEntry:
    """An entry of the snapshot table.

    :param extra: its extra data; :param texts: id and name.
    """
    l1_offset, l1_entries, id_length, _, seconds, nanoseconds, clock, vm_state_size, length = _SNAPSHOT.unpack(fixed)
    whole = len(extra) // 8
    known = Struct(f">{min(whole, 3)}Q").unpack(extra[: min(whole, 3) * 8])
    return SnapshotEntry(
        l1_offset=l1_offset,
        l1_entries=l1_entries,
        id=texts[:id_length],
        name=texts[id_length:],
        seconds=seconds,
        nanoseconds=nanoseconds,
        clock=clock,
        vm_state_size=known[0] if whole else vm_state_size,
        disk_size=known[1] if whole > 1 else None,
        icount=-1 if whole < 3 or known[2] == _NO_ICOUNT else known[2],
        extra=extra[SNAPSHOT_EXTRA:],
        extra_length=length,
    )


# -- bitmaps


@record(kw_only=True)
class BitmapEntry:
    """An entry of the bitmap directory.

    :ivar table_entries: number of entries of the bitmap's table.
    :ivar extra_length: bytes of extra data in front of the name, which QEMU does not support.
    """

    table_offset: int
    table_entries: int
    flags: int
    type: int = DIRTY_TRACKING
    granularity_bits: int
    name: bytes
    extra_length: int = 0


def pack_bitmap_entry(entry: BitmapEntry) -> bytes:
    """The bytes of an entry of the bitmap directory without extra data, padded."""
    fixed = _BITMAP.pack(
        entry.table_offset,
        entry.table_entries,
        entry.flags,
        entry.type,
        entry.granularity_bits,
        len(entry.name),
        0,
    )
    return fixed + entry.name.ljust(padded(BITMAP_FIXED + len(entry.name)) - BITMAP_FIXED, b"\0")


def unpack_bitmap_entry(data: bytes) -> tuple[BitmapEntry, int]:
    """The entry of a bitmap directory at the beginning of *data*, and its length with padding.

    The length may be more than there is: nothing is checked.
    """
    table_offset, table_entries, flags, kind, granularity_bits, name_length, extra_length = _BITMAP.unpack_from(data)
    name = BITMAP_FIXED + extra_length
    entry = BitmapEntry(
        table_offset=table_offset,
        table_entries=table_entries,
        flags=flags,
        type=kind,
        granularity_bits=granularity_bits,
        name=data[name : name + name_length],
        extra_length=extra_length,
    )
    return entry, padded(name + name_length)
