"""Networks, the balloon and the screen: they are there for clients that want them, and do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.names import is_well_formed
from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.furniture import Balloon, BalloonInfo, Netdev, NetdevDel, VncInfo
from qbitsim.qapi.registry import command

if TYPE_CHECKING:
    from qbitsim.commands.parts import MachineLike


@command("netdev_add", Netdev, since="0.14")
def netdev_add(context: Context, args: Netdev) -> None:
    """Make the other end of a network card, at which nobody is."""
    add_network(context.machine, args.id, args.type.value)


def add_network(machine: MachineLike, identifier: str, kind: str) -> None:
    """Let network cards have a network of that id (net_client_init1, net/net.c, QEMU 10.0).

    :raises QmpError: another one has the id, or it is none.
    """
    if not is_well_formed(identifier):
        raise QmpError("Parameter 'id' expects an identifier")
    if identifier in machine.networks:
        raise QmpError(f"Duplicate ID '{identifier}'")
    machine.networks[identifier] = kind


@command("netdev_del", NetdevDel, since="0.14")
def netdev_del(context: Context, args: NetdevDel) -> None:
    """Remove the other end of a network card; the card stays."""
    if args.id not in context.machine.networks:
        raise QmpError(f"Device '{args.id}' not found", "DeviceNotFound")
    del context.machine.networks[args.id]


@command("query-balloon", returns=BalloonInfo, since="0.14")
def query_balloon(context: Context, args: None) -> Json:
    """How much memory the guest has: no guest here gives any back."""
    del args
    _demand_balloon(context)
    return {"actual": context.machine.memory}


@command("balloon", Balloon, since="0.14")
def balloon(context: Context, args: Balloon) -> None:
    """Ask the guest to give memory back, which no guest here does."""
    _demand_balloon(context)
    if args.value <= 0:
        raise QmpError("Parameter 'value' expects a size")


def _demand_balloon(context: Context) -> None:
    tree = context.machine.devices
    devices = tree.devices.values() if tree is not None else ()
    if not any(each.type.name.startswith("virtio-balloon") for each in devices):
        raise QmpError("No balloon device has been activated", "DeviceNotActive")


@command("query-vnc", returns=VncInfo, since="0.14")
def query_vnc(context: Context, args: None) -> Json:
    """Where the guest's screen can be seen: nowhere."""
    del context, args
    return {"enabled": False}
