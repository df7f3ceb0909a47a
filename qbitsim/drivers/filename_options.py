"""The options in a file name: ``json:{…}``, ``blkdebug::FILE``, ``file:FILE`` (bdrv_fill_options, block.c)."""

from __future__ import annotations

from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.not_emulated import NOT_EMULATED
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.store import has_protocol
from qbitsim.qapi.nesting import check_nesting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.drivers.driver import Driver


def json_options(name: str) -> Options:
    """The options of a ``json:`` name, which may have dotted members and texts for values.

    :raises QmpError: what has to be a text is none.
    """
    from qbitsim.qmp.names import json_name  # noqa: PLC0415 - hardly ever wanted

    found = json_name(name)
    check_nesting(found)
    options = _undotted(found)
    check_texts(options)
    return options


def check_texts(value: object) -> None:
    """Refuse names of drivers and files, here and below, that are no texts.

    :raises QmpError: one is none.
    """
    if isinstance(value, list):
        for item in value:
            check_texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("driver", "filename") and not isinstance(item, str):
                raise QmpError(f"Invalid parameter type for '{name}', expected: string")
            check_texts(item)


def _undotted(given: Mapping[str, object]) -> Options:
    """Options in which members at every depth may have dotted names."""
    return nested({name: _undotted(value) if isinstance(value, dict) else value for name, value in given.items()})


def protocol_driver(name: str) -> Driver:
    """The driver of a file that a plain name, or one with a protocol, stands for (bdrv_find_protocol).

    :raises QmpError: ``Unknown protocol 'x'``.
    :raises UnsupportedError: for a protocol that is not emulated.
    """
    if not has_protocol(name):
        return DRIVERS["file"]
    protocol = name.partition(":")[0]
    for driver in DRIVERS.values():
        if protocol in driver.protocols:
            return driver
    if any(protocol in other.protocols for other in NOT_EMULATED.values()):
        raise UnsupportedError(f"the protocol '{protocol}' in a file name")
    raise QmpError(f"Unknown protocol '{protocol}'")


def innermost(options: Options) -> Options:
    """The options of the node at the bottom of what a file name stands for: of a file, or a server."""
    while "filename" not in options and "server" not in options:
        below = next((child for child in options.values() if isinstance(child, dict)), None)
        if below is None:
            return options
        options = below
    return options
