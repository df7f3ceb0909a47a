"""What QEMU's own tests drive a guest with (system/qtest.c, QEMU 10.0).

Here that is its clock alone, which follows the wall anyway.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.serving.chardev import OpenChardev
    from qbitsim.serving.server import Server


class QtestLog:
    """What is written of a connection from which a guest is driven: ``-qtest-log``."""

    def __init__(self, sink: TextIO | None) -> None:
        self._sink = sink
        self._opened: float | None = None

    def opened(self) -> None:
        """Somebody has connected."""
        self._opened = time.monotonic()
        self._write("I 0.000000", "OPENED")

    def received(self, command: str) -> None:
        """A command has come."""
        self._write(f"R +{self._seconds():.6f}", command)

    def sent(self, answer: str) -> None:
        """It was answered."""
        self._write(f"S +{self._seconds():.6f}", answer)

    def closed(self) -> None:
        """The connection has ended; nothing else is written of it."""
        if self._opened is not None:
            self._write(f"I +{self._seconds():.6f}", "CLOSED")
            self._opened = None

    def _seconds(self) -> float:
        assert self._opened is not None
        return time.monotonic() - self._opened

    def _write(self, head: str, text: str) -> None:
        if self._sink is not None:
            self._sink.write(f"[{head}] {text}\n")
            self._sink.flush()


class Qtest:
    """A device through which somebody else drives the guest."""

    def __init__(self, device: OpenChardev, sink: TextIO | None) -> None:
        self._connection = device.connected
        self._log = QtestLog(sink)
        if self._connection is not None:
            self._log.opened()

    async def attach(self, server: Server) -> None:
        """Answer, from now on, in the running loop."""
        if self._connection is not None:
            loop = asyncio.get_running_loop()
            clock = server.machine.clock
            await loop.connect_accepted_socket(lambda: _Answers(clock, self._log), self._connection)

    def close(self) -> None:
        """The process ends."""
        self._log.closed()


class _Answers(asyncio.Protocol):
    def __init__(self, clock: Callable[[], int], log: QtestLog) -> None:
        self._clock = clock
        self._log = log
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        assert self._transport is not None
        for each in lines:
            command = each.decode(errors="replace")
            self._log.received(command)
            answer = self._answer(command.split())
            self._log.sent(answer)
            self._transport.write(f"{answer}\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._log.closed()

    def _answer(self, words: list[str]) -> str:
        if words[:1] in (["clock_step"], ["clock_set"]):
            return f"OK {self._clock()}"
        return f"FAIL Unknown command '{' '.join(words[:1])}'"
