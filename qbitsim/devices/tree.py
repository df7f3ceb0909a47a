"""The devices of a machine, by id and by QOM path.

Theory of operation
===================

1. A device sits on a bus, and may bring one. Which buses are there from the start, the kind of machine says.
2. What the guest would have to let go (PCI) stays until it is reset; all else goes at once. Real QEMU frees what goes
   only a moment later: until then the drive is there, the name in the tree is not.
3. Devices do nothing but use their drives, and say what becomes of requests that fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import Drive
from qbitsim.block.names import is_well_formed
from qbitsim.devices import properties
from qbitsim.devices.attaching import attach, find_drive
from qbitsim.devices.board import BoardParts
from qbitsim.devices.buses import Bus, built_in
from qbitsim.devices.device import Device
from qbitsim.devices.furniture import check_drive, find_type
from qbitsim.devices.types import TYPES
from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qbitsim.block.graph import Graph
    from qbitsim.devices.types import DeviceType
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_LINGERING = 50_000_000
"""Nanoseconds for which what was removed lives on in QEMU of old: its thread that frees things waits for more."""

_NO_HOTPLUG = frozenset({"HDA", "IDE", "floppy-bus"})

_UNATTACHED: dict[str, tuple[int, int]] = {"pc": (4, 10), "q35": (13, 9)}
_UNATTACHED_OF_OLD: dict[str, tuple[int, int]] = {"pc": (18, 13), "q35": (16, 12)}
"""Machine -> the numbers of the first IDE disk and floppy below /machine/unattached (one CPU, -nodefaults)."""


def whole_path(name: str) -> str:
    """The QOM path that a client means: one without a slash in front begins among the devices with an id."""
    return name if name.startswith("/") else f"/machine/peripheral/{name}"


class DeviceTree:
    """The devices of one machine.

    :ivar machine: its kind, one of :data:`.MACHINES`.
    :ivar buses: all buses, oldest first.
    :ivar devices: by QOM path, oldest first.
    :ivar parts: what the board has besides disks.
    """

    __slots__ = (
        *("_anonymous", "_backends", "_graph", "_numbered", "_objects", "_profile", "_removed"),
        *("buses", "devices", "machine", "parts"),
    )

    def __init__(
        self,
        graph: Graph,
        profile: Profile,
        machine: str,
        objects: Mapping[str, Json],
        backends: Mapping[str, Mapping[str, object]],
    ) -> None:
        """:param backends: property of devices -> what it can name, each for one device only."""
        self.machine = machine
        self._graph = graph
        self._objects = objects
        self._backends = backends
        self._profile = profile
        self.buses = built_in(machine)
        self.devices: dict[str, Device] = {}
        self.parts = BoardParts()
        self._anonymous = 0
        self._removed = 0
        self._numbered = {bus.kind: sum(each.kind == bus.kind for each in self.buses) for bus in self.buses}

    def __repr__(self) -> str:
        return f"<DeviceTree {list(self.devices)}>"

    # -- what is there

    def find(self, name: str) -> Device | None:
        """The device of that id or path, or the one that a path leads to which ends at its disk.

        (find_device_state, system/qdev-monitor.c, QEMU 10.0)
        """
        wanted = whole_path(name)
        return next((each for path, each in self.devices.items() if wanted in (path, each.disk_path)), None)

    def bus(self, name: str) -> Bus:
        """The bus of that name.

        :raises QmpError: there is none.
        """
        found = next((bus for bus in self.buses if bus.name == name), None)
        if found is None:
            raise QmpError(f"Bus '{name}' not found")
        return found

    # -- coming

    def add(self, options: Mapping[str, Any], *, from_json: bool, hotplug: bool) -> Device:
        """Make a device (qdev_device_add_from_qdict, system/qdev-monitor.c, QEMU 10.0).

        :param options: ``driver``, ``bus``, ``id`` and properties of the device.
        :param from_json: values have types; otherwise they are texts from a command line.
        :param hotplug: the machine runs already.
        :raises QmpError: it is refused; nothing has changed then.
        """
        kind = self._type(options)
        identifier = options.get("id") or ""
        if self._profile.device_ids_checked_first and hotplug and identifier and not is_well_formed(identifier):
            raise QmpError("Parameter 'id' expects an identifier")
        bus = self._bus_for(kind, options.get("bus"))
        if hotplug and not bus.hotplug:
            raise QmpError(f"Bus '{bus.name}' does not support hotplugging")
        if self._profile.device_ids_checked and identifier and not is_well_formed(identifier):
            raise QmpError(f"Invalid qdev ID '{identifier}'")
        return self._plug(kind, bus, self._new_path(identifier), identifier, options, from_json=from_json)

    @property
    def floppies_first(self) -> bool:
        """Whether the board makes its floppies before its IDE disks."""
        return self.machine == "q35" or self._profile.board_numbers_floppies_first

    def add_built_in(self, driver: str, drive: Drive, bus: str, unit: int) -> Device:
        """A disk of the board itself, for a drive with an interface (ide_bus_create_drive, fdc_init).

        :raises QmpError: it is refused.
        """
        kind = TYPES[driver]
        path = self._unattached_path(driver)
        device = Device(kind, "", path, self._graph, names_path=self._profile.io_errors_name_path)
        device.values = {"unit": unit}
        if driver == "floppy" and all(each.kind != "floppy-bus" for each in self.buses):
            self.buses.append(Bus("floppy-bus", bus, None, units=2, hotplug=False))
        place = self.bus(bus)
        self._realize(device, place, drive)
        return device

    def _type(self, options: Mapping[str, Any]) -> DeviceType:
        driver = options.get("driver")
        if not isinstance(driver, str):
            raise QmpError("Parameter 'driver' is missing")
        return find_type(self._profile, driver)

    def _bus_for(self, kind: DeviceType, name: str | None) -> Bus:
        if name is not None:
            bus = self.bus(name)
            if bus.kind != kind.bus:
                raise QmpError(f"Device '{kind.name}' can't go on {bus.kind} bus")
            return bus
        found = next(self._of_kind(kind.bus), None)
        if found is None:
            parts_are_there = any(each.type.backend for each in self.devices.values())
            if kind.bus == "virtio-bus" and self._profile.full_buses_named and parts_are_there:
                raise QmpError(f"A '{kind.bus}' bus was found but is full")
            raise QmpError(f"No '{kind.bus}' bus found for device '{kind.name}'")
        return found

    def _of_kind(self, kind: str) -> Iterator[Bus]:
        """Buses in the order in which QEMU looks: those of the newest devices first, then the board's own."""
        board = [bus for bus in self.buses if bus.owner is None]
        for bus in (*board[:1], *reversed(board[1:])):
            yield from (each for each in _downwards(bus) if each.kind == kind)

    def _new_path(self, identifier: str) -> str:
        if not identifier:
            self._anonymous += 1
            return f"/machine/peripheral-anon/device[{self._anonymous - 1}]"
        path = whole_path(identifier)
        if path in self.devices:
            raise QmpError(f"Duplicate device ID '{identifier}'")
        return path

    def _unattached_path(self, driver: str) -> str:
        of_old = self._profile.board_numbers_floppies_first
        first_disk, first_floppy = (_UNATTACHED_OF_OLD if of_old else _UNATTACHED)[self.machine]
        first_disk += self.parts.before_disks(self.machine, floppies_first=of_old)
        first_floppy += self.parts.before_floppies(self.machine)
        on_board = [each.type.name for path, each in self.devices.items() if path.startswith("/machine/unattached/")]
        floppies = on_board.count("floppy")
        disks = len(on_board) - floppies
        if driver == "floppy":
            number = first_floppy + floppies + disks
        else:
            # Where the board has no controller of floppies, that is made for the first one.
            controller = self.machine == "q35" and floppies > 0
            number = first_disk + disks + (floppies + controller if self.floppies_first else 0)
        return f"/machine/unattached/device[{number}]"

    def _plug(
        self, kind: DeviceType, bus: Bus, path: str, identifier: str, options: Mapping[str, Any], *, from_json: bool
    ) -> Device:
        check_drive(kind, options.get("drive"))
        device = Device(kind, identifier, path, self._graph, names_path=self._profile.io_errors_name_path)
        device.given = dict(options), from_json
        device.values = self._values(kind, options, from_json=from_json)
        name = device.values.get("drive")
        drive = find_drive(self._graph, device, name) if name else None
        try:
            self._realize(device, bus, drive)
        except QmpError:
            if drive is not None and not drive.id:
                drive.eject()
            raise
        return device

    def _values(self, kind: DeviceType, options: Mapping[str, Any], *, from_json: bool) -> Json:
        known = properties.descriptions(self._profile)
        values: Json = {}
        for name, given in options.items():
            if name in ("driver", "bus", "id"):
                continue
            described = known.kind(kind.name, name) if kind.name in known.device_properties else "str"
            if described is None:
                raise QmpError(f"Property '{kind.name}.{name}' not found")
            if name == "addr":
                values[name] = properties.slot_and_function(kind.name, given)
            else:
                values[name] = properties.parse(name, described, given, from_json=from_json)
            if name in self._backends:
                self._check_backend(kind, name, values[name])
            if described == "link<iothread>" and given != "":  # (the empty one leads nowhere)
                self._check_thread(str(given))
        return values

    def _check_thread(self, name: str) -> None:
        if self._objects.get(name, {}).get("qom-type") != "iothread":
            raise QmpError(f"Device '{name}' not found", "DeviceNotFound")

    def _check_backend(self, kind: DeviceType, name: str, value: str) -> None:
        """Refuse a backend that is not there, or that another device has (set_chr and set_netdev)."""
        found = value in self._backends[name]
        if found and all(each.values.get(name) != value for each in self.devices.values()):
            return
        why = f"can't take value '{value}', it's in use" if found else f"can't find value '{value}'"
        raise QmpError(f"Property '{kind.backend or kind.name}.{name}' {why}")

    def _realize(self, device: Device, bus: Bus, drive: Drive | None) -> None:
        traits = device.type.disk
        self._check_boot_index(device)
        if traits is not None:
            if drive is None and traits.without_drive is not None:
                raise QmpError(traits.without_drive)
            if drive is not None and drive.root is None and traits.without_drive is not None:
                raise QmpError("Device needs media, but drive is empty")
            properties.check_block_sizes(device.values, self._profile)
        bus.take_place(device)
        device.bus = bus
        try:
            self._bring_buses(device)
            if traits is not None:
                attach(self._graph, device, drive if drive is not None else Drive(self._graph, ""))
        except QmpError:
            bus.leave(device)
            for each in device.brought:
                self.buses.remove(each)
            raise
        self.devices[device.path] = device

    def _check_boot_index(self, device: Device) -> None:
        index = device.values.get("bootindex", -1)
        if index >= 0 and any(each.values.get("bootindex", -1) == index for each in self.devices.values()):
            raise QmpError(f"The bootindex {index} has already been used")

    def _bring_buses(self, device: Device) -> None:
        kind = device.type.brings
        if not kind or "masterbus" in device.values:  # a companion serves the bus of another controller
            return
        for number in range(device.type.bus_count):
            name = self._bus_name(kind, device.id, number)
            hotplug = kind not in _NO_HOTPLUG
            device.brought.append(Bus(kind, name, device, units=device.type.bus_units, hotplug=hotplug))
        if device.type.name == "usb-storage":
            device.brought[0].fill("usb-storage")
        self.buses += device.brought

    def _bus_name(self, kind: str, identifier: str, number: int) -> str:
        """As qbus_init_internal makes it (hw/core/bus.c), and pci_bridge_initfn for PCI."""
        if kind == "PCI":
            return identifier or f"pcie.{sum(bus.kind == 'PCI' for bus in self.buses)}"
        if identifier:
            return f"{identifier}.{number}"
        count = self._numbered.get(kind, 0)
        self._numbered[kind] = count + 1
        return f"{kind.lower()}.{count}"

    # -- going

    def remove(self, name: str) -> None:
        """Remove a device, or ask the guest to let it go (qdev_unplug, system/qdev-monitor.c, QEMU 10.0).

        :raises QmpError: there is none, or it cannot go.
        """
        device = next((each for path, each in self.devices.items() if name == path or (name and name == each.id)), None)
        if device is None:
            self._refuse_removal(name)
        assert device is not None
        assert device.bus is not None
        if device.leaving:
            raise QmpError(f"Device {name} is already in the process of unplug")
        if not device.bus.hotplug:
            raise QmpError(f"Bus '{device.bus.name}' does not support hotplugging")
        if device.bus.kind == "PCI":
            device.leaving = True
        else:
            self._unplug(device)

    def _refuse_removal(self, name: str) -> None:
        part = self.find(name)
        if part is not None:
            bus = "virtio-bus" if part.type.backend else part.brought[0].name if part.brought else ""
            raise QmpError(f"Bus '{bus}' does not support hotplugging")
        if name in ("", "/", "/machine", "/machine/peripheral", "/machine/peripheral-anon", "/objects"):
            noun = "hotpluggable device" if self._profile.undeletable_is_not_hotpluggable else "device"
            raise QmpError(f"{name} is not a {noun}")
        raise QmpError(f"Device '{name}' not found", "DeviceNotFound")

    def reset(self) -> None:
        """The guest is reset: what it was asked to let go goes (acpi_pcihp_reset, hw/acpi/pcihp.c)."""
        leaving = [device for device in self.devices.values() if device.leaving]
        for device in sorted(leaving, key=lambda each: (str(type(each.place)), each.place)):
            self._unplug(device)

    def _unplug(self, device: Device) -> None:
        """Take a device out of the tree, with what sits on its bus, and free it a moment later."""
        for bus in device.brought:
            for each in reversed(bus.devices):
                self._unplug(each)
            if bus in self.buses:
                self.buses.remove(bus)
        assert device.bus is not None
        device.bus.leave(device)
        del self.devices[device.path]
        scheduler = self._graph.scheduler
        going = _Going(self._graph, device)
        device.gone = True
        if device.drive is not None and not device.drive.id:
            self._removed += 1  # another device may have the path before this one is freed
            self._graph.rename_drive(device.drive, f"{device.path} removed {self._removed}")
        if self._profile.removed_devices_linger:
            scheduler.after(_LINGERING, going.free, f"{device.path} is freed")
        else:
            scheduler.soon(going.free, f"{device.path} is freed")


def _downwards(bus: Bus) -> Iterator[Bus]:
    yield bus
    for device in reversed(bus.devices):
        for brought in device.brought:
            yield from _downwards(brought)


class _Going:
    """A device that is no longer in the tree, and not freed yet."""

    __slots__ = ("_device", "_disk_path", "_graph")

    def __init__(self, graph: Graph, device: Device) -> None:
        self._graph = graph
        self._device = device
        self._disk_path = device.disk_path

    def free(self) -> None:
        """Give up the drive, and tell clients (device_finalize, hw/core/qdev.c)."""
        device = self._device
        if device.drive is not None:
            self._give_up(device.drive)
        if self._disk_path != device.path:
            self._graph.emit("DEVICE_DELETED", {"path": self._disk_path})
        named: Json = {"device": device.id} if device.id else {}
        self._graph.emit("DEVICE_DELETED", {**named, "path": device.path})

    def _give_up(self, drive: Drive) -> None:
        """A drive without an id goes with its device, one of ``-drive`` too (blk_detach_dev, release_drive)."""
        for name, each in list(self._graph.drives.items()):
            if each is drive:
                del self._graph.drives[name]
        drive.eject()
        drive.device = None
