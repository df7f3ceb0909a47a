"""A client on two streams, such as standard input and output.

Pipes, sockets and terminals go through the event loop. A regular file, or the null device, can be neither
waited for nor be slow: it is read as a whole and written directly.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Transport(Protocol):
    """What a connection uses of an asyncio transport."""

    def write(self, data: bytes) -> None:
        """Send, or keep until it can be sent."""

    def pause_reading(self) -> None:
        """Deliver no more data."""

    def resume_reading(self) -> None:
        """Deliver data again."""

    def close(self) -> None:
        """Send what is kept, then hang up."""

    def abort(self) -> None:
        """Hang up at once."""


class StreamConnection(Protocol):
    """A client as asyncio's protocols are, which is attached to a transport."""

    @property
    def attach(self) -> Callable[[Transport], None]:
        """Start talking on a transport."""

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""

    def eof_received(self) -> bool | None:
        """The client sends no more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""

    def pause_writing(self) -> None:
        """The client does not read."""

    def resume_writing(self) -> None:
        """The client reads again."""


class _Wire:
    """The two halves as one transport."""

    def __init__(self, output: BinaryIO) -> None:
        self.reader: asyncio.ReadTransport | None = None
        self.writer: asyncio.WriteTransport | None = None
        self._output = output
        self.connection: StreamConnection | None = None

    def write(self, data: bytes) -> None:
        if self.writer is not None:
            self.writer.write(data)
        else:
            self._output.write(data)
            self._output.flush()

    def pause_reading(self) -> None:
        if self.reader is not None:
            self.reader.pause_reading()

    def resume_reading(self) -> None:
        if self.reader is not None and not self.reader.is_closing():
            self.reader.resume_reading()

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        if self.writer is not None:
            self.writer.close()
        else:
            self.gone()

    def abort(self) -> None:
        if self.writer is not None:
            self.writer.abort()
        self.close()

    def gone(self) -> None:
        """Tell the connection once that its output has ended."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.connection_lost(None)


class _Input(asyncio.Protocol):
    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        self._connection.data_received(data)

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()


class _Output(asyncio.Protocol):
    def __init__(self, wire: _Wire, connection: StreamConnection) -> None:
        self._wire = wire
        self._connection = connection

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.gone()


async def attach_streams(connection: StreamConnection, source: BinaryIO | None, sink: BinaryIO) -> None:
    """Let a client talk on `source`, if it says anything, and read on `sink`."""
    loop = asyncio.get_running_loop()
    wire = _Wire(sink)
    wire.connection = connection
    if not _is_immediate(sink):
        writer, _ = await loop.connect_write_pipe(lambda: _Output(wire, connection), sink)
        wire.writer = writer
    connection.attach(wire)
    if source is None:
        return
    if _is_immediate(source):
        connection.data_received(source.read())
        connection.eof_received()
    else:
        reader, _ = await loop.connect_read_pipe(lambda: _Input(connection), source)
        wire.reader = reader


def _is_immediate(file: BinaryIO) -> bool:
    """Whether it is a regular file, or a device such as the null device: the event loop cannot wait for these."""
    mode = os.fstat(file.fileno()).st_mode
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty())
