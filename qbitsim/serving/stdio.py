"""A monitor on standard input and output, like ``-qmp stdio``."""

from __future__ import annotations

from typing import BinaryIO

from qbitsim.serving.server import Connection, Server
from qbitsim.serving.streams import attach_streams


class StdioConnection(Connection):
    """The client on standard input and output. When it goes, the server ends: nobody else started it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the server."""
        super().connection_lost(exc)
        self.server.stop()
        self.server.forget(self)


async def attach_stdio(server: Server, source: BinaryIO, sink: BinaryIO) -> None:
    """Let a client talk on `source` and `sink`, for instance ``sys.stdin.buffer`` and ``sys.stdout.buffer``."""
    await attach_streams(StdioConnection(server), source, sink)
