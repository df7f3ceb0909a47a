"""The buses of a machine, by name: which are there from the start, and who has which place on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.devices.device import Device

_BUILT_IN: dict[str, tuple[tuple[str, str, int], ...]] = {
    "none": (),
    "pc": (("PCI", "pci.0", 0), ("IDE", "ide.0", 2), ("IDE", "ide.1", 2), ("floppy-bus", "floppy-bus.0", 2)),
    "q35": (("PCI", "pcie.0", 0), *(("IDE", f"ide.{number}", 1) for number in range(6))),
}
"""Machine -> kind, name and number of units of its own buses, oldest first (-nodefaults)."""

MACHINES = tuple(_BUILT_IN)

_ON_BOARD: dict[str, dict[int, str]] = {
    "pci.0": {0: "i440FX", 1: "PIIX3"},
    "pcie.0": {0: "mch", 31: "ICH9-LPC"},
}
"""PCI bus -> the slots that the board itself takes, by the types that sit there."""

_SLOTS = 32
_CALLED = {"IDE": "IDE", "floppy-bus": "floppy"}
_SCSI_TARGETS = 256
_SCSI_LUNS = 16384


class Bus:
    """A place for devices.

    :ivar kind: ``PCI``, ``SCSI``, ``IDE``, ``floppy-bus`` or ``usb-bus``.
    :ivar owner: the device that brought it, None for one of the machine's own.
    :ivar units: how many devices it has room for; 0 where places are counted otherwise.
    :ivar hotplug: devices come and go while the machine runs.
    :ivar devices: those that sit there, oldest first.
    """

    __slots__ = ("devices", "hotplug", "kind", "name", "owner", "places", "units")

    def __init__(self, kind: str, name: str, owner: Device | None, *, units: int = 0, hotplug: bool) -> None:
        self.kind = kind
        self.name = name
        self.owner = owner
        self.units = units
        self.hotplug = hotplug
        self.devices: list[Device] = []
        self.places: dict[object, str] = dict(_ON_BOARD.get(name, {}).items())

    def __repr__(self) -> str:
        return f"<Bus {self.name} {self.kind}>"

    @property
    def path(self) -> str:
        """Its QOM path, for a bus of a device."""
        return f"{self.owner.disk_path if self.owner is not None else '/machine'}/{self.name}"

    def take_place(self, device: Device) -> None:
        """Give a device the place that it asks for, or the next one.

        :raises QmpError: with the texts of the devices' realize functions (QEMU 10.0).
        """
        match self.kind:
            case "PCI":
                device.place = self._slot(device)
            case "SCSI":
                device.place = self._target(device)
            case "IDE" | "floppy-bus":
                device.place = self._unit(device)
            case _:
                device.place = len(self.devices)
        self.places[device.place] = f"{device.type.name},id={device.id or '(null)'}"
        self.devices.append(device)

    def fill(self, owner: str) -> None:
        """Give the only place to the disk of the device that brings the bus."""
        self.units = 1
        self.places[0, 0] = owner

    def leave(self, device: Device) -> None:
        """Free the place of a device."""
        self.devices.remove(device)
        del self.places[device.place]

    def _slot(self, device: Device) -> int:
        """As do_pci_register_device does (hw/pci/pci.c)."""
        wanted = device.values.get("addr")
        if wanted is None:
            free = (slot for slot in range(_SLOTS) if slot not in self.places)
            slot = next(free, None)
            if slot is None:
                raise QmpError(f"PCI: no slot/function available for {device.type.name}, all in use or reserved")
            return slot
        assert isinstance(wanted, int)
        taken = self.places.get(wanted)
        if taken is not None:
            by = taken if "," in taken else f"{taken},id=(null)"
            raise QmpError(f"PCI: slot {wanted} function 0 not available for {device.type.name}, in use by {by}")
        return wanted

    def _target(self, device: Device) -> tuple[int, int]:
        """As scsi_bus_check_address and scsi_qdev_realize do (hw/scsi/scsi-bus.c)."""
        channel, target, lun = (int(device.values.get(name) or 0) for name in ("channel", "scsi-id", "lun"))
        if self.units and (0, 0) in self.places:
            raise QmpError("no free target")
        asked = {name for name in ("scsi-id", "lun") if name in device.values}
        if channel:
            raise QmpError(f"bad scsi channel id: {channel}")
        if "scsi-id" in asked and target >= _SCSI_TARGETS:
            raise QmpError(f"bad scsi device id: {target}")
        if "lun" in asked and lun >= _SCSI_LUNS:
            raise QmpError(f"bad scsi device lun: {lun}")
        if "scsi-id" not in asked:
            target = next(number for number in range(_SCSI_TARGETS) if (number, lun) not in self.places)
        elif "lun" not in asked:
            lun = next(number for number in range(_SCSI_LUNS) if (target, number) not in self.places)
        if (target, lun) in self.places:
            raise QmpError(f"lun already used by '{self._id_at((target, lun))}'")
        return target, lun

    def _id_at(self, place: object) -> str:
        return self.places[place].partition("id=")[2]

    def _unit(self, device: Device) -> int:
        """As ide_qdev_realize and floppy_drive_realize do (hw/ide/ide-bus.c, hw/block/fdc.c)."""
        wanted = device.values.get("unit")
        if wanted is None:
            free = (unit for unit in range(self.units) if unit not in self.places)
            # An IDE bus of two calls the second place taken, a bus of one, or of floppies, lacks another one.
            last = self.units - 1 if self.kind == "IDE" and self.units > 1 else self.units
            wanted = next(free, max(last, 1))
        assert isinstance(wanted, int)
        called = _CALLED[self.kind]
        if wanted >= self.units:
            raise QmpError(f"Can't create {called} unit {wanted}, bus supports only {self.units} units")
        if wanted in self.places:
            raise QmpError(f"{called.capitalize() if called == 'floppy' else called} unit {wanted} is in use")
        return wanted


def built_in(machine: str) -> list[Bus]:
    """The buses that a machine has from the start, oldest first."""
    return [Bus(kind, name, None, units=units, hotplug=name == "pci.0") for kind, name, units in _BUILT_IN[machine]]
