"""How a device takes its drive (hw/core/qdev-properties-system.c and hw/block/block.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.drive import Drive
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.devices.device import Device

ERROR_POLICIES = (("rerror", "on_read_error"), ("werror", "on_write_error"))
_WRITE_CACHE = {"on": True, "off": False}


def find_drive(graph: Graph, device: Device, name: str) -> Drive:
    """The drive of that id, or one on the node of that name (set_drive_helper).

    :raises QmpError: there is none, or another device uses it.
    """
    drive = graph.drives.get(name)
    if drive is not None and drive.id:
        if drive.device is None:
            return drive
        if drive.info is not None and drive.info.interface != "none":
            raise QmpError(
                f"Drive '{name}' is already in use because it has been automatically connected to another device "
                "(did you need 'if=none' in the drive options?)"
            )
        raise QmpError(f"Drive '{name}' is already in use by another device")
    node = graph.nodes.get(name)
    if node is None:
        owner = device.type.backend or device.type.name
        raise QmpError(f"Property '{owner}.drive' can't find value '{name}'")
    drive = Drive(graph, "")
    drive.suspended = graph.opens_inactive
    drive.insert(node)
    return drive


def attach(graph: Graph, device: Device, drive: Drive) -> None:
    """Let ``device`` use ``drive`` as its kind and its properties say (blkconf_apply_backend_options).

    :raises QmpError: another user of the node does not allow it, or it cannot be written; the drive is as before then.
    """
    traits, values = device.type.disk, device.values
    assert traits is not None
    before = drive.perm, drive.shared
    device.drive, drive.device = drive, device
    node = drive.root.node if drive.root is not None else None
    writes = traits.writes and (traits.demands_write or (node is not None and not node.read_only))
    perm = perms.CONSISTENT_READ | (perms.WRITE if writes else 0)
    shared = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
    shared |= perms.RESIZE if traits.resizes else 0
    shared |= perms.WRITE if values.get("share-rw") else 0
    try:
        _set_permissions(drive, perm, shared)
    except QmpError:
        _set_permissions(drive, *before)
        device.drive = drive.device = None
        raise
    for name, attribute in ERROR_POLICIES:
        if values.get(name, "auto") != "auto":
            setattr(drive, attribute, values[name])
    drive.write_cache = _WRITE_CACHE.get(values.get("write-cache", "auto"), drive.write_cache)
    if not drive.id:
        graph.drives[device.path] = drive


def _set_permissions(drive: Drive, perm: int, shared: int) -> None:
    drive.perm, drive.shared = perm, shared
    if drive.root is not None and not drive.suspended:
        drive.root.perm, drive.root.shared = perm, shared
        drive.graph.refresh_permissions(drive.root.node)


def replace_node(device: Device, name: str) -> None:
    """Let a device that runs use another node: ``qom-set`` of ``drive`` (blk_replace_bs, block/block-backend.c).

    :raises QmpError: there is no such node, or its other users do not allow it; nothing has changed then.
    """
    drive = device.drive
    assert drive is not None
    graph = drive.graph
    node = graph.nodes.get(name)
    if node is None:
        raise QmpError(f"Cannot find device='' nor node-name='{name}'")
    if drive.root is None:
        # Real QEMU dies of it.
        raise UnsupportedError("qom-set of 'drive' while the device has no medium")
    old = drive.root.node
    if node is old:
        return  # real QEMU dies of this one, too
    graph.changing()
    with graph.kept(old):
        graph.replace_child(drive.root, node)
        try:
            graph.refresh_permissions(node, old)
        except QmpError:
            graph.replace_child(drive.root, old)
            graph.refresh_permissions(old, node)
            raise
