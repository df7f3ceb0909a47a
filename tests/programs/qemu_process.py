"""Starts qemu-system-x86_64 or qemu-storage-daemon of a release, and talks with it."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import forked

START = (
    "import sys; from qbitsim.profiles import profile; from qbitsim.programs.{}.main import main; "
    "sys.exit(main(sys.argv[2:], profile(sys.argv[1])))"
)
SYSTEM, DAEMON = "qemu_system", "storage_daemon"
NAMES = {SYSTEM: "qemu-system-x86_64", DAEMON: "qemu-storage-daemon"}
BASE = ["-M", "none", "-nodefaults", "-display", "none"]
PATIENCE = 30.0


def command(release: str, *argv: str, program: str = SYSTEM) -> list[str]:
    """The command line of the program."""
    return [sys.executable, "-c", START.format(program), release, *argv]


def run(release: str, *argv: str, stdin: str = "", program: str = SYSTEM) -> tuple[int, str, str]:
    """Run it to its end: exit status, standard output, standard error."""
    status, out, err = forked.run(NAMES[program], release, *argv, stdin=stdin.encode())
    return status, out.decode(), err.decode()


def connected(path: Path) -> socket.socket:
    """A client of a UNIX socket that is soon there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return client


class Qmp:
    """A QMP client that has negotiated."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.file = client.makefile("rb")
        self.events: list[str] = []
        self.greeting = self.read()
        assert self("qmp_capabilities") == {"return": {}}

    def read(self) -> dict[str, Any]:
        """The next message that is no event."""
        while True:
            message: dict[str, Any] = json.loads(self.file.readline())
            if "event" not in message:
                return message
            self.events.append(message["event"])

    def __call__(self, name: str, /, **arguments: object) -> dict[str, Any]:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.client.sendall(json.dumps({"execute": name, "arguments": given}).encode() + b"\n")
        return self.read()

    def rest(self) -> list[dict[str, Any]]:
        """What comes until the end."""
        return [json.loads(line) for line in self.file]

    def close(self) -> None:
        """Leave."""
        self.file.close()
        self.client.close()
