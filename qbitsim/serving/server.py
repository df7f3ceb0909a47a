"""Serve a machine's QMP monitors to other processes, with asyncio.

The machine is driven in *turns*. A turn answers one message of each client that has one, lets the
machine do what is due, and goes round until nobody wants anything or the time slice is used up; then it
hands out the new events and yields to the event loop. A turn starts in the callback that brings the data, so
a request is answered without a detour, and nothing that a client does can hold up the others for longer
than a slice: a long request is read in pieces, and a long reply is written in pieces. A turn looks at those clients
only that have sent something, and at all when there are events.

How time passes, and when the machine goes on, is the server's pacing: :mod:`qbitsim.serving.pacing`.

Each address is a monitor of its own, with one client at a time: :mod:`qbitsim.serving.monitor_socket`.

A client that does not read is not read from either, and its events wait in the machine's log: not for ever, as one is
hung up on for which too many wait. QEMU would keep them all (monitor_puts_locked, monitor/monitor.c, 10.0).

A client that ends its sending side gets what is due and is closed. After `quit` every client is sent what is due and
closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from qbitsim.enums import StrEnum
from qbitsim.qmp.human_session import HumanSession
from qbitsim.qmp.session import Backend, Lives, Session
from qbitsim.serving.chardev import connect, standard_input_and_output
from qbitsim.serving.monitor_socket import MonitorCaller, MonitorClient, MonitorSocket
from qbitsim.serving.nbd_server import NbdListener, NbdMachine
from qbitsim.serving.pacing import PacedMachine, ServedPacing, make_pacing
from qbitsim.serving.sockets import SpareDescriptor, bind_tcp, bind_unix, remove_if_ours
from qbitsim.serving.streams import Transport, attach_streams

if TYPE_CHECKING:
    from pathlib import Path

    from qbitsim.files.fdsets import MonitorDescriptors
    from qbitsim.qmp.journal import Journal
    from qbitsim.serving.chardev import OpenChardev

_T = TypeVar("_T")

_SLICE = 0.005
_WRITE_BUFFER = 1 << 20
_MOST_EVENTS = 1 << 16  # that wait for a client which does not read: tens of MiB
REMEMBERED_EVENTS = 1000
"""So many are kept that everybody has heard of: for x-qbitsim-until, which looks back."""
_LAST_WORDS = 1.5  # seconds that a client has for reading what it was sent before the end


class Wishes(Lives, Protocol):
    """What control commands ask of the server.

    :ivar pacing: the pacing that a client has asked for and the server has not yet set.
    :ivar time_moved: whether a command has moved the machine's time and the server has not yet noticed.
    """

    pacing: str | None
    time_moved: bool


class ServedMachine(Backend, PacedMachine, NbdMachine, Protocol):
    """What the server needs of a machine: what its sessions and its pacing need.

    :ivar monitor_descriptors: what the client handed over whose request is answered now.
    """

    monitor_descriptors: MonitorDescriptors | None

    def note_no_clients(self) -> None:
        """The last client has left."""

    @property
    def control(self) -> Wishes | None:
        """What control commands keep, if they are allowed."""


class MonitorSession(Protocol):
    """What talks with a client, without I/O; see :class:`.Session` and :class:`.HumanSession`."""

    @property
    def cursor(self) -> int:
        """The first event that the client may still ask for."""

    @property
    def pending(self) -> int:
        """How much of what was received waits."""

    @property
    def full(self) -> bool:
        """Whether so much was received that the client had better wait with sending more."""

    @property
    def ready(self) -> bool:
        """Whether :meth:`answer` has something to do now."""

    @property
    def ended(self) -> bool:
        """Whether the connection is to end."""

    def connect(self) -> bytes:
        """What the client reads first."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""

    def answer(self) -> bytes:
        """Do what was received first, and return what the client is to read."""

    def pump(self) -> bytes:
        """What else the client may read now."""


class Monitor(StrEnum):
    """How a monitor talks."""

    QMP = "control"
    PRETTY_QMP = "pretty"
    HUMAN = "readline"


class Connection(MonitorClient):
    """One client: moves bytes between a transport and a session.

    :param monitor: how to talk with it.
    :param device: the character device through which it comes.
    :ivar served: the number of the last message, of all that the server got, that was this client's.
    """

    def __init__(self, server: Server, monitor: Monitor = Monitor.QMP, device: OpenChardev | None = None) -> None:
        super().__init__()
        self.server = server
        self._device = device
        self.served = 0
        self._session: MonitorSession = server.new_session(monitor)
        self._transport: Transport | None = None
        self._kept: list[bytes] = []  # answers to all but the last of several messages, for one write
        self._clogged = False  # the client does not read what we write
        self._reading = True
        self._ended = False  # the client sends no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self.attach(transport)

    def attach(self, transport: Transport) -> None:
        """Start talking on a transport that is not asyncio's own."""
        self._transport = transport
        self.server.connections.add(self)
        if self._device is not None:
            self._device.clients += 1
        if self.server.finished:
            transport.abort()
        else:
            transport.write(self._session.connect())

    def data_received(self, data: bytes) -> None:
        """Take what the client sent and answer it."""
        self._session.receive(data)
        self.server.attend(self)
        self.server.turn()

    def eof_received(self) -> bool:
        """Keep the connection until everything is answered."""
        self._ended = True
        self.server.attend(self)
        self.server.turn()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        super().connection_lost(exc)
        if self._device is not None:
            self._device.clients -= 1
        self.server.forget(self)

    def pause_writing(self) -> None:
        """Stop serving a client that does not read."""
        self._clogged = True
        self._read_or_pause()

    def resume_writing(self) -> None:
        """Go on serving it."""
        self._clogged = False
        if self.server.finished:
            self.finish()
            return
        self._read_or_pause()
        self.server.attend(self)
        self.server.turn()

    def _read_or_pause(self) -> None:
        """Read from the client unless it has to wait."""
        wanted = not self._clogged and not self._session.full
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._wire.resume_reading()
            else:
                self._wire.pause_reading()

    @property
    def cursor(self) -> int:
        """The first event that this client may still ask for."""
        return self._session.cursor

    @property
    def engaged(self) -> bool:
        """Whether something that it has sent waits, perhaps for others."""
        return self._session.pending > 0 or self._session.ready

    @property
    def waiting(self) -> bool:
        """Whether a message can be answered now."""
        return self._session.ready and not self._clogged

    def answer(self) -> None:
        """Answer one message, if one can be answered now."""
        if self.waiting:
            self.served = self.server.number()
            self.server.machine.monitor_descriptors = self.descriptors
            self._kept.append(self._session.answer())
            self.server.machine.monitor_descriptors = None
            if not self._session.pending:
                self._write()

    def flush(self) -> None:
        """Send what was kept and new events, and hang up if the client has gone and all is answered."""
        if not self._clogged:
            self._send_events()
            self._read_or_pause()
            if (self._ended and not self.engaged) or self._session.ended:
                self._wire.close()

    def finish(self) -> None:
        """Send the last events and hang up: at once, or when the client reads again."""
        if not self._clogged:
            self._send_events()
            self._wire.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._wire.abort()

    def _send_events(self) -> None:
        self._kept.append(self._session.pump())
        self._write()

    def _write(self) -> None:
        data = b"".join(self._kept)
        self._kept.clear()
        if data:
            self._wire.write(data)

    @property
    def _wire(self) -> Transport:
        assert self._transport is not None
        return self._transport


class QuietConnection(Connection):
    """A client that stays when it has nothing more to say, as one does at the end of standard input.

    It gets each answer at once, for what the machine prints may go to the same place.
    """

    def answer(self) -> None:
        """Answer one message, and write the answer."""
        super().answer()
        self._write()

    def eof_received(self) -> bool:
        """Go on sending events."""
        return True


class Server:
    """The monitors of one machine."""

    def __init__(
        self,
        machine: ServedMachine,
        *,
        pacing: ServedPacing = "realtime",
        trim_events: bool = False,
        journal: Journal | None = None,
    ) -> None:
        """Make it inside a running event loop.

        :param pacing: ``"realtime"``, a number for so many times as fast, ``"manual"`` or ``"immediate"``.
        :param trim_events: forget the events that every client has got; only if nobody else reads the log.
        :param journal: keeps the end of the conversation.
        :raises ValueError: there is no such pacing.
        """
        self.machine = machine
        self.journal = journal
        self.connections: set[Connection] = set()
        self._engaged: set[Connection] = set()  # those that have sent something
        self._handed_out: tuple[object, ...] = ()  # up to where all have got the events
        self._loop = asyncio.get_running_loop()
        self._pacing = make_pacing(pacing, machine, self._loop.time)
        self._trim = trim_events
        self._spare = SpareDescriptor()
        self.nbd = NbdListener(machine, self, self._loop, self._spare)
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._all_gone = asyncio.Event()
        self._monitors: list[MonitorSocket | MonitorCaller] = []
        self._cleanups: list[Callable[[], None]] = []
        self._wakeup: asyncio.Handle | None = None
        self._busy = False
        self._in_turn = False
        self._numbers = 0

    @property
    def finished(self) -> bool:
        """Whether it serves no more: after `quit`, :meth:`stop`, or a bug of the machine."""
        return self._finished.done()

    def number(self) -> int:
        """A number that is higher than those before."""
        self._numbers += 1
        return self._numbers

    async def listen_unix(self, path: str | Path) -> None:
        """Have a monitor on a UNIX socket; its file is removed at the end.

        :raises OSError: the path cannot be made, is a file of another kind, or a live server answers there.
        """
        sock = bind_unix(str(path))
        self._cleanups.append(remove_if_ours(str(path)))
        self._add_monitor([sock])

    async def listen_tcp(self, host: str, port: int) -> int:
        """Have a monitor on a TCP port, 0 for any; return the port.

        :raises OSError: the address is unknown or in use.
        """
        sockets = bind_tcp(host, port)
        self._add_monitor(sockets)
        return int(sockets[0].getsockname()[1])

    def _add_monitor(self, sockets: list[socket.socket]) -> None:
        self._monitors.append(MonitorSocket(sockets, lambda: Connection(self), self.stop, self._spare))

    async def add_chardev(self, device: OpenChardev, monitor: Monitor) -> None:
        """Have a monitor on a character device, which is closed at the end."""
        self._cleanups.append(device.close)
        if device.chardev.backend == "stdio":
            await attach_streams(QuietConnection(self, monitor), *standard_input_and_output())
        elif device.sink is not None:
            await attach_streams(QuietConnection(self, monitor), None, device.sink)
        elif device.chardev.server:
            self._monitors.append(
                MonitorSocket(
                    device.listening,
                    lambda: Connection(self, monitor, device),
                    self.stop,
                    self._spare,
                    device.take_connected(),
                )
            )
        elif device.chardev.backend == "socket":
            self._monitors.append(
                MonitorCaller(
                    lambda: Connection(self, monitor, device),
                    self.stop,
                    device.take_connected(),
                    partial(connect, device.chardev),
                    device.chardev.reconnect,
                )
            )

    def call_soon(self, action: Callable[[], object]) -> None:
        """Have something done between two turns; for other threads."""
        self._loop.call_soon_threadsafe(action)

    def new_session(self, monitor: Monitor) -> MonitorSession:
        """What talks with the next client."""
        name = f"monitor {self.number()}"
        if monitor is Monitor.HUMAN:
            return HumanSession(self.machine, journal=self.journal, name=name)
        pretty = monitor is Monitor.PRETTY_QMP
        return Session(self.machine, journal=self.journal, name=name, waits=True, pretty=pretty)

    def stop(self, bug: Exception | None = None) -> None:
        """End as if the last client had gone: hang up on everybody and let :meth:`run` return, or raise the bug."""
        if self._finished.done():
            return
        if bug is not None:
            self._finished.set_exception(bug)
        else:
            self._finished.set_result(None)

    async def run(self) -> None:
        """Serve until `quit`, :meth:`stop`, or a bug of the machine, which is raised."""
        try:
            await self._finished
        finally:
            self.nbd.detach()
            await self._hang_up()

    async def _hang_up(self) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
        for monitor in self._monitors:
            await monitor.close()
        self._spare.close()
        for cleanup in self._cleanups:
            cleanup()
        for connection in tuple(self.connections):
            connection.finish()
        if self.connections:
            try:
                await asyncio.wait_for(self._all_gone.wait(), _LAST_WORDS)
            except TimeoutError:
                for connection in tuple(self.connections):
                    connection.abort()
                await asyncio.sleep(0)  # in which asyncio takes leave of them

    def attend(self, connection: Connection) -> None:
        """Take note that a client has sent something, or can be written to again."""
        self._engaged.add(connection)

    def forget(self, connection: Connection) -> None:
        """Take note that a client has gone."""
        self.connections.discard(connection)
        self._engaged.discard(connection)
        if not self.connections:
            self.machine.note_no_clients()
        if not self.connections and self._finished.done():
            self._all_gone.set()

    async def settled(self) -> None:
        """Wait until nothing is left of what a command has started, if the pacing is `immediate`."""
        while self._busy and self._pacing.exclusive and not self.finished:
            await asyncio.sleep(0)

    def call(self, action: Callable[[], _T]) -> _T:
        """Do something with the machine between two turns; the clients get the events of it.

        :return: what ``action`` returned.
        :raises Exception: what ``action`` raised; or the bug of the machine with which the server has ended.
        """
        self.turn()
        if self.finished:
            self._finished.result()
        try:
            return action()
        finally:
            self._apply_control_requests()
            self._pacing.anchor()
            self.turn()

    def turn(self) -> None:
        """Serve everybody for one slice; see the module docstring. What it leaves is done in later turns."""
        if self._in_turn or self._finished.done():
            return
        self._in_turn = True
        try:
            busy = self._work()
            self._hand_out()
            self.nbd.flush()
        except Exception as bug:
            self.stop(bug)
        else:
            self._plan(busy=busy)
        finally:
            self._in_turn = False

    def _work(self) -> bool:
        """Answer and let the machine work until the slice ends; True if it has more that is due."""
        until = self._loop.time() + _SLICE
        busy = self._pacing.catch_up(until)
        while True:
            if not (busy and self._pacing.exclusive):
                for connection in self._next_ones():
                    connection.answer()
                    self._apply_control_requests()
                    if self._loop.time() >= until:
                        break
                busy = self._pacing.work(until)
            if self.machine.closing or not self._has_waiting_client() or self._loop.time() >= until:
                return busy

    def _next_ones(self) -> list[Connection]:
        """Whose turn it is: everybody's, beginning with who was not served for the longest time, or that one's."""
        waiting = sorted((each for each in self._engaged if each.waiting), key=_last_served)
        return waiting[:1] if self._pacing.exclusive else waiting

    def _hand_out(self) -> None:
        """Send what is due: to all if there are events, else to those that have sent something."""
        events, control = self.machine.events, self.machine.control
        state = events, events.end, control.lives if control is not None else 0
        everybody = state != self._handed_out
        for connection in tuple(self.connections if everybody else self._engaged):
            connection.flush()
        self._handed_out = state
        self._engaged = {each for each in self._engaged if each.engaged}

    def _apply_control_requests(self) -> None:
        """Do what a control command asks of the pacing."""
        control = self.machine.control
        if control is None:
            return
        if control.pacing is not None:
            self._pacing, control.pacing = make_pacing(control.pacing, self.machine, self._loop.time), None
        if control.time_moved:
            control.time_moved = False
            self._pacing.anchor()

    def _has_waiting_client(self) -> bool:
        return any(connection.waiting for connection in self._engaged)

    def _plan(self, *, busy: bool) -> None:
        """Arrange for the next turn."""
        self._busy = busy
        if self._trim and len(self.machine.events):
            self._trim_events()
        if self.machine.closing:
            self.stop()
            return
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if busy or self._has_waiting_client():
            self._wakeup = self._loop.call_soon(self.turn)
        elif (when := self._pacing.wake_at()) is not None:
            self._wakeup = self._loop.call_at(when, self.turn)

    def _trim_events(self) -> None:
        """Forget the events that nobody waits for, and hang up on those that let too many wait."""
        events = self.machine.events
        if len(events) > _MOST_EVENTS:
            for connection in tuple(self.connections):
                if connection.cursor < events.end - _MOST_EVENTS:
                    connection.abort()
                    self.connections.discard(connection)
        unread = min((each.cursor for each in self.connections), default=events.end)
        if self.machine.control is not None:
            unread = min(unread, events.end - REMEMBERED_EVENTS)
        events.trim(unread)


def _last_served(connection: Connection) -> int:
    return connection.served
