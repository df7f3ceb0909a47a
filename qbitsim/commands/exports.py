"""Exporting nodes over NBD (qapi/block-export.json, blockdev-nbd.c and block/export/export.c, QEMU 10.0).

The NBD server of a machine that is served listens where nbd-server-start says. Otherwise only clients of the same
process can connect, and the address is checked for what the machine's own files say about it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING

from qbitsim.commands.context import Context
from qbitsim.commands.descriptors import of_monitor
from qbitsim.commands.devices import check_thread
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.nbd.exports import DEFAULT_CONNECTIONS, DEFAULT_HANDSHAKE, Listening
from qbitsim.qapi.block import (
    BlockDirtyBitmap,
    BlockExportOptions,
    BlockExportOptionsNbd,
    BlockExportRemoveMode,
    FdSocketAddress,
    FdSocketAddressLegacy,
    InetSocketAddressLegacy,
    NbdServerOptions,
    SocketAddressLegacy,
    UnixSocketAddressLegacy,
    VsockSocketAddressLegacy,
)
from qbitsim.qapi.info import BlockExportInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.structs import struct
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.jsontypes import Json
    from qbitsim.nbd.export import Export


MAXIMUM_SOCKET_PATH = 108
"""Bytes that the address of a Unix domain socket has room for."""


@struct
class NbdServerAdd:
    """Arguments of nbd-server-add."""

    name: str | None = arg(since="5.0")
    description: str | None = arg(since="5.0")
    device: str
    writable: bool | None = None
    bitmap: str | None = arg(since="4.0")


@struct
class NbdServerRemove:
    """Arguments of nbd-server-remove."""

    name: str
    mode: BlockExportRemoveMode | None = None


@struct
class BlockExportDel:
    """Arguments of block-export-del."""

    id: str
    mode: BlockExportRemoveMode | None = None


@command("nbd-server-start", NbdServerOptions, since="1.3")
def nbd_server_start(context: Context, args: NbdServerOptions) -> None:
    """Start the server; it listens on sockets if the machine is served."""
    exports, address = context.machine.exports, args.addr
    if exports.running:
        raise QmpError("NBD server already running")
    if isinstance(address, FdSocketAddressLegacy):
        address = _taken_descriptor(context, address)
    if isinstance(address, VsockSocketAddressLegacy):
        raise UnsupportedError("an NBD server on a socket of type 'vsock'")
    if isinstance(address, InetSocketAddressLegacy) and address.data.ipv4 is False and address.data.ipv6 is False:
        raise QmpError("Cannot disable IPv4 and IPv6 at same time")
    if exports.host is None:
        _check_path(context, address)
    exports.start(
        Listening(
            address,
            DEFAULT_CONNECTIONS if args.max_connections is None else args.max_connections,
            DEFAULT_HANDSHAKE if args.handshake_max_seconds is None else args.handshake_max_seconds,
        )
    )
    if args.tls_creds is not None:
        exports.stop()
        if args.tls_creds in context.machine.objects:
            raise QmpError(f"Object with id '{args.tls_creds}' is not TLS credentials")
        raise QmpError(f"No TLS credentials with id '{args.tls_creds}'")


def _taken_descriptor(context: Context, address: FdSocketAddressLegacy) -> FdSocketAddressLegacy:
    """The address of a socket that the client has named, by its number (socket_get_fd, util/qemu-sockets.c, QEMU 10.0).

    :raises QmpError: it has not, or it is no socket and is closed.
    """
    name = address.data.fd
    descriptor = of_monitor(context).take_named(name)
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise QmpError(f"File descriptor '{name}' is not a socket")
    return changed(address, data=FdSocketAddress(fd=str(descriptor)))


def _check_path(context: Context, address: SocketAddressLegacy) -> None:
    """Refuse a path at which no server could listen (unix_listen_saddr, util/qemu-sockets.c, QEMU 10.0)."""
    if not isinstance(address, UnixSocketAddressLegacy) or not address.data.path or address.data.abstract:
        return
    path, images = address.data.path, context.graph.images
    directory = posixpath.dirname(path)
    if len(path.encode()) > MAXIMUM_SOCKET_PATH:
        raise QmpError(f"UNIX socket path '{path}' is too long")
    if images.is_directory(path):
        raise QmpError(f"Failed to unlink socket {path}: Is a directory")
    if directory in images:
        raise QmpError(f"Failed to unlink socket {path}: Not a directory")
    if not posixpath.isabs(path) and not images.is_directory(directory):
        raise QmpError(f"Failed to bind socket to {path}: No such file or directory")


@command("nbd-server-stop", since="1.3")
def nbd_server_stop(context: Context, args: None) -> None:
    """Stop the server; all exports go."""
    del args
    exports = context.machine.exports
    if not exports.running:
        raise QmpError("NBD server not running")
    exports.stop()


@command("block-export-add", BlockExportOptions, since="5.2")
def block_export_add(context: Context, args: BlockExportOptions) -> None:
    """Export a node."""
    assert isinstance(args, BlockExportOptionsNbd)
    exports = context.machine.exports
    exports.check_new(args.id)
    node = context.graph.lookup(None, args.node_name)
    if node.read_only and args.writable:
        raise QmpError("Cannot export read-only node as writable")
    if args.iothread is not None:
        _check_iothreads(context, node, args.iothread, fixed=bool(args.fixed_iothread))
    exports.add(
        args.id,
        node,
        name=args.name if args.name is not None else args.node_name,
        description=args.description,
        writable=bool(args.writable),
        writethrough=bool(args.writethrough),
        allocation_depth=bool(args.allocation_depth),
        allow_inactive=bool(args.allow_inactive),
        bitmaps=[
            (bitmap.node, bitmap.name) if isinstance(bitmap, BlockDirtyBitmap) else bitmap
            for bitmap in args.bitmaps or []
        ],
    )


def _check_iothreads(context: Context, node: Node, wanted: str | list[str], *, fixed: bool) -> None:
    """Refuse threads that are not there, or that a device of the guest does not share (blk_exp_add, block/export.c).

    Nothing runs in threads here, so that no more comes of it; an export that is not fixed goes where the device is.
    """
    if not isinstance(wanted, str):
        if fixed:
            raise QmpError("Cannot use fixed-iothread for a multi-threaded export")
        if not wanted:
            raise QmpError("The set of I/O threads must not be empty")
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if context.machine.objects.get(name, {}).get("qom-type") != "iothread":
            raise QmpError(f'iothread "{name}" not found')
    if fixed:
        assert isinstance(wanted, str)
        check_thread(context.machine, node, wanted)


@command("block-export-del", BlockExportDel, since="5.2")
def block_export_del(context: Context, args: BlockExportDel) -> None:
    """Remove an export; one with clients only if ``mode`` is hard, and as soon as they are cut off."""
    exports = context.machine.exports
    exports.remove(exports.find(args.id), hard=args.mode is BlockExportRemoveMode.HARD)


@command("nbd-server-add", NbdServerAdd, since="1.3", features=["deprecated"])
def nbd_server_add(context: Context, args: NbdServerAdd) -> None:
    """Export a drive or a node, as block-export-add does; a read-only one is not exported as writable."""
    exports = context.machine.exports
    node = context.graph.lookup(args.device, args.device)
    name = args.name if args.name is not None else args.device
    exports.check_new(name)
    export = exports.add(
        name,
        node,
        name=name,
        description=args.description,
        writable=bool(args.writable) and not node.read_only,
        bitmaps=[args.bitmap] if args.bitmap is not None else [],
    )
    export.medium_of = context.graph.drives.get(args.device)


@command("nbd-server-remove", NbdServerRemove, since="2.12", features=["deprecated"])
def nbd_server_remove(context: Context, args: NbdServerRemove) -> None:
    """Remove an export."""
    exports = context.machine.exports
    exports.remove(exports.find(args.name), hard=args.mode is BlockExportRemoveMode.HARD)


@command("query-block-exports", returns=list[BlockExportInfo], since="5.2")
def query_block_exports(context: Context, args: None) -> list[Json]:
    """All exports, newest first."""
    del args
    return [_info(export) for export in context.machine.exports.exports]


def _info(export: Export) -> Json:
    return {
        "id": export.id,
        "type": "nbd",
        "node-name": export.user.node.name,
        "shutting-down": export.shutting_down,
    }
