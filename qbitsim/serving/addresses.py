"""Addresses of the host: names of hosts, and paths of sockets, as they come from clients.

Whatever a client says is an address that there is, or an :class:`OSError`: no name of a host is too odd for that.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any

from qbitsim.files.names import host_name

CONNECT_PATIENCE = 10.0
"""Seconds after which a host that says nothing is taken for gone."""
_AGAIN = 0.02


def addresses_of(
    host: str | None, port: str | int | None, family: int = socket.AF_UNSPEC, *, flags: int = 0
) -> list[Any]:
    """What getaddrinfo() has for sockets of streams, each once.

    :raises socket.gaierror: nothing. A label of a name that is empty, or of more than 63 bytes, is of no host.
    """
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)
    except ValueError:  # it cannot be encoded as a name of the DNS, or there is a NUL in it
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return list(dict.fromkeys(found))


def path_bytes(path: str) -> bytes:
    """The path of a socket, or an abstract name, as the host has it."""
    return os.fsencode(host_name(path))


def connect_tcp(host: str, port: str | int) -> socket.socket:
    """A socket that is connected to the first of the host's addresses that answers.

    :raises socket.gaierror: the host has none.
    :raises OSError: none answers.
    """
    last: OSError | None = None
    for family, kind, protocol, _, place in addresses_of(host or None, port):
        found = socket.socket(family, kind, protocol)
        try:
            connect(found, place)
        except OSError as error:
            last = error
        else:
            return found
    assert last is not None, "getaddrinfo() returns an address, or fails"
    raise last


def connect(found: socket.socket, place: Any) -> None:
    """Connect a socket, for which it waits :data:`CONNECT_PATIENCE` seconds at most; it is closed if that fails.

    :raises OSError: it cannot be connected.
    """
    found.settimeout(CONNECT_PATIENCE)
    deadline = time.monotonic() + CONNECT_PATIENCE
    try:
        while not _is_connected(found, place):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            time.sleep(_AGAIN)
    except OSError:
        found.close()
        raise
    found.settimeout(None)


def _is_connected(found: socket.socket, place: Any) -> bool:
    """Try to connect: False if a server on a UNIX socket has too many clients that wait for it."""
    try:
        found.connect(place)
    except BlockingIOError:
        return False
    except TimeoutError:  # which has no errno
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    return True
