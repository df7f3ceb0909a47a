"""Clients that talk over a socket, plugged into a state machine as they are.

Three kinds, each with an adapter of one line in :meth:`~qbitsim.testing.stateful.BackupClientMachine.client`::

    return InThread(machine, MyClient)      # its actions are methods that block
    return InLoop(machine, MyClient)        # its actions are coroutine functions of asyncio
    return InProcess(machine, MyClient)     # its actions return a subprocess.Popen

``MyClient`` is called with the path of a UNIX socket on which QMP is spoken. The client says which chains it holds in
``chains()``, as every client does.

Theory of operation: the adapter is the server, and makes of what it hears a conversation
(:mod:`qbitsim.testing.clients`). The client runs only while the adapter lets it, until it is *quiet*: it has read all
that it was sent, has said nothing more, and sleeps. An event loop tells so itself, and its time is the machine's. A
thread or process is quiet if the system says that it sleeps (Linux), or after a moment elsewhere; it must not sleep for
long itself, and a run with it may differ from another one where the system decides what comes first.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.errors import QmpError
from qbitsim.qmp.parser import JsonStream
from qbitsim.testing.clients import BackupClient, Chain, Conversation, Execute, NextEvent

if TYPE_CHECKING:
    import subprocess

    from qbitsim.engine.events import EventLog
    from qbitsim.jsontypes import Json, JsonValue
    from qbitsim.machine.machine import Machine

GLANCE = 0.0005
"""Seconds between two looks at whether a client is quiet."""

GRACE = 0.02
"""Seconds after which it is, where the system cannot say."""

TURN = 0.05
"""Seconds of the machine's time after which a quiet client gets another turn."""

TURNS = 40
"""So many turns it may stay quiet in; then it waits for an event."""

_GREETED = "qmp_capabilities"


class Running(Protocol):
    """An action that goes on."""

    def let_run(self, heard: Callable[[], bool]) -> None:
        """Let the client run until it has said something, is quiet, or is over."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""

    @property
    def sleeps(self) -> float:
        """Seconds of the machine's time until the client goes on by itself."""

    def result(self) -> None:
        """Raise what it has ended with, if it has failed."""

    def stop(self) -> None:
        """End it where it is."""


class _Connection:
    """One client that has connected.

    :ivar told: the cursor behind the last event that it was told; None before the negotiation.
    """

    def __init__(self, connection: socket.socket, machine: Machine) -> None:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.socket = connection
        self.stream = JsonStream()
        self.told: int | None = None
        self.ended = False
        self.send(machine.greeting())

    def send(self, message: object) -> None:
        """Send a message; a client that has gone does not hear it."""
        with contextlib.suppress(OSError):
            self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    def tell(self, events: EventLog) -> None:
        """Send the events that it has not been told."""
        if self.told is not None:
            for event in events.read(self.told):
                self.send(event)
            self.told = events.end

    def requests(self) -> list[JsonValue | QmpError]:
        """What was said since the last time."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            self.socket.close()
        return self.stream.feed(data)


class OverSocket:
    """The server's side of a client; the common part of the three kinds.

    :param make: makes the client of the path of its socket.
    :ivar client: the client itself.
    """

    def __init__(self, machine: Machine, make: Callable[[str], BackupClient]) -> None:
        self._machine = machine
        self._folder = tempfile.TemporaryDirectory(prefix="qbitsim-")
        path = str(Path(self._folder.name) / "qmp")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)  # noqa: FBT003
        self._listener.bind(path)
        self._listener.listen()
        self._connections: list[_Connection] = []
        self._heard: list[tuple[_Connection, JsonValue | QmpError]] = []
        self.client = make(path)

    def chains(self) -> Iterable[Chain]:
        """The client's own."""
        return self.client.chains()

    def __getattr__(self, name: str) -> Callable[[], Conversation]:
        action = getattr(self.client, name)
        if not callable(action):
            raise AttributeError(f"{type(self.client).__name__}.{name} is no action")
        return lambda: self._conversation(self.begin(action))

    def begin(self, action: Callable[[], Any]) -> Running:
        """Begin an action of the client."""
        raise NotImplementedError

    def close(self) -> None:
        """Hang up, and remove the socket."""
        self._hang_up()
        self._listener.close()
        self._folder.cleanup()

    def _conversation(self, running: Running) -> Conversation:
        quiet = 0
        try:
            while True:
                running.let_run(self._listen)
                if self._accept():
                    continue
                if self._listen():
                    quiet = 0
                    yield from self._answer(*self._heard.pop(0))
                    continue
                if running.over:
                    break
                quiet += 1
                try:
                    event = yield NextEvent(running.sleeps if quiet <= TURNS else None)
                except ConnectionError:
                    self._hang_up()
                    continue
                if event is not None:
                    quiet = 0
                    self._tell()
            running.result()
        finally:
            if not running.over:
                self._hang_up()
                running.stop()

    def _accept(self) -> bool:
        """Greet those who have connected, if somebody has."""
        before = len(self._connections)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._connections.append(_Connection(self._listener.accept()[0], self._machine))
        return len(self._connections) > before

    def _listen(self) -> bool:
        """Whether somebody has said something that is not answered."""
        for each in self._connections:
            self._heard += [(each, request) for request in each.requests()]
        self._connections = [each for each in self._connections if not each.ended]
        return bool(self._heard)

    def _answer(self, connection: _Connection, request: JsonValue | QmpError) -> Conversation:
        """Answer one request."""
        if isinstance(request, QmpError) or not isinstance(request, dict) or "execute" not in request:
            connection.send({"error": {"class": "GenericError", "desc": "QMP input must be a command"}})
            return
        reply: Json = {}
        if request["execute"] == _GREETED:
            connection.told = self._machine.events.end
            reply["return"] = {}
        else:
            try:
                reply["return"] = yield Execute(str(request["execute"]), dict(request.get("arguments") or {}))  # type: ignore[arg-type]
            except QmpError as error:
                reply["error"] = error.to_json()
            except ConnectionError:
                self._hang_up()
                return
        if "id" in request:
            reply["id"] = request["id"]
        self._tell()  # what came before the reply is before it on the wire
        connection.send(reply)

    def _tell(self) -> None:
        for each in self._connections:
            each.tell(self._machine.events)

    def _hang_up(self) -> None:
        for each in self._connections:
            each.socket.close()
        self._connections.clear()
        self._heard.clear()


# -- threads and processes


class InThread(OverSocket):
    """A client whose actions are methods that block; each runs in a thread."""

    def begin(self, action: Callable[[], Any]) -> Running:
        """In a thread of its own."""
        return _Thread(action)


class InProcess(OverSocket):
    """A client whose actions start a program and return its :class:`subprocess.Popen`.

    An exit status that is not 0 is a :class:`subprocess.CalledProcessError`: say in ``failures`` if it may be.
    """

    def begin(self, action: Callable[[], Any]) -> Running:
        """The program that it starts."""
        return _Process(action())


class _Sleeper:
    """Lets somebody run whom the system schedules."""

    sleeps = TURN

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        raise NotImplementedError

    def _states(self) -> Iterator[Path]:
        """The files in which Linux says what its threads do."""
        raise NotImplementedError

    def let_run(self, heard: Callable[[], bool]) -> None:
        """Let it run until it has said something, or sleeps in two looks in a row."""
        asleep, end = 0, time.monotonic() + GRACE
        while asleep < 3 and not self.over:
            time.sleep(GLANCE)
            if heard():
                return
            sleeping = self._sleeping()
            asleep = asleep + 1 if sleeping or (sleeping is None and time.monotonic() > end) else 0

    def _sleeping(self) -> bool | None:
        """Whether all of it sleeps; None if nobody can say."""
        try:
            states = [path.read_text().rpartition(")")[2].split()[0] for path in self._states()]
        except OSError:
            return None
        return all(state in "SDZXI" for state in states) if states else None


class _Thread(_Sleeper):
    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._action()
        except BaseException as error:
            self._error = error  # it is raised again where the conversation is read

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def _states(self) -> Iterator[Path]:
        yield Path(f"/proc/{os.getpid()}/task/{self._thread.native_id}/stat")

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._thread.join(GRACE)


class _Process(_Sleeper):
    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def _states(self) -> Iterator[Path]:
        return Path(f"/proc/{self._process.pid}/task").glob("*/stat")

    def result(self) -> None:
        if self._process.returncode:
            from subprocess import CalledProcessError  # noqa: PLC0415 - for those who have programs

            output = self._process.stdout.read() if self._process.stdout is not None else None
            raise CalledProcessError(self._process.returncode, self._process.args, output)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
