"""The client's side of NBD without I/O: bytes in, bytes out.

Theory of operation: :class:`ClientSession` writes what is to be sent, a transport carries it, and what comes back is
handed to :meth:`ClientSession.receive`. The handshake chooses an export; then any number of requests are in flight, and
each is a :class:`Pending` that is done when its answer has come. What breaks the rules of the protocol ends the
session with an error that says what it was.

It asks for extended headers first, for structured replies if there are none, for the contexts that the caller wants,
and for the export: the order of QEMU's own client (nbd/client.c, 10.0).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final

from qbitsim.errors import NbdError
from qbitsim.nbd.protocol import (
    BLOCK_SIZES,
    CHUNK,
    CHUNK_DONE,
    ERROR,
    EXPORT,
    EXTENDED_CHUNK,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_REQUEST,
    EXTENDED_REQUEST_MAGIC,
    EXTENDED_STATUS,
    GREETING,
    GREETING_MAGIC,
    HOLE,
    MAXIMUM_PAYLOAD,
    OLD_STYLE_EXPORT,
    OLD_STYLE_MAGIC,
    OPTION,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    U16,
    U32,
    U64,
    ZEROES_AFTER_EXPORT,
    ChunkKind,
    Command,
    CommandFlag,
    ExportFlag,
    HandshakeFlag,
    Info,
    Mode,
    Option,
    OptionReply,
    Reading,
    command_words,
    discard,
    error_from_wire,
    option_words,
    string,
)

if TYPE_CHECKING:
    from qbitsim.nbd.contexts import Extent

_ERROR_BIT: Final = 0x80000000
_CHUNK_ERROR_BIT: Final = 0x8000
_OPTION_ERRORS: Final[dict[int, int]] = {
    OptionReply.ERR_UNKNOWN: errno.ENOENT,
    OptionReply.ERR_POLICY: errno.EPERM,
    OptionReply.ERR_UNSUP: errno.ENOTSUP,
    OptionReply.ERR_SHUTDOWN: errno.ESHUTDOWN,
}
"""Refusal of an option -> errno; all others are EINVAL."""


class RefusedError(NbdError):
    """A server refuses an option.

    :ivar option: of :class:`.Option`; ``kind``: of :class:`.OptionReply`.
    :ivar told: what the server says about it; may be empty.
    """

    def __init__(self, option: Option, kind: int, told: str) -> None:
        text = told or f"the server refuses {option_words(option)}"
        super().__init__(_OPTION_ERRORS.get(kind, errno.EINVAL), text)
        self.option = option
        self.kind = kind
        self.told = told


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
    :ivar greeted: the server has said something; :ivar ready: the handshake is over.
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
        self._name = name.encode("utf-8", "surrogateescape")
        self._wanted = list(contexts)
        self._best = mode
        self.mode = Mode.SIMPLE
        self.size = 0
        self.flags = ExportFlag(0)
        self.description: str | None = None
        self.block_sizes = (1, 4096, MAXIMUM_PAYLOAD)
        self.contexts: dict[int, str] = {}
        self.greeted = False
        self.ready = False
        self.error: OSError | None = None
        self._buffer = bytearray()
        self._pending: dict[int, Pending] = {}
        self._cookie = 0
        self._no_zeroes = False
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
        if (yield from self._greet()):
            yield from self._settle_mode()
            if self._wanted and self.mode is not Mode.SIMPLE:
                yield from self._choose_contexts()
            yield from self._go()
        self.ready = True
        while True:
            yield from self._next_reply()

    def _greet(self) -> Reading[bool]:
        """Hear the greeting; return whether there are options to choose, and so an export."""
        magic, option_magic, flags = GREETING.unpack((yield GREETING.size))
        self.greeted = True
        if (magic, option_magic) == (GREETING_MAGIC, OLD_STYLE_MAGIC):
            yield from self._take_only_export(U16.pack(flags))
            return False
        if (magic, option_magic) != (GREETING_MAGIC, OPTION_MAGIC) or not flags & HandshakeFlag.FIXED_NEWSTYLE:
            raise NbdError(errno.EPROTO, "the server does not greet as a server of the fixed newstyle")
        self._no_zeroes = bool(flags & HandshakeFlag.NO_ZEROES)
        self._send(U32.pack(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)))
        return True

    def _take_only_export(self, begun: bytes) -> Reading[None]:
        """A server of the old style has one export, and no options (nbd_negotiate_finish_oldstyle, nbd/client.c, 10.0).

        :param begun: the first bytes of the size.
        """
        if self._name:
            raise NbdError(errno.EINVAL, "Server does not support non-empty export names")
        self.size, flags = OLD_STYLE_EXPORT.unpack(begun + (yield OLD_STYLE_EXPORT.size - len(begun)))
        if flags >> 16:
            raise NbdError(errno.EINVAL, f"Unexpected export flags {flags:0x}")
        self.flags = ExportFlag(flags)
        yield from discard(ZEROES_AFTER_EXPORT)

    def _settle_mode(self) -> Reading[None]:
        for mode, option in ((Mode.EXTENDED, Option.EXTENDED_HEADERS), (Mode.STRUCTURED, Option.STRUCTURED_REPLY)):
            if mode <= self._best:
                try:
                    yield from self._ask(option)
                except RefusedError:
                    continue  # the next best will do
                self.mode = mode
                return

    def _choose_contexts(self) -> Reading[None]:
        queries = [each.encode("utf-8", "surrogateescape") for each in self._wanted]
        payload = string(self._name) + U32.pack(len(queries)) + b"".join(map(string, queries))
        try:
            answers = yield from self._ask(Option.SET_META_CONTEXT, payload)
        except RefusedError:
            return  # if there is no such export, GO will say so
        for kind, answer in answers:
            if kind == OptionReply.META_CONTEXT:
                (number,) = U32.unpack(answer[:4])
                self.contexts[number] = answer[4:].decode("utf-8", "surrogateescape")

    def _go(self) -> Reading[None]:
        payload = string(self._name) + U16.pack(1) + U16.pack(Info.BLOCK_SIZE)
        try:
            answers = yield from self._ask(Option.GO, payload)
        except RefusedError as error:
            if error.kind != OptionReply.ERR_UNSUP:
                raise
            yield from self._go_as_of_old()
            return
        for kind, answer in answers:
            if kind == OptionReply.INFO:
                self._take_info(U16.unpack(answer[:2])[0], answer[2:])

    def _go_as_of_old(self) -> Reading[None]:
        """Choose the export of a server that does not know GO: it hangs up if there is none."""
        self._send(OPTION.pack(OPTION_MAGIC, Option.EXPORT_NAME, len(self._name)) + self._name)
        self._take_info(Info.EXPORT, (yield EXPORT.size))
        if not self._no_zeroes:
            yield from discard(ZEROES_AFTER_EXPORT)

    def _take_info(self, info: int, data: bytes) -> None:
        if info == Info.EXPORT:
            self.size, flags = EXPORT.unpack(data)
            self.flags = ExportFlag(flags)
        elif info == Info.BLOCK_SIZE:
            self.block_sizes = BLOCK_SIZES.unpack(data)
            _check_block_sizes(*self.block_sizes)
        elif info == Info.DESCRIPTION:
            self.description = data.decode("utf-8", "surrogateescape")

    def _ask(self, option: Option, payload: bytes = b"") -> Reading[list[tuple[int, bytes]]]:
        """Ask for an option and return the answers, without the last.

        :raises NbdError: the server refuses it.
        """
        self._send_option(option, payload)
        answers: list[tuple[int, bytes]] = []
        told = 0
        while True:
            magic, answered, kind, length = OPTION_REPLY.unpack((yield OPTION_REPLY.size))
            told += length + OPTION_REPLY.size
            if magic != OPTION_REPLY_MAGIC or answered != option or told > MAXIMUM_PAYLOAD:
                raise NbdError(errno.EPROTO, f"the answer to {option_words(option)} makes no sense")
            data = (yield length) if length else b""
            if kind & _ERROR_BIT:
                raise RefusedError(option, kind, data.decode("utf-8", "replace"))
            if kind == OptionReply.ACK:
                return answers
            answers.append((kind, data))

    def _send_option(self, option: Option, payload: bytes = b"") -> None:
        self._send(OPTION.pack(OPTION_MAGIC, option, len(payload)) + payload)

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


def _check_block_sizes(least: int, preferred: int, largest: int) -> None:
    """Refuse sizes with which no request could be made (nbd_opt_info_or_go(), nbd/client.c, QEMU 10.0).

    :raises NbdError: with QEMU's text.
    """
    if least.bit_count() != 1:
        raise NbdError(errno.EINVAL, f"server minimum block size {least} is not a power of two")
    if preferred.bit_count() != 1 or preferred < least:
        raise NbdError(errno.EINVAL, f"server preferred block size {preferred} is not valid")
    if largest < least:
        raise NbdError(errno.EINVAL, f"server maximum block size {largest} is not valid")


def _pairs(layout: Struct, data: bytes) -> Iterable[Extent]:
    numbers = (number for (number,) in layout.iter_unpack(data))
    return zip(numbers, numbers, strict=True)
