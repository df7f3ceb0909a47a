"""One conversation with a QMP server, over whatever carries the bytes.

A command waits for its own reply, which is known by its ``id``; events that come meanwhile, and between two commands
when somebody calls :meth:`Monitor.pump`, are handed on in the order in which they come. A caller that has waited long
enough (Ctrl-C, or the patience is at its end) goes on; the reply, if it comes after all, is handed on as late.

A server that hangs up is connected to again by the next command.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.scenario.replayer import Channel

GREETING_PATIENCE = 5.0
"""Seconds in which a server must greet."""

_MOST_OF_A_GREETING = 1 << 16
_SLICE = 0.2  # seconds between two looks at the clock
_GLANCE = 0.001  # seconds for what is there already
_SHOWN = 60


class PeerError(Exception):
    """The server cannot be reached, is none, or has hung up; the text is one line that says so."""


class HungUpError(PeerError):
    """The server has hung up."""


class NoReplyError(PeerError):
    """The server has not answered in time; it may do so later."""


class MessageStream:
    """Bytes to messages; one may stand on a line or, as from a monitor with ``pretty=on``, on several."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._spread: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes of the message that is not complete."""
        return sum(map(len, self._rest)) + sum(map(len, self._spread))

    def feed(self, data: bytes) -> Iterator[Json]:
        """The messages that ``data`` completes.

        :raises PeerError: a line is no JSON object.
        """
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = b"".join((*self._rest, line)).rstrip(b"\r")
            self._rest.clear()
            if self._spread or whole == b"{":
                self._spread.append(whole)
                if whole != b"}":
                    continue
                whole = b"".join(self._spread)
                self._spread.clear()
            if whole:
                yield _message(whole)
        if rest:
            self._rest.append(rest)


def _message(line: bytes) -> Json:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        text = line.decode("utf-8", "replace")
        raise PeerError(f"that is no QMP: {_shortened(text)}")
    return value


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


class Monitor:
    """A conversation.

    :param connect: makes a connection.
    :param on_event: is given each event.
    :param on_late: is given the name of a command and the reply that nobody waits for any more.
    :param patience: seconds to wait for a reply; None: for ever.
    :ivar greeting: what the server said first.
    """

    def __init__(
        self,
        connect: Callable[[], Channel],
        on_event: Callable[[Json], None],
        on_late: Callable[[str, Json], None],
        patience: float | None = None,
    ) -> None:
        self.greeting: Json = {}
        self.channel: Channel | None = None
        self._connect = connect
        self._on_event = on_event
        self._on_late = on_late
        self._patience = patience
        self._number = 0
        self._late: dict[str, str] = {}
        self._stream = MessageStream()
        self._messages: deque[Json] = deque()

    @property
    def version(self) -> str:
        """The release that the server says it is, ``major.minor``."""
        qemu = self.greeting.get("version", {}).get("qemu", {})
        return f"{qemu.get('major', '?')}.{qemu.get('minor', '?')}"

    def open(self) -> None:
        """Connect, be greeted and negotiate.

        :raises PeerError: that cannot be done.
        """
        try:
            self.channel = self._connect()
        except OSError as error:
            raise PeerError(str(error.strerror or error)) from None
        self._stream = MessageStream()
        self._messages.clear()
        self._late.clear()
        try:
            self.greeting = self._greeting()
            self.execute("qmp_capabilities")
        except QmpError as error:
            self.close()
            raise PeerError(f"it does not negotiate: {error.desc}") from None
        except PeerError:
            self.close()
            raise

    def _greeting(self) -> Json:
        deadline = time.monotonic() + GREETING_PATIENCE
        while not self._messages:
            try:
                self._read(deadline - time.monotonic())
            except TimeoutError:
                if time.monotonic() >= deadline:
                    seconds = f"{GREETING_PATIENCE:g} seconds"
                    raise PeerError(f"nobody greets in {seconds} (QEMU talks to one client at a time)") from None
            except HungUpError:
                raise PeerError("it hangs up at once") from None
            if self._stream.size > _MOST_OF_A_GREETING:
                raise PeerError("that is no QMP: a line without an end")
        first = self._messages.popleft()
        greeting = first.get("QMP")
        if not isinstance(greeting, dict):
            raise PeerError(f"that is no QMP: {_shortened(json.dumps(first))}")
        return greeting

    def execute(self, name: str, arguments: Json | None = None, *, patience: float | None = None) -> Any:
        """Run a command and return the value of its reply.

        :param patience: seconds, instead of the monitor's.
        :raises QmpError: it was refused.
        :raises PeerError: there is no reply.
        """
        reply = self.ask({"execute": name, **({"arguments": arguments} if arguments else {})}, patience=patience)
        if "error" in reply:
            raise QmpError(reply["error"]["desc"], reply["error"]["class"])
        return reply["return"]

    def ask(self, request: Json, *, patience: float | None = None) -> Json:
        """Send a message and return the reply to it.

        :raises PeerError: there is none.
        """
        if self.channel is None:
            self.open()
        self._number += 1
        mark = f"shell-{self._number}"
        name = str(request.get("execute", request.get("exec-oob", "the message")))
        self._send(name, json.dumps({"id": mark, **request}).encode() + b"\n")
        mark = request.get("id", mark)
        try:
            reply = self._wait(mark, name, self._patience if patience is None else patience)
        except (KeyboardInterrupt, NoReplyError):
            self._late[json.dumps(mark)] = name
            raise
        return reply if "id" in request else {key: value for key, value in reply.items() if key != "id"}

    def _send(self, name: str, data: bytes) -> None:
        assert self.channel is not None
        try:
            self.channel.send(data)
        except OSError:
            self.close()
            raise PeerError(f"the server has hung up, and has not got {name}") from None
        except KeyboardInterrupt:
            self.close()
            raise

    def _wait(self, mark: object, name: str, patience: float | None) -> Json:
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            while self._messages:
                message = self._messages.popleft()
                if "event" not in message and message.get("id", mark) == mark:
                    return message
                self._hand_on(message)
            try:
                self._read(_SLICE if deadline is None else deadline - time.monotonic())
            except TimeoutError:
                if deadline is not None and time.monotonic() >= deadline:
                    raise NoReplyError(f"no reply to {name} in {patience:g} seconds") from None
            except PeerError as error:
                self._hand_on_all()
                raise PeerError(f"{error}, in the middle of {name}") from None

    def pump(self) -> None:
        """Hand on what the server has said by itself.

        :raises PeerError: it has hung up.
        """
        self._hand_on_all()
        while self.channel is not None:
            try:
                self._read(0)
            except TimeoutError:
                return
            self._hand_on_all()

    def _read(self, seconds: float) -> None:
        """Take what the server says within some seconds, but not longer than a slice.

        :raises TimeoutError: nothing came.
        :raises PeerError: the server has hung up, or what it says is no QMP.
        """
        assert self.channel is not None
        try:
            data = self.channel.receive(min(max(seconds, _GLANCE), _SLICE))
        except TimeoutError:
            raise
        except OSError as error:
            self.close()
            raise PeerError(f"the connection broke: {error.strerror or error}") from None
        if not data:
            self.close()
            raise HungUpError("the server has hung up")
        try:
            self._messages.extend(self._stream.feed(data))
        except PeerError:
            self.close()
            raise

    def _hand_on_all(self) -> None:
        while self._messages:
            self._hand_on(self._messages.popleft())

    def _hand_on(self, message: Json) -> None:
        if "event" in message:
            self._on_event(message)
        else:
            name = self._late.pop(json.dumps(message.get("id")), "something")
            self._on_late(name, {key: value for key, value in message.items() if key != "id"})

    def close(self) -> None:
        """Hang up."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
