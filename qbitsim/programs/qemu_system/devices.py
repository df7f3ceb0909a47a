"""``-device``: disks use their drives; every other device that QEMU knows is taken, and nothing depends on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.machine.boot import attach_disk
from qbitsim.programs.qemu_system.machine_types import recorded
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.machine.machine import Machine
    from qbitsim.profiles import Profile
    from qbitsim.programs.qemu_system.machine_types import MachineType

_LINE = re.compile(r'name "(?P<name>[^"]*)"(?:, bus (?P<bus>[^,]*))?(?:, alias "(?P<alias>[^"]*)")?.*')
_VIRTIO_DISKS = frozenset(
    {"virtio-blk-pci", "virtio-blk-pci-transitional", "virtio-blk-pci-non-transitional", "virtio-blk-device"}
)
_MEDIA_DRIVES = frozenset({"floppy", "ide-cd", "scsi-cd"})
_WRITABLE_ONLY = frozenset({"ide-cf", "ide-hd", "nvme", "nvme-ns"})
"""The disks that refuse a node that cannot be written."""

_DISKS = _VIRTIO_DISKS | _MEDIA_DRIVES | {"ide-hd", "ide-cf", "scsi-hd", "usb-storage", "nvme", "nvme-ns", "sd-card"}
_COMMON = {
    "virtio-blk": ("virtio-blk-pci", "PCI"),
    "virtio-blk-pci": ("virtio-blk-pci", "PCI"),
    "virtio-scsi": ("virtio-scsi-pci", "PCI"),
    "virtio-scsi-pci": ("virtio-scsi-pci", "PCI"),
    "scsi-hd": ("scsi-hd", "SCSI"),
    "scsi-cd": ("scsi-cd", "SCSI"),
    "ide-hd": ("ide-hd", "IDE"),
    "ide-cd": ("ide-cd", "IDE"),
}
"""What the list of the release need not be read for: name -> name without alias, and bus."""

_PROVIDED = (
    (re.compile(r"virtio-scsi-|lsi53c|megasas|mptsas|am53c974|dc390|pvscsi|vhost-.*scsi"), "SCSI"),
    (re.compile(r".*(usb-[euo]hci|usb-xhci|qemu-xhci|pci-ohci|usb-hub)"), "usb-bus"),
    (re.compile(r"virtio-serial-"), "virtio-serial-bus"),
    (re.compile(r"ich9-ahci|piix[34]-ide|isa-ide"), "IDE"),
    (re.compile(r"isa-fdc|floppy"), "floppy-bus"),
    (re.compile(r"intel-hda|ich9-intel-hda"), "HDA"),
    (re.compile(r"nvme"), "nvme-bus"),
    (re.compile(r"usb-ccid"), "ccid-bus"),
    (re.compile(r"sdhci-pci"), "sd-bus"),
    (re.compile(r"ufs"), "ufs-bus"),
    (re.compile(r"tpci200"), "IndustryPack"),
    (re.compile(r"vmbus-bridge"), "vmbus"),
    (re.compile(r"usb-storage|usb-bot|usb-uas"), "SCSI"),
)
"""The devices that have a bus for others, and the bus."""


@record
class Device:
    """A device of the machine.

    :ivar driver: its type, without alias; *id* is empty for one without.
    """

    driver: str
    id: str
    properties: Mapping[str, Any]


class Devices:
    """The devices that a machine was started with.

    :ivar listed: in the order in which they were added.
    """

    def __init__(self, machine: Machine, machine_type: MachineType) -> None:
        self._machine = machine
        self._buses = set(machine_type.buses)
        self._anonymous = 0
        self.listed: list[Device] = []

    def add(self, identifier: str, properties: Mapping[str, Any]) -> None:
        """Plug in a device.

        :raises QmpError: QEMU has no such device, or it cannot be plugged in.
        """
        if "driver" not in properties:
            raise QmpError("Parameter 'driver' is missing")
        driver, bus = find_device(self._machine.profile, str(properties["driver"]))
        if bus and bus not in self._buses:
            raise QmpError(f"No '{bus}' bus found for device '{driver}'")
        if identifier and not is_well_formed(identifier):
            raise QmpError("Parameter 'id' expects an identifier")
        if identifier and any(device.id == identifier for device in self.listed):
            raise QmpError(f"Duplicate device ID '{identifier}'")
        if driver in _DISKS:
            self._attach(driver, identifier, properties)
        elif not identifier:
            self._anonymous += 1
        self.listed.append(Device(driver, identifier, properties))
        self._buses.update(bus for pattern, bus in _PROVIDED if pattern.match(driver))

    def attach_own(self, drive: str, number: int) -> None:
        """Let the disk that a machine has by itself for a drive use it."""
        attach_disk(self._machine, drive, f"/machine/unattached/device[{number}]", read_only=True)

    def _attach(self, driver: str, identifier: str, properties: Mapping[str, Any]) -> None:
        path = f"/machine/peripheral/{identifier}"
        if not identifier:
            path = f"/machine/peripheral-anon/device[{self._anonymous}]"
            self._anonymous += 1
        if driver in _VIRTIO_DISKS:
            path += "/virtio-backend"
        name = properties.get("drive")
        if name is None:
            if driver not in _MEDIA_DRIVES and driver != "nvme":
                raise QmpError("drive property not set")
            return
        graph = self._machine.graph
        if str(name) not in graph.drives and str(name) not in graph.nodes:
            owner = "virtio-blk-device" if driver in _VIRTIO_DISKS else driver
            raise QmpError(f"Property '{owner}.drive' can't find value '{name}'")
        if driver not in _MEDIA_DRIVES and str(name) in graph.drives and graph.drives[str(name)].root is None:
            raise QmpError("Device needs media, but drive is empty")
        node = _node(graph, str(name))
        read_only = driver in _MEDIA_DRIVES or (driver not in _WRITABLE_ONLY and node is not None and node.read_only)
        attach_disk(self._machine, str(name), path, read_only=read_only)


def _node(graph: Graph, name: str) -> Node | None:
    """The node that a device of a drive or node works on."""
    drive = graph.drives.get(name)
    if drive is None:
        return graph.nodes[name]
    return drive.root.node if drive.root is not None else None


def find_device(profile: Profile, name: str) -> tuple[str, str]:
    """The device of a name or alias: its name and the bus that it is plugged into, empty for none.

    :raises QmpError: the release has no such device.
    """
    if name in _COMMON:
        return _COMMON[name]
    for line in recorded(profile, "devices").splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and name in (found["name"], found["alias"]):
            return found["name"], found["bus"] or ""
    raise QmpError(f"'{name}' is not a valid device model name")
