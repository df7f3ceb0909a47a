"""How small a cluster of a qcow2 file becomes if it is compressed."""

from __future__ import annotations

from functools import lru_cache

WINDOW_BITS = 12
MEMORY_LEVEL = 9


@lru_cache(maxsize=64)
def packed_length(data: bytes) -> int | None:
    """The bytes that a cluster of *data* takes compressed; None if it does not get smaller, and is stored as it is.

    That is qcow2_zlib_compress, block/qcow2-threads.c, QEMU 10.0.
    """
    import zlib  # noqa: PLC0415 - few need it

    packer = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    length = len(packer.compress(data) + packer.flush())
    return length if length < len(data) else None
