"""Drives as ``-drive`` and the human monitor's ``drive_add`` make them (drive_new, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING, Any

from qbitsim.block.names import is_well_formed
from qbitsim.commands.drive_common import take_common
from qbitsim.commands.offered import registry_for
from qbitsim.drivers.drive_options import completed, parse_drive, switch
from qbitsim.drivers.filename_options import name_options
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import Options, check_detect_zeroes
from qbitsim.drivers.temporary_overlay import add_temporary_overlay
from qbitsim.errors import QmpError
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.qapi.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.commands.drive_common import DriveCommon
    from qbitsim.commands.parts import MachineLike

_MEDIA = ("cdrom", "disk")
_DISCARDS = {"on": "unmap", "off": "ignore"}
_PROTOCOLS = ("blkdebug", "file", "nbd", "null-aio", "null-co")
_REFUSALS = {
    "driver": "Unknown driver '{}'",
    "detect-zeroes": "invalid parameter value: {}",
    "discard": "Invalid discard option",
    "locking": "invalid parameter value: {}",
    "aio": "invalid parameter value: {}",
    "overlap-check": "Unsupported value '{}' for qcow2 option 'overlap-check'. Allowed are any of the following: "
    "none, constant, cached, all",
}
_NOT_ACCEPTED = rf"(?s)Parameter '(?:.*\.)?({'|'.join(_REFUSALS)})' does not accept value '(.*)'"
_UNEXPECTED = r"(?s)Parameter '(.*)' is unexpected"


def add_drive(machine: MachineLike, given: Mapping[str, str]) -> Drive:
    """A drive from the options of ``-drive``; one without an id gets one after its unit: ``none0``.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    graph = machine.graph
    common, given = take_common(given, machine.machine_type)
    for name in ("cache.direct", "cache.no-flush"):
        if name in given:
            switch(name, given[name])
    identifier, options = parse_drive(
        {name: value for name, value in given.items() if (name, value) != ("file", "")}, name_options
    )
    if given.get("media") not in (None, *_MEDIA):
        raise QmpError(f"'{given['media']}' invalid media")
    cdrom = given.get("media") == "cdrom"
    if identifier and not is_well_formed(identifier):
        raise QmpError("Parameter 'id' expects an identifier")
    if cdrom and options.get("file"):
        options["read-only"] = True
    if options.get("discard") in _DISCARDS:
        options["discard"] = _DISCARDS[options["discard"]]
    interface = common.interface.placed({drive.info.place for drive in graph.drives.values() if drive.info is not None})
    identifier = identifier or interface.identifier(cdrom=cdrom)
    medium = _medium(machine, options, common)
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


def _medium(machine: MachineLike, options: Options, common: DriveCommon) -> Node | None:
    """The node that the options of ``-drive`` mean; without a driver it is what the file is."""
    if not options.get("file") and "driver" not in options:
        own = {name: value for name, value in options.items() if name not in ("read-only", "cache", "copy-on-read")}
        check_given_options(machine.registry, {"driver": "null-co", "detect-zeroes": own.pop("detect-zeroes", "off")})
        if own:
            raise QmpError("Must specify either driver or file")
        return None
    opener = Opener(machine.graph, on_filter=machine.profile.backup_bitmap_on_filter)
    options, probed = opener.probe(options)
    check_given_options(machine.registry, {name: options[name] for name in options if name != "copy-on-read"})
    check_detect_zeroes(options)
    options.setdefault("auto-read-only", True)
    copy_on_read = options.pop("copy-on-read", False)
    detect_zeroes = options.pop("detect-zeroes", "off")
    if common.native_aio and not options.get("cache", {}).get("direct"):
        raise QmpError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    node = opener.open({**options, "read-only": True} if common.snapshot else options)
    node.probed = probed
    if common.snapshot:
        node = add_temporary_overlay(opener, node, read_only=bool(options.get("read-only")))
    node.copy_on_read = copy_on_read and not node.read_only
    node.detect_zeroes = detect_zeroes
    return node


def check_given_options(registry: Registry, options: Options) -> None:
    """Check options that do not come as JSON, in the words that QEMU has for them (bdrv_open_driver, block.c).

    :raises QmpError: they do not fit.
    """
    try:
        check_node_options(registry, completed(options))
    except QmpError as error:
        if found := re.fullmatch(_NOT_ACCEPTED, error.desc):
            raise QmpError(_REFUSALS[found[1]].format(found[2])) from None
        if error.desc == "Parameter 'file' is missing":
            raise QmpError('A block device must be specified for "file"') from None
        if found := re.fullmatch(_UNEXPECTED, error.desc):
            raise _unexpected(completed(options), found[1].split(".")) from None
        raise


def _unexpected(options: Options, path: list[str]) -> QmpError:
    """The refusal of an option that its driver does not have."""
    while len(path) > 1 and "driver" in options[path[0]]:
        options, path = options[path[0]], path[1:]
    value: Any = reduce(dict.__getitem__, path, options)
    while isinstance(value, dict) and value:
        path = [*path, next(iter(value))]
        value = value[path[-1]]
    driver, name = options["driver"], ".".join(path)
    if driver in _PROTOCOLS:
        return QmpError(f"Block protocol '{driver}' doesn't support the option '{name}'")
    return QmpError(f"Block format '{driver}' does not support the option '{name}'")


def check_node_options(registry: Registry, options: Options) -> None:
    """Check options of a node against the schema of blockdev-add, of the newest profile if the own one has none.

    :raises QmpError: they do not fit.
    """
    if registry.find("blockdev-add") is None:
        registry = registry_for(DEFAULT_PROFILE)
    registry.decode("blockdev-add", options)
