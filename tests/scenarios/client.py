"""A client that blocks, as simple as can be: it says one thing, and reads lines."""

from __future__ import annotations

import json
import socket
from typing import Any, Self


class Client:
    """One monitor of a machine that is served: ``with machine.serve() as server, Client(server.path) as client:``.

    :ivar events: those that came before the replies that were read with :meth:`ask`.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        self.events: list[dict[str, Any]] = []
        assert "QMP" in json.loads(self.line())
        assert self.ask("qmp_capabilities") == {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._socket.close()

    def send(self, command: str, /, **arguments: Any) -> None:
        """Ask, and do not wait for the reply."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._socket.sendall(json.dumps({"execute": command, "arguments": given}).encode())

    def line(self) -> bytes:
        """The next line; less than a line, or nothing, when the other side has hung up."""
        return self._lines.readline()

    def next(self) -> str:
        """What comes next: the name of an event, ``return``, ``error``, or ``end of file``."""
        line = self.line()
        if not line:
            return "end of file"
        message = json.loads(line)
        return str(message.get("event", next(iter(message))))

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """What the reply returns; events that come before it are kept."""
        self.send(command, **arguments)
        while "event" in (message := json.loads(self.line())):
            self.events.append(message)
        return message["return"]
