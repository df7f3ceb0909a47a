"""The NBD server of a served machine on sockets, with asyncio.

Theory of operation: nbd-server-start binds and listens before it is answered, so that a client may connect as soon as
it has the reply. A client's bytes go to its :class:`~qbitsim.nbd.session.Session`; its requests are tasks of the
machine and are carried out in the server's turns; the answers are written at the end of a turn, to those clients alone
that have some, so that idle clients cost nothing.

* While as many clients are connected as may be, no other is accepted: it waits without a greeting.
* A client that does not finish its handshake in time is hung up on. That takes seconds of the wall, as in QEMU.
* What cannot be written because a client does not read stays within the limits of a session, and nothing is read from
  that client meanwhile.
* The file of a socket goes when the server stops. One that was there before is only replaced if it is a socket on which
  nobody answers, see :mod:`qbitsim.serving.sockets`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.errors import QmpError
from qbitsim.nbd.exports import Listening
from qbitsim.qapi.block import (
    FdSocketAddressLegacy,
    InetSocketAddress,
    InetSocketAddressLegacy,
    SocketAddressType,
    UnixSocketAddress,
    UnixSocketAddressLegacy,
)
from qbitsim.serving.socket_network import SocketNetwork
from qbitsim.serving.sockets import NO_DESCRIPTOR, SpareDescriptor, bind_inet_address, bind_unix_address, remove_if_ours

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.files.network import Network
    from qbitsim.nbd.export import Client
    from qbitsim.nbd.exports import Exports
    from qbitsim.nbd.session import Session
    from qbitsim.qapi.block import SocketAddressLegacy

_BACKLOG = 128
_READ_AT_ONCE = 1 << 18
_MOST_UNSENT = 1 << 20  # bytes behind which nothing more is read from a client
_PARTS_AT_ONCE = 64
_LAST_WORDS = 2.0  # seconds that a client has for reading what it was sent before the end
_PATIENCE = 1.0  # seconds until the next look whether the process may open another file


class NbdMachine(Protocol):
    """What is needed of a machine."""

    @property
    def exports(self) -> Exports:
        """Its NBD server."""


class OfferingMachine(NbdMachine, Protocol):
    """A machine with drives that can be offered."""

    @property
    def graph(self) -> Graph:
        """Its block graph."""


class Turns(Protocol):
    """What is needed of the server of its monitors."""

    def turn(self) -> None:
        """Let the machine go on for a while."""


class NbdConnection:
    """One client: moves bytes between a socket and a session.

    It talks to the socket itself, not by way of an asyncio transport, which would copy each answer three times.
    """

    def __init__(self, listener: NbdListener, session: Session, client: socket.socket, patience: int) -> None:
        self.session = session
        self._listener = listener
        self._loop = listener.loop
        self._socket: socket.socket | None = client
        self._out: deque[memoryview] = deque()
        self._unsent = 0
        self._reading = False
        self._writing = False
        self._clogged = False
        self._deadline = self._loop.call_later(patience, self._too_late) if patience else None

    def flush(self) -> None:
        """Write what the session has to say, and hang up if it has ended."""
        if self._socket is None:
            return
        for part in self.session.take():
            self._out.append(memoryview(part))
            self._unsent += len(part)
        if self._deadline is not None and self.session.negotiated:
            self._forget_deadline()
        self._write(self._socket)

    def _readable(self) -> None:
        """Take what the client has sent; its requests are carried out in turns of the server."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        self.session.receive(data)
        self._listener.turn()
        self._follow_appetite()

    def _write(self, client: socket.socket) -> None:
        """Send as much as the socket takes."""
        try:
            while self._out:
                self._drop(client.sendmsg(islice(self._out, _PARTS_AT_ONCE)))
        except BlockingIOError:
            pass
        except OSError:
            self._gone()
            return
        if self.session.ended and not self._out:
            self.close()
            return
        if bool(self._out) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(client, self._write, client)
            else:
                self._loop.remove_writer(client)
        if self.session.ended and self._deadline is None:
            self._deadline = self._loop.call_later(_LAST_WORDS, self.close)
        self._follow_unsent()
        self._follow_appetite()

    def _follow_unsent(self) -> None:
        """Let the session rest while there is much to send; what it has put off is done in a turn of its own."""
        clogged = self._unsent > _MOST_UNSENT
        if clogged != self._clogged:
            self._clogged = clogged
            self.session.clog(clogged=clogged)
            if not clogged:
                self._loop.call_soon(self._listener.turn)

    def _drop(self, sent: int) -> None:
        """Forget what was sent."""
        self._unsent -= sent
        while self._out and sent >= len(self._out[0]):
            sent -= len(self._out.popleft())
        if sent:
            self._out[0] = self._out[0][sent:]

    def _follow_appetite(self) -> None:
        """Read from the client only as long as the session wants more."""
        if self._socket is None or self._reading == self.session.wants_data:
            return
        self._reading = not self._reading
        if self._reading:
            self._loop.add_reader(self._socket, self._readable)
        else:
            self._loop.remove_reader(self._socket)

    def _gone(self) -> None:
        """The client has gone."""
        self.close()
        self.session.hang_up()
        self._listener.turn()

    def close(self) -> None:
        """Hang up at once."""
        self._forget_deadline()
        self._listener.forget(self)
        client, self._socket = self._socket, None
        if client is not None:
            self._loop.remove_reader(client)
            self._loop.remove_writer(client)
            client.close()
        self._out.clear()

    def _too_late(self) -> None:
        self._deadline = None
        self.session.hang_up()
        self.flush()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class NbdListener:
    """What listens for the NBD clients of a machine while it is served.

    :param turns: the server of its monitors.
    :param spare: for refusing clients when no file can be opened.
    :ivar loop: the event loop.
    """

    def __init__(
        self, machine: NbdMachine, turns: Turns, loop: asyncio.AbstractEventLoop, spare: SpareDescriptor
    ) -> None:
        self.loop = loop
        self.turn = turns.turn
        self._machine = machine
        self._spare = spare
        self._sockets: list[socket.socket] = []
        self._watched = False
        self._cleanups: list[Callable[[], None]] = []
        self._network: Network | None = None  # what the machine had before
        self._outgoing: dict[NbdConnection, None] = {}
        self._connections: set[NbdConnection] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> NbdListener:
        """The listener itself: sockets are no part of a machine that is copied."""
        return self

    def attach(self) -> None:
        """Be the host of the machine's NBD server, and listen if that runs already.

        As a client, the machine finds servers on sockets from now on.

        :raises OSError: its address cannot be had.
        """
        exports = self._machine.exports
        if exports.listening is not None:
            try:
                self.listen(exports.listening)
            except QmpError as error:
                raise OSError(error.desc) from error
        exports.host = self
        images = exports.graph.images
        self._network, images.network = images.network, SocketNetwork(images.network)

    def detach(self) -> None:
        """Be that no more: the clients are hung up on; the server itself may go on for clients of the process."""
        exports = self._machine.exports
        exports.host = None
        if self._network is not None:
            exports.graph.images.network = self._network
        self.stop()
        exports.disconnect_all()
        self.flush()
        for connection in tuple(self._connections):
            connection.close()

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as the command line writes it: ``unix:PATH`` or ``tcp:HOST:PORT``."""
        return [_address_of(each) for each in self._sockets]

    # -- what the machine's server asks for

    def listen(self, listening: Listening) -> None:
        """Listen there, from now on.

        :raises QmpError: the address cannot be had.
        """
        address = listening.address
        if isinstance(address, UnixSocketAddressLegacy):
            self._sockets = [self._bind_unix(address.data)]
        elif isinstance(address, InetSocketAddressLegacy):
            self._sockets = _bind_inet(address.data)
        elif isinstance(address, FdSocketAddressLegacy):
            self._sockets = [self._take_socket(int(address.data.fd))]
        for each in self._sockets:
            each.listen(_BACKLOG)
            each.settimeout(0)
        self._watch(accepting=True)

    def stop(self) -> None:
        """Listen no more, and remove the file of the socket."""
        self._watch(accepting=False)
        for each in self._sockets:
            each.close()
        self._sockets = []
        for cleanup in self._cleanups:
            cleanup()
        self._cleanups.clear()

    def client_left(self, client: Client) -> None:
        """A client has gone, so that another one may come."""
        self._watch(accepting=self._machine.exports.accepting)

    def _watch(self, *, accepting: bool) -> None:
        if accepting == self._watched:
            return
        self._watched = accepting
        for each in self._sockets:
            if accepting:
                self.loop.add_reader(each, self._accept, each)
            else:
                self.loop.remove_reader(each)

    def _watch_again(self) -> None:
        exports = self._machine.exports
        self._watch(accepting=exports.listening is not None and exports.accepting)

    def _bind_unix(self, address: UnixSocketAddress) -> socket.socket:
        """A socket at a path; in an abstract name there is none.

        :raises QmpError: it cannot be had.
        """
        found = bind_unix_address(address.path, abstract=bool(address.abstract), tight=address.tight is not False)
        if not address.abstract:
            self._cleanups.append(remove_if_ours(address.path))
        return found

    def _take_socket(self, descriptor: int) -> socket.socket:
        """A socket that was handed over; the file that it is bound to goes with it.

        :raises QmpError: nobody could connect to it.
        """
        found = socket.socket(fileno=descriptor)
        try:
            found.listen(_BACKLOG)
        except OSError as error:
            found.close()
            raise QmpError(f"Failed to listen on fd socket: {error.strerror}") from error
        name = found.getsockname()
        if found.family == socket.AF_UNIX and name and isinstance(name, str):
            self._cleanups.append(remove_if_ours(name))
        return found

    # -- clients

    def _accept(self, listening: socket.socket) -> None:
        """Let a client in."""
        from qbitsim.nbd.session import Session  # noqa: PLC0415 - for those who have clients

        exports = self._machine.exports
        if exports.listening is None or not exports.accepting:
            self._watch(accepting=False)
            return
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            if not self._spare.refuse(listening):
                self._watch(accepting=False)
                self.loop.call_later(_PATIENCE, self._watch_again)
            return
        with suppress(OSError):  # TCP has it, and UNIX sockets need it not
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.settimeout(0)
        session = Session(exports, lambda: self._outgoing.setdefault(connection))
        connection = NbdConnection(self, session, accepted, exports.listening.handshake_seconds)
        self._connections.add(connection)
        self._watch(accepting=exports.accepting)
        connection.flush()

    def forget(self, connection: NbdConnection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)

    def flush(self) -> None:
        """Write to each client what there is for it."""
        while self._outgoing:
            self._outgoing.popitem()[0].flush()


def parse_nbd_address(text: str) -> SocketAddressLegacy:
    """``unix:PATH`` or ``tcp:HOST:PORT``, as nbd-server-start takes it; an IPv6 host may be in brackets.

    :raises ValueError: it is neither.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return UnixSocketAddressLegacy(type=SocketAddressType.UNIX, data=UnixSocketAddress(path=rest))
    host, colon, port = rest.rpartition(":")
    if kind == "tcp" and colon and port.isascii() and port.isdecimal() and int(port) < 65536:
        data = InetSocketAddress(host=host.removeprefix("[").removesuffix("]") or "127.0.0.1", port=port)
        return InetSocketAddressLegacy(type=SocketAddressType.INET, data=data)
    raise ValueError(f"{text!r} is no address of an NBD server: write unix:PATH or tcp:HOST:PORT")


def offer_disks(machine: OfferingMachine, address: str) -> None:
    """Start the machine's NBD server there, and export each drive with a medium under its id.

    What is not read-only may be written.

    :raises ValueError: the address is none.
    :raises QmpError: the server runs already, or a drive cannot be exported.
    """
    exports = machine.exports
    exports.start(Listening(parse_nbd_address(address)))
    for identifier, drive in machine.graph.drives.items():
        if drive.id and drive.root is not None:
            exports.offer(identifier, writable=not drive.node.read_only)


def nbd_uri(address: str, export: str) -> str:
    """What NBD clients call an export at such an address: ``nbd+unix:///drive0?socket=/tmp/nbd``."""
    from urllib.parse import quote  # noqa: PLC0415 - a server of its own has no need of it

    kind, _, rest = address.partition(":")
    if kind == "unix":
        return f"nbd+unix:///{quote(export, safe='')}?socket={quote(rest)}"
    return f"nbd://{rest}/{quote(export, safe='')}"


def _bind_inet(address: InetSocketAddress) -> list[socket.socket]:
    return bind_inet_address(
        address.host,
        address.port,
        to=address.to,
        ipv4=address.ipv4,
        ipv6=address.ipv6,
        numeric=bool(address.numeric),
    )


def _address_of(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"tcp:{host}:{name[1]}"
