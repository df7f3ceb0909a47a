"""How a drive would be plugged into the guest: ``if``, ``bus``, ``unit`` and ``index`` of ``-drive``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

INTERFACES = ("none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen")
"""In the order of BlockInterfaceType (include/sysemu/blockdev.h, QEMU 10.0)."""

_PLACES = ("if", "bus", "unit", "index")
_UNITS = {"ide": 2, "scsi": 7}
_MAXIMUM_UNSIGNED = (1 << 64) - 1


@record
class DriveInterface:
    """The interface of a drive, and its place there."""

    name: str
    bus: int
    unit: int

    def check(self, profile: Profile) -> None:
        """Refuse a drive that a machine without any bus would have to plug in.

        :raises QmpError: with the texts of drive_check_orphaned (blockdev.c) or qdev_device_add (QEMU 10.0).
        """
        if self.name == "virtio":
            raise QmpError("No 'PCI' bus found for device 'virtio-blk-pci'")
        if self.name == "xen" and profile.xen_drives_are_devices:
            raise QmpError("No 'xen-bus' bus found for device 'xen-disk'")
        if self.name != "none":
            raise QmpError(f"machine type does not support if={self.name},bus={self.bus},unit={self.unit}")


def take_interface(given: Mapping[str, str]) -> tuple[DriveInterface, dict[str, str]]:
    """The interface and place of a drive, by default the first one, and the options that are left.

    :raises QmpError: with the texts and in the order of drive_new (blockdev.c, QEMU 10.0).
    """
    numbers = {name: _number(name, given[name]) for name in _PLACES[1:] if name in given}
    name = given.get("if", "none")
    if name not in INTERFACES:
        raise QmpError(f"unsupported bus type '{name}'")
    index, most = numbers.get("index"), _UNITS.get(name, 0)
    if index is not None and len(numbers) > 1:
        raise QmpError("index cannot be used with bus and unit")
    bus, unit = numbers.get("bus", 0), numbers.get("unit", 0)
    if index is not None:
        bus, unit = divmod(index, most) if most else (0, index)
    if most and unit >= most:
        raise QmpError(f"unit {unit} too big (max is {most - 1})")
    return DriveInterface(name, bus, unit), {key: value for key, value in given.items() if key not in _PLACES}


def _number(name: str, text: str) -> int:
    try:
        return int(text, 0) & _MAXIMUM_UNSIGNED
    except ValueError:
        raise QmpError(f"Parameter '{name}' expects a number") from None
