"""One NBD client without I/O: bytes in, bytes out (nbd/server.c, QEMU 10.0).

Theory of operation
===================

1. :meth:`Session.receive` takes bytes as they come. A generator, which yields how many it needs next, follows the
   conversation: the handshake first, then one request after the other.
2. A request is a task of the machine (:class:`.Request`): the machine's policy decides when its turn comes, among the
   steps of jobs and the writes of the guest. A client may have 16 in flight; what it sends beyond waits unread.
3. What the client is to be told collects until :meth:`Session.take`; ``notify`` is called when there is something.
4. A client that breaks the rules of the protocol is hung up on. So is one that an export does not want any more; what
   it has in flight is carried out all the same, and nobody is told.

A session is no part of a machine that is copied: it belongs to somebody outside. When a machine is put back, the
clients that it had are cut off.

A client that does not read holds at most :data:`MAXIMUM_UNANSWERED` bytes of requests and answers, and one request
more; nothing is read from it either while its transport is clogged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.nbd.contexts import Context
from qbitsim.nbd.handshake import GREETING_BYTES, Handshake
from qbitsim.nbd.protocol import (
    EXTENDED_REQUEST,
    EXTENDED_REQUEST_MAGIC,
    MAXIMUM_PAYLOAD,
    REQUEST,
    REQUEST_MAGIC,
    U32,
    U64,
    Command,
    CommandFlag,
    Mode,
    Reading,
    command_words,
    discard,
)
from qbitsim.nbd.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.nbd.export import Export
    from qbitsim.nbd.exports import Exports

MAXIMUM_IN_FLIGHT = 16
"""Requests of one client (MAX_NBD_REQUESTS)."""

MAXIMUM_UNANSWERED = 64 << 20
"""Bytes to write and to read that one client may have in flight."""

_CHANGING = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)
_LIMITED = (Command.READ, Command.WRITE, Command.CACHE)


def _nobody() -> None:
    """Nobody needs to be told."""


class Session:
    """One client's conversation with the NBD server of a machine.

    :param exports: the server.
    :param notify: called when there is something to :meth:`take`, or the session has ended.
    :ivar export: what the client has chosen; None before.
    :ivar mode: how replies are written.
    :ivar ended: the connection is to end once what is there to take was sent.
    """

    __slots__ = (
        *("_buffer", "_clogged", "_contexts", "_conversation", "_exports", "_in_flight", "_needed", "_notify"),
        *("_out", "_over", "_resting", "_unanswered", "ended", "export", "mode"),
    )

    def __init__(self, exports: Exports, notify: Callable[[], None] = _nobody) -> None:
        self._exports = exports
        self._notify = notify
        self.export: Export | None = None
        self.mode = Mode.SIMPLE
        self.ended = False
        self._contexts: list[Context] = []
        self._buffer = bytearray()
        self._out: list[bytes] = [GREETING_BYTES]
        self._in_flight: set[Request] = set()
        self._unanswered = 0
        self._clogged = False
        self._resting = False  # between two requests
        self._over = False  # the client has no more to say
        self._conversation = self._converse()
        self._needed = next(self._conversation)
        exports.connected(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """The session itself: the client is outside of the machine."""
        return self

    # -- bytes in, bytes out

    @property
    def wants_data(self) -> bool:
        """Whether more is to be read from the client now."""
        return not (self.ended or self._over or (self._resting and self._full))

    @property
    def negotiated(self) -> bool:
        """Whether the handshake is over."""
        return self.export is not None or self.ended

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if not self.ended:
            self._buffer += data
            self._follow()

    def take(self) -> list[bytes]:
        """What the client is to be sent, in order; it is not kept."""
        out, self._out = self._out, []
        return out

    def clog(self, *, clogged: bool) -> None:
        """The transport can send no more for now, or can again."""
        self._clogged = clogged
        if not clogged and not self.ended:
            self._follow()

    def send(self, *parts: bytes) -> None:
        """Tell the client something, unless it has gone."""
        if not self.ended:
            self._out += parts
            self._notify()

    def hang_up(self) -> None:
        """End the connection behind what was sent, because of the client or because it has gone itself."""
        self._end()
        self._leave()

    def cut_off(self) -> None:
        """End the connection because the export is going; the client leaves a moment later."""
        if not self.ended:
            self._end()
            self._exports.scheduler.soon(self._leave, "NBD client leaves")

    # -- the end

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._buffer.clear()
            for request in [each for each in self._in_flight if each.resting]:
                request.drop()
                self._forget(request)
            self._notify()

    def _leave(self) -> None:
        """Be forgotten, once nothing is in flight any more."""
        if self.ended and not self._in_flight:
            self._exports.left(self)

    # -- the conversation

    @property
    def _full(self) -> bool:
        flying = len(self._in_flight) >= MAXIMUM_IN_FLIGHT or self._unanswered >= MAXIMUM_UNANSWERED
        return flying or self._clogged

    def _follow(self) -> None:
        """Go on with the conversation as far as there are bytes for it."""
        buffer = self._buffer
        while len(buffer) >= self._needed and self.wants_data:
            piece = bytes(memoryview(buffer)[: self._needed])
            del buffer[: self._needed]
            try:
                self._needed = self._conversation.send(piece)
            except StopIteration:
                self._conversation_over()
                return

    def _conversation_over(self) -> None:
        """The client has no more to say, or nothing that makes sense; what is in flight is answered first."""
        self._over = True
        self._buffer.clear()
        if not self._in_flight:
            self.hang_up()

    def _converse(self) -> Reading[None]:
        handshake = Handshake(self._exports, self.send)
        if not (yield from handshake.run()):
            return
        assert handshake.export is not None
        self.export, self.mode, self._contexts = handshake.export, handshake.mode, handshake.contexts
        self.export.clients.append(self)
        going_on = True
        while going_on:
            going_on = yield from self._next_request(self.export)

    def _next_request(self, export: Export) -> Reading[bool]:
        """Take one request and let it be planned; False if it is the last one (nbd_co_receive_request)."""
        self._resting = True
        extended = self.mode is Mode.EXTENDED
        layout, expected = (EXTENDED_REQUEST, EXTENDED_REQUEST_MAGIC) if extended else (REQUEST, REQUEST_MAGIC)
        magic, flags, command, cookie, offset, length = layout.unpack((yield layout.size))
        self._resting = False
        request = Request(self, export, command, flags, cookie)
        request.offset, request.length = offset, length
        if magic != expected:
            request.refusal = self._wrong_magic(magic, expected)
            going_on = False
        elif command == Command.DISC:
            self.hang_up()
            return False
        else:
            going_on = yield from self._take_payload(request)
        if request.refusal is None:
            request.refusal = self._refusal(request)
        self._plan(request)
        return going_on

    def _take_payload(self, request: Request) -> Reading[bool]:
        """Take what belongs to the request; False if it cannot be taken, so that nothing can come behind it."""
        with_payload = self.mode is Mode.EXTENDED and bool(request.flags & CommandFlag.PAYLOAD_LEN)
        if request.command == Command.BLOCK_STATUS:
            request.contexts = self._contexts
            if with_payload:
                return (yield from self._take_contexts(request))
        elif (request.command in _LIMITED or with_payload) and request.length > MAXIMUM_PAYLOAD:
            request.refusal = self._too_long(request.length)
            return request.command != Command.WRITE and not with_payload
        if request.command == Command.WRITE:
            request.payload = (yield request.length) if request.length else b""
        elif with_payload:
            payload, request.length = request.length, 0
            yield from discard(payload)
        return True

    def _take_contexts(self, request: Request) -> Reading[bool]:
        """Take the contexts that the client wants to hear of (nbd_co_block_status_payload_read)."""
        length = request.length
        if length > MAXIMUM_PAYLOAD:
            request.refusal = self._too_long(length)
            return False
        request.length, request.contexts = 0, ()
        if length % U32.size or not U64.size <= length <= U64.size + U32.size * len(self._contexts):
            yield from discard(length)
            return True
        payload = yield length
        wanted = [number for (number,) in U32.iter_unpack(payload[U64.size :])]
        if len(set(wanted)) == len(wanted) and {each.id for each in self._contexts}.issuperset(wanted):
            (request.length,) = U64.unpack(payload[: U64.size])
            request.contexts = [each for each in self._contexts if each.id in wanted]
        return True

    def _refusal(self, request: Request) -> str | None:
        """Why the request is not carried out, in the order of QEMU's checks."""
        export, command = request.export, request.command
        if command in _CHANGING and not export.writable:
            return "Export is read-only"
        if request.offset > export.size or request.length > export.size - request.offset:
            return f"operation past EOF; From: {request.offset}, Len: {request.length}, Size: {export.size}"
        if request.flags & ~self._allowed_flags(request):
            return f"unsupported flags for command {command_words(command)} (got 0x{request.flags:x})"
        if command not in Command._value2member_map_:
            return f"invalid request type ({command}) received"
        return self._status_refusal(request) if command == Command.BLOCK_STATUS else None

    def _too_long(self, length: int) -> str:
        blank = "" if self._exports.profile.nbd_texts_polished else " "
        return f"len ({length}{blank}) is larger than max len ({MAXIMUM_PAYLOAD})"

    def _wrong_magic(self, magic: int, expected: int) -> str:
        told = f", expected 0x{expected:x}" if self._exports.profile.nbd_texts_polished else ""
        return f"invalid magic (got 0x{magic:x}{told})"

    def _allowed_flags(self, request: Request) -> int:
        extended, flags = self.mode is Mode.EXTENDED, CommandFlag.FUA
        if request.command == Command.READ and self.mode is not Mode.SIMPLE:
            flags |= CommandFlag.DF
        elif request.command == Command.WRITE and extended:
            flags |= CommandFlag.PAYLOAD_LEN
        elif request.command == Command.WRITE_ZEROES:
            flags |= CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO
        elif request.command == Command.BLOCK_STATUS:
            flags |= CommandFlag.REQ_ONE
            if extended:
                flags |= CommandFlag.PAYLOAD_LEN
        return flags

    def _status_refusal(self, request: Request) -> str | None:
        """Why BLOCK_STATUS is not carried out (nbd_handle_request)."""
        no_length = "need non-zero length" if not request.length else None
        if no_length is not None and self._exports.profile.nbd_status_length_first:
            return no_length
        if request.contexts:
            return no_length
        return "CMD_BLOCK_STATUS payload not valid" if self._contexts else "CMD_BLOCK_STATUS not negotiated"

    # -- requests in flight

    def _plan(self, request: Request) -> None:
        self._in_flight.add(request)
        self._unanswered += _weight(request)
        request.export.in_flight.append(request)
        request.plan()

    def answered(self, request: Request, parts: list[bytes]) -> None:
        """Take the answer, and forget the request."""
        if request not in self._in_flight:
            return  # one of a copy of the machine
        self._forget(request)
        fault = self._exports.striking(request) if self._exports.faults else None
        if fault is None:
            self.send(*parts)
        else:
            fault.strike(self, parts)
        self._go_on()

    def broken(self, request: Request) -> None:
        """End the connection: a part of the answer cannot be given."""
        if request in self._in_flight:
            self._forget(request)
            self.hang_up()

    def _forget(self, request: Request) -> None:
        self._in_flight.remove(request)
        self._unanswered -= _weight(request)

    def _go_on(self) -> None:
        """There is room for another request, or the last one was answered."""
        if self.ended:
            self._leave()
        elif self._over:
            self._conversation_over()
        else:
            self._follow()


def _weight(request: Request) -> int:
    """Bytes that the request, or its answer, takes."""
    return request.length if request.command in (Command.READ, Command.WRITE) and request.refusal is None else 0
