"""Files opened under the name of a format that is not emulated.

Files here are raw or qcow2. As any other format real QEMU refuses them, and so does qbitsim, with the same texts
(the open functions of the block drivers, QEMU 10.0). Where a text would quote bytes of the file, or QEMU would open
it, the refusal is qbitsim's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.images.image import Image

FORMATS = ("raw", "qcow2")

_KNOWN_TO_QEMU = {
    *("blkdebug", "blklogwrites", "blkverify", "bochs", "cloop", "compress", "copy-before-write", "copy-on-read"),
    *("dmg", "file", "host_cdrom", "host_device", "luks", "nbd", "null-aio", "null-co", "parallels", "preallocate"),
    *("qcow", "qed", "quorum", "replication", "snapshot-access", "throttle", "vdi", "vhdx", "vmdk", "vpc", "vvfat"),
}

SMALLEST = 512
"""Bytes below which some formats have other texts."""

_REFUSALS = {
    "bochs": "Image not in Bochs format",
    "dmg": "Could not locate UDIF trailer in dmg file",
    "luks": "Parameter 'key-secret' is required for cipher",
    "parallels": "Image not in Parallels format",
    "qed": "Image not in QED format",
    "vhdx": "Could not open '{}': Invalid argument",
    "vmdk": "invalid VMDK image descriptor",
    "vpc": "invalid VPC image",
}
_REFUSALS_OF_RAW = {"qcow": "Image not in qcow format"}

OTHER_FORMATS = frozenset({*_REFUSALS, *_REFUSALS_OF_RAW, "cloop", "vdi"})
"""Formats of image files that QEMU knows and qbitsim does not emulate."""


def refuse(driver: str, image: Image, filename: str) -> None:
    """Refuse to open ``image`` as ``driver``, one of :data:`OTHER_FORMATS`.

    :raises QmpError: always: with QEMU's text, or an :class:`UnsupportedError`.
    """
    texts = _REFUSALS | _REFUSALS_OF_RAW if image.format == "raw" else _REFUSALS
    if driver not in texts or image.file_length < SMALLEST:
        raise UnsupportedError(f"the image format '{driver}'")
    raise QmpError(texts[driver].format(filename))


def known_format(name: str) -> bool:
    """Whether *name* is a format of qcow2 or raw; UnsupportedError for those that only QEMU knows."""
    if name in _KNOWN_TO_QEMU:
        raise UnsupportedError(f"the image format '{name}'")
    return name in FORMATS
