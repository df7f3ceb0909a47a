"""Sockets to listen on. UNIX ones are made and removed without touching anybody else's files.

QEMU removes whatever socket is in its way (util/qemu-sockets.c unix_listen_saddr). Here a socket is only
removed if nobody answers on it, and never a file of another kind.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import math
import os
import socket
import stat
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.files.fdsets import MonitorDescriptors
from qbitsim.files.names import host_name
from qbitsim.serving.addresses import addresses_of, connect, connect_tcp, path_bytes

NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why a client cannot be accepted that could be when others have left."""

_log = logging.getLogger(__name__)
_SILENCE = 60.0  # seconds between two complaints
_LONGEST_PATH = 108  # bytes
_ABSTRACT_NAME = 107  # bytes of an abstract name that is not tight

_ROOM = socket.CMSG_SPACE(16 * array("i").itemsize)
"""For as many descriptors as QEMU takes at once (TCP_MAX_FDS, chardev/char-socket.c)."""

_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)

_AT_ONCE = 1 << 16
"""Bytes that are received at once. Room for as many as asyncio asks for would be mapped anew each time (malloc(3))."""


class DescriptorSocket(socket.socket):
    """A socket that keeps the file descriptors that come with data (SCM_RIGHTS), those of the last data only.

    :ivar descriptors: what the client handed over.
    """

    __slots__ = ("_may_bring_some", "descriptors")

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._may_bring_some = self.family == socket.AF_UNIX  # asked once, as the answer is slow
        self.descriptors = MonitorDescriptors()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive data, and descriptors with it."""
        size = min(size, _AT_ONCE)
        if not self._may_bring_some:
            return super().recv(size, flags)
        data, ancillary, _, _ = self.recvmsg(size, _ROOM, flags | _CLOSE_ON_EXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array("i")
                received.frombytes(content[: len(content) // received.itemsize * received.itemsize])
                self.descriptors.receive(list(received))
        return data


def bind_unix_address(path: str, *, abstract: bool, tight: bool) -> socket.socket:
    """A socket at a path, or of an abstract name, which is no file.

    :param tight: the abstract name is not filled up with zero bytes.
    :raises QmpError: it cannot be had (unix_listen_saddr, util/qemu-sockets.c, QEMU 10.0).
    """
    if len(path_bytes(path)) + abstract > _LONGEST_PATH:
        raise QmpError(f"UNIX socket path '{path}' is too long")
    try:
        return _bind_abstract(path, tight=tight) if abstract else bind_unix(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else (error.strerror or str(error)).rpartition(": ")[2]
        raise QmpError(f"Failed to bind socket to {path}: {reason}") from error


def _bind_abstract(path: str, *, tight: bool) -> socket.socket:
    name = b"\0" + path_bytes(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(name if tight else name.ljust(_ABSTRACT_NAME + 1, b"\0"))
    except OSError:
        found.close()
        raise
    return found


def bind_inet_address(
    host: str,
    port: str,
    *,
    to: int | None = None,
    ipv4: bool | None = None,
    ipv6: bool | None = None,
    numeric: bool = False,
) -> list[socket.socket]:
    """A socket for each address that a host has, at the first port of a range that is free there.

    Addresses that cannot be had are left out if there is another (qio_net_listener_open_sync(), io/net-listener.c,
    QEMU 10.0).

    :param host: empty for all of this one.
    :param port: a number, or the name of a service; ``to``: the last one to try.
    :param ipv4: and ``ipv6``: whether such addresses will do; ``numeric``: names of hosts will not.
    :raises QmpError: there is none (inet_listen_saddr(), util/qemu-sockets.c).
    """
    flags = socket.AI_PASSIVE | (socket.AI_NUMERICHOST | socket.AI_NUMERICSERV if numeric else 0)
    family = _family(ipv4=ipv4, ipv6=ipv6)
    try:
        found = addresses_of(host or None, port or None, family, flags=flags)
    except socket.gaierror as error:
        raise QmpError(f"address resolution failed for {host}:{port}: {error.strerror}") from None
    bound: list[socket.socket] = []
    refusals: list[QmpError] = []
    for place in found:
        first = int(place[4][1]) or (int(bound[0].getsockname()[1]) if bound else 0)
        try:
            bound.append(_bind_in_range(place, range(first, (first if to is None else to) + 1)))
        except QmpError as refusal:
            refusals.append(refusal)
    if not bound:
        raise refusals[0]
    return bound


def _family(*, ipv4: bool | None, ipv6: bool | None) -> socket.AddressFamily:
    """Which addresses will do (inet_ai_family_from_address)."""
    if ipv4 is False and ipv6 is False:
        raise QmpError("Cannot disable IPv4 and IPv6 at same time")
    if bool(ipv4) == bool(ipv6) and ipv4 is not False and ipv6 is not False:
        return socket.AF_UNSPEC
    return socket.AF_INET6 if ipv6 or ipv4 is False else socket.AF_INET


def _bind_in_range(place: Any, ports: range) -> socket.socket:
    """A socket at the first port that is free.

    :param place: as getaddrinfo() gives it.
    :raises QmpError: there is none.
    """
    in_use = os.strerror(errno.EADDRINUSE)
    for port in ports:
        try:
            return _bind(place, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise QmpError(f"Failed to bind socket: {error.strerror}") from None
    raise QmpError(f"Failed to {'find an available port' if ports else 'create a socket'}: {in_use}")


def _bind(place: Any, port: int) -> socket.socket:
    family, kind, protocol, _, address = place
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((address[0], port, *address[2:]))
    except OSError:
        found.close()
        raise
    return found


class SpareDescriptor:
    """A file descriptor in reserve: with it a client is refused when the process can open no other file.

    Otherwise that client would wait for ever, and whoever watches the socket would be told of it again and again.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._silent_until = -math.inf
        self._open()

    def refuse(self, listening: socket.socket) -> bool:
        """Hang up on the client that has waited longest at a socket that does not block; False if that cannot be."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            _log.warning("qbitsim: too many open files: new clients are hung up on")
        self.close()
        try:
            listening.accept()[0].close()
        except OSError:
            return False
        finally:
            self._open()
        return True

    def close(self) -> None:
        """Have none any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def connected(path: str | None, host: str, port: str) -> socket.socket:
    """A socket that is connected to a server.

    :param path: of a UNIX socket; None for TCP.
    :raises QmpError: it cannot be reached, in QEMU's words.
    """
    where = path if path is not None else f"{host}:{port}"
    try:
        if path is None:
            return connect_tcp(host, port)
        found = socket.socket(socket.AF_UNIX)
        connect(found, path_bytes(path))
    except socket.gaierror as error:
        raise QmpError(f"address resolution failed for {where}: {error.strerror}") from None
    except OSError as error:
        raise QmpError(f"Failed to connect to '{where}': {os.strerror(errno_of(error))}") from None
    return found


def bind_unix(path: str) -> socket.socket:
    """A socket that listens at `path`, replacing a dead one.

    Of several processes that find the same dead one a single one gets the path: each keeps the folder locked until its
    socket answers.

    :raises OSError: the path cannot be made, is not a socket, or a live server answers there.
    """
    path = host_name(path)
    with _locked(os.path.dirname(path) or "."):
        _remove_dead(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
            sock.listen()
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from None
        return sock


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep out others who lock this folder; one that cannot be read cannot be locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to a port, 0 for any that is free: one for each of the addresses that `host` has.

    :raises OSError: the address is unknown or in use.
    """
    bound: list[socket.socket] = []
    try:
        if not 0 <= port < 1 << 16:
            raise OSError(errno.EINVAL, "there is no such port")
        for place in addresses_of(host, port, flags=socket.AI_PASSIVE):
            bound.append(_bind(place, port or (int(bound[0].getsockname()[1]) if bound else 0)))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return bound


def remove_if_ours(path: str) -> Callable[[], None]:
    """A function that removes the socket which is at `path` now, unless another took its place."""
    path = host_name(path)
    ours = _identity(path)

    def remove() -> None:
        if ours is not None and _identity(path) == ours:
            os.unlink(path)

    return remove


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # not there, or bind() will say why it cannot be
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"cannot listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from None
        else:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {path}: a server is listening there")
