"""The options in a file name: ``json:{…}``, ``blkdebug::FILE``, ``file:FILE`` (bdrv_fill_options, block.c)."""

from __future__ import annotations

import json

from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.store import has_protocol

NOT_EMULATED = frozenset(
    {
        *("blkreplay", "blkverify", "fat", "ftp", "ftps", "host_cdrom", "host_device", "http", "https", "iscsi"),
        *("nbd", "nbd+tcp", "nbd+unix", "nfs", "null-aio", "null-co", "nvme", "rbd", "ssh"),
    }
)
"""Protocols that QEMU knows and that there is nothing for here, or nothing by name."""


def json_options(name: str) -> Options:
    """The options of a ``json:`` name, which may have dotted members and texts for values."""
    return nested(json.loads(name.removeprefix("json:")))


def protocol_options(name: str) -> Options:
    """The options of the file that a plain name, or one with a protocol, stands for.

    :raises QmpError: ``Unknown protocol 'x'``.
    :raises UnsupportedError: for a protocol that is not emulated, or a configuration file of blkdebug.
    """
    if not has_protocol(name):
        return {"driver": "file", "filename": name}
    protocol, _colon, rest = name.partition(":")
    if protocol == "file":
        return {"driver": "file", "filename": rest}
    if protocol in NOT_EMULATED:
        raise UnsupportedError(f"the protocol '{protocol}' in a file name")
    if protocol != "blkdebug":
        raise QmpError(f"Unknown protocol '{protocol}'")
    config, _colon, below = rest.partition(":")
    if config:
        raise UnsupportedError("blkdebug's option 'config'")
    return {"driver": "blkdebug", "image": protocol_options(below)}


def innermost(options: Options) -> str:
    """The name of the file at the bottom of what :func:`protocol_options` gave."""
    while options["driver"] != "file":
        options = options["image"]
    name: str = options["filename"]
    return name
