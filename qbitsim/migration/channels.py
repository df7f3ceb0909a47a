"""Where the other end of a migration is that is given as a list of channels (qapi/migration.json, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.network import InetAddress, UnixAddress
from qbitsim.migration.addresses import NOT_EMULATED, Program
from qbitsim.qapi.migration import (
    FileMigrationArgs,
    InetSocket,
    MigrationChannelType,
    MigrationExecCommand,
    MigrationRdma,
    MigrationSocket,
    UnixSocket,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbitsim.migration.addresses import Place
    from qbitsim.qapi.migration import MigrationAddress, MigrationChannel


def of_channels(channels: Sequence[MigrationChannel]) -> Place:
    """The place of the one channel (qmp_migrate, migration/migration.c, QEMU 10.0).

    :raises QmpError: there is none, or more than one.
    :raises UnsupportedError: it is neither a plain socket nor a program.
    """
    main = [each for each in channels if each.channel_type is MigrationChannelType.MAIN]
    if len(main) > 1:
        raise QmpError("Channel list has more than one main entry")
    if not main:
        raise QmpError("Channel list has no main entry")
    if len(channels) > 1:
        raise UnsupportedError("a migration with a channel 'cpr'")
    return _of_address(main[0].addr)


def _of_address(address: MigrationAddress) -> Place:
    match address:
        case MigrationSocket(socket=UnixSocket() as unix):
            return UnixAddress(unix.path, bool(unix.abstract), unix.tight is not False)
        case MigrationSocket(socket=InetSocket() as inet):
            return InetAddress(inet.host, inet.port)
        case MigrationExecCommand():
            if not address.args:
                raise QmpError("Failed to execute child process: there is no command")  # QEMU dies of it
            return Program(tuple(address.args))
        case MigrationRdma():
            raise UnsupportedError(NOT_EMULATED["rdma:"])
        case FileMigrationArgs():
            raise UnsupportedError(NOT_EMULATED["file:"])
    raise UnsupportedError("a migration over a socket that is neither of UNIX nor of TCP")
