"""One address of a monitor, where one client is served at a time.

As with QEMU a monitor has one client: the next one can connect and send, but only when the one before it has left is it
greeted, and what it has sent is read. One more may wait besides; those that come then have to wait for connecting
(chardev/char-socket.c, whose listener has a backlog of 1; measured with 7.2, 10.0 and 11.1). What somebody has sent who
has left before its turn is never read, and those who wait at the end are hung up on.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence

_BACKLOG = 1
_NOTHING_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PATIENCE = 1.0  # seconds until the next look whether the process may open another file


class MonitorClient(asyncio.Protocol):
    """One client of a monitor.

    :ivar gone: is set when it has left.
    """

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the next one have its turn."""
        del exc  # the next one does not care
        self.gone.set()


class MonitorSocket:
    """Serves the clients that come to an address, one after the other.

    :param sockets: bound, one for each of the addresses that a host's name has; they are closed at the end.
    :param new_client: makes the protocol that talks with the next client.
    :param failed: is told of what nobody expected.
    :raises OSError: somebody else listens there.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        new_client: Callable[[], MonitorClient],
        failed: Callable[[Exception], None],
    ) -> None:
        self._sockets = sockets
        self._new_client = new_client
        self._failed = failed
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.settimeout(0)
            sock.listen(_BACKLOG)
        self._tasks = [self._loop.create_task(self._serve(sock)) for sock in sockets]

    async def close(self) -> None:
        """Accept nobody any more; who is served already stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for sock in self._sockets:
            sock.close()

    async def _serve(self, sock: socket.socket) -> None:
        try:
            while True:
                client = await self._accept(sock)
                try:
                    await self._turn.acquire()
                except BaseException:
                    client.close()
                    raise
                try:
                    await self._talk(client)
                finally:
                    self._turn.release()
        except Exception as bug:
            self._failed(bug)

    async def _accept(self, sock: socket.socket) -> socket.socket:
        while True:
            try:
                return (await self._loop.sock_accept(sock))[0]
            except ConnectionAbortedError:
                continue  # it has left already
            except OSError as error:
                if error.errno not in _NOTHING_LEFT:
                    raise
                await asyncio.sleep(_PATIENCE)

    async def _talk(self, client: socket.socket) -> None:
        """Serve a client until it has left."""
        protocol = self._new_client()
        await self._loop.connect_accepted_socket(lambda: protocol, client)
        await protocol.gone.wait()
