"""What ``qemu-img check`` finds in a VMDK image (vmdk_co_check, block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.content import Kind
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.images.vmdk.image import VmdkImage


def find_damage(image: VmdkImage) -> str | None:
    """The first grain that is not in the file, in QEMU's words; None if all are."""
    content, end = image.content, image.file_length
    for offset, length in content.ranges(Kind.DATA):
        for start, _ in content.parts(offset, length):
            if content.entry(start // content.cluster_size) * SECTOR >= end:
                return f"ERROR: cluster offset for sector {start // SECTOR} points after EOF"
    return None
