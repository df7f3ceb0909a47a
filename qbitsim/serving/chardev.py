"""Character devices: what monitors talk through (chardev/char-socket.c and its neighbours, QEMU 10.0)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, BinaryIO

from qbitsim.errors import QmpError
from qbitsim.files.names import host_name
from qbitsim.records import record
from qbitsim.serving.addresses import connect as connect_socket
from qbitsim.serving.addresses import connect_tcp, path_bytes
from qbitsim.serving.sockets import DescriptorSocket, bind_inet_address, remove_if_ours

if TYPE_CHECKING:
    from collections.abc import Callable


_STDIN, _STDOUT = 0, 1

SILENT = frozenset({"qemu-vdagent", "spiceport", "spicevmc"})
"""Character devices whose other end is a part of QEMU that is not emulated: nobody ever says anything there."""


@record(kw_only=True)
class Chardev:
    """A character device as it is asked for.

    :ivar id: its name.
    :ivar backend: ``socket``, ``stdio``, ``null``, ``file``, ``pty`` or one of :data:`SILENT`.
    :ivar path: of the file or UNIX socket; *append*: what is in the file stays.
    :ivar abstract: the path is a name in Linux's abstract name space.
    :ivar host: and *port* of TCP; *descriptor*: the number of an inherited socket, as text.
    :ivar server: it listens; *wait*: the program waits for its first client.
    :ivar reconnect: seconds between two attempts to connect, 0 for one attempt only.
    """

    id: str
    backend: str
    path: str = ""
    append: bool = False
    abstract: bool = False
    host: str | None = None
    port: str = ""
    descriptor: str | None = None
    server: bool = False
    wait: bool = False
    reconnect: float = 0

    @property
    def address(self) -> str:
        """Where its socket is, as QEMU shows it."""
        if self.path:
            return f"unix:{self.path}"
        return f"tcp:{self.host}:{self.port}" if self.host is not None else f"fd:{self.descriptor}"


class OpenChardev:
    """A character device that is open.

    :ivar listening: its sockets that accept clients.
    :ivar connected: the client that it has from the start.
    :ivar sink: the file that takes what is written.
    :ivar in_use: whether a monitor, for instance, has it; *clients*: how many of those that it has are connected.
    :ivar terminal: the path of the terminal at which somebody else may sit.
    """

    def __init__(self, chardev: Chardev) -> None:
        self.chardev = chardev
        self.listening: list[socket.socket] = []
        self.connected: DescriptorSocket | None = None
        self.sink: BinaryIO | None = None
        self.in_use = False
        self.clients = 0
        self.terminal: str | None = None
        self._remove: Callable[[], None] | None = None

    @property
    def kind(self) -> str:
        """Its type as an object."""
        return f"chardev-{self.chardev.backend}"

    @property
    def filename(self) -> str:
        """What it talks through (qemu_chr_compute_filename, chardev/char-socket.c, and its neighbours, QEMU 10.0)."""
        chardev = self.chardev
        if self.terminal is not None:
            return f"pty:{self.terminal}"
        if chardev.backend != "socket":
            return chardev.backend
        state = "" if self.clients or self.connected is not None else "disconnected:"
        return f"{state}{self._address}{',server=on' if chardev.server else ''}"

    @property
    def _address(self) -> str:
        """Where its socket is; what was left open, such as a port, the host says."""
        chardev = self.chardev
        if chardev.path or not self.listening:
            return f"{chardev.address}{',abstract=on,tight=on' if chardev.abstract else ''}"
        place = self.listening[0].getsockname()
        if isinstance(place, tuple):
            return f"tcp:{place[0] if chardev.host is None else chardev.host}:{place[1]}"
        return f"unix:{place}"

    def listen(self) -> None:
        """Open the sockets at which clients come.

        :raises QmpError: they cannot be had.
        """
        chardev = self.chardev
        if chardev.path:
            self.listening = [_bind_unix(chardev.path, abstract=chardev.abstract)]
            if not chardev.abstract:
                self._remove = remove_if_ours(chardev.path)
        elif chardev.host is not None:
            self.listening = bind_inet_address(chardev.host, chardev.port)
        else:
            self.listening = [_inherited(chardev.descriptor or "")]
        for sock in self.listening:
            _listen(sock, chardev)

    def open_terminal(self) -> None:
        """Open a terminal; its end here stays open as long as the process.

        :raises QmpError: it cannot be had.
        """
        try:
            _, other = os.openpty()
        except OSError as error:
            raise QmpError(f"Failed to create PTY: {error.strerror}") from None
        import tty  # noqa: PLC0415 - few have one

        self.terminal = os.ttyname(other)
        tty.setraw(other)
        os.close(other)

    def wait(self) -> None:
        """Wait for the first client."""
        self.connected = own_descriptors(self.listening[0].accept()[0])

    def take_connected(self) -> DescriptorSocket | None:
        """The client that it has from the start, which somebody else talks with from now on."""
        client, self.connected = self.connected, None
        return client

    def close(self) -> None:
        """Give up what nobody serves, and the name of the socket."""
        if self._remove is not None:
            self._remove()
        if self.sink is not None:
            self.sink.close()


def open_chardev(chardev: Chardev, waiting: Callable[[str], None], lost: Callable[[str], None]) -> OpenChardev:
    """Open a character device.

    :param waiting: is told where the program waits for a client.
    :param lost: is told why a first attempt to connect has failed, if there will be others.
    :raises QmpError: it cannot be had.
    """
    opened = OpenChardev(chardev)
    if chardev.backend == "file":
        opened.sink = _open_file(chardev)
    elif chardev.backend == "pty":
        opened.open_terminal()
    elif chardev.backend == "socket" and chardev.server:
        opened.listen()
        if chardev.wait:
            waiting(f"QEMU waiting for connection on: disconnected:{chardev.address},server=on")
            opened.wait()
    elif chardev.backend == "socket":
        try:
            opened.connected = connect(chardev)
        except QmpError as error:
            if not chardev.reconnect:
                raise
            lost(f"Unable to connect character device {chardev.id}: {error.desc}")
    return opened


def connect(chardev: Chardev) -> DescriptorSocket:
    """The other end of a socket that somebody else listens at.

    :raises QmpError: nobody does.
    """
    if chardev.descriptor is not None:
        return own_descriptors(_inherited(chardev.descriptor))
    try:
        if chardev.path:
            sock = socket.socket(socket.AF_UNIX)
            connect_socket(sock, (b"\0" if chardev.abstract else b"") + path_bytes(chardev.path))
        else:
            sock = connect_tcp(chardev.host or "", chardev.port)
    except socket.gaierror as error:
        raise _unresolved(chardev, error) from None
    except OSError as error:
        name = chardev.path or f"{chardev.host}:{chardev.port}"
        raise QmpError(f"Failed to connect to '{name}': {error.strerror}") from None
    return own_descriptors(sock)


def own_descriptors(sock: socket.socket) -> DescriptorSocket:
    """The same socket, as one that keeps the descriptors that come with data."""
    return DescriptorSocket(fileno=sock.detach())


def _open_file(chardev: Chardev) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if chardev.append else os.O_TRUNC)
    try:
        return os.fdopen(os.open(host_name(chardev.path), flags, 0o666), "wb", buffering=0)
    except OSError as error:
        raise QmpError(f"Could not open '{chardev.path}': {error.strerror}") from None


def _bind_unix(path: str, *, abstract: bool) -> socket.socket:
    """A UNIX socket; what socket or file was there before is gone, as with QEMU (unix_listen_saddr)."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        if abstract:
            sock.bind(b"\0" + path_bytes(path))
            return sock
        path = host_name(path)
        if os.path.lexists(path):
            os.unlink(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise QmpError(f"Failed to bind socket to {path}: {error.strerror or error}") from None
    return sock


def _unresolved(chardev: Chardev, error: OSError) -> QmpError:
    return QmpError(f"address resolution failed for {chardev.host}:{chardev.port}: {error.strerror}")


def _inherited(number: str) -> socket.socket:
    """The socket that the process was started with."""
    if not (number.isascii() and number.isdigit()):
        raise QmpError(f"Unable to parse FD number {number}")
    try:
        return socket.socket(fileno=int(number))
    except OSError:
        raise QmpError(f"File descriptor '{number}' is not a socket") from None


def _listen(sock: socket.socket, chardev: Chardev) -> None:
    try:
        sock.listen(1)
    except OSError as error:
        raise QmpError(f"Failed to listen on {chardev.address}: {error.strerror}") from None


def standard_input_and_output() -> tuple[BinaryIO, BinaryIO]:
    """What a monitor on ``stdio`` talks through; closing it closes nothing that others write to."""
    return os.fdopen(os.dup(_STDIN), "rb"), os.fdopen(os.dup(_STDOUT), "wb")
