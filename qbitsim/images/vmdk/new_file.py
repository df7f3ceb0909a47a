"""A new VMDK image written into a file (vmdk_co_do_create, block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from qbitsim.errors import UnsupportedError
from qbitsim.images.file_bytes import ContentBytes
from qbitsim.images.vmdk.descriptor import new_descriptor
from qbitsim.images.vmdk.extent import new_extent
from qbitsim.images.vmdk.image import VmdkImage
from qbitsim.images.vmdk.options import VmdkOptions
from qbitsim.images.vmdk.structures import DESCRIPTOR_PLACE, pack_directory
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.images.image_file import ImageFile

_DEFAULTS = VmdkOptions()


def write_new(file: ImageFile, size: int, options: VmdkOptions = _DEFAULTS) -> VmdkImage:
    """Let a file hold an empty disk of *size* bytes.

    QEMU draws the content identifier; here it follows from the name and the size.

    :param options: that are not refused.
    :raises OSError: as the file says.
    :raises UnsupportedError: the disk would be in several files.
    """
    check_one_file(options)
    extent = new_extent(size, compressed=options.type == "streamOptimized", zero_grains=bool(options.zeroed_grain))
    plain = file.make_raw(0)
    bytes_, header = ContentBytes(plain.content), extent.header
    bytes_.write_at(0, header.pack())
    plain.content.resize(header.overhead * SECTOR)
    for place, tables in ((header.redundant, extent.redundant), (header.directory, extent.directory)):
        bytes_.write_at(place * SECTOR, pack_directory(list(tables)))
    identifier = zlib.crc32(f"{file.name} {size}".encode("utf-8", "surrogateescape"))
    bytes_.write_at(DESCRIPTOR_PLACE, new_descriptor(file.name, size, identifier, options))
    image = VmdkImage(file, plain, extent)
    if size:  # nobody can open an empty disk
        file.image = image
    return image


def check_one_file(options: VmdkOptions) -> None:
    """Refuse an image whose disk would be in several files.

    :raises UnsupportedError: it would.
    """
    if not options.is_one_file:
        raise UnsupportedError(f"vmdk images of the type '{options.type}'")
