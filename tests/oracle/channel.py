"""A client's connection to the monitor of a real QEMU."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from pathlib import Path

DEADLINE = 30.0
"""Seconds after which a QEMU that does not answer has failed."""


class QemuDiedError(Exception):
    """The process went away."""


class Channel:
    """One connection.

    :ivar closed: QEMU has closed it.
    """

    def __init__(self, path: Path, process: subprocess.Popen[bytes], errors: Path) -> None:
        """Connect to the socket as soon as there is one.

        :param errors: where QEMU's standard error goes.
        :raises QemuDiedError: it did not come.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._socket.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    raise QemuDiedError(errors.read_text(errors="replace")) from None
                time.sleep(0.002)
        self.closed = False
        self._unfinished = b""
        self._lines: list[bytes] = []

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Put bytes on the socket."""
        try:
            self._socket.sendall(data)
        except OSError:
            self.closed = True

    def line(self, timeout: float) -> bytes | None:
        """The next line without its end; None if there was none for that many seconds."""
        deadline = time.monotonic() + timeout
        while not self._lines and not self.closed:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self._socket], [], [], left)[0]:
                return None
            self._read()
        return self._lines.pop(0) if self._lines else None

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.closed = not data
        *lines, self._unfinished = (self._unfinished + data).split(b"\r\n")
        self._lines += [line for line in lines if line]
