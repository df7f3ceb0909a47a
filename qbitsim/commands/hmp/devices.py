"""The human monitor's commands on devices and objects (system/qdev-monitor.c, qom/qom-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qbitsim.block.names import is_well_formed
from qbitsim.commands import devices, qom
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.drivers.drive_options import parse_device
from qbitsim.errors import UnsupportedError
from qbitsim.qapi.devices import DeviceDel, QomGet, QomList

if TYPE_CHECKING:
    from qbitsim.commands.context import Context


@hmp(
    "device_add",
    "device:s?",
    params="driver[,prop=value][,...]",
    help="add device, like -device on the command line",
)
def device_add(context: Context, *, device: str = "") -> str | None:
    """Make a device as ``-device`` does; why an id is ill-formed goes to standard error."""
    options = parse_device(device) if device else {}
    if "id" in options and not is_well_formed(options["id"]):
        return 'Try "help device_add" for more information\n'
    if "driver" in options and {"help", "?"} & options.keys():
        from qbitsim.devices.help import device_help  # noqa: PLC0415 - reads what few ask for

        return device_help(options["driver"], context.profile)
    devices.device_tree(context.machine).add(options, from_json=False, hotplug=True)
    return None


@hmp("device_del", "id:s", params="device", help="remove device")
def device_del(context: Context, *, id: str) -> None:  # noqa: A002
    """Remove a device."""
    execute(context, devices.device_del, DeviceDel(id=id))


@hmp("qom-list", "path:s?", params="path", help="list QOM properties")
def qom_list(context: Context, *, path: str | None = None) -> str:
    """The properties and children of an object."""
    if path is None:
        return "/\n"
    listed = execute(context, qom.qom_list, QomList(path=path))
    return "".join(f"{each['name']} ({each['type']})\n" for each in listed)


@hmp("qom-get", "path:s,property:s", params="path property", help="print QOM property")
def qom_get(context: Context, *, path: str, property: str) -> str:  # noqa: A002
    """The value of a property, as JSON."""
    value = execute(context, qom.qom_get, QomGet(path=path, property=property))
    if isinstance(value, dict | list):
        raise UnsupportedError(f"the human monitor's qom-get of '{property}'")
    return json.dumps(value) + "\n"
