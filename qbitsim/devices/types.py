"""The kinds of devices: on which bus they sit, which bus they bring, and how they treat their disk.

What is said of disks is in the device models of QEMU 10.0: hw/block, hw/scsi/scsi-disk.c, hw/ide/ide-dev.c,
hw/usb/dev-storage-classic.c.
"""

from __future__ import annotations

from qbitsim.records import record


@record(kw_only=True)
class DiskTraits:
    """How a device treats its disk.

    :ivar removable: there can be no medium, and another one can be put in.
    :ivar has_tray: the medium comes out on a tray.
    :ivar writes: the guest may write, if the node can be written to.
    :ivar demands_write: a node that is read-only is refused.
    :ivar resizes: the node may be resized meanwhile.
    :ivar keeps_io_status: the device can stop the guest when a request fails.
    :ivar without_drive: the refusal of a device without a drive; None if it takes none.
    """

    removable: bool = False
    has_tray: bool = False
    writes: bool = True
    demands_write: bool = False
    resizes: bool = True
    keeps_io_status: bool = True
    without_drive: str | None = "drive property not set"


@record(kw_only=True)
class DeviceType:
    """A kind of device.

    :ivar name: such as ``virtio-blk-pci``.
    :ivar bus: the kind of bus that it sits on, as messages call it; empty for a part of another device.
    :ivar brings: the kind of bus that it brings, or an empty string.
    :ivar bus_count: how many such buses it brings; *bus_units*: how many devices each has room for, 0 for many.
    :ivar disk: how it treats its disk, None if it has none.
    :ivar backend: the type of the child ``virtio-backend`` that has the disk or the bus, or an empty string.
    """

    name: str
    bus: str
    brings: str = ""
    bus_count: int = 1
    bus_units: int = 0
    disk: DiskTraits | None = None
    backend: str = ""


_CD = DiskTraits(removable=True, has_tray=True, writes=False, resizes=False, without_drive=None)
_FLOPPY = DiskTraits(removable=True, resizes=False, keeps_io_status=False, without_drive=None)
_IDE_DISK = DiskTraits(demands_write=True, without_drive="No drive specified")

_ALL = (
    DeviceType(name="virtio-blk-pci", bus="PCI", disk=DiskTraits(), backend="virtio-blk-device"),
    DeviceType(name="virtio-scsi-pci", bus="PCI", brings="SCSI", backend="virtio-scsi-device"),
    DeviceType(name="scsi-hd", bus="SCSI", disk=DiskTraits()),
    DeviceType(name="scsi-cd", bus="SCSI", disk=_CD),
    DeviceType(name="ide-hd", bus="IDE", disk=_IDE_DISK),
    DeviceType(name="ide-cd", bus="IDE", disk=_CD),
    DeviceType(name="floppy", bus="floppy-bus", disk=_FLOPPY),
    DeviceType(name="usb-storage", bus="usb-bus", brings="SCSI", disk=DiskTraits()),
    DeviceType(name="qemu-xhci", bus="PCI", brings="usb-bus"),
    DeviceType(name="usb-ehci", bus="PCI", brings="usb-bus"),
    DeviceType(name="piix3-usb-uhci", bus="PCI", brings="usb-bus"),
    DeviceType(name="pcie-root-port", bus="PCI", brings="PCI", bus_units=1),
)

TYPES = {each.name: each for each in _ALL}
