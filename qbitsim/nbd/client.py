"""The client's side of NBD without I/O: bytes in, bytes out.

Theory of operation: :class:`ClientSession` writes what is to be sent, a transport carries it, and what comes back is
handed to :meth:`ClientSession.receive`. The handshake chooses an export; then any number of requests are in flight, and
each is a :class:`Pending` that is done when its answer has come. What breaks the rules of the protocol ends the
session with an error that says what it was.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final

from qbitsim.errors import NbdError
from qbitsim.nbd.negotiation import Negotiation
from qbitsim.nbd.protocol import (
    CHUNK,
    CHUNK_DONE,
    ERROR,
    EXTENDED_CHUNK,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_REQUEST,
    EXTENDED_REQUEST_MAGIC,
    EXTENDED_STATUS,
    HOLE,
    MAXIMUM_PAYLOAD,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    U32,
    U64,
    ChunkKind,
    Command,
    CommandFlag,
    ExportFlag,
    Mode,
    Reading,
    command_words,
    error_from_wire,
)

if TYPE_CHECKING:
    from qbitsim.nbd.contexts import Extent

_CHUNK_ERROR_BIT: Final = 0x8000


class Pending:
    """One request, which is answered when its time has come.

    :ivar command: of :class:`.Command`; ``offset`` and ``length`` in bytes.
    :ivar done: the answer has come.
    :ivar extents: what BLOCK_STATUS has told, by the name of the context.
    :ivar holes: (offset, length) of what was told to be a hole, in order.
    """

    __slots__ = ("_data", "_told", "command", "done", "error", "extents", "holes", "length", "offset")

    def __init__(self, command: int, offset: int, length: int) -> None:
        self.command = command
        self.offset = offset
        self.length = length
        self.done = False
        self.error: OSError | None = None
        self.extents: dict[str, list[Extent]] = {}
        self.holes: list[tuple[int, int]] = []
        self._data: list[tuple[int, bytes]] = []
        self._told = 0  # bytes that the server has told of

    def __repr__(self) -> str:
        state = "in flight" if not self.done else "done" if self.error is None else f"failed: {self.error}"
        return f"<Pending {command_words(self.command)} {self.offset}+{self.length} {state}>"

    def result(self) -> bytes:
        """What was read; nothing for other commands.

        :raises NbdError: the request has failed.
        :raises ConnectionError: the connection has ended before the answer came.
        """
        assert self.done, "the answer has not come"
        if self.error is not None:
            raise self.error
        parts, place = [], self.offset
        for offset, data in sorted(self._data):
            if offset != place:
                raise NbdError(errno.EPROTO, f"nothing was said of the bytes from {place} to {offset}")
            parts.append(data)
            place += len(data)
        if self.command == Command.READ and place != self.offset + self.length:
            raise NbdError(errno.EPROTO, f"only {place - self.offset} of {self.length} bytes came")
        return b"".join(parts)

    def take_data(self, offset: int, data: bytes) -> None:
        """A part of what is to be read."""
        self._check_inside(offset, len(data))
        self._data.append((offset, data))

    def take_hole(self, offset: int, length: int) -> None:
        """A part that reads as zeroes."""
        self._check_inside(offset, length)
        self.holes.append((offset, length))
        self._data.append((offset, bytes(length)))

    def _check_inside(self, offset: int, length: int) -> None:
        self._told += length
        if self._told > self.length or not self.offset <= offset <= offset + length <= self.offset + self.length:
            raise NbdError(errno.EPROTO, f"{length} bytes at {offset} come that were not asked for")


class ClientSession:
    """A client's conversation with a server.

    :param send: called with what the server is to be told.
    :param name: of the export.
    :param contexts: metadata contexts that are wanted.
    :param mode: what to ask for at most: extended headers, structured replies, or nothing.
    :ivar size: of the export, in bytes; ``flags``: what can be done with it; ``description``: for people, or None.
    :ivar block_sizes: the least, the preferred and the largest size of a request, in bytes.
    :ivar contexts: the contexts that the server has agreed to, with their ids.
    :ivar negotiation: the handshake; :ivar ready: it is over.
    :ivar error: why the session has ended, if it has.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        name: str,
        contexts: Iterable[str] = (),
        *,
        mode: Mode = Mode.EXTENDED,
    ) -> None:
        self._send = send
        self.negotiation = Negotiation(send, name.encode("utf-8", "surrogateescape"), contexts, mode)
        self.mode = Mode.SIMPLE
        self.size = 0
        self.flags = ExportFlag(0)
        self.description: str | None = None
        self.block_sizes = (1, 4096, MAXIMUM_PAYLOAD)
        self.contexts: dict[int, str] = {}
        self.ready = False
        self.error: OSError | None = None
        self._buffer = bytearray()
        self._pending: dict[int, Pending] = {}
        self._cookie = 0
        self._conversation = self._converse()
        self._needed = next(self._conversation)

    # -- bytes in

    def receive(self, data: bytes) -> None:
        """Take bytes from the server."""
        buffer = self._buffer
        buffer += data
        while self.error is None and len(buffer) >= self._needed:
            piece = bytes(memoryview(buffer)[: self._needed])
            del buffer[: self._needed]
            try:
                self._needed = self._conversation.send(piece)
            except NbdError as error:
                self.fail(error)
            except (struct.error, ValueError) as error:
                self.fail(NbdError(errno.EPROTO, f"what the server says has the wrong length: {error}"))

    def hear(self, receive: Callable[[], bytes], heard: Callable[[], bool]) -> None:
        """Take what the server says until ``heard()``, or the session has ended.

        :param receive: waits for the next bytes; empty if there are no more. What it raises ends the session.
        """
        while not heard() and self.error is None:
            try:
                data = receive()
            except OSError as error:
                self.lose(error)
            else:
                if data:
                    self.receive(data)
                else:
                    self.lose()

    def lose(self, error: OSError | None = None) -> None:
        """The connection has ended, by itself or with an error; what the server did not say is told in QEMU's words."""
        reason = "Unexpected end-of-file before all data were read"
        if error is not None:
            reason = f"Unable to read from socket: {error.strerror or error}"
        text = f"Failed to read {self.negotiation.awaited}: {reason}"
        self.fail(ConnectionResetError(errno.ECONNRESET, text))

    def fail(self, error: OSError) -> None:
        """The session has ended, and with it all that is in flight."""
        if self.error is None:
            self.error = error
            for pending in self._pending.values():
                pending.done, pending.error = True, error
            self._pending.clear()

    # -- requests

    def request(self, command: Command, offset: int = 0, length: int = 0, flags: int = 0, data: bytes = b"") -> Pending:
        """Send a request.

        :param data: what is to be written, ``length`` bytes of it.
        :raises OSError: the session has ended.
        """
        if self.error is not None:
            raise self.error
        assert self.ready, "the handshake is not over"
        self._cookie += 1
        pending = Pending(command, offset, length)
        if command != Command.DISC:
            self._pending[self._cookie] = pending
        if self.mode is Mode.EXTENDED:
            flags |= CommandFlag.PAYLOAD_LEN if command == Command.WRITE else 0
            head = EXTENDED_REQUEST.pack(EXTENDED_REQUEST_MAGIC, flags, command, self._cookie, offset, length)
        else:
            head = REQUEST.pack(REQUEST_MAGIC, flags, command, self._cookie, offset, length)
        self._send(head + data)
        return pending

    # -- the conversation

    def _converse(self) -> Reading[None]:
        yield from self._negotiate()
        self.ready = True
        while True:
            yield from self._next_reply()

    def _negotiate(self) -> Reading[None]:
        """Come to the export."""
        chosen = self.negotiation
        yield from chosen.run()
        self.mode, self.contexts = chosen.mode, chosen.contexts
        self.size, self.flags, self.description = chosen.size, chosen.flags, chosen.description
        self.block_sizes = chosen.block_sizes or self.block_sizes

    # -- replies

    def _next_reply(self) -> Reading[None]:
        (magic,) = U32.unpack((yield U32.size))
        rest = {SIMPLE_REPLY_MAGIC: SIMPLE_REPLY, STRUCTURED_REPLY_MAGIC: CHUNK, EXTENDED_REPLY_MAGIC: EXTENDED_CHUNK}
        layout = rest.get(magic)
        if layout is None or (magic == EXTENDED_REPLY_MAGIC) != (self.mode is Mode.EXTENDED):
            raise NbdError(errno.EPROTO, f"a reply begins with the wrong magic number 0x{magic:x}")
        fields = layout.unpack(U32.pack(magic) + (yield layout.size - U32.size))[1:]
        if layout is SIMPLE_REPLY:
            yield from self._simple_reply(*fields)
        else:
            yield from self._chunk(fields[0], fields[1], fields[2], fields[-1])

    def _simple_reply(self, error: int, cookie: int) -> Reading[None]:
        pending = self._find(cookie)
        if error:
            error = error_from_wire(error)
            pending.error = NbdError(error, os.strerror(error))
        elif pending.command == Command.READ and pending.length:
            pending.take_data(pending.offset, (yield pending.length))
        self._finish(cookie)

    def _chunk(self, flags: int, kind: int, cookie: int, length: int) -> Reading[None]:
        pending = self._find(cookie)
        if length > MAXIMUM_PAYLOAD + U64.size:
            raise NbdError(errno.EPROTO, f"a chunk of {length} bytes")
        payload = (yield length) if length else b""
        if kind == ChunkKind.OFFSET_DATA:
            pending.take_data(U64.unpack(payload[: U64.size])[0], payload[U64.size :])
        elif kind == ChunkKind.OFFSET_HOLE:
            pending.take_hole(*HOLE.unpack(payload))
        elif kind == ChunkKind.BLOCK_STATUS:
            self._take_extents(pending, U32.unpack(payload[:4])[0], list(_pairs(U32, payload[4:])))
        elif kind == ChunkKind.BLOCK_STATUS_EXT:
            number, _count = EXTENDED_STATUS.unpack(payload[: EXTENDED_STATUS.size])
            self._take_extents(pending, number, list(_pairs(U64, payload[EXTENDED_STATUS.size :])))
        elif kind & _CHUNK_ERROR_BIT:
            number, size = ERROR.unpack(payload[: ERROR.size])
            error = error_from_wire(number)
            text = payload[ERROR.size : ERROR.size + size].decode("utf-8", "replace")
            pending.error = NbdError(error, text or os.strerror(error))
        elif kind != ChunkKind.NONE:
            raise NbdError(errno.EPROTO, f"a chunk of the unknown kind {kind}")
        if flags & CHUNK_DONE:
            self._finish(cookie)

    def _take_extents(self, pending: Pending, context: int, extents: list[Extent]) -> None:
        if context not in self.contexts:
            raise NbdError(errno.EPROTO, f"a context {context} that nobody has asked for")
        pending.extents[self.contexts[context]] = extents

    def _find(self, cookie: int) -> Pending:
        pending = self._pending.get(cookie)
        if pending is None:
            raise NbdError(errno.EPROTO, f"an answer to a request {cookie} that is not in flight")
        return pending

    def _finish(self, cookie: int) -> None:
        self._pending.pop(cookie).done = True


def _pairs(layout: Struct, data: bytes) -> Iterable[Extent]:
    numbers = (number for (number,) in layout.iter_unpack(data))
    return zip(numbers, numbers, strict=True)
