"""A drive as what qemu-io works on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.breakpoints import Breakpoints
    from qbitsim.block.drive import Drive


class DriveDisk:
    """A drive as qemu-io sees it: the protocol :class:`~qbitsim.qemu_io.run.Disk`."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self.read = drive.read
        self.discard = drive.discard
        self.flush = drive.flush
        self.truncate = drive.truncate

    @property
    def size(self) -> int:
        """Bytes."""
        return self._drive.node.length

    @property
    def breakpoints(self) -> Breakpoints | None:
        """Those of the first node below that has some."""
        return self._drive.root.node.breakpoints if self._drive.root is not None else None

    def write(self, offset: int, data: bytes, compressed: bool = False) -> None:
        """:meth:`.Drive.write`."""
        self._drive.write(offset, data, compressed=compressed)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        """:meth:`.Drive.write_zeroes`."""
        self._drive.write_zeroes(offset, length, unmap=unmap)

    def status(self, offset: int, length: int) -> tuple[bool, int]:
        """Whether the topmost layer has the bytes at ``offset``, and for how many that holds."""
        status = self._drive.status(offset, length)
        return status.allocated, status.length
