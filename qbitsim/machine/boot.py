"""What a machine is started with: ``-drive`` and ``-device``, and ``-blockdev``'s check of its options."""

from __future__ import annotations

from qbitsim.block.drive import Drive
from qbitsim.commands.offered import registry_for
from qbitsim.drivers.drive_options import completed, has_write_cache, parse_drive
from qbitsim.drivers.options import Options, check_detect_zeroes
from qbitsim.files import permissions as perms
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE


def add_drive(machine: Machine, given: dict[str, str]) -> Drive:
    """A drive from ``-drive`` options.

    :raises QmpError: as QEMU refuses it.
    """
    identifier, options = parse_drive(given)
    if not options.get("file") and "driver" not in options:
        return machine.add_drive(identifier, None)
    check_node_options(machine, completed({name: options[name] for name in options if name != "copy-on-read"}))
    check_detect_zeroes(options)
    copy_on_read = options.pop("copy-on-read", False)
    detect_zeroes = options.pop("detect-zeroes", "off")
    node = machine.open_node(options)
    node.copy_on_read = copy_on_read and not node.read_only
    node.detect_zeroes = detect_zeroes
    drive = machine.add_drive(identifier, node)
    drive.write_cache = has_write_cache(given)
    return drive


def check_node_options(machine: Machine, options: Options) -> None:
    """Check options of a node against the schema of blockdev-add, of the newest profile if the own one has none.

    :raises QmpError: they do not fit.
    """
    registry = machine.registry if machine.find("blockdev-add") else registry_for(DEFAULT_PROFILE)
    registry.decode("blockdev-add", options)


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
