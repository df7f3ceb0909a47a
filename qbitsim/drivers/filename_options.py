"""The options in a file name: ``json:{…}``, ``blkdebug::FILE``, ``file:FILE`` (bdrv_fill_options, block.c)."""

from __future__ import annotations

from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.not_emulated import NOT_EMULATED
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.store import has_protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def json_options(name: str) -> Options:
    """The options of a ``json:`` name, which may have dotted members and texts for values."""
    from qbitsim.qmp.names import json_name  # noqa: PLC0415 - hardly ever wanted

    return _undotted(json_name(name))


def _undotted(given: Mapping[str, object]) -> Options:
    """Options in which members at every depth may have dotted names."""
    return nested({name: _undotted(value) if isinstance(value, dict) else value for name, value in given.items()})


def name_options(name: str) -> Options:
    """The options that any name of a file stands for.

    :raises QmpError: ``Unknown protocol 'x'``.
    :raises UnsupportedError: for a protocol that is not emulated, or a configuration file of blkdebug.
    """
    return json_options(name) if name.startswith("json:") else protocol_options(name)


def protocol_options(name: str) -> Options:
    """The options of the file that a plain name, or one with a protocol, stands for.

    :raises QmpError: ``Unknown protocol 'x'``.
    :raises UnsupportedError: for a protocol that is not emulated, or a configuration file of blkdebug.
    """
    if not has_protocol(name):
        return {"driver": "file", "filename": name}
    protocol, _colon, rest = name.partition(":")
    for driver in DRIVERS.values():
        if protocol in driver.protocols:
            return driver.node.parse_filename(protocol, rest)
    if any(protocol in other.protocols for other in NOT_EMULATED.values()):
        raise UnsupportedError(f"the protocol '{protocol}' in a file name")
    raise QmpError(f"Unknown protocol '{protocol}'")


def innermost(options: Options) -> Options:
    """The options of the node at the bottom of what :func:`name_options` gave: of a file, or a server."""
    while "filename" not in options and "server" not in options:
        below = next((child for child in options.values() if isinstance(child, dict)), None)
        if below is None:
            return options
        options = below
    return options
