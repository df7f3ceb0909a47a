"""Connections to servers on real sockets.

They block, for there is nothing else that the machine could do meanwhile; whoever says nothing for half a minute is
taken for gone.
"""

from __future__ import annotations

import errno
import select
import socket

from qbitsim.errnos import errno_of
from qbitsim.files.network import Address, InetAddress, UnixAddress, failed
from qbitsim.serving.addresses import connect as connect_socket
from qbitsim.serving.addresses import connect_tcp, path_bytes

SILENCE = 30.0
"""Seconds after which a server that says nothing has gone."""

_READ_AT_ONCE = 1 << 18
_LONGEST_PATH = 108


class SocketConnection:
    """One socket that is connected (:class:`.Connection`)."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.settimeout(SILENCE)

    @property
    def is_open(self) -> bool:
        """Whether nothing says that the server has hung up."""
        if self._socket.fileno() < 0:
            return False
        looking = select.poll()  # select() knows descriptors up to 1023 only
        looking.register(self._socket, select.POLLIN)
        if not looking.poll(0):
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """What has come; empty if the server has hung up."""
        return self._socket.recv(_READ_AT_ONCE)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def connect(address: Address) -> SocketConnection:
    """Connect to the server at ``address``.

    :raises OSError: there is none; ``strerror`` is what QEMU says.
    """
    return SocketConnection(_unix(address) if isinstance(address, UnixAddress) else _tcp(address))


def _unix(address: UnixAddress) -> socket.socket:
    """A socket that is connected to a path, or an abstract name (unix_connect_saddr, util/qemu-sockets.c, 10.0)."""
    name = path_bytes(address.path)
    if address.abstract:
        name = b"\0" + name
    if len(name) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, f"UNIX socket path '{address.path}' is too long")
    if address.abstract and not address.tight:
        name = name.ljust(_LONGEST_PATH, b"\0")
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connect_socket(found, name or b"\0")
    except OSError as error:
        raise failed(address, errno_of(error)) from None
    return found


def _tcp(address: InetAddress) -> socket.socket:
    """A socket that is connected to the first of the host's addresses that answers (inet_connect_saddr)."""
    if not address.host:
        what = "Name or service not known"
        raise OSError(errno.EINVAL, f"address resolution failed for {address}: {what}")
    try:
        found = connect_tcp(address.host, address.port)
    except socket.gaierror as error:
        raise OSError(errno.EINVAL, f"address resolution failed for {address}: {error.strerror}") from None
    except OSError as error:
        raise failed(address, errno_of(error)) from None
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
