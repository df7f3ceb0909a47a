"""What ``-drive`` says of where a drive is plugged in (DriveInfo, include/system/blockdev.h, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.records import record


@record(kw_only=True)
class DriveInfo:
    """Where a drive is plugged in.

    :ivar interface: ``none``, ``ide``, ``virtio``, …; :ivar bus: its number; :ivar unit: the place there.
    :ivar is_cdrom: the guest sees a CD.
    """

    interface: str
    bus: int
    unit: int
    is_cdrom: bool

    @property
    def place(self) -> tuple[str, int, int]:
        """The interface, the number of the bus and of the unit: no two drives have the same."""
        return self.interface, self.bus, self.unit
