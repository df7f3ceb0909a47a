"""What a machine is started with: ``-drive`` and ``-device``, and ``-blockdev``'s check of its options.

Drives come first, then :func:`plug_board_drives`, then the devices of ``-device`` that are no JSON objects, then
:func:`plug_virtio_drive` for each drive, and other devices last: in this order QEMU makes devices, which shows in their
paths (qmp_x_exit_preconfig and qemu_create_cli_devices, system/vl.c, QEMU 10.0).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qbitsim.block.names import ID_HINT, is_well_formed
from qbitsim.commands import drives
from qbitsim.commands.devices import device_tree
from qbitsim.commands.drive_interface import board_has_place, check_place, take_interface
from qbitsim.drivers.drive_options import parse_device
from qbitsim.drivers.given_options import check_node_options as check_options_of_node
from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.drivers.options import Options
    from qbitsim.machine.machine import Machine


def add_drive(machine: Machine, given: dict[str, str]) -> Drive:
    """A drive from ``-drive`` options; it is plugged in later.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    drive = drives.add_drive(machine, given)
    assert drive.info is not None
    try:
        check_place(drive.info, machine.profile, machine.machine_type)
    except QmpError:
        drive.eject()
        del machine.graph.drives[drive.id]
        raise
    return drive


def add_plugged_drive(machine: Machine, given: dict[str, str]) -> Drive:
    """A drive from ``-drive`` options; whether there is a place for it in the machine is looked at later.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    return drives.add_drive(machine, given)


def add_default_drive(machine: Machine, given: dict[str, str]) -> None:
    """An empty drive that the machine has without being asked, if its place is free (default_drive, system/vl.c)."""
    interface, _ = take_interface(given, machine.machine_type)
    place = interface.name, interface.bus, interface.unit
    if all(drive.info is None or drive.info.place != place for drive in machine.graph.drives.values()):
        drives.add_drive(machine, given)


def check_node_options(machine: Machine, options: Options) -> None:
    """Check options of a node as :func:`.given_options.check_node_options` does.

    :raises QmpError: they do not fit.
    """
    check_options_of_node(machine.profile, options)


def plug_board_drives(machine: Machine) -> None:
    """Make the devices of drives with the interfaces ``ide`` and ``floppy``, which the board itself has.

    :raises QmpError: a disk without a medium, for instance.
    """
    drives_by_place = {
        drive.info.place: drive
        for drive in machine.graph.drives.values()
        if drive.info is not None and board_has_place(drive.info, machine.machine_type)
    }
    wanted = sorted(drives_by_place)
    if not wanted:
        return
    tree = device_tree(machine)
    if not tree.floppies_first:
        wanted.sort(key=lambda place: place[0] == "floppy")
    for interface, bus, unit in wanted:
        drive = drives_by_place[interface, bus, unit]
        if interface == "floppy":
            tree.add_built_in("floppy", drive, "floppy-bus.0", unit)
        else:
            assert drive.info is not None
            tree.add_built_in("ide-cd" if drive.info.is_cdrom else "ide-hd", drive, f"ide.{bus}", unit)


def add_device(machine: Machine, given: str) -> None:
    """A device from ``-device`` options: ``virtio-blk-pci,drive=node0,id=vd0``, or a JSON object.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    if given.startswith("{"):
        device_tree(machine).add(json.loads(given), from_json=True, hotplug=False)
        return
    options = parse_device(given)
    identifier = options.get("id")
    if identifier is not None:
        _check_option_id(machine, identifier)
    device_tree(machine).add(options, from_json=False, hotplug=False)


def _check_option_id(machine: Machine, identifier: str) -> None:
    """As QemuOpts does before it knows what is to be made (qemu_opts_create, util/qemu-option.c)."""
    if not is_well_formed(identifier):
        raise QmpError("Parameter 'id' expects an identifier", hint=ID_HINT)
    if any(device.id == identifier for device in device_tree(machine).devices.values()):
        raise QmpError(f"Duplicate ID '{identifier}' for device")


def plug_virtio_drive(machine: Machine, drive: Drive) -> None:
    """Make the device of a drive if its interface is ``virtio``.

    :raises QmpError: a drive without a medium, or one that a device has been given.
    """
    if drive.info is not None and drive.info.interface == "virtio":
        options = {"driver": "virtio-blk-pci", "drive": drive.id}
        device_tree(machine).add(options, from_json=False, hotplug=False)
