"""A VMDK file made into an image, or refused (vmdk_open, block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.file_bytes import ContentBytes
from qbitsim.images.vmdk import structures
from qbitsim.images.vmdk.descriptor import content_ids, has_parent, is_descriptor, refuse_descriptor
from qbitsim.images.vmdk.extent import Extent
from qbitsim.images.vmdk.image import VmdkImage
from qbitsim.images.vmdk.structures import (
    DESCRIPTOR_LENGTH,
    DESCRIPTOR_PLACE,
    DIRECTORY_AT_END,
    TABLE_ENTRY,
    Header,
    unpack_entries,
    unpack_header,
    unpack_marker,
)
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.files.tree import ByteSource
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.raw import RawImage

PROBED = 2048
"""So many bytes of a file are looked at to find out what it is (BLOCK_PROBE_BUF_SIZE)."""

_BIGGEST_GRAIN = 1 << 21
_MOST_ENTRIES = 512
_MOST_TABLES = 32 << 20
_NEWEST_VERSION = 3
_LONGEST_TEXT = (1 << 20) - 1


def is_vmdk(beginning: bytes) -> bool:
    """Whether a file that begins so is taken for a VMDK one (vmdk_probe)."""
    return beginning[:4] in (structures.MAGIC, structures.OLD_MAGIC) or is_descriptor(beginning)


def open_vmdk(file: ImageFile) -> VmdkImage:
    """The image in a file that somebody says is a VMDK one.

    :raises QmpError: it is none, in QEMU's words.
    :raises UnsupportedError: it is one that only QEMU opens.
    """
    if not isinstance(file.image, VmdkImage):
        if file.image.format != "raw":  # whatever it is, it is no text and too long to be refused for that
            raise QmpError("invalid VMDK image descriptor")
        load_vmdk(file, file.raw)
    assert isinstance(file.image, VmdkImage)
    return file.image


def load_vmdk(file: ImageFile, plain: RawImage) -> None:
    """Let the file hold the image that its bytes are.

    :raises QmpError: as :func:`open_vmdk`; :raises UnsupportedError: too.
    """
    bytes_ = ContentBytes(plain.content)
    if bytes_.length < len(structures.MAGIC):
        raise QmpError("File is too small, not a valid image")
    magic = bytes_.read_at(0, len(structures.MAGIC))
    if magic == structures.OLD_MAGIC:
        raise UnsupportedError("vmdk images of the type 'vmfsSparse'")
    if magic != structures.MAGIC:
        refuse_descriptor(bytes_.read_at(0, _LONGEST_TEXT))
    extent = _read_extent(bytes_)
    text = bytes_.read_at(DESCRIPTOR_PLACE, DESCRIPTOR_LENGTH)
    if has_parent(text):
        raise UnsupportedError("vmdk images with a parent")
    if content_ids(text) is None:
        raise QmpError(f"Could not open '{file.name}': {os.strerror(errno.EINVAL)}")
    file.image = VmdkImage(file, plain, extent)


def _read_extent(file: ByteSource) -> Extent:
    """The tables of a sparse file (vmdk_open_vmdk4)."""
    header = unpack_header(file.read_at(0, SECTOR))
    if not header.capacity and header.descriptor[0]:
        refuse_descriptor(file.read_at(header.descriptor[0] * SECTOR, _LONGEST_TEXT))
    has_footer = header.directory == DIRECTORY_AT_END
    if has_footer:
        header = _read_footer(file)
    _check_header(header, -(-file.length // SECTOR))
    tables = -(-header.capacity // (header.table_entries * header.grain))
    if tables > _MOST_TABLES:
        raise QmpError("L1 size too big")
    directory = _read_directory(file, header.directory, tables)
    redundant = header.redundant if header.flags & structures.REDUNDANT_DIRECTORY else 0
    return Extent(header, directory, _read_directory(file, redundant, tables) if redundant else (), has_footer)


def _read_footer(file: ByteSource) -> Header:
    """The header behind all grains, with a marker in front of it and one behind."""
    end = -(-file.length // SECTOR) * SECTOR
    data = file.read_at(max(0, end - 3 * SECTOR), 3 * SECTOR).ljust(3 * SECTOR, b"\0")
    marker, footer, last = (data[place : place + SECTOR] for place in range(0, 3 * SECTOR, SECTOR))
    expected = (0, structures.FOOTER), (0, 0, structures.END_OF_STREAM)
    if footer[:4] != structures.MAGIC or (unpack_marker(marker)[1:], unpack_marker(last)) != expected:
        raise QmpError("Invalid footer")
    return unpack_header(footer)


def _check_header(header: Header, sectors: int) -> None:
    """Refuse a header that makes no sense, in the order of vmdk_open_vmdk4 and vmdk_add_extent.

    :param sectors: of the file.
    """
    if header.file_version > _NEWEST_VERSION:
        raise QmpError(f"Unsupported VMDK version {header.file_version}")
    if header.table_entries > _MOST_ENTRIES:
        raise QmpError("L2 table size too big")
    if not header.table_entries * header.grain & 0xFFFF_FFFF:
        raise QmpError("L1 entry size is invalid")
    if sectors < header.overhead:
        raise QmpError(f"File truncated, expecting at least {header.overhead * SECTOR} bytes")
    if header.grain > _BIGGEST_GRAIN:
        raise QmpError("Invalid granularity, image may be corrupt")
    if header.grain & (header.grain - 1):
        raise UnsupportedError(f"vmdk grains of {header.grain} sectors")


def _read_directory(file: ByteSource, sector: int, tables: int) -> tuple[int, ...]:
    length = tables * TABLE_ENTRY
    return unpack_entries(file.read_at(sector * SECTOR, length).ljust(length, b"\0"))
