"""``qemu-io`` of the human monitor: guest I/O (hmp_qemu_io, block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import hmp
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.qemu_io import run as qemu_io_run
from qbitsim.qemu_io.drive_disk import DriveDisk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.drive import Drive
    from qbitsim.commands.context import Context

_COUNTED = {"aio_read": "read", "aio_write": "write", "aio_flush": "flush", "aio_discard": "unmap"}
_PERMISSIONS = {"write": perms.WRITE, "resize": perms.RESIZE}


@hmp(
    "qemu-io",
    "qdev:-d,device:B,command:s",
    params='[-d] [device] "[command]"',
    help="run a qemu-io command on a block device\n"
    "\t\t\t-d: [device] is a device ID rather than a drive ID or node name",
)
def qemu_io(context: Context, *, qdev: bool, device: str, command: str) -> str:
    """Run a command of qemu-io on a drive or a node."""
    with _drive(context, device, by_device_path=qdev) as drive:
        with drive.uncounted():
            output = qemu_io_run.run(
                DriveDisk(drive),
                command,
                profile=context.profile,
                clock=context.machine.clock,
                permit=_Permit(drive).require,
            )
        _count(context, drive, command, output)
        context.machine.print(output.stdout)
        return output.hmp


def _count(context: Context, drive: Drive, command: str, output: qemu_io_run.Output) -> None:
    """Count an asynchronous request, as if it were the guest's; no other one of qemu-io is (qemu-io-cmds.c)."""
    request = qemu_io_run.parse(command, context.profile)
    kind = _COUNTED.get(request.verb)
    if kind is None or request.refusal is not None or "z" in request.flags:
        return
    now = context.machine.clock()
    if " failed: " in output.stdout:
        drive.stats.note_failure(kind, now)
    else:
        drive.stats.done(kind, request.length, now)


@contextmanager
def _drive(context: Context, name: str, *, by_device_path: bool) -> Iterator[Drive]:
    """The drive of that id or path; for a node an anonymous one, for as long as the caller uses it."""
    if by_device_path:
        yield _guest_device(context, name)
        return
    found = context.graph.drives.get(name)
    if found is not None and found.id:
        yield found
        return
    node = context.graph.nodes.get(name)
    if node is None:
        raise QmpError(f"Cannot find device='' nor node-name='{name}'")
    drive = context.machine.anonymous_drive()
    drive.insert(node)
    try:
        yield drive
    finally:
        drive.eject()


def _guest_device(context: Context, path: str) -> Drive:
    for drive in context.graph.drives.values():
        if path and path in (drive.device_path, drive.qdev):
            return drive
        device = drive.qdev.removesuffix("/virtio-backend")
        if drive.qdev and path in (device, device.rpartition("/")[2]):
            # The device of that id is virtio's transport; the disk is its child (blk_by_qdev_id).
            raise QmpError("Device does not have a block device backend")
    raise QmpError(f"Device '{path}' not found")


class _Permit:
    """Extends what a drive needs, as qemu-io does."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    def require(self, wanted: tuple[str, ...]) -> None:
        """Raise QmpError if another user of the node does not allow it."""
        for name in wanted:
            self.drive.require(_PERMISSIONS[name])
