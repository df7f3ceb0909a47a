"""A file as VMware's tools stream it: each grain and table once, in order, and the header again at the end."""

from __future__ import annotations

import struct
import zlib

GRAIN = 128 * 512
ENTRIES = 512


def streamed(grains: dict[int, bytes], size: int) -> bytes:
    """A disk of *size* bytes with these *grains*, by number."""
    tables = -(-size // (GRAIN * ENTRIES))
    head = header(size, directory=(1 << 64) - 1)
    text = b'# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
    data = (head.ljust(512, b"\0") + text).ljust(GRAIN, b"\0")
    directory = [0] * tables
    for table in range(tables):
        entries = [0] * ENTRIES
        for number in sorted(each for each in grains if each // ENTRIES == table):
            entries[number % ENTRIES] = len(data) // 512
            packed = zlib.compress(grains[number])
            data += sectors(struct.pack("<QI", number * 128, len(packed)) + packed)
        if any(entries):
            data += marker(ENTRIES * 4 // 512, 1)
            directory[table] = len(data) // 512
            data += struct.pack(f"<{ENTRIES}I", *entries)
    data += marker(1, 2)
    place = len(data) // 512
    data += sectors(struct.pack(f"<{tables}I", *directory))
    return data + marker(1, 3) + header(size, directory=place).ljust(512, b"\0") + marker(0, 0)


def header(size: int, *, directory: int) -> bytes:
    """A header of a compressed extent."""
    return struct.pack(
        "<4sIIQQQQIQQQB4sH", b"KDMV", 3, 0x30001, size // 512, 128, 1, 20, ENTRIES, 0, directory, 128, 0, b"\n \r\n", 1
    )


def marker(value: int, kind: int) -> bytes:
    """A marker that is no grain's."""
    return struct.pack("<QII", value, 0, kind).ljust(512, b"\0")


def sectors(data: bytes) -> bytes:
    """In whole sectors."""
    return data.ljust(-(-len(data) // 512) * 512, b"\0")
