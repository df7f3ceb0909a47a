"""What a board has without being asked: empty drives, graphics, a network card, ports (system/vl.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.devices.board import BoardParts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbitsim.profiles import Profile
    from qbitsim.programs.qemu_system.plan import Plan

_INSTEAD = {
    "cdrom": frozenset({"ide-cd", "ide-hd", "scsi-cd", "scsi-hd"}),
    "floppy": frozenset({"isa-fdc", "floppy"}),
    "serial": frozenset({"xen-console", "isa-serial"}),
    "parallel": frozenset({"isa-parallel"}),
    "vga": frozenset(
        {"VGA", "isa-vga", "cirrus-vga", "isa-cirrus-vga", "vmware-svga", "qxl-vga", "virtio-vga", "ati-vga"}
        | {"vhost-user-vga", "virtio-vga-gl", "virtio-vga-rutabaga"}
    ),
}
"""The devices and global properties with which a board has no such thing of its own (default_list)."""


class BoardDefaults:
    """What the board of a machine has by default, unless a command line says otherwise."""

    def __init__(self, plan: Plan, kind: str, profile: Profile) -> None:
        self._plan = plan
        self._kind = kind
        self._profile = profile
        named = {str(asked.value.get("driver")) for asked in (*plan.devices, *plan.json_devices)}
        named |= {each.driver for each in plan.globals}
        self._missing = {what for what, devices in _INSTEAD.items() if named & devices}

    def drives(self) -> list[dict[str, str]]:
        """Empty drives, as ``-drive`` would ask for them; a place may be taken already."""
        if self._kind == "none" or not self._plan.defaults:
            return []
        found = []
        if "cdrom" not in self._missing:
            found.append({"if": "ide", "index": "2", "media": "cdrom"})
        if "floppy" not in self._missing and self._kind == "pc":
            found.append({"if": "floppy", "index": "0"})
        if self._profile.boards_have_sd_drive:
            found.append({"if": "sd", "index": "0"})
        return found

    def parts(self) -> BoardParts:
        """The other parts, as far as the numbers of devices tell of them."""
        return BoardParts(
            graphics=self._graphics(),
            networks=self._networks(),
            ports=self._ports("serial") + self._ports("parallel"),
            processors=self._plan.processors.count,
        )

    def _graphics(self) -> int:
        if self._plan.vga is not None:
            return int(self._plan.vga != "none")
        return int(self._plan.defaults and "vga" not in self._missing)

    def _networks(self) -> int:
        asked = self._plan.arguments("nic", "net", "netdev")
        if not asked:
            return int(self._plan.defaults)
        cards = self._plan.arguments("nic") + [each for each in self._plan.arguments("net") if each.startswith("nic")]
        return sum(not each.startswith("none") for each in cards)

    def _ports(self, name: str) -> int:
        asked: Sequence[str] = self._plan.arguments(name)
        if not asked:
            return int(self._plan.defaults and name not in self._missing)
        return sum(each != "none" for each in asked)
