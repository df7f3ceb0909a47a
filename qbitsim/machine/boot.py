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
    shared = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED | perms.RESIZE
    drive = machine.graph.drives.get(options["drive"])
    if drive is None:
        drive = Drive(machine.graph, "", perm=perms.CONSISTENT_READ | perms.WRITE, shared=shared)
        drive.insert(machine.graph.lookup(None, options["drive"]))
        machine.graph.drives[f"/machine/peripheral/{options['id']}/virtio-backend"] = drive
    else:
        drive.require(perms.CONSISTENT_READ | perms.WRITE)
        drive.share(shared)
    drive.device_path = drive.qdev = f"/machine/peripheral/{options['id']}/virtio-backend"
