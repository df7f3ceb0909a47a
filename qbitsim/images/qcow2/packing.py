"""Clusters of a qcow2 file, compressed.

``zstd`` is there only where Python has :mod:`compression.zstd`, from 3.14 on. Elsewhere an image may be of that type
as long as nothing in it is compressed.
"""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.light_library import import_module, lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

Compression: TypeAlias = "Literal['zlib', 'zstd']"

COMPRESSION_TYPES: tuple[Compression, ...] = ("zlib", "zstd")
"""In the order of their numbers in the header."""

WINDOW_BITS = 12
MEMORY_LEVEL = 9


def check_compression(kind: Compression) -> None:
    """Refuse clusters that are compressed in a way that this Python does not have.

    :raises UnsupportedError: naming it.
    """
    if kind == "zstd":
        _zstd()


def _zstd() -> Any:
    try:
        return import_module("compression.zstd")
    except ModuleNotFoundError:
        raise UnsupportedError("qcow2 clusters of compression type zstd") from None


@lru_cache(maxsize=64)
def packed_length(data: bytes, kind: Compression = "zlib") -> int | None:
    """The bytes that a cluster of *data* takes compressed; None if it does not get smaller, and is stored as it is.

    That is qcow2_zlib_compress and qcow2_zstd_compress, block/qcow2-threads.c, QEMU 10.0.
    """
    length = len(pack(data, kind))
    return length if length < len(data) else None


def pack(data: bytes, kind: Compression = "zlib") -> bytes:
    """A cluster of *data* compressed."""
    if kind == "zstd":
        found: bytes = _zstd().compress(data)
        return found
    import zlib  # noqa: PLC0415 - few need it

    packer = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    return packer.compress(data) + packer.flush()


def unpack(data: bytes, length: int, kind: Compression = "zlib") -> tuple[bytes, int] | None:
    """The *length* bytes of a cluster that was compressed, and how many bytes of *data* they take at most.

    None if *data* are damaged (qcow2_zlib_decompress, qcow2_zstd_decompress).
    """
    if kind == "zstd":
        return _unpack_zstd(data, length)
    import zlib  # noqa: PLC0415 - few need it

    unpacker = zlib.decompressobj(wbits=-WINDOW_BITS)
    try:
        found = unpacker.decompress(data, length)
    except zlib.error:
        return None
    rest = len(unpacker.unused_data) + len(unpacker.unconsumed_tail)
    return (found, len(data) - rest) if len(found) == length else None


def _unpack_zstd(data: bytes, length: int) -> tuple[bytes, int] | None:
    zstd = _zstd()
    unpacker = zstd.ZstdDecompressor()
    try:
        found = unpacker.decompress(data, length)
    except zstd.ZstdError:
        return None
    rest = len(unpacker.unused_data) if unpacker.eof else 0
    return (found, len(data) - rest) if len(found) == length else None
