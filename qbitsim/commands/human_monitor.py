"""The human monitor's commands that qbitsim has: ``qemu-io`` for guest I/O, and ``drive_del``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.hmp_line import hmp
from qbitsim.commands.nodes import BlockdevDel, blockdev_del
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.qemu_io import run as qemu_io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qbitsim.block.drive import Drive
    from qbitsim.commands.context import Context

_PERMISSIONS = {"write": perms.WRITE, "resize": perms.RESIZE}


def human_monitor_command(context: Context, line: str) -> str:
    """Run one line and return what the human monitor prints.

    What QEMU prints on its own standard output goes to :attr:`.Machine.stdout`.

    :raises UnsupportedError: QEMU has the command, qbitsim has not.
    """
    monitor = _HumanMonitor(context)
    handlers: dict[str, Callable[..., str]] = {"qemu-io": monitor.qemu_io, "drive_del": monitor.drive_del}
    return hmp(line, handlers, profile=context.profile, stdout=context.machine.print)


class _HumanMonitor:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.machine = context.machine

    def qemu_io(self, by_device_path: bool, device: str, command: str) -> str:
        """``qemu-io [-d] DEVICE COMMAND``."""
        for drive in self._drive(device, by_device_path):
            output = qemu_io.run(
                DriveDisk(drive),
                command,
                profile=self.context.profile,
                clock=self.machine.clock,
                permit=_Permit(drive).require,
            )
            self.machine.print(output.stdout)
            return output.hmp
        raise AssertionError("a drive was found or refused")

    def _drive(self, name: str, by_device_path: bool) -> Iterator[Drive]:
        """The drive of that id or path; for a node an anonymous one, for as long as the caller uses it."""
        graph = self.context.graph
        if by_device_path:
            yield self._guest_device(name)
            return
        found = graph.drives.get(name)
        if found is not None and found.id:
            yield found
            return
        node = graph.nodes.get(name)
        if node is None:
            raise QmpError(f"Cannot find device='' nor node-name='{name}'")
        drive = self.machine.anonymous_drive()
        drive.insert(node)
        try:
            yield drive
        finally:
            drive.eject()

    def _guest_device(self, path: str) -> Drive:
        for drive in self.context.graph.drives.values():
            if path and path in (drive.device_path, drive.qdev):
                return drive
            device = drive.qdev.removesuffix("/virtio-backend")
            if drive.qdev and path in (device, device.rpartition("/")[2]):
                # The device of that id is virtio's transport; the disk is its child (blk_by_qdev_id).
                raise QmpError("Device does not have a block device backend")
        raise QmpError(f"Device '{path}' not found")

    def drive_del(self, device: str) -> str:
        """``drive_del DEVICE``; the name of a node means blockdev-del (hmp_drive_del)."""
        graph = self.context.graph
        if device in graph.nodes:
            blockdev_del(self.context, BlockdevDel(node_name=device))
            return ""
        drive = graph.drives.get(device)
        if drive is None:
            raise QmpError(f"Device '{device}' not found")
        if drive.root is not None:
            drive.root.node.check_not_blocked("drive-del")
        self.machine.exports.medium_removed(drive)
        drive.eject()
        del graph.drives[device]
        return ""


class _Permit:
    """Extends what a drive needs, as qemu-io does."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    def require(self, wanted: tuple[str, ...]) -> None:
        """Raise QmpError if another user of the node does not allow it."""
        for name in wanted:
            self.drive.require(_PERMISSIONS[name])


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
