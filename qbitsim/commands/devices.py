"""The guest's devices: added and removed, and how other commands find a drive by its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.devices import DeviceAdd, DeviceDel, DeviceListProperties, ObjectPropertyInfo, XBlockdevSetIothread
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import QNull

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node
    from qbitsim.commands.parts import MachineLike
    from qbitsim.devices.processors import Processors
    from qbitsim.devices.tree import DeviceTree


def device_tree(machine: MachineLike) -> DeviceTree:
    """The devices of a machine; few machines have any."""
    if machine.devices is None:
        from qbitsim.devices.tree import DeviceTree  # noqa: PLC0415

        backends = {"chardev": machine.chardevs, "netdev": machine.networks}
        machine.devices = DeviceTree(machine.graph, machine.profile, machine.machine_type, machine.objects, backends)
    return machine.devices


def processors_of(machine: MachineLike) -> Processors:
    """The processors of a PC; most are as QEMU makes them by default."""
    if machine.processors is not None:
        return machine.processors
    from qbitsim.devices.processors import Processors  # noqa: PLC0415

    return Processors()


def find_drive(context: Context, device: str | None, qdev: str | None) -> Drive:
    """The drive called ``device``, or the one that the guest's device ``qdev`` uses.

    :raises QmpError: with the texts of qmp_get_blk (block/qapi-system.c, QEMU 10.0).
    """
    if (device is None) == (qdev is None):
        raise QmpError("Need exactly one of 'device' and 'id'")
    if qdev is not None:
        return find_by_device(context, qdev)
    found = context.graph.drives.get(device) if device else None
    if found is None or not found.id:
        raise QmpError(f"Device '{device}' not found", "DeviceNotFound")
    return found


def find_by_device(context: Context, qdev: str) -> Drive:
    """The drive of the guest's device with that id or QOM path (blk_by_qdev_id, block/block-backend.c).

    :raises QmpError: there is no such device, or it has no drive; a part of it has one, perhaps.
    """
    if not qdev:
        raise QmpError(context.profile.eject_root_text)
    found = context.machine.devices.find(qdev) if context.machine.devices is not None else None
    if found is None:
        raise QmpError(f"Device '{qdev}' not found", "DeviceNotFound")
    from qbitsim.devices.tree import whole_path  # noqa: PLC0415 - it is loaded by now

    if found.drive is None or whole_path(qdev) != found.disk_path:
        raise QmpError("Device does not have a block device backend")
    return found.drive


@command("device_add", DeviceAdd, since="0.13", features=["json-cli", "json-cli-hotplug"])
def device_add(context: Context, args: DeviceAdd) -> None:
    """Make a device while the machine runs."""
    given = {"driver": args.driver, "bus": args.bus, "id": args.id}
    options = {name: value for name, value in given.items() if value is not None} | args.properties
    if context.profile.device_add_takes_texts:
        options = {name: _as_text(value) for name, value in options.items()}
    device_tree(context.machine).add(options, from_json=not context.profile.device_add_takes_texts, hotplug=True)


def _as_text(value: object) -> str:
    """As a command line has it (qemu_opts_from_qdict, util/qemu-option.c)."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


@command("device_del", DeviceDel, since="0.14")
def device_del(context: Context, args: DeviceDel) -> None:
    """Remove a device, or ask the guest to let it go, which no guest here does before it is reset."""
    device_tree(context.machine).remove(args.id)


@command("device-list-properties", DeviceListProperties, returns=list[ObjectPropertyInfo], since="1.2")
def device_list_properties(context: Context, args: DeviceListProperties) -> list[Json]:
    """What a device of a type can be told."""
    from qbitsim.devices.properties import descriptions  # noqa: PLC0415  (few machines are ever asked)

    return descriptions(context.profile).settable(args.typename)


@command("x-blockdev-set-iothread", XBlockdevSetIothread, since="2.12", features=["unstable"])
def x_blockdev_set_iothread(context: Context, args: XBlockdevSetIothread) -> None:
    """Let a node run in an I/O thread: nothing here runs in threads, so that there is nothing to do.

    :raises QmpError: with the texts and in the order of qmp_x_blockdev_set_iothread (blockdev.c, QEMU 10.0).
    """
    node = context.graph.nodes.get(args.node_name)
    if node is None:
        raise QmpError(f"Failed to find node with node-name='{args.node_name}'")
    if not args.force and any(edge.parent in context.graph.drives.values() for edge in node.parents):
        raise QmpError(
            f"Node {args.node_name} is associated with a BlockBackend and could be in use "
            "(use force=true to override this check)"
        )
    wanted = None if isinstance(args.iothread, QNull) else args.iothread
    if wanted is not None and context.machine.objects.get(wanted, {}).get("qom-type") != "iothread":
        raise QmpError(f"Cannot find iothread {wanted}")
    check_thread(context.machine, node, wanted)


def check_thread(machine: MachineLike, node: Node, thread: str | None) -> None:
    """Refuse another I/O thread than that of a device that uses the node (blk_root_change_aio_ctx, QEMU 10.0).

    :param thread: None for the main loop.
    :raises QmpError: so it is; a drive that no device uses goes where its node goes.
    """
    users = [edge.parent for edge in node.parents]
    devices = machine.devices.devices.values() if machine.devices is not None else ()
    if any(each.drive in users and each.iothread != thread for each in devices):
        raise QmpError("Cannot change iothread of active block backend")
