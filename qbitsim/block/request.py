"""A request of the guest, so that it can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive


@record(kw_only=True)
class GuestRequest:
    """What a guest asked of its drive.

    :ivar operation: ``read``, ``write``, ``write-zeroes``, ``discard`` or ``flush``.
    :ivar offset: bytes; ``length`` too. A write has ``data`` instead of a length.
    """

    operation: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    compressed: bool = False
    unmap: bool = False

    def make(self, drive: Drive) -> None:
        """Make it once more.

        :raises OSError: it fails again, and the guest is told.
        :raises QmpError: it has to wait.
        """
        match self.operation:
            case "read":
                drive.read(self.offset, self.length)
            case "write":
                drive.write(self.offset, self.data, compressed=self.compressed)
            case "write-zeroes":
                drive.write_zeroes(self.offset, self.length, unmap=self.unmap)
            case "discard":
                drive.discard(self.offset, self.length)
            case _:
                drive.flush()
