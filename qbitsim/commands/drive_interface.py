"""How a drive is plugged into the guest: ``if``, ``bus``, ``unit`` and ``index`` of ``-drive``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from qbitsim.block.drive_info import DriveInfo
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

INTERFACES = ("none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen")
"""In the order of BlockInterfaceType (include/sysemu/blockdev.h, QEMU 10.0)."""

_PLACES = ("if", "bus", "unit", "index")
_UNITS = {"ide": 2, "scsi": 7}
_UNITS_OF_MACHINE = {"q35": {"ide": 1}}
_DEFAULT = {"pc": "ide", "q35": "ide"}
_BUSES = {"pc": {"ide": 2, "floppy": 1}, "q35": {"ide": 6, "floppy": 1}}
_FLOPPIES = 2
_WITH_HALVES = ("ide", "scsi")
_MAXIMUM_UNSIGNED = (1 << 64) - 1

Place = tuple[str, int, int]
"""The interface, the number of the bus and of the unit."""


@record
class DriveInterface:
    """The interface of a drive, and its place there.

    :ivar units: how many units a bus has, 0 for any number; :ivar asked: the place was asked for.
    :ivar index: as it was given, -1 if it was not.
    """

    name: str
    bus: int
    unit: int
    units: int
    asked: bool
    index: int

    def placed(self, taken: Collection[Place | None]) -> DriveInterface:
        """The interface with the next place that is free, if none was asked for.

        :raises QmpError: the place that was asked for is taken (drive_new, blockdev.c, QEMU 10.0).
        """
        bus, unit = self.bus, self.unit
        while (self.name, bus, unit) in taken:
            if self.asked:
                raise QmpError(f"drive with bus={bus}, unit={unit} (index={self.index}) exists")
            unit += 1
            if self.units and unit >= self.units:
                bus, unit = bus + 1, 0
        return DriveInterface(self.name, bus, unit, self.units, asked=True, index=self.index)

    def identifier(self, *, cdrom: bool) -> str:
        """The id of a drive that was given none: ``ide0-hd1``, ``virtio0``, ``none0``."""
        half = ("-cd" if cdrom else "-hd") if self.name in _WITH_HALVES else ""
        return f"{self.name}{self.bus}{half}{self.unit}" if self.units else f"{self.name}{half}{self.unit}"

    def info(self, *, cdrom: bool) -> DriveInfo:
        """What the drive keeps of it."""
        return DriveInfo(interface=self.name, bus=self.bus, unit=self.unit, is_cdrom=cdrom)


def check_place(info: DriveInfo, profile: Profile, machine_type: str) -> None:
    """Refuse a drive that the machine has no place for; virtio's is looked for when its device is made.

    :raises QmpError: with the texts of drive_check_orphaned (blockdev.c) or qdev_device_add (QEMU 10.0).
    """
    if info.interface == "virtio" and machine_type == "none":
        raise QmpError("No 'PCI' bus found for device 'virtio-blk-pci'")
    if info.interface == "xen" and profile.xen_drives_are_devices:
        raise QmpError("No 'xen-bus' bus found for device 'xen-disk'")
    if info.interface == "pflash" and machine_type != "none":
        raise UnsupportedError("-drive if=pflash")
    buses = _BUSES.get(machine_type, {}).get(info.interface, 0)
    has_place = info.bus < buses and (info.interface != "floppy" or info.unit < _FLOPPIES)
    if info.interface not in ("none", "virtio") and not has_place:
        raise QmpError(f"machine type does not support if={info.interface},bus={info.bus},unit={info.unit}")


def take_interface(given: Mapping[str, str], machine_type: str) -> tuple[DriveInterface, dict[str, str]]:
    """The interface and place of a drive, by default the first one, and the options that are left.

    :raises QmpError: with the texts and in the order of drive_new (blockdev.c, QEMU 10.0).
    """
    numbers = {name: _number(name, given[name]) for name in _PLACES[1:] if name in given}
    name = given.get("if", _DEFAULT.get(machine_type, "none"))
    if name not in INTERFACES:
        raise QmpError(f"unsupported bus type '{name}'")
    most = _UNITS_OF_MACHINE.get(machine_type, {}).get(name, _UNITS.get(name, 0))
    index = numbers.get("index")
    if index is not None and len(numbers) > 1:
        raise QmpError("index cannot be used with bus and unit")
    bus, unit = numbers.get("bus", 0), numbers.get("unit", 0)
    if index is not None:
        bus, unit = divmod(index, most) if most else (0, index)
    if most and unit >= most:
        raise QmpError(f"unit {unit} too big (max is {most - 1})")
    asked = index is not None or "unit" in numbers
    rest = {key: value for key, value in given.items() if key not in _PLACES}
    interface = DriveInterface(name, bus, unit, most, asked=asked, index=-1 if index is None else index)
    return interface, rest


def _number(name: str, text: str) -> int:
    try:
        return int(text, 0) & _MAXIMUM_UNSIGNED
    except ValueError:
        raise QmpError(f"Parameter '{name}' expects a number") from None
