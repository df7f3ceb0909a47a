"""Drives as ``-drive`` and the human monitor's ``drive_add`` make them (drive_new, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.names import is_well_formed
from qbitsim.commands.drive_common import take_common
from qbitsim.drivers.drive_options import parse_drive, switch
from qbitsim.drivers.given_options import check_given_options
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import Options, check_detect_zeroes
from qbitsim.drivers.temporary_overlay import add_temporary_overlay
from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.commands.drive_common import DriveCommon
    from qbitsim.commands.parts import MachineLike

_MEDIA = ("cdrom", "disk")
_DISCARDS = {"on": "unmap", "off": "ignore"}


def add_drive(machine: MachineLike, given: Mapping[str, str]) -> Drive:
    """A drive from the options of ``-drive``; one without an id gets one after its unit: ``none0``.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    graph = machine.graph
    common, given = take_common(given, machine.machine_type)
    for name in ("cache.direct", "cache.no-flush"):
        if name in given:
            switch(name, given[name])
    identifier, filename, options = parse_drive(given)
    if given.get("media") not in (None, *_MEDIA):
        raise QmpError(f"'{given['media']}' invalid media")
    cdrom = given.get("media") == "cdrom"
    if identifier and not is_well_formed(identifier):
        raise QmpError("Parameter 'id' expects an identifier")
    if cdrom and (filename is not None or "file" in options):
        options["read-only"] = True
    if options.get("discard") in _DISCARDS:
        options["discard"] = _DISCARDS[options["discard"]]
    interface = common.interface.placed({drive.info.place for drive in graph.drives.values() if drive.info is not None})
    identifier = identifier or interface.identifier(cdrom=cdrom)
    medium = _medium(machine, filename, options, common)
    try:
        check_new_drive(graph, identifier)
    except QmpError:
        if medium is not None:
            graph.release(medium)
        raise
    drive = graph.add_drive(identifier, medium)
    drive.info = interface.info(cdrom=cdrom)
    common.apply(graph, drive)
    drive.medium_options = {"read-only": bool(options.get("read-only")) or cdrom}
    return drive


def check_new_drive(graph: Graph, identifier: str) -> None:
    """Refuse the id of a new drive if it is taken.

    :raises QmpError: it is.
    """
    if identifier in graph.drives:
        raise QmpError(f"Device with id '{identifier}' already exists")
    if identifier in graph.nodes:
        raise QmpError(f"Device name '{identifier}' conflicts with an existing node name")


def _medium(machine: MachineLike, filename: str | None, options: Options, common: DriveCommon) -> Node | None:
    """The node that the options of ``-drive`` mean; without a driver it is what the file is."""
    if filename is None and "file" not in options and "driver" not in options:
        own = {name: value for name, value in options.items() if name not in ("read-only", "cache", "copy-on-read")}
        check_given_options(machine.profile, {"driver": "null-co", "detect-zeroes": own.pop("detect-zeroes", "off")})
        if own:
            raise QmpError("Must specify either driver or file")
        return None
    opener = Opener(machine.graph, machine.profile)
    options, probed = opener.complete(options, filename)
    opener.checked({name: options[name] for name in options if name != "copy-on-read"})
    # Whether discards are passed on is asked of nodes only (extract_common_blockdev_options, blockdev.c, QEMU 10.0).
    check_detect_zeroes({**options, "discard": "unmap"})
    options.setdefault("auto-read-only", True)
    copy_on_read = options.pop("copy-on-read", False)
    detect_zeroes = options.pop("detect-zeroes", "off")
    if common.native_aio and not options.get("cache", {}).get("direct"):
        raise QmpError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    node = opener.open({**options, "read-only": True} if common.snapshot else options)
    node.mark_probed(probed=probed)
    if common.snapshot:
        node = add_temporary_overlay(opener, node, read_only=bool(options.get("read-only")))
    node.copy_on_read = copy_on_read and not node.read_only
    node.detect_zeroes = detect_zeroes
    return node
