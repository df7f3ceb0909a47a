"""What a machine is started with: ``-drive`` and ``-device``, and ``-blockdev``'s check of its options."""

from __future__ import annotations

from qbitsim.block.drive import Drive
from qbitsim.commands import drives
from qbitsim.commands.drive_interface import take_interface
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.machine.machine import Machine


def add_drive(machine: Machine, given: dict[str, str]) -> Drive:
    """A drive from ``-drive`` options; the machine has no bus that it could be plugged into.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    drive = drives.add_drive(machine, given)
    interface, _ = take_interface(given)
    try:
        interface.check(machine.profile)
    except QmpError:
        drive.eject()
        del machine.graph.drives[drive.id]
        raise
    return drive


def add_plugged_drive(machine: Machine, given: dict[str, str]) -> Drive:
    """A drive from ``-drive`` options, for which there is a place in the machine.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    return drives.add_drive(machine, given)


def check_node_options(machine: Machine, options: Options) -> None:
    """Check options of a node as :func:`.drives.check_node_options` does.

    :raises QmpError: they do not fit.
    """
    drives.check_node_options(machine.registry, options)


def add_device(machine: Machine, given: str) -> None:
    """A guest disk from ``-device`` options, such as ``virtio-blk-pci,drive=node0,id=vd0``.

    :raises QmpError: if the node is in use.
    """
    options = dict(part.split("=", 1) for part in given.split(",")[1:])
    attach_disk(machine, options["drive"], f"/machine/peripheral/{options['id']}/virtio-backend")


def attach_disk(machine: Machine, name: str, path: str, *, read_only: bool = False) -> None:
    """Let a guest's disk use a drive or a node.

    :param name: the drive's id or the node's name; *path*: the disk's place in the tree of devices.
    :param read_only: the guest cannot write to it.
    :raises QmpError: there is neither, or it is in use.
    """
    needed = perms.CONSISTENT_READ | (0 if read_only else perms.WRITE)
    shared = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED | perms.RESIZE
    drive = machine.graph.drives.get(name)
    if drive is None:
        drive = Drive(machine.graph, "", perm=needed, shared=shared)
        drive.device_path = path
        drive.insert(machine.graph.lookup(None, name))
        machine.graph.drives[path] = drive
    elif drive.qdev:
        raise QmpError(f"Drive '{name}' is already in use by another device")
    else:
        drive.device_path = path
        drive.require(needed)
        drive.share(shared)
    drive.device_path = drive.qdev = path
