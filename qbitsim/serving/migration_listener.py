"""Sockets and programs by which a guest migrates to a machine that is served, or from it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.errors import QmpError
from qbitsim.files.network import InetAddress, UnixAddress
from qbitsim.serving.migration_program import MigrationProgram
from qbitsim.serving.sockets import bind_inet_address, bind_unix_address, remove_if_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qbitsim.files.network import Address

_READ_AT_ONCE = 1 << 18


class Arriving(Protocol):
    """The guest that is to come (:class:`qbitsim.migration.incoming.Incoming`)."""

    leave: Callable[[], None]

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""

    def connected(self) -> None:
        """The source is there."""

    def feed(self, data: bytes) -> bytes:
        """Take what the source says; the answer."""

    def hung_up(self) -> None:
        """The source has gone."""


class Turns(Protocol):
    """Who lets the machine do something between two turns (:class:`qbitsim.serving.server.Server`)."""

    @property
    def finished(self) -> bool:
        """Whether it serves no more."""

    def call(self, action: Callable[[], bytes | None]) -> bytes | None:
        """Do something with the machine; the clients get the events of it."""


class _Socket:
    """A source that is connected by a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source

    def fileno(self) -> int:
        return self._source.fileno()

    def receive(self) -> bytes:
        return self._source.recv(_READ_AT_ONCE)

    def send(self, data: bytes) -> None:
        self._source.sendall(data)

    def close(self) -> None:
        self._source.close()


class MigrationListener:
    """Listens for one source, and listens no more when it is there; starts the programs of ``exec:``.

    :param server: of the machine; both run in the event loop in which this is made.
    """

    def __init__(self, server: Turns) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._source: _Socket | MigrationProgram | None = None
        self._remove: Callable[[], None] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> MigrationListener:
        return self

    def listen_for_migration(self, address: Address, incoming: Arriving) -> Address:
        """Listen there; the address that it is, with a port that is no 0.

        :raises QmpError: it cannot be had (unix_listen_saddr and inet_listen_saddr, util/qemu-sockets.c, QEMU 10.0).
        """
        self._listening, found = self._bind(address)
        for each in self._listening:
            each.listen(1)
            each.settimeout(0)
            self._loop.add_reader(each, self._accept, each, incoming)
        incoming.leave = self.close
        return found

    def _bind(self, address: Address) -> tuple[list[socket.socket], Address]:
        if isinstance(address, UnixAddress):
            bound = [bind_unix_address(address.path, abstract=address.abstract, tight=address.tight)]
            if not address.abstract:
                self._remove = remove_if_ours(address.path)
            return bound, address
        sockets = bind_inet_address(address.host, address.port)
        return sockets, InetAddress(address.host, str(sockets[0].getsockname()[1]))

    def _accept(self, listening: socket.socket, incoming: Arriving) -> None:
        if self._server.finished:
            self.close()
            return
        try:
            source, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self._stop_listening()
        source.settimeout(None)  # it waits for each answer, which is short
        self._source = _Socket(source)
        self._loop.add_reader(self._source, self._read, incoming)
        self._server.call(incoming.connected)

    def _read(self, incoming: Arriving) -> None:
        source = self._source
        if source is None or self._server.finished:
            self.close()
            return
        try:
            data = source.receive()
        except OSError:
            data = b""
        self._take(incoming, data)

    def _take(self, incoming: Arriving, data: bytes) -> None:
        """Hand over what the source has said; nothing is its end."""
        answer = self._server.call(lambda: incoming.feed(data)) if data else b""
        if answer and isinstance(self._source, _Socket):
            try:
                self._source.send(answer)
            except OSError:
                data = b""
        if not data:
            self._hang_up()
            self._server.call(incoming.hung_up)
        elif incoming.over:
            self._hang_up()

    def receive_migration(self, argv: Sequence[str], incoming: Arriving) -> None:
        """Start a program whose output is the stream (exec_start_incoming_migration, migration/exec.c, QEMU 10.0).

        :raises QmpError: it cannot be started.
        """
        try:
            self._source = program = MigrationProgram(argv)
        except OSError as error:
            raise QmpError(str(error.strerror)) from None
        self._loop.add_reader(program, self._read_first, incoming)

    def _read_first(self, incoming: Arriving) -> None:
        """Something has come: the source is there. A program that says nothing at all is waited for, for ever."""
        source = self._source
        assert source is not None
        self._loop.remove_reader(source)
        data = source.receive()
        if not data:
            self._hang_up()
            return
        self._loop.add_reader(source, self._read, incoming)
        self._server.call(incoming.connected)
        self._take(incoming, data)

    def send_migration(self, argv: Sequence[str]) -> MigrationProgram:
        """Start a program whose input is the stream.

        :raises OSError: it cannot be started.
        """
        return MigrationProgram(argv)

    def _stop_listening(self) -> None:
        for each in self._listening:
            self._loop.remove_reader(each)
            each.close()
        self._listening.clear()
        if self._remove is not None:
            self._remove()
            self._remove = None

    def _hang_up(self) -> None:
        if self._source is not None:
            self._loop.remove_reader(self._source)
            self._source.close()
            self._source = None

    def close(self) -> None:
        """Listen no more; a source that is there hears the last answer before :meth:`_read` hangs up on it."""
        self._stop_listening()
