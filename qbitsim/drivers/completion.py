"""Drivers and file names that options of a node leave out (bdrv_open_inherit, block.c, QEMU 10.0).

Theory of operation
===================

1. A node is opened with options and perhaps with a file name: the one of ``-drive``, that in the header of the image
   above, or a part of such a name that is another node's.
2. A driver that has protocols in file names takes the name for itself. Any other driver has the child ``file``, to
   which the name is handed down, whether the driver knows what to do with that child or not.
3. A node without a driver is a file, or what the protocol in its name says, where the node above is a format or a
   protocol; the child ``file`` is one of these in any case. Elsewhere it has the format of what is in its own file.
4. What is handed down may be in the way of what was given, which is refused, and so is a child that is missing.
"""

from __future__ import annotations

from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.filename_options import json_options, protocol_driver
from qbitsim.drivers.not_emulated import NOT_EMULATED
from qbitsim.drivers.options import Options, Written
from qbitsim.errors import QmpError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qbitsim.drivers.driver import Driver

    FormatOf = Callable[[Options | str], str]

_PROBED = frozenset({"children", "test"})
"""The children that have formats of their own: pure data of nodes that are no formats (bdrv_inherited_options)."""
_OPTIONAL = frozenset({"children", "data-file"})


def complete(
    options: Options, name: str | None = None, *, protocol: bool = False, format_of: FormatOf | None
) -> tuple[Options, bool]:
    """The options of a node with all that is left out, here and below; backing files are left as they are.

    Also, whether its format was looked up. Dictionaries that were given are changed.

    :param name: the file name that the node is opened with.
    :param protocol: a node without a driver is a file, or what the name says.
    :param format_of: finds the format of what is in a node, by its options or its name; None to leave such drivers out.
    :raises QmpError: as QEMU refuses it; :raises UnsupportedError: for a protocol that is not emulated.
    """
    if name is not None and name.startswith("json:"):
        options, name = _joined(json_options(name), options), None
    driver = _given_driver(options)
    names: Mapping[str, str] = {}
    if protocol if driver is None else driver.protocols:
        driver = driver or _driver_of_name(options, name)
        options["driver"] = driver.name
        names = _taken_by_protocol(driver, options, name)
    elif name is not None:
        names = {"file": name}
    if driver is None or not driver.protocols:
        _complete_child(driver, options, "file", names, format_of)
    if driver is None:
        if not isinstance(options.get("file"), dict | str):
            raise QmpError("Must specify either driver or file")
        if format_of is None:
            return options, False
        options["driver"] = format_of(options["file"])
        return options, True
    driver.node.complete_options(options)
    for child in driver.children:
        if child != "file":
            _complete_child(driver, options, child, names, format_of)
    return options, False


def named_file(name: str) -> Options:
    """The options of the file, or other protocol, that a name stands for.

    :raises QmpError: ``Unknown protocol 'x'``, or the protocol does not take the name; UnsupportedError: as above.
    """
    return complete({}, name, protocol=True, format_of=None)[0]


def _joined(below: Options, given: Options) -> Options:
    """Options with those that are given, which win (parse_json_protocol)."""
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            _joined(below[name], value)
        else:
            below[name] = value
            if isinstance(given, Written) and isinstance(below, Written) and name in given.texts:
                below.texts[name] = given.texts[name]
    return below


def _given_driver(options: Options) -> Driver | None:
    name = options.get("driver")
    if name is None:
        return None
    if name in NOT_EMULATED and name not in DRIVERS:
        raise UnsupportedError(f"block driver '{name}'")
    if name not in DRIVERS:
        raise QmpError(f"Unknown driver '{name}'")
    return DRIVERS[name]


def _driver_of_name(options: Options, name: str | None) -> Driver:
    """The driver of a file; names among options have no protocols."""
    if name is not None:
        return protocol_driver(name)
    if "filename" not in options:
        raise QmpError("Must specify either driver or file")
    return DRIVERS["file"]


def _taken_by_protocol(driver: Driver, options: Options, name: str | None) -> Mapping[str, str]:
    """Let a driver take the name for itself; the names in it that are its children's."""
    if name is None:
        return {}
    if "filename" in options:
        raise QmpError("Can't specify 'file' and 'filename' options at the same time")
    return driver.node.take_filename(name, options)


def _complete_child(
    driver: Driver | None, options: Options, child: str, names: Mapping[str, str], format_of: FormatOf | None
) -> None:
    """Complete what was given for a child, or what a name says of it (bdrv_open_child_bs)."""
    given, name, protocol = options.get(child), names.get(child), child not in _PROBED
    if isinstance(given, list):
        for item in given:
            if isinstance(item, dict):
                complete(item, protocol=protocol, format_of=format_of)
    elif isinstance(given, dict) or (given is None and name is not None):
        options[child], _probed = complete(given or Written(), name, protocol=protocol, format_of=format_of)
    elif name is not None:
        raise QmpError("Cannot reference an existing block device with additional options or a new filename")
    elif given is None and driver is not None and child in driver.children and child not in _OPTIONAL:
        raise QmpError(f'A block device must be specified for "{child}"')
