"""The human monitor's commands on the NBD server (block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.commands import exports, queries
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qapi.block import (
    BlockExportRemoveMode,
    InetSocketAddress,
    InetSocketAddressLegacy,
    NbdServerOptions,
    SocketAddressLegacy,
    SocketAddressType,
    UnixSocketAddress,
    UnixSocketAddressLegacy,
)

if TYPE_CHECKING:
    from qbitsim.commands.context import Context

_INET = r"(?s)(?:\[(?P<six>[^]]{1,64})\]|(?P<host>[^:]{0,64})):(?P<port>[^,]{1,32})(?P<options>,.*)?"


@hmp(
    "nbd_server_start",
    "all:-a,writable:-w,uri:s",
    params="nbd_server_start [-a] [-w] host:port",
    help="serve block devices on the given host and port",
)
def nbd_server_start(context: Context, *, all: bool, writable: bool, uri: str) -> None:  # noqa: A002
    """Start the server; with ``-a`` export all drives that have a medium, too."""
    if writable and not all:
        raise QmpError("-w only valid together with -a")
    execute(context, exports.nbd_server_start, NbdServerOptions(addr=_address(uri)))
    if not all:
        return
    try:
        for drive in execute(context, queries.query_block, queries.QueryBlock()):
            if "inserted" in drive:
                nbd_server_add(context, writable=writable, device=drive["device"])
    except QmpError:
        execute(context, exports.nbd_server_stop)
        raise


def _address(text: str) -> SocketAddressLegacy:
    """The address that the text means (socket_parse, util/qemu-sockets.c, 10.0)."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise QmpError("invalid Unix socket address")
        return UnixSocketAddressLegacy(type=SocketAddressType.UNIX, data=UnixSocketAddress(path=path))
    if text.startswith("fd:"):
        name = text.removeprefix("fd:")
        if name.isdigit():
            raise UnsupportedError("an NBD server on a socket of type 'fd'")
        raise QmpError(f"File descriptor named '{name}' has not been found")
    if text.startswith("vsock:"):
        address = text.removeprefix("vsock:")
        if ":" not in address:
            raise QmpError(f"error parsing address '{address}'")
        raise UnsupportedError("an NBD server on a socket of type 'vsock'")
    return _inet_address(text.removeprefix("tcp:"))


def _inet_address(text: str) -> SocketAddressLegacy:
    match = re.fullmatch(_INET, text)
    if match is None or (text.startswith("[") and match["six"] is None):
        raise QmpError(f"error parsing {'IPv6 ' if text.startswith('[') else ''}address '{text}'")
    if match["options"]:
        raise UnsupportedError("options of a TCP address")
    host, port = match["six"] or match["host"], match["port"]
    if not port.isdigit():
        raise QmpError(f"address resolution failed for {host}:{port}: Servname not supported for ai_socktype")
    return InetSocketAddressLegacy(type=SocketAddressType.INET, data=InetSocketAddress(host=host, port=port))


@hmp(
    "nbd_server_add",
    "writable:-w,device:B,name:s?",
    params="nbd_server_add [-w] device [name]",
    help="export a block device via NBD",
)
def nbd_server_add(context: Context, *, writable: bool, device: str, name: str | None = None) -> None:
    """Export a drive or a node."""
    arguments = exports.NbdServerAdd(device=device, name=name, writable=writable)
    execute(context, exports.nbd_server_add, arguments)


@hmp(
    "nbd_server_remove",
    "force:-f,name:s",
    params="nbd_server_remove [-f] name",
    help="remove an export previously exposed via NBD",
)
def nbd_server_remove(context: Context, *, force: bool, name: str) -> None:
    """Remove an export."""
    mode = BlockExportRemoveMode.HARD if force else BlockExportRemoveMode.SAFE
    execute(context, exports.nbd_server_remove, exports.NbdServerRemove(name=name, mode=mode))


@hmp("nbd_server_stop", params="nbd_server_stop", help="stop serving block devices using the NBD protocol")
def nbd_server_stop(context: Context) -> None:
    """Stop the server."""
    execute(context, exports.nbd_server_stop)
