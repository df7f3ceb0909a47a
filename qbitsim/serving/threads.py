"""A machine behind a socket, in the process of the test: for synchronous code, and in asyncio programs.

``with machine.serve() as server:`` runs the server in a thread of its own, so that a client which blocks can talk to
it; ``async with machine.serve_async() as server:`` runs it in the event loop that is there.

Rules:

* While it is served the machine belongs to the server's event loop. A test looks at it and drives it with
  ``server.run(lambda machine: machine.advance(1))``: the function runs between two turns of the server, what it
  raises comes back, and the clients get the events that it caused. With the pacing ``"immediate"`` it sees a machine
  that has finished what was asked of it.
* A monitor has one client at a time; ``server.add_monitor()`` makes another monitor of the same machine.
* At the end everything is gone: the thread, the socket, the clients. A bug of the machine is raised then; an error
  in the test that it has caused is its context.
* All servers of a process share one thread, which begins with the first and ends with the last of them. A function
  that runs for long in one holds up the others; give such a one its own :class:`LoopThread`.
* A socket that nobody has named lies in a directory which only this user can read.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from qbitsim.serving.awaited import Awaited
from qbitsim.serving.nbd_server import OfferingMachine, nbd_uri, offer_disks, parse_nbd_address
from qbitsim.serving.pacing import PacingName, ServedPacing, pacing_text, read_pacing
from qbitsim.serving.server import ServedMachine, Server

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.qmp.journal import Journal

_T = TypeVar("_T")
_LONGEST = 75  # bytes of a directory's name that leave room for ours in it and a socket's, of 108 in all
_NOT_RUNNING = "the server does not run: it does in the body of its 'with'"
LOCALHOST = "127.0.0.1"


class SocketDirectory:
    """A private directory for sockets, made when the first one is wanted."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._numbers = itertools.count(1)

    def new_path(self, kind: str = "qmp") -> str:
        """A path that nobody uses.

        :param kind: what is to be served there.
        :raises OSError: the directory cannot be made.
        """
        if self._path is None:
            usual = tempfile.gettempdir()
            where = usual if len(os.fsencode(usual)) < _LONGEST else "/tmp"
            self._path = tempfile.mkdtemp(prefix="qbitsim-", dir=where)
        return os.path.join(self._path, f"{kind}-{next(self._numbers)}.sock")

    def remove(self) -> None:
        """Remove the directory and what is in it."""
        path, self._path = self._path, None
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)


class LoopThread:
    """An event loop in a thread, for any number of servers: ``with LoopThread() as thread:``."""

    def __init__(self) -> None:
        self.sockets = SocketDirectory()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qbitsim", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread; what still runs in it is cancelled."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.sockets.remove()

    @property
    def alive(self) -> bool:
        """Whether it runs; a child process after a fork has not got the thread."""
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the thread and return, or raise, what it does.

        :raises RuntimeError: this is the thread, which cannot wait for itself; or it has ended.
        """
        problem = None
        if threading.current_thread() is self._thread:
            problem = "the thread of the servers cannot wait for itself: use the machine that the function was given"
        elif not self.alive:
            problem = "the thread of the servers has ended"
        if problem is not None:
            work.close()
            raise RuntimeError(problem)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _SharedThread:
    """The thread of all servers that were not given one, while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._users = 0

    def take(self) -> LoopThread:
        with self._lock:
            if self._thread is None or not self._thread.alive:
                self._thread, self._users = LoopThread().__enter__(), 0
            self._users += 1
            return self._thread

    def give_back(self, thread: LoopThread) -> None:
        with self._lock:
            if thread is not self._thread:  # taken before a fork
                return
            self._users -= 1
            if not self._users:
                self._thread = None
                thread.__exit__()


_shared = _SharedThread()


class ServableMachine(ServedMachine, OfferingMachine, Protocol):
    """What can be served, and is given back afterwards.

    :ivar journal: keeps the end of the conversation, if there is one.
    """

    journal: Journal | None

    @property
    def profile(self) -> Profile:
        """The QEMU release that it is."""

    @property
    def pacing(self) -> str:
        """How it goes on by itself: ``"manual"`` or ``"immediate"``."""


_M = TypeVar("_M", bound=ServableMachine)


class Service(Generic[_M]):
    """What both kinds of servers have in common.

    :param path: of a UNIX socket; one in a private directory if neither it nor ``port`` is given.
    :param port: of TCP, 0 for any that is free; :param host: the address to listen on.
    :param pacing: ``"realtime"``, a number for so many times as fast, ``"manual"`` or ``"immediate"``; see
        :mod:`qbitsim.serving.pacing`. If not given, the machine's own if that is ``"immediate"``, else ``"realtime"``.
    :param nbd: where to offer the drives over NBD meanwhile, ``unix:PATH`` or ``tcp:HOST:PORT``; True for a socket in
        the private directory. If not given, the NBD server listens where nbd-server-start says.
    :raises ValueError: for an unknown pacing, both a path and a port, or an address that is none.
    """

    def __init__(
        self,
        machine: _M,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = LOCALHOST,
        pacing: ServedPacing | None = None,
        nbd: str | bool = False,
    ) -> None:
        if path is not None and port is not None:
            raise ValueError("a server listens on a path or on a port, not on both")
        self.pacing = pacing_text(pacing if pacing is not None else _default_pacing(machine))
        if isinstance(nbd, str):
            parse_nbd_address(nbd)
        self._nbd = nbd
        self._machine = machine
        self._path = None if path is None else str(path)
        self._host = host
        self._port = port
        self._journal: Journal | None = None
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        where = self.address if self._server is not None else "nowhere"
        return f"<{type(self).__name__} of QEMU {self._machine.profile.name} at {where}, {self.pacing}>"

    @property
    def path(self) -> str:
        """The path of the UNIX socket.

        :raises RuntimeError: it listens on a port, or does not listen.
        """
        if self._path is None or self._server is None:
            raise RuntimeError("the server does not listen on a path")
        return self._path

    @property
    def port(self) -> int:
        """The TCP port.

        :raises RuntimeError: it listens on a path, or does not listen.
        """
        if self._port is None or self._server is None:
            raise RuntimeError("the server does not listen on a port")
        return self._port

    @property
    def address(self) -> str:
        """As the command line writes it: ``unix:PATH`` or ``tcp:HOST:PORT``."""
        return f"unix:{self.path}" if self._port is None else f"tcp:{self._host}:{self.port}"

    @property
    def nbd_address(self) -> str:
        """Where its NBD server listens: ``unix:PATH`` or ``tcp:HOST:PORT``, the first address if there are several.

        :raises RuntimeError: it does not listen; nbd-server-start starts it.
        """
        addresses = self._server.nbd.addresses if self._server is not None else []
        if not addresses:
            raise RuntimeError("no NBD server listens: start it with nbd-server-start, or serve with nbd=True")
        return addresses[0]

    def nbd_uri(self, export: str) -> str:
        """What NBD clients call an export: ``nbd+unix:///drive0?socket=...``.

        :raises RuntimeError: as :attr:`nbd_address`.
        """
        return nbd_uri(self.nbd_address, export)

    async def _start(self, sockets: SocketDirectory) -> None:
        """Listen.

        :raises OSError: the address cannot be had.
        """
        machine = self._machine
        self._journal, machine.journal = machine.journal, None
        server = Server(machine, pacing=read_pacing(self.pacing), journal=self._journal)
        try:
            server.nbd.attach()
            if self._nbd:
                offer_disks(machine, self._nbd if isinstance(self._nbd, str) else f"unix:{sockets.new_path('nbd')}")
            if self._port is not None:
                self._port = await server.listen_tcp(self._host, self._port)
            else:
                self._path = self._path or sockets.new_path()
                await server.listen_unix(self._path)
        except BaseException:
            server.nbd.detach()
            machine.journal = self._journal
            raise
        self._server = server
        self._task = asyncio.create_task(server.run())

    async def _add_monitor(self, path: str | Path | None, sockets: SocketDirectory) -> str:
        if self._server is None:
            raise RuntimeError(_NOT_RUNNING)
        where = sockets.new_path() if path is None else str(path)
        await self._server.listen_unix(where)
        return where

    async def _finish(self) -> None:
        """Hang up on everybody and give the machine back.

        :raises Exception: a bug of the machine.
        """
        assert self._server is not None
        assert self._task is not None
        if self._nbd and self._machine.exports.running and not self._machine.closing:
            self._server.call(self._machine.exports.stop)
        self._server.stop()
        try:
            await self._task
        finally:
            self._server = None
            self._machine.journal = self._journal

    async def _run(self, function: Callable[[_M], _T]) -> _T:
        if self._server is None:
            raise RuntimeError(_NOT_RUNNING)
        await self._server.settled()
        return self._server.call(lambda: self._call_journalled(function))

    async def _look(self, function: Callable[[_M], _T]) -> _T:
        return function(self._machine)

    def _call_journalled(self, function: Callable[[_M], _T]) -> _T:
        """What ``function`` says to the machine belongs to the conversation, too.

        :raises TypeError: it is asynchronous, and nobody would await it.
        """
        self._machine.journal = self._journal
        try:
            value = function(self._machine)
        finally:
            self._machine.journal = None
        if isinstance(value, Coroutine):
            value.close()
            raise TypeError("run() takes a plain function: nothing would await what an 'async def' returns")
        return value


class ThreadServer(Service[_M]):
    """A machine served in a thread; made by :meth:`.Machine.serve`, for a ``with``."""

    def __init__(self, machine: _M, *arguments: Any, thread: LoopThread | None = None, **options: Any) -> None:
        """Take what :class:`Service` takes, and the thread to use instead of the one that all share."""
        super().__init__(machine, *arguments, **options)
        self._given = thread
        self._thread: LoopThread | None = None

    def __enter__(self) -> Self:
        """Listen.

        :raises OSError: the address cannot be had.
        """
        thread = self._given or _shared.take()
        try:
            thread.run(self._start(thread.sockets))
        except BaseException:
            self._leave(thread)
            raise
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up on everybody and take the machine back.

        :raises Exception: a bug of the machine.
        """
        thread, self._thread = self._thread, None
        assert thread is not None
        try:
            thread.run(self._finish())
        except Exception as bug:
            if not _tells_of(error, bug):
                raise
        finally:
            self._leave(thread)

    def run(self, function: Callable[[_M], _T]) -> _T:
        """Call ``function`` with the machine, in the server's thread; return, or raise, what it does.

        ``server.run(lambda machine: machine.advance(1))``. While a machine is served it belongs to that thread: this is
        how a test looks at it and drives it. The function runs between two turns of the server, so that no command of
        a client is half done, and the caller waits for it; the clients get the events that it causes.

        :raises TypeError: the function is asynchronous.
        :raises RuntimeError: this is the server's thread, or the server does not run.
        :raises Exception: the bug of the machine with which the server has ended.
        """
        if self._thread is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._thread.run(self._run(function))

    def add_monitor(self, path: str | Path | None = None) -> str:
        """Have one more monitor, on a UNIX socket, and return its path; one in a private directory if none is given.

        :raises RuntimeError: this is the server's thread, or the server does not run.
        :raises OSError: the address cannot be had.
        """
        if self._thread is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._thread.run(self._add_monitor(path, self._thread.sockets))

    def look(self, function: Callable[[_M], _T]) -> _T:
        """Call ``function`` with the machine as it is, for reading it only; the server may have ended.

        :raises RuntimeError: this is the server's thread.
        """
        return function(self._machine) if self._thread is None else self._thread.run(self._look(function))

    def _leave(self, thread: LoopThread) -> None:
        if thread is not self._given:
            _shared.give_back(thread)


class AsyncServer(Service[_M]):
    """A machine served in the event loop that is there; made by :meth:`.Machine.serve_async`, for ``async with``."""

    def __init__(self, machine: _M, *arguments: Any, **options: Any) -> None:
        """Take what :class:`Service` takes."""
        super().__init__(machine, *arguments, **options)
        self._sockets = SocketDirectory()

    async def __aenter__(self) -> Self:
        """Listen.

        :raises OSError: the address cannot be had.
        """
        try:
            await self._start(self._sockets)
        except BaseException:
            self._sockets.remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up on everybody and take the machine back.

        :raises Exception: a bug of the machine.
        """
        try:
            await self._finish()
        except Exception as bug:
            if not _tells_of(error, bug):
                raise
        finally:
            self._sockets.remove()

    def run(self, function: Callable[[_M], _T]) -> Coroutine[Any, Any, _T]:
        """Call ``function`` with the machine, between two turns of the server; return, or raise, what it does.

        ``await server.run(lambda machine: machine.advance(1))``. While a machine is served it belongs to the server:
        this is how a test looks at it and drives it. The function is a plain one; the clients get the events that it
        causes. Without ``await`` the server ends at once, and the ``async with`` raises a RuntimeError that says so.

        :raises TypeError: the function is asynchronous.
        :raises RuntimeError: the server does not run.
        :raises Exception: the bug of the machine with which the server has ended.
        """
        return Awaited(self._run(function), lambda: self._forgotten("run(...)"))

    def add_monitor(self, path: str | Path | None = None) -> Coroutine[Any, Any, str]:
        """Have one more monitor, on a UNIX socket, and return its path; one in a private directory if none is given.

        :raises RuntimeError: the server does not run.
        :raises OSError: the address cannot be had.
        """
        return Awaited(self._add_monitor(path, self._sockets), lambda: self._forgotten("add_monitor(...)"))

    def _forgotten(self, call: str) -> None:
        if self._server is not None:
            self._server.stop(RuntimeError(f"'await' is missing: write 'await server.{call}'"))


def _tells_of(error: BaseException | None, bug: Exception) -> bool:
    """Whether what ends the body of the ``with`` tells of the bug; if it must not be replaced, it is made to."""
    if error is bug:
        return True
    if error is None or isinstance(error, Exception):
        return False
    error.add_note(f"Besides, the machine that was served had a bug: {bug!r}")
    return True


def _default_pacing(machine: ServableMachine) -> PacingName:
    return "immediate" if machine.pacing == "immediate" else "realtime"


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
