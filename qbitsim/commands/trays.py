"""Media that are put into a drive and taken out, and trays (block/qapi-system.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.commands.context import Context
from qbitsim.commands.devices import find_drive
from qbitsim.commands.nodes import opener
from qbitsim.errors import QmpError
from qbitsim.qapi.devices import (
    BlockdevChangeMedium,
    BlockdevChangeReadOnlyMode,
    BlockdevCloseTray,
    BlockdevInsertMedium,
    BlockdevOpenTray,
    BlockdevRemoveMedium,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.options import Options


@struct
class Eject:
    """Arguments of eject."""

    device: str | None = arg(features=["deprecated"])
    id: str | None = arg(since="2.8")
    force: bool | None = None


@command("eject", Eject, since="0.14")
def eject(context: Context, args: Eject) -> None:
    """Open the tray, if there is one, and take the medium out."""
    drive = find_drive(context, args.device, args.id)
    name = args.device if args.device is not None else args.id or ""
    _open_tray(drive, name)
    remove_medium(context, drive, name)


@command("blockdev-open-tray", BlockdevOpenTray, since="2.5")
def blockdev_open_tray(context: Context, args: BlockdevOpenTray) -> None:
    """Open the tray; without one there is nothing to do."""
    drive = find_drive(context, args.device, args.id)
    _open_tray(drive, args.device if args.device is not None else args.id or "")


@command("blockdev-close-tray", BlockdevCloseTray, since="2.5")
def blockdev_close_tray(context: Context, args: BlockdevCloseTray) -> None:
    """Close the tray; without one there is nothing to do."""
    drive = find_drive(context, args.device, args.id)
    if not drive.removable:
        raise QmpError(f"Device '{args.device if args.device is not None else args.id}' is not removable")
    _move_tray(drive, is_open=False)


@command("blockdev-remove-medium", BlockdevRemoveMedium, since="2.12")
def blockdev_remove_medium(context: Context, args: BlockdevRemoveMedium) -> None:
    """Take the medium out of an open tray."""
    remove_medium(context, find_drive(context, None, args.id), args.id)


@command("blockdev-insert-medium", BlockdevInsertMedium, since="2.12")
def blockdev_insert_medium(context: Context, args: BlockdevInsertMedium) -> None:
    """Put a node into an open tray."""
    drive = find_drive(context, None, args.id)
    node = context.graph.nodes.get(args.node_name)
    if node is None:
        raise QmpError(f"Node '{args.node_name}' not found")
    if any(isinstance(edge.parent, Drive) for edge in node.parents):
        raise QmpError(f"Node '{args.node_name}' is already in use")
    _insert_medium(drive, node)


@command("blockdev-change-medium", BlockdevChangeMedium, since="2.5")
def blockdev_change_medium(context: Context, args: BlockdevChangeMedium) -> None:
    """Put another file into a drive."""
    drive = find_drive(context, args.device, args.id)
    options: Options = dict(drive.current_medium_options())
    mode = args.read_only_mode
    if mode is not None and mode != BlockdevChangeReadOnlyMode.RETAIN:
        options["read-only"] = mode == BlockdevChangeReadOnlyMode.READ_ONLY
    if args.format is not None:
        options["driver"] = args.format
    change_medium(context, drive, args.device if args.device is not None else args.id or "", args.filename, options)


def change_medium(context: Context, drive: Drive, name: str, filename: str, options: Options) -> None:
    """Put a file into ``drive``, which was asked for as ``name``.

    :raises QmpError: the file cannot be opened, or the drive cannot be changed.
    """
    medium = opener(context).open_file(filename, options)
    try:
        _open_tray(drive, name)
        remove_medium(context, drive, name)
        _insert_medium(drive, medium)
        _move_tray(drive, is_open=False)
    except QmpError:
        context.graph.release(medium)
        raise


def _open_tray(drive: Drive, name: str) -> None:
    """As do_open_tray; no guest here locks a tray.

    :raises QmpError: the medium cannot be taken out.
    """
    if not drive.removable:
        raise QmpError(f"Device '{name}' is not removable")
    _move_tray(drive, is_open=True)


def _move_tray(drive: Drive, *, is_open: bool) -> None:
    if drive.device is not None and drive.device.tray_open is not None:
        drive.device.move_tray(is_open=is_open)


def _insert_medium(drive: Drive, node: Node) -> None:
    if not drive.removable:
        raise QmpError("Device is not removable")
    if drive.device is not None and drive.device.tray_open is False:
        raise QmpError("Tray of the device is not open")
    if drive.root is not None:
        raise QmpError("There already is a medium in the device")
    drive.insert(node)


def remove_medium(context: Context, drive: Drive, name: str) -> None:
    """Take the medium out of a drive, and with it the exports that nbd-server-add made of the drive.

    :raises QmpError: it is a hard disk of the guest's, its tray is closed, or a job uses it.
    """
    if not drive.removable:
        raise QmpError(f"Device '{name}' is not removable")
    if drive.device is not None and drive.device.tray_open is False:
        raise QmpError(f"Tray of device '{name}' is not open")
    if drive.root is not None:
        drive.root.node.check_not_blocked("eject")
    context.machine.exports.medium_removed(drive)
    drive.eject()
