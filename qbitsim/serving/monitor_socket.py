"""One address of a monitor, where one client is served at a time.

As with QEMU a monitor has one client: the next one can connect and send, but only when the one before it has left is it
greeted, and what it has sent is read. One more may wait besides; those that come then have to wait for connecting
(chardev/char-socket.c, whose listener has a backlog of 1; measured with 7.2, 10.0 and 11.1). What somebody has sent who
has left before its turn is never read, and those who wait at the end are hung up on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from qbitsim.errors import QmpError
from qbitsim.files.fdsets import MonitorDescriptors
from qbitsim.serving.sockets import NO_DESCRIPTOR, DescriptorSocket, SpareDescriptor

_BACKLOG = 1
_PATIENCE = 1.0  # seconds until the next look whether the process may open another file


class MonitorClient(asyncio.Protocol):
    """One client of a monitor.

    :ivar gone: is set when it has left.
    :ivar descriptors: what it handed over; None if it cannot hand over anything.
    """

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.descriptors: MonitorDescriptors | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the next one have its turn."""
        del exc  # the next one does not care
        self.gone.set()


def accept_from(listening: socket.socket) -> socket.socket:
    """The connection of the client that has waited longest; OSError as accept(2)."""
    return listening.accept()[0]


def _note(come: asyncio.Future[None]) -> None:
    if not come.done():
        come.set_result(None)


class MonitorSocket:
    """Serves the clients that come to an address, one after the other.

    :param sockets: bound, one for each of the addresses that a host's name has; they are closed at the end.
    :param new_client: makes the protocol that talks with the next client.
    :param failed: is told of what nobody expected.
    :param spare: for refusing clients when no file can be opened.
    :param first: a client that has come already.
    :raises OSError: somebody else listens there.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        new_client: Callable[[], MonitorClient],
        failed: Callable[[Exception], None],
        spare: SpareDescriptor,
        first: DescriptorSocket | None = None,
    ) -> None:
        self._sockets = sockets
        self.descriptors = MonitorDescriptors()
        self._new_client = new_client
        self._failed = failed
        self._spare = spare
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.settimeout(0)
            sock.listen(_BACKLOG)
        served = [self._serve(sock) for sock in sockets]
        if first is not None:
            served.insert(0, self._serve_one(first))
        self._tasks = [self._loop.create_task(each) for each in served]

    async def close(self) -> None:
        """Accept nobody any more; who is served already stays."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for sock in self._sockets:
            sock.close()

    async def _serve(self, sock: socket.socket) -> None:
        try:
            while True:
                await self._take_turn(DescriptorSocket(fileno=(await self._accept(sock)).detach()))
        except Exception as bug:
            self._failed(bug)

    async def _serve_one(self, client: DescriptorSocket) -> None:
        try:
            await self._take_turn(client)
        except Exception as bug:
            self._failed(bug)

    async def _take_turn(self, client: DescriptorSocket) -> None:
        """Serve a client as soon as the one before it has left."""
        try:
            await self._turn.acquire()
        except BaseException:
            client.close()
            raise
        try:
            await self._talk(client)
        finally:
            self._turn.release()

    async def _accept(self, sock: socket.socket) -> socket.socket:
        while True:
            try:
                return accept_from(sock)
            except BlockingIOError:
                await self._readable(sock)
            except ConnectionAbortedError:
                continue  # it has left already
            except OSError as error:
                if error.errno not in NO_DESCRIPTOR:
                    raise
                if not self._spare.refuse(sock):
                    await asyncio.sleep(_PATIENCE)

    async def _readable(self, sock: socket.socket) -> None:
        """Wait until somebody has come. (sock_accept() of asyncio fails where it is cancelled in that moment.)"""
        come: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock, _note, come)
        try:
            await come
        finally:
            self._loop.remove_reader(sock)

    async def _talk(self, client: DescriptorSocket) -> None:
        """Serve a client until it has left."""
        protocol = self._new_client()
        client.descriptors = protocol.descriptors = self.descriptors
        await self._loop.connect_accepted_socket(lambda: protocol, client)
        await protocol.gone.wait()
        self.descriptors.forget_received()


class MonitorCaller:
    """Serves the one client that a monitor has connected to, and connects again when it has left.

    :param new_client: makes the protocol that talks with it.
    :param failed: is told of what nobody expected.
    :param first: the connection that there is already.
    :param connect: makes another one; OSError or QmpError if that fails.
    :param pause: seconds between two attempts; 0 for no other attempt.
    """

    def __init__(
        self,
        new_client: Callable[[], MonitorClient],
        failed: Callable[[Exception], None],
        first: DescriptorSocket | None,
        connect: Callable[[], DescriptorSocket],
        pause: float,
    ) -> None:
        self._new_client = new_client
        self._failed = failed
        self._connect = connect
        self._pause = pause
        self._descriptors = MonitorDescriptors()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._serve(first))

    async def close(self) -> None:
        """Connect no more; who is served already stays."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _serve(self, client: DescriptorSocket | None) -> None:
        try:
            while True:
                if client is not None:
                    await self._talk(client)
                if not self._pause:
                    return
                await asyncio.sleep(self._pause)
                client = await self._loop.run_in_executor(None, self._try)
        except Exception as bug:
            self._failed(bug)

    def _try(self) -> DescriptorSocket | None:
        try:
            return self._connect()
        except QmpError:
            return None  # nobody listens yet

    async def _talk(self, client: DescriptorSocket) -> None:
        protocol = self._new_client()
        client.descriptors = protocol.descriptors = self._descriptors
        await self._loop.connect_accepted_socket(lambda: protocol, client)
        await protocol.gone.wait()
        self._descriptors.forget_received()
