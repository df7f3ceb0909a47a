"""The buses of a machine, by name: which are there from the start, and who has which place on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.devices.device import Device

_SYSTEM = ("System", "main-system-bus", 0)
_OLD_BUSES = (("ISA", "isa.0", 0), ("i2c-bus", "i2c", 0))

_BUILT_IN: dict[str, tuple[tuple[str, str, int], ...]] = {
    "none": (_SYSTEM,),
    "pc": (
        *(("PCI", "pci.0", 0), ("IDE", "ide.0", 2), ("IDE", "ide.1", 2), ("floppy-bus", "floppy-bus.0", 2)),
        *_OLD_BUSES,
        _SYSTEM,
    ),
    "q35": (("PCI", "pcie.0", 0), *(("IDE", f"ide.{number}", 1) for number in range(6)), *_OLD_BUSES, _SYSTEM),
}
"""Machine -> kind, name and number of units of its own buses, oldest first (-nodefaults)."""

MACHINES = tuple(_BUILT_IN)

_ON_BOARD: dict[str, dict[int, str]] = {
    "pci.0": {0: "i440FX", 8: "PIIX3", 9: "piix3-ide", 11: "PIIX4_PM"},
    "pcie.0": {0: "mch", 8 * 31: "ICH9-LPC", 8 * 31 + 2: "ich9-ahci", 8 * 31 + 3: "ICH9-SMB"},
}
"""PCI bus -> what the board itself has there: eight times the slot plus the function -> its type."""

_SLOTS = 32
_CALLED = {"IDE": "IDE", "floppy-bus": "floppy"}
_SCSI_TARGETS = 256
_SCSI_LUNS = 16384


class Bus:
    """A place for devices.

    :ivar kind: ``PCI``, ``SCSI``, ``IDE``, ``floppy-bus``, ``usb-bus`` or another; empty for devices that need none.
    :ivar owner: the device that brought it, None for one of the machine's own.
    :ivar units: how many devices it has room for; 0 where places are counted otherwise.
    :ivar hotplug: devices come and go while the machine runs.
    :ivar devices: those that sit there, oldest first.
    """

    __slots__ = ("_came", "devices", "hotplug", "kind", "name", "owner", "places", "units")

    def __init__(self, kind: str, name: str, owner: Device | None, *, units: int = 0, hotplug: bool) -> None:
        self.kind = kind
        self.name = name
        self.owner = owner
        self.units = units
        self.hotplug = hotplug
        self.devices: list[Device] = []
        self._came = 0
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
            case "usb-bus" if "port" in device.values:
                device.place = self._port(device.values["port"])
            case _:
                self._came += 1
                device.place = self._came
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

    def _port(self, port: str) -> str:
        """As usb_claim_port does (hw/usb/bus.c)."""
        if port in self.places:
            raise QmpError(f"usb port {port} (bus {self.name}) not found (in use?)")
        return port

    def _slot(self, device: Device) -> int:
        """As do_pci_register_device does (hw/pci/pci.c); eight times the slot plus the function."""
        wanted = device.values.get("addr", -1)
        name = device.type.name
        if wanted < 0:
            wanted = next((8 * slot for slot in range(_SLOTS) if 8 * slot not in self.places), -1)
            if wanted < 0:
                raise QmpError(f"PCI: no slot/function available for {name}, all in use or reserved")
        slot, function = divmod(wanted, 8)
        taken = self.places.get(wanted)
        if taken is not None:
            by = taken if "," in taken else f"{taken},id=(null)"
            raise QmpError(f"PCI: slot {slot} function {function} not available for {name}, in use by {by}")
        if self.units and slot:
            raise QmpError(f"PCI: slot {slot} is not valid for {name}, parent device only allows plugging into slot 0.")
        self._check_functions(device, slot, function)
        return int(wanted)

    def _check_functions(self, device: Device, slot: int, function: int) -> None:
        """Refuse several functions where one says that it is alone (pci_init_multifunction)."""
        if function:
            first = next((each for each in self.devices if each.place == 8 * slot), None)
            if first is not None and not first.values.get("multifunction"):
                raise QmpError(f"PCI: single function device can't be populated in function {slot:x}.{function:x}")
        elif not device.values.get("multifunction"):
            other = next((each for each in range(1, 8) if 8 * slot + each in self.places), 0)
            if other:
                raise QmpError(
                    f"PCI: {slot:x}.0 indicates single function, but {slot:x}.{other:x} is already populated."
                )

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
    buses = [Bus(kind, name, None, units=units, hotplug=name == "pci.0") for kind, name, units in _BUILT_IN[machine]]
    return [*buses, Bus("", "", None, hotplug=True)]
