"""``-device``: what is emulated joins the tree of devices; of others that QEMU knows only the name is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qbitsim.block.names import is_well_formed
from qbitsim.commands.devices import device_tree
from qbitsim.devices.properties import descriptions
from qbitsim.devices.types import ALIASES, PARTS, TYPES
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.qemu_system.machine_types import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.machine.machine import Machine
    from qbitsim.profiles import Profile
    from qbitsim.programs.qemu_system.machine_types import MachineType

_LINE = re.compile(r'name "(?P<name>[^"]*)"(?:, bus (?P<bus>[^,]*))?(?:, alias "(?P<alias>[^"]*)")?.*')
_PROVIDED = (
    (re.compile(r"lsi53c|megasas|mptsas|am53c974|dc390|pvscsi|vhost-.*scsi"), "SCSI"),
    (re.compile(r".*(usb-[euo]hci|usb-xhci|pci-ohci|usb-hub)"), "usb-bus"),
    (re.compile(r"virtio-serial-"), "virtio-serial-bus"),
    (re.compile(r"ich9-ahci|piix[34]-ide|isa-ide"), "IDE"),
    (re.compile(r"isa-fdc"), "floppy-bus"),
    (re.compile(r"intel-hda|ich9-intel-hda"), "HDA"),
    (re.compile(r"nvme"), "nvme-bus"),
    (re.compile(r"usb-ccid"), "ccid-bus"),
    (re.compile(r"sdhci-pci"), "sd-bus"),
    (re.compile(r"ufs"), "ufs-bus"),
    (re.compile(r"tpci200"), "IndustryPack"),
    (re.compile(r"vmbus-bridge"), "vmbus"),
    (re.compile(r"usb-bot|usb-uas"), "SCSI"),
    (re.compile(r".*(bridge|ioh3420|cxl-|x3130-|xio3130-|pxb|root-port)"), "PCI"),
)
"""The devices that are taken and have a bus for others, and the bus."""


class Devices:
    """The devices that a machine is started with."""

    def __init__(self, machine: Machine, machine_type: MachineType) -> None:
        self._profile = machine.profile
        self._tree = device_tree(machine)
        self._buses = set(machine_type.buses)
        self._taken: set[str] = set()

    def add(self, options: Mapping[str, Any], *, from_json: bool) -> None:
        """Plug in a device.

        :param options: ``driver``, ``bus``, ``id`` and properties of the device.
        :param from_json: values have types; otherwise they are texts.
        :raises QmpError: QEMU has no such device, or it cannot be plugged in.
        :raises UnsupportedError: it is a disk that is not emulated, or would sit on a bus that is not.
        """
        driver = options.get("driver")
        if not isinstance(driver, str) or driver in TYPES or driver in ALIASES or driver in PARTS:
            self._check_bus(options)
            self._tree.add(options, from_json=from_json, hotplug=False)
        else:
            self._take(driver, options)

    def _check_bus(self, options: Mapping[str, Any]) -> None:
        """Refuse a device that would sit on the bus of one that is taken."""
        kind = TYPES.get(ALIASES.get(str(options.get("driver")), str(options.get("driver"))))
        if kind is None or kind.bus not in self._taken:
            return
        name = options.get("bus")
        if any(bus.kind == kind.bus if name is None else bus.name == name for bus in self._tree.buses):
            return
        raise UnsupportedError(f"a {kind.bus} bus of another device for '{kind.name}'")

    def _take(self, driver: str, options: Mapping[str, Any]) -> None:
        driver, bus = find_device(self._profile, driver)
        if bus and bus not in self._buses | self._taken | {each.kind for each in self._tree.buses}:
            raise QmpError(f"No '{bus}' bus found for device '{driver}'")
        identifier = str(options.get("id") or "")
        if identifier and not is_well_formed(identifier):
            raise QmpError("Parameter 'id' expects an identifier")
        if "drive" in options:
            raise UnsupportedError(f"the device '{driver}'")
        self._tree.add_name(driver, identifier)
        self._taken.update(bus for pattern, bus in _PROVIDED if pattern.match(driver))


def find_device(profile: Profile, name: str) -> tuple[str, str]:
    """The device of a name or alias: its name and the bus that it is plugged into, empty for none.

    :raises QmpError: the release has no such device.
    """
    for line in recorded(profile, "devices").splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and name in (found["name"], found["alias"]):
            return found["name"], found["bus"] or ""
    known = descriptions(profile)
    if name in known.abstract and "device" in known.ancestors(name):
        raise QmpError("Parameter 'driver' expects a non-abstract device type")
    raise QmpError(f"'{name}' is not a valid device model name")
