"""Clusters of a qcow2 file, compressed."""

from __future__ import annotations

from functools import lru_cache

WINDOW_BITS = 12
MEMORY_LEVEL = 9


@lru_cache(maxsize=64)
def packed_length(data: bytes) -> int | None:
    """The bytes that a cluster of *data* takes compressed; None if it does not get smaller, and is stored as it is.

    That is qcow2_zlib_compress, block/qcow2-threads.c, QEMU 10.0.
    """
    length = len(pack(data))
    return length if length < len(data) else None


def pack(data: bytes) -> bytes:
    """A cluster of *data* compressed."""
    import zlib  # noqa: PLC0415 - few need it

    packer = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    return packer.compress(data) + packer.flush()


def unpack(data: bytes, length: int) -> tuple[bytes, int] | None:
    """The *length* bytes of a cluster that was compressed, and how many bytes of *data* they take.

    None if *data* are damaged (qcow2_zlib_decompress).
    """
    import zlib  # noqa: PLC0415 - few need it

    unpacker = zlib.decompressobj(wbits=-WINDOW_BITS)
    try:
        found = unpacker.decompress(data, length)
    except zlib.error:
        return None
    rest = len(unpacker.unused_data) + len(unpacker.unconsumed_tail)
    return (found, len(data) - rest) if len(found) == length else None
