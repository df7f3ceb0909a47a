"""Where the other end of a migration is: ``unix:PATH``, ``tcp:HOST:PORT``, ``exec:COMMAND``, and what else there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.network import Address, InetAddress, UnixAddress
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.qapi.migration import SocketAddress


@record
class Program:
    """A program that takes the stream at its input, or gives it at its output, and answers nothing.

    :ivar argv: its name, and its arguments.
    """

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.argv)


Place: TypeAlias = Address | Program

NOT_EMULATED = {
    "rdma:": "a migration over RDMA",
    "vsock:": "a migration over a socket of type 'vsock'",
    "fd:": "a migration over a descriptor that a client handed over",
    "file:": "a migration to or from a file",
}
"""Protocols of QEMU that are refused, and what is refused."""


def parse_uri(uri: str, profile: Profile) -> Place:
    """The place that a URI names (migrate_uri_parse, migration/migration.c, QEMU 10.0).

    :raises QmpError: there is no such protocol, or no address behind it.
    :raises UnsupportedError: QEMU knows the protocol.
    """
    protocol, colon, rest = uri.partition(":")
    if colon and protocol == "unix":
        if not rest:
            raise QmpError("invalid Unix socket address")
        return UnixAddress(rest)
    if colon and protocol == "tcp":
        return _parse_inet(rest)
    if colon and protocol == "exec":
        return Program(("/bin/sh", "-c", rest))
    if protocol + colon in NOT_EMULATED and (protocol != "file" or profile.migration_to_files):
        raise UnsupportedError(NOT_EMULATED[protocol + colon])
    if profile.migration_names_protocol:
        raise QmpError(f"unknown migration protocol: {uri}")
    raise QmpError("Parameter 'uri' expects a valid migration protocol")


def _parse_inet(text: str) -> InetAddress:
    """``HOST:PORT`` with options that matter to nobody here behind a comma (inet_parse, util/qemu-sockets.c)."""
    place = text.partition(",")[0]
    host, colon, port = place.rpartition(":")
    if not colon or not port:
        raise QmpError(f"error parsing address '{text}'")
    return InetAddress(host.removeprefix("[").removesuffix("]"), port)


def as_json(address: Address) -> dict[str, object]:
    """As a SocketAddress of QAPI, for query-migrate."""
    if isinstance(address, UnixAddress):
        return {"path": address.path, "type": "unix"}
    return {"host": address.host, "port": address.port, "ipv4": True, "type": "inet"}


def describe(address: SocketAddress | dict[str, str]) -> str:
    """As HMP shows it: ``unix:/path``."""
    assert isinstance(address, dict)
    if address["type"] == "unix":
        return f"unix:{address['path']}"
    return f"tcp:{address['host']}:{address['port']}"
