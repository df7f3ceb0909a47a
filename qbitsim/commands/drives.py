"""Drives as ``-drive`` and the human monitor's ``drive_add`` make them (drive_new, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING

from qbitsim.commands.offered import registry_for
from qbitsim.drivers.drive_options import completed, has_write_cache, parse_drive
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import Options, check_detect_zeroes
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.profiles import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.profiles import Profile

_MEDIA = ("cdrom", "disk")
_PROTOCOLS = ("blkdebug", "file", "nbd", "null-aio", "null-co")
_NOT_EMULATED = (
    *("aio", "bps", "bps_max", "bps_rd", "bps_rd_max", "bps_wr", "bps_wr_max", "bus", "group", "index", "iops"),
    *("iops_max", "iops_rd", "iops_rd_max", "iops_size", "iops_wr", "iops_wr_max", "snapshot", "throttling", "unit"),
)
_REFUSALS = {
    "driver": "Unknown driver '{}'",
    "detect-zeroes": "invalid parameter value: {}",
    "discard": "Invalid discard option",
}
_NOT_ACCEPTED = re.compile(rf"Parameter '(?:.*\.)?({'|'.join(_REFUSALS)})' does not accept value '(.*)'", re.DOTALL)
_UNEXPECTED = re.compile(r"Parameter '(.*)' is unexpected", re.DOTALL)


def add_drive(graph: Graph, profile: Profile, given: Mapping[str, str]) -> Drive:
    """A drive from the options of ``-drive``; one without an id gets one after its unit: ``none0``.

    :raises QmpError: as QEMU refuses it; nothing has changed then.
    """
    identifier, options = parse_drive({name: value for name, value in given.items() if (name, value) != ("file", "")})
    if given.get("media") not in (None, *_MEDIA):
        raise QmpError(f"'{given['media']}' invalid media")
    unit = next(number for number in range(len(graph.drives) + 1) if number not in _units(graph))
    identifier = identifier or f"none{unit}"
    medium = _medium(graph, profile, options)
    try:
        check_new_drive(graph, identifier)
    except QmpError:
        if medium is not None:
            graph.release(medium)
        raise
    drive = graph.add_drive(identifier, medium)
    drive.unit = unit
    drive.write_cache = has_write_cache(given)
    drive.medium_options = {"read-only": bool(options.get("read-only")) or given.get("media") == "cdrom"}
    return drive


def check_new_drive(graph: Graph, identifier: str) -> None:
    """Refuse the id of a new drive if it is taken.

    :raises QmpError: it is.
    """
    if identifier in graph.drives:
        raise QmpError(f"Device with id '{identifier}' already exists")
    if identifier in graph.nodes:
        raise QmpError(f"Device name '{identifier}' conflicts with an existing node name")


def _units(graph: Graph) -> set[int | None]:
    return {drive.unit for drive in graph.drives.values()}


def _medium(graph: Graph, profile: Profile, options: Options) -> Node | None:
    """The node that the options of ``-drive`` mean; without a driver it is what the file is."""
    if not options.get("file") and "driver" not in options:
        unknown = [
            name for name in options if name not in ("read-only", "cache", "detect-zeroes", "discard", "copy-on-read")
        ]
        if unknown:
            raise QmpError("Must specify either driver or file")
        return None
    opener = Opener(graph, on_filter=profile.backup_bitmap_on_filter)
    file = options.get("file")
    if "driver" not in options and isinstance(file, dict) and "filename" in file:
        options = {**options, "driver": opener.image(file["filename"]).format}
    check_given_options(profile, {name: options[name] for name in options if name != "copy-on-read"})
    check_detect_zeroes(options)
    copy_on_read = options.pop("copy-on-read", False)
    detect_zeroes = options.pop("detect-zeroes", "off")
    node = opener.open(options)
    node.copy_on_read = copy_on_read and not node.read_only
    node.detect_zeroes = detect_zeroes
    return node


def check_given_options(profile: Profile, options: Options) -> None:
    """Check options that do not come as JSON, in the words that QEMU has for them (bdrv_open_driver, block.c).

    :raises QmpError: they do not fit.
    """
    try:
        check_node_options(profile, completed(options))
    except QmpError as error:
        if found := _NOT_ACCEPTED.fullmatch(error.desc):
            raise QmpError(_REFUSALS[found[1]].format(found[2])) from None
        if error.desc == "Parameter 'file' is missing":
            raise QmpError('A block device must be specified for "file"') from None
        if found := _UNEXPECTED.fullmatch(error.desc):
            *path, name = found[1].split(".")
            if name in _NOT_EMULATED:
                raise UnsupportedError(f"the option '{name}' of -drive") from None
            driver = reduce(dict.__getitem__, path, completed(options))["driver"]
            kind = "protocol" if driver in _PROTOCOLS else "format"
            raise QmpError(f"Block {kind} '{driver}' doesn't support the option '{name}'") from None
        raise


def check_node_options(profile: Profile, options: Options) -> None:
    """Check options of a node against the schema of blockdev-add, of the newest profile if the own one has none.

    :raises QmpError: they do not fit.
    """
    registry = registry_for(profile)
    if registry.find("blockdev-add") is None:
        registry = registry_for(DEFAULT_PROFILE)
    registry.decode("blockdev-add", options)
