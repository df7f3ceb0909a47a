"""What a board has that is not emulated, as far as it shows."""

from __future__ import annotations

from qbitsim.records import record


@record(kw_only=True)
class BoardParts:
    """Numbers of parts, each of which has a place of its own among the unattached devices.

    :ivar ports: serial and parallel ones.
    """

    graphics: int = 0
    networks: int = 0
    ports: int = 0
    processors: int = 1

    def before_disks(self, machine: str, *, floppies_first: bool) -> int:
        """How many of them the board makes before its IDE disks, besides those of a machine without any (measured)."""
        more = self.processors - 1
        if machine == "q35":
            return more + self.ports
        return more + (self.graphics + self.networks + self.ports if floppies_first else 0)

    def before_floppies(self, machine: str) -> int:
        """Likewise for the floppies."""
        return self.processors - 1 + self.ports + (self.graphics if machine == "pc" else 0)
