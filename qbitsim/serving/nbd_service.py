"""An NBD server without a machine and its monitors: clients, and what ends it (main, qemu-nbd.c, QEMU 10.0)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from qbitsim.nbd.exports import Exports, Listening
from qbitsim.serving.nbd_server import NbdListener
from qbitsim.serving.pacing import make_pacing
from qbitsim.serving.sockets import SpareDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.graph import Graph
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.facts import Profile
    from qbitsim.nbd.export import Client

_SLICE = 0.005
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Time:
    """The time of the nodes, for the pacing."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.step = scheduler.step
        self.move_clock = scheduler.move_clock

    def clock(self) -> int:
        """Virtual time in nanoseconds."""
        return self._scheduler.now

    @property
    def next_deadline(self) -> int | None:
        """When something is due that waits for time to pass."""
        return self._scheduler.next_deadline


class NbdService:
    """The server; make it inside a running event loop.

    :param persistent: it goes on when the last client has left.
    :ivar exports: what it exports.
    """

    def __init__(self, graph: Graph, profile: Profile, *, persistent: bool) -> None:
        self.exports = Exports(graph, lambda _name, _data: None, profile)
        self._scheduler = graph.scheduler
        self._persistent = persistent
        self._loop = asyncio.get_running_loop()
        self._pacing = make_pacing("realtime", _Time(graph.scheduler), self._loop.time)
        self._spare = SpareDescriptor()
        self._listener = NbdListener(self, self, self._loop, self._spare)
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._wakeup: asyncio.Handle | None = None
        self._in_turn = False
        self.exports.host = self
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._end)

    async def run(self) -> None:
        """Serve until the last client has left, unless it is persistent, or a signal comes."""
        try:
            await self._ended
        finally:
            if self._wakeup is not None:
                self._wakeup.cancel()
            self._listener.detach()
            self._spare.close()

    # -- what the exports ask for

    def listen(self, listening: Listening) -> None:
        """Listen there.

        :raises QmpError: the address cannot be had.
        """
        self._listener.listen(listening)

    def stop(self) -> None:
        """Listen no more."""
        self._listener.stop()

    def client_left(self, client: Client) -> None:
        """The last one that has chosen the export ends it (nbd_client_closed); who only looked does not."""
        self._listener.client_left(client)
        if client.export is not None and not self.exports.connections and not self._persistent:
            self._end()

    def _end(self, bug: Exception | None = None) -> None:
        if self._ended.done():
            return
        if bug is not None:
            self._ended.set_exception(bug)
        else:
            self._ended.set_result(None)

    # -- going on

    def turn(self) -> None:
        """Carry out what clients have asked for, for one slice, and answer."""
        if self._in_turn or self._ended.done():
            return
        self._in_turn = True
        try:
            busy = self._pacing.work(self._loop.time() + _SLICE)
            self._listener.flush()
        except Exception as bug:
            self._end(bug)
        else:
            self._plan(busy=busy or bool(self._scheduler.ready()))
        finally:
            self._in_turn = False

    def _plan(self, *, busy: bool) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if busy:
            self._wakeup = self._loop.call_soon(self.turn)
        elif (when := self._pacing.wake_at()) is not None:
            self._wakeup = self._loop.call_at(when, self.turn)


async def serve(graph: Graph, profile: Profile, prepare: Callable[[Exports], None], *, persistent: bool) -> None:
    """Serve to the end.

    :param prepare: starts the server and exports something; what it raises ends all.
    """
    service = NbdService(graph, profile, persistent=persistent)
    prepare(service.exports)
    await service.run()
    service.exports.stop()
