"""The structures of a sparse VMDK file: bytes to records and back (VMware, "Virtual Disk Format 5.0").

Pure functions. All integers in a file are little endian; what is counted in sectors says so.
"""

from __future__ import annotations

import struct

from qbitsim.records import record
from qbitsim.sizes import SECTOR

MAGIC = b"KDMV"
OLD_MAGIC = b"COWD"
"""That of the sparse files of ESX."""

NEWLINE_TEST, REDUNDANT_DIRECTORY, ZERO_GRAINS, COMPRESSED, MARKERS = 1 << 0, 1 << 1, 1 << 2, 1 << 16, 1 << 17
"""Flags of a header."""

ENTRY_OF_ZEROES = 1
"""The entry of a grain table for a grain that reads as zeroes, if the header has :data:`ZERO_GRAINS`."""
DIRECTORY_AT_END = (1 << 64) - 1
"""The place of the grain directory where only the footer knows it."""
DEFLATE = 1
"""The one way of compression."""
END_OF_STREAM, FOOTER = 0, 3
"""Types of markers."""

TABLE_ENTRY = 4
DESCRIPTOR_PLACE, DESCRIPTOR_LENGTH = SECTOR, 20 * SECTOR
"""Where QEMU looks for the descriptor, whatever the header says (vmdk_open, block/vmdk.c, 10.0)."""

_LINE_ENDS = b"\n \r\n"
"""They tell whether somebody took the file for text."""
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_GRAIN_MARKER = struct.Struct("<QI")
_MARKER = struct.Struct("<QII")

GRAIN_MARKER_LENGTH = _GRAIN_MARKER.size


@record(kw_only=True)
class Header:
    """The first sector of a file. Lengths and places are in sectors.

    :ivar capacity: of the disk.
    :ivar grain: sectors of a grain.
    :ivar descriptor: where the descriptor is, and how long.
    :ivar table_entries: entries of a grain table.
    :ivar directory: where the grain directory is; :ivar redundant: its copy.
    :ivar overhead: sectors in front of the first grain.
    """

    file_version: int
    flags: int
    capacity: int
    grain: int
    descriptor: tuple[int, int]
    table_entries: int
    redundant: int
    directory: int
    overhead: int
    compression: int

    def pack(self) -> bytes:
        """The bytes of the header."""
        return _HEADER.pack(
            MAGIC,
            self.file_version,
            self.flags,
            self.capacity,
            self.grain,
            *self.descriptor,
            self.table_entries,
            self.redundant,
            self.directory,
            self.overhead,
            0,
            _LINE_ENDS,
            self.compression,
        )


def unpack_header(data: bytes) -> Header:
    """The header in the first sector of a file, of which what is missing reads as zeroes."""
    fields = _HEADER.unpack(data[: _HEADER.size].ljust(_HEADER.size, b"\0"))
    version, flags, capacity, grain, place, length, entries, redundant, directory, overhead = fields[1:11]
    return Header(
        file_version=version,
        flags=flags,
        capacity=capacity,
        grain=grain,
        descriptor=(place, length),
        table_entries=entries,
        redundant=redundant,
        directory=directory,
        overhead=overhead,
        compression=fields[13],
    )


def pack_directory(places: list[int]) -> bytes:
    """A grain directory, in whole sectors: the sectors at which the grain tables begin."""
    data = struct.pack(f"<{len(places)}I", *places)
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")


def unpack_entries(data: bytes) -> tuple[int, ...]:
    """The entries of a grain directory or of a grain table."""
    return struct.unpack(f"<{len(data) // TABLE_ENTRY}I", data)


def pack_entry(entry: int) -> bytes:
    """One of them."""
    return entry.to_bytes(TABLE_ENTRY, "little")


def pack_grain_marker(sector: int, length: int) -> bytes:
    """What stands in front of a compressed grain.

    :param sector: of the disk; :param length: bytes of the compressed grain.
    """
    return _GRAIN_MARKER.pack(sector, length)


def grain_length(data: bytes) -> int:
    """Bytes of the compressed grain that follows a marker, which is at the beginning of *data*."""
    length: int = _GRAIN_MARKER.unpack_from(data)[1]
    return length


def unpack_marker(data: bytes) -> tuple[int, int, int]:
    """Value, size and type of a marker that is no grain's."""
    value, size, kind = _MARKER.unpack_from(data)
    return value, size, kind
