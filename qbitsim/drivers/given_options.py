"""Options of a node that do not come as JSON of a monitor, checked in the words that QEMU has for them then."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from qbitsim.drivers.backing import failed_below
from qbitsim.drivers.drive_options import ADDED_TO_REFERENCE
from qbitsim.drivers.driver import DRIVERS
from qbitsim.errors import QmpError
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.decoders import Decoders

if TYPE_CHECKING:
    from qbitsim.drivers.options import Options
    from qbitsim.profiles import Profile
    from qbitsim.qapi.decoders import Decoder

_REFUSALS = {
    "driver": "Unknown driver '{}'",
    "detect-zeroes": "invalid parameter value: {}",
    "discard": "Invalid discard option",
    "locking": "invalid parameter value: {}",
    "aio": "invalid parameter value: {}",
    "event": "invalid parameter value: {}",
    "overlap-check": "Unsupported value '{}' for qcow2 option 'overlap-check'. Allowed are any of the following: "
    "none, constant, cached, all",
}
_REFUSALS["template"] = _REFUSALS["overlap-check"]
_NOT_ACCEPTED = rf"(?s)Parameter '(?:.*\.)?({'|'.join(_REFUSALS)})' does not accept value '(.*)'"
_UNEXPECTED = r"(?s)Parameter '(.*)' is unexpected"


def check_given_options(profile: Profile, options: Options) -> None:
    """Check options that do not come as JSON, in the words that QEMU has for them (bdrv_open_driver, block.c).

    Those of backing files are left out: they are completed from the header above, and checked then.

    :raises QmpError: they do not fit.
    """
    options = _without_backing(options)
    try:
        check_node_options(profile, options)
    except QmpError as error:
        if found := re.fullmatch(_NOT_ACCEPTED, error.desc):
            raise QmpError(_REFUSALS[found[1]].format(found[2])) from None
        if found := re.fullmatch(_UNEXPECTED, error.desc):
            raise _unexpected(options, _path(options, found[1])) from None
        raise


def _without_backing(value: Any) -> Any:
    if isinstance(value, dict):
        given = ((name, item) for name, item in value.items() if name != "backing" or isinstance(item, str))
        return {name: _without_backing(item) for name, item in given}
    return [_without_backing(item) for item in value] if isinstance(value, list) else value


def _path(value: Any, name: str) -> list[str]:
    """The members that lead to an option of that name; members of what has none have dotted names."""
    path: list[str] = []
    while name:
        if isinstance(value, list):
            number, _bracket, name = name[1:].partition("]")
            path.append(number)
        else:
            keys = (key for key in value if name == key or name.startswith((f"{key}.", f"{key}[")))
            path.append(max(keys, key=len))
            name = name[len(path[-1]) :]
        value, name = _member(value, path[-1]), name.removeprefix(".")
    return path


def _unexpected(options: Options, path: list[str]) -> QmpError:
    """The refusal of an option that its driver does not have."""
    below: Any = options
    for depth, key in enumerate(path):
        child = next((part for part in reversed(path[:depth]) if not part.isdecimal()), None)
        if child is None or (child in DRIVERS[options["driver"]].children and isinstance(below, dict)):
            options, own = below, path[depth:]
        below = _member(below, key)
    path, value = own, below
    while isinstance(value, dict | list) and value:
        path = [*path, "0" if isinstance(value, list) else next(iter(value))]
        value = _member(value, path[-1])
    driver, name = options["driver"], ".".join(path)
    if name == "backing":
        return QmpError("Driver doesn't support backing files")
    if path[0].startswith("backing.") and "backing" in options:
        return failed_below(1, QmpError(ADDED_TO_REFERENCE))
    if path[0] in ("inject-error", "set-state"):
        return QmpError(f"[{path[0]}] section doesn't support the option '{'.'.join(path[2:])}'")
    if DRIVERS[driver].protocols:
        return QmpError(f"Block protocol '{driver}' doesn't support the option '{name}'")
    if path[0] == "file":  # it is a node that was opened before the driver could be asked
        name = "file"
    return QmpError(f"Block format '{driver}' does not support the option '{name}'")


def _member(value: Any, key: str) -> Any:
    return value[int(key)] if isinstance(value, list) else value[key]


def check_node_options(profile: Profile, options: Options) -> None:
    """Check options of a node against the schema of blockdev-add.

    :raises QmpError: they do not fit.
    """
    _decoder(profile)(options, "")


@cache
def _decoder(profile: Profile) -> Decoder:
    return Decoders(profile).of_class(BlockdevOptions)
