"""A blocking QMP client with as little as possible in it, so that what is measured is the server."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_SILENCE = struct.pack("ll", 120, 0)
"""The longest time that a server may say nothing, as struct timeval; it costs nothing, unlike settimeout()."""


class Client:
    """One connection, past the negotiation.

    :param path: of a UNIX socket; it is waited for.
    """

    def __init__(self, path: str, patience: float = 10.0) -> None:
        self._socket = _connect(path, patience)
        self._held = b""
        self._events: list[Any] = []
        self._line()
        self.call("qmp_capabilities")

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Run a command by name, with underscores for hyphens; return what it returns.

        :raises RuntimeError: with the text of the refusal.
        """
        return self.exchange(message(name, **arguments))

    def exchange(self, request: bytes) -> Any:
        """Send a message that is ready and wait for its reply; events are kept for :meth:`wait_for`."""
        self._events.clear()
        self._socket.sendall(request)
        while True:
            reply = json.loads(self._line())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])
            self._events.append(reply)

    def round_trip(self, request: bytes) -> bytes:
        """Send a message that is ready and wait for the bytes of its reply, which causes no events.

        Nothing is parsed, so that the time is the server's.
        """
        self._socket.sendall(request)
        reply = self._socket.recv(1 << 16)
        while not reply.endswith(b"\n"):
            reply += self._socket.recv(1 << 16)
        return reply

    def wait_for(self, event: str, **members: Any) -> Any:
        """Wait for an event of that name, with these members, since the last message was sent; return its data."""
        while True:
            for each in self._events:
                if each["event"] == event and members.items() <= each.get("data", {}).items():
                    return each.get("data")
            self._events = [json.loads(self._line())]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _line(self) -> bytes:
        while b"\n" not in self._held:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server has hung up")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line


def message(name: str, /, **arguments: Any) -> bytes:
    """A command as bytes."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    return json.dumps({"execute": name, "arguments": named}).encode()


def _connect(path: str, patience: float) -> socket.socket:
    until = time.monotonic() + patience
    while True:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SILENCE)
        try:
            client.connect(path)
        except OSError:
            client.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.001)
        else:
            return client
