"""The devices of a release that are not emulated: they are taken, sit on their bus, bring theirs, and do nothing.

Which there are, the release itself has told (:mod:`.properties`); on which kind of bus one sits, its ancestors say, and
which buses it brings is a fact of its model (hw/ of QEMU 10.0).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from qbitsim.devices.properties import descriptions
from qbitsim.devices.types import TYPES, DeviceType
from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

BUSES = {
    "ccid-card": "ccid-bus",
    "floppy": "floppy-bus",
    "hda-codec": "HDA",
    "i2c-slave": "i2c-bus",
    "ide-device": "IDE",
    "ipack-device": "IndustryPack",
    "isa-device": "ISA",
    "nitro-vsock-device": "nitro-vsock-bus",
    "nvme-ns": "nvme-bus",
    "pci-device": "PCI",
    "scsi-device": "SCSI",
    "sd-card": "sd-bus",
    "sdmmc-common": "sd-bus",
    "sys-bus-device": "System",
    "ufs-lu": "ufs-bus",
    "usb-device": "usb-bus",
    "virtio-device": "virtio-bus",
    "virtio-serial-port": "virtio-serial-bus",
    "vmbus-dev": "vmbus",
    "xen-device": "xen-bus",
}
"""The type that all devices of a bus descend from -> the kind of the bus."""

_BROUGHT = (
    (r"lsi53c|megasas|mptsas|am53c974|dc390|pvscsi|vhost-.*scsi|usb-bot|usb-uas", ("SCSI", 1, 0)),
    (r".*usb-[euo]hci|.*usb-xhci|pci-ohci", ("usb-bus", 1, 0)),
    (r"virtio-serial-", ("virtio-serial-bus", 1, 0)),
    (r"ich9-ahci", ("IDE", 6, 1)),
    (r"piix[34]-ide|isa-ide", ("IDE", 2, 2)),
    (r"isa-fdc", ("floppy-bus", 1, 2)),
    (r"intel-hda|ich9-intel-hda", ("HDA", 1, 0)),
    (r"nvme$", ("nvme-bus", 1, 0)),
    (r"usb-ccid", ("ccid-bus", 1, 0)),
    (r"sdhci-pci", ("sd-bus", 1, 0)),
    (r"ufs$", ("ufs-bus", 1, 0)),
    (r"tpci200", ("IndustryPack", 1, 0)),
    (r"vmbus-bridge", ("vmbus", 1, 0)),
    (r".*root-port|ioh3420|.*-downstream|cxl-rp", ("PCI", 1, 1)),
    (r".*bridge|.*-upstream|pxb", ("PCI", 1, 0)),
)
"""Names of types -> the kind of the buses that one brings, how many, and how many devices each has room for, 0 for
many."""


def find_type(profile: Profile, driver: str) -> DeviceType:
    """The type of that name, or the one that it stands for, emulated or not (qdev_get_device_class).

    :raises QmpError: there is none, or clients cannot make one.
    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if driver in TYPES:
        return TYPES[driver]
    known = descriptions(profile)
    name = known.aliases.get(driver, driver)
    if name in TYPES:
        return TYPES[name]
    if name not in known.types or "device" not in known.ancestors(name):
        raise QmpError(f"'{driver}' is not a valid device model name")
    if name in known.abstract:
        raise QmpError("Parameter 'driver' expects a non-abstract device type")
    if name not in known.creatable:
        raise QmpError("Parameter 'driver' expects a pluggable device type")
    assert profile.recorded_answers is not None
    return _described(profile, name)


@cache
def _described(profile: Profile, name: str) -> DeviceType:
    known = descriptions(profile)
    ancestors = known.ancestors(name)
    bus = next((BUSES[each] for each in ancestors if each in BUSES), "")
    brings, count, units = next((brought for pattern, brought in _BROUGHT if re.match(pattern, name)), ("", 1, 0))
    parts = {each["name"]: each["type"] for each in known.instances.get(name, [])}
    backend = parts.get("virtio-backend", "").removeprefix("child<").removesuffix(">")
    return DeviceType(name=name, bus=bus, brings=brings, bus_count=count, bus_units=units, backend=backend)


def check_drive(kind: DeviceType, given: object) -> None:
    """Refuse a drive of a device that would do nothing with it.

    :raises UnsupportedError: it was given one.
    """
    if given is not None and kind.name not in TYPES:
        raise UnsupportedError(f"the device '{kind.name}'")
