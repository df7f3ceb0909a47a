"""How commands find a drive: by its own id, or by that of the guest's device that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.commands.context import Context


def find_drive(context: Context, device: str | None, qdev: str | None) -> Drive:
    """The drive called ``device``, or the one that the guest's device ``qdev`` uses.

    :raises QmpError: with the texts of qmp_get_blk (block/qapi-system.c, QEMU 10.0).
    """
    if (device is None) == (qdev is None):
        raise QmpError("Need exactly one of 'device' and 'id'")
    drives = context.graph.drives
    if qdev is None:
        found = drives.get(device) if device else None
    elif qdev:
        found = next((drive for drive in drives.values() if qdev in (drive.qdev, drive.device_path)), None)
    else:
        raise QmpError(context.profile.eject_root_text)
    if found is None:
        raise QmpError(f"Device '{qdev if qdev is not None else device}' not found", "DeviceNotFound")
    return found
