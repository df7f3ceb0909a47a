"""Networks, the balloon and the screen: what their commands take and tell (net.json, machine.json, ui.json in qapi/).

Nothing of it does anything here; clients make such things, and ask for them.
"""

from __future__ import annotations

from typing import NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.schema import Int64, arg, branch, enum_values, union
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict

_ALWAYS: tuple[str | None, str | None] = (None, None)
_OTHERS = "none nic tap l2tpv3 socket stream dgram vde bridge hubport netmap vhost-user vhost-vdpa"


@enum_values(refused=dict.fromkeys(_OTHERS.split(), _ALWAYS) | {"passt": ("10.1", None)}, noun="networks of type")
class NetClientDriver(StrEnum):
    """What is at the other end of a network card."""

    USER = "user"


@union("type")
@struct
class Netdev:
    """Arguments of netdev_add."""

    id: str
    type: NetClientDriver


@struct
class NetdevString:
    """A text in a list, as the command line has it (String)."""

    str: str


@branch(Netdev, NetClientDriver.USER)
@struct
class NetdevUserOptions(Netdev):
    """A network without rights on the host."""

    hostname: str | None = None
    restrict: bool | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None
    ip: str | None = None
    net: str | None = None
    host: str | None = None
    tftp: str | None = None
    bootfile: str | None = None
    dhcpstart: str | None = None
    dns: str | None = None
    dnssearch: list[NetdevString] | None = None
    domainname: str | None = None
    ipv6_prefix: str | None = None
    ipv6_prefixlen: Int64 | None = None
    ipv6_host: str | None = None
    ipv6_dns: str | None = None
    smb: str | None = None
    smbserver: str | None = None
    hostfwd: list[NetdevString] | None = None
    guestfwd: list[NetdevString] | None = None
    tftp_server_name: str | None = arg(since="3.1")


@struct
class NetdevDel:
    """Arguments of netdev_del."""

    id: str


@struct
class Balloon:
    """Arguments of balloon: bytes of memory that the guest should have."""

    value: Int64


class BalloonInfo(TypedDict):
    """Bytes of memory that the guest has."""

    actual: int


class NetworkAddressFamily(StrEnum):
    """The kind of an address."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    UNIX = "unix"
    VSOCK = "vsock"
    UNKNOWN = "unknown"


class VncBasicInfo(TypedDict):
    """One end of a connection."""

    host: str
    service: str
    family: NetworkAddressFamily
    websocket: bool


class VncClientInfo(VncBasicInfo):
    """Who looks at the screen."""

    x509_dname: NotRequired[str]
    sasl_username: NotRequired[str]


class VncInfo(TypedDict):
    """Where the screen can be seen."""

    enabled: bool
    host: NotRequired[str]
    family: NotRequired[NetworkAddressFamily]
    service: NotRequired[str]
    auth: NotRequired[str]
    clients: NotRequired[list[VncClientInfo]]
