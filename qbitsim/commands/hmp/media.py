"""The human monitor's commands on drives and what is in them (block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.names import ID_HINT, is_well_formed
from qbitsim.commands import drives, nodes, trays
from qbitsim.commands.devices import find_drive
from qbitsim.commands.drive_interface import INTERFACES
from qbitsim.commands.hmp.declaration import error_text, execute, hmp
from qbitsim.drivers.drive_options import nested
from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.commands.context import Context
    from qbitsim.drivers.options import Options

_READ_ONLY_MODES = ("retain", "read-only", "read-write")


@hmp("block_resize", "device:B,size:o", params="device size", help="resize a block image")
def block_resize(context: Context, *, device: str, size: int) -> None:
    """Change the length of a drive's medium."""
    execute(context, nodes.block_resize, nodes.BlockResize(device=device, size=size))


@hmp("eject", "force:-f,device:B", params="[-f] device", help="eject a removable medium (use -f to force it)")
def eject(context: Context, *, force: bool, device: str) -> None:
    """Take the medium out of a drive."""
    execute(context, trays.eject, trays.Eject(device=device, force=force))


@hmp(
    "change",
    "device:B,force:-f,target:F,arg:s?,read-only-mode:s?",
    params="device [-f] filename [format [read-only-mode]]",
    help="change a removable medium, optional format, use -f to force the operation",
)
def change(
    context: Context,
    *,
    device: str,
    force: bool,
    target: str,
    arg: str | None = None,
    read_only_mode: str | None = None,
) -> None:
    """Put another file into a drive."""
    del force  # no guest here locks a tray
    if device == "vnc":
        raise UnsupportedError("VNC")
    mode = read_only_mode if read_only_mode is not None else "retain"
    if mode not in _READ_ONLY_MODES:
        raise QmpError(f"invalid parameter value: {mode}")
    drive = find_drive(context, device, None)
    options: Options = dict(drive.current_medium_options())
    if mode != "retain":
        options["read-only"] = mode == "read-only"
    if arg is not None:
        options["driver"] = arg
    trays.change_medium(context, drive, device, target, options)


@hmp(
    "drive_add",
    "node:-n,pci_addr:s,opts:s",
    params="[-n] [[<domain>:]<bus>:]<slot>\n"
    "[file=file][,if=type][,bus=n]\n"
    "[,unit=m][,media=d][,index=i]\n"
    "[,snapshot=on|off][,cache=on|off]\n"
    "[,readonly=on|off][,copy-on-read=on|off]",
    help="add drive to PCI storage controller",
    reports=True,
)
def drive_add(context: Context, *, node: bool, pci_addr: str, opts: str) -> str | None:
    """Make a drive as ``-drive`` does, or with ``-n`` a node; where it would be plugged in does not matter."""
    del pci_addr
    given, warnings = _parse_options(opts)
    lines = [warnings]
    with context.graph.complaining_to(lambda text: lines.append(f"{text}\n")):
        try:
            if node:
                _add_node(context, given)
            else:
                lines.append(_add_drive(context, given))
        except UnsupportedError:
            raise
        except QmpError as error:
            lines.append(error_text(context, error, reports=True))
    return "".join(lines)


def _add_drive(context: Context, given: dict[str, str]) -> str:
    """Make a drive, and say what came of it; how its id is refused has no prefix in any release."""
    identifier = given.get("id")
    if identifier is not None and identifier in context.graph.drives:
        return f"Duplicate ID '{identifier}' for drive\n"
    if identifier is not None and not is_well_formed(identifier):
        return f"Parameter 'id' expects an identifier\n{ID_HINT}"
    drive = drives.add_drive(context.machine, given)
    interface = drive.info.interface if drive.info is not None else "none"
    if interface != "none":
        drive.eject()
        del context.graph.drives[drive.id]
        raise QmpError(f"Can't hot-add drive to type {INTERFACES.index(interface)}")
    return "OK\n"


def _add_node(context: Context, given: dict[str, str]) -> None:
    if "node-name" not in given:
        raise QmpError("'node-name' needs to be specified")
    opener = nodes.opener(context)
    options, probed = opener.complete(nested(given))
    made = opener.open(opener.checked(options))
    made.mark_probed(probed=probed)
    made.monitor_owned = True


@hmp("drive_del", "id:B", params="device", help="remove host block device", reports=True)
def drive_del(context: Context, *, id: str) -> None:  # noqa: A002
    """Remove a drive; the name of a node means blockdev-del."""
    graph = context.graph
    if id in graph.nodes:
        execute(context, nodes.blockdev_del, nodes.BlockdevDel(node_name=id))
        return
    drive = graph.drives.get(id)
    if drive is None or not drive.id:
        raise QmpError(f"Device '{id}' not found")
    if drive.root is not None:
        drive.root.node.check_not_blocked("drive-del")
    context.machine.exports.medium_removed(drive)
    drive.eject()
    if drive.device is not None:
        drive.on_read_error = drive.on_write_error = "report"  # from now on nothing stops the guest
        graph.forget_drive_id(drive)
    else:
        del graph.drives[id]


def _parse_options(text: str) -> tuple[dict[str, str], str]:
    """``a=1,b=2``, and what is printed about it (opts_do_parse, util/qemu-option.c).

    A comma in a value is written twice; a name alone, or with ``no`` before it, is a switch.
    """
    given: dict[str, str] = {}
    warnings = []
    for part in text.replace(",,", "\0").split(","):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not name:
            continue
        if not equals:
            short, value = name, "off" if name.startswith("no") else "on"
            name = name.removeprefix("no")
            warnings.append(
                f"warning: short-form boolean option '{short}' deprecated\nPlease use {name}={value} instead\n"
            )
        given[name] = given.get(name, value) if name == "id" else value
    return given, "".join(warnings)
