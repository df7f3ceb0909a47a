"""Options of a node that do not come as JSON of a monitor, checked in the words that QEMU has for them then."""

from __future__ import annotations

import re
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

from qbitsim.drivers.drive_options import completed
from qbitsim.errors import QmpError
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.decoders import Decoders

if TYPE_CHECKING:
    from qbitsim.drivers.options import Options
    from qbitsim.profiles import Profile
    from qbitsim.qapi.decoders import Decoder

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
_WITHOUT = {
    "children": "Number of provided children must be 1 or more",
    "filename": "The 'file' block driver requires a file name",
    "server": "NBD server address missing",
    "throttle-group": "Please specify a throttle group",
    "vote-threshold": "Parameter 'vote-threshold' expects a value >= 1",
}
_MISSING = rf"Parameter '(?:.*\.)?({'|'.join(_WITHOUT)}|file|image|log|raw|target|test)' is missing"
_UNEXPECTED = r"(?s)Parameter '(.*)' is unexpected"


def check_given_options(profile: Profile, options: Options) -> None:
    """Check options that do not come as JSON, in the words that QEMU has for them (bdrv_open_driver, block.c).

    :raises QmpError: they do not fit.
    """
    try:
        check_node_options(profile, completed(options))
    except QmpError as error:
        if found := re.fullmatch(_NOT_ACCEPTED, error.desc):
            raise QmpError(_REFUSALS[found[1]].format(found[2])) from None
        if found := re.fullmatch(_MISSING, error.desc):
            raise QmpError(_WITHOUT.get(found[1], f'A block device must be specified for "{found[1]}"')) from None
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


def check_node_options(profile: Profile, options: Options) -> None:
    """Check options of a node against the schema of blockdev-add.

    :raises QmpError: they do not fit.
    """
    _decoder(profile)(options, "")


@cache
def _decoder(profile: Profile) -> Decoder:
    return Decoders(profile).of_class(BlockdevOptions)
