"""The first part of a conversation: the client asks what there is and chooses an export (nbd/server.c, QEMU 10.0).

Theory of operation: :meth:`Handshake.run` follows the conversation and yields how many bytes it needs next. An option
that is refused raises :class:`_RefusedError` wherever that is found out; the rest of its payload is thrown away then,
the client is told, and may go on. Where the protocol has no way to say no, the connection ends.

No payload is kept as a whole: at most a name, or a query, of 4 KiB is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Protocol

from qbitsim.nbd.contexts import Context, contexts_of, matching
from qbitsim.nbd.protocol import (
    BLOCK_SIZES,
    EXPORT,
    GREETING,
    GREETING_MAGIC,
    MAXIMUM_PAYLOAD,
    MAXIMUM_STRING,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    U16,
    U32,
    ZEROES_AFTER_EXPORT,
    ExportFlag,
    HandshakeFlag,
    Info,
    Mode,
    Option,
    OptionReply,
    Reading,
    discard,
    option_words,
)

if TYPE_CHECKING:
    from qbitsim.facts import Profile
    from qbitsim.nbd.export import Export
    from qbitsim.nbd.faults import RefusedOption

PREFERRED_SIZE = 4096
"""Bytes, as QEMU recommends them for requests."""
SHOWN_OF_NAME = 80
"""Bytes of the name of an export that is not there, in messages."""

_FLAGS = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
GREETING_BYTES = GREETING.pack(GREETING_MAGIC, OPTION_MAGIC, _FLAGS)


class Offers(Protocol):
    """What a client can choose from; see :class:`qbitsim.nbd.exports.Exports`."""

    @property
    def profile(self) -> Profile:
        """The QEMU release."""

    @property
    def offered(self) -> list[Export]:
        """The exports that are not on their way out, oldest first."""

    @property
    def refused_options(self) -> list[RefusedOption]:
        """Options that are refused because a test wants it."""


class _RefusedError(Exception):
    """The client is told, and may go on."""

    def __init__(self, kind: OptionReply, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Handshake:
    """One client's handshake.

    :param send: called with what the client is to be told.
    :ivar export: what the client has chosen.
    :ivar mode: how replies are written from now on.
    :ivar contexts: what BLOCK_STATUS tells of the export.
    """

    def __init__(self, offers: Offers, send: Callable[[bytes], None]) -> None:
        self._offers = offers
        self._send = send
        self.export: Export | None = None
        self.mode = Mode.SIMPLE
        self.contexts: list[Context] = []
        self._contexts_of: Export | None = None
        self._zeroes = True
        self._option = 0
        self._left = 0  # bytes of the option's payload that have not been taken

    def run(self) -> Reading[bool]:
        """Follow the conversation; True if the client has chosen an export, False if the connection ends."""
        (flags,) = U32.unpack((yield U32.size))
        if flags & ~int(_FLAGS):
            return False
        self._zeroes = not flags & HandshakeFlag.NO_ZEROES
        while True:
            if (yield len(OPTION_MAGIC)) != OPTION_MAGIC:
                return False
            header = yield 2 * U32.size
            self._option, self._left = U32.unpack(header[:4])[0], U32.unpack(header[4:])[0]
            if self._left > MAXIMUM_PAYLOAD:
                return False
            if self._option == Option.EXPORT_NAME or not flags & HandshakeFlag.FIXED_NEWSTYLE:
                return (yield from self._export_name())
            if self._option == Option.ABORT:
                self._reply(OptionReply.ACK)
                return False
            try:
                yield from self._answer()
            except _RefusedError as refusal:
                yield from discard(self._left)
                self._reply(refusal.kind, refusal.message.encode("utf-8", "surrogateescape"))
            if self.export is not None:
                return True

    def _answer(self) -> Reading[None]:
        """Answer one option that can be refused.

        :raises _RefusedError: it is.
        """
        known = self._known_options
        if self._option not in known:
            words = f"{self._option} ({self._words})"
            raise _RefusedError(OptionReply.ERR_UNSUP, f"Unsupported option {words}")
        for refusal in self._offers.refused_options:
            if refusal.strikes(self._words):
                raise _RefusedError(OptionReply.ERR_POLICY, refusal.message)
        yield from known[self._option](self)

    @property
    def _known_options(self) -> dict[int, Callable[[Handshake], Reading[None]]]:
        profile = self._offers.profile
        missing = {
            Option.INFO: profile.nbd_go,
            Option.GO: profile.nbd_go,
            Option.STRUCTURED_REPLY: profile.nbd_structured_replies,
            Option.LIST_META_CONTEXT: profile.nbd_contexts,
            Option.SET_META_CONTEXT: profile.nbd_contexts,
            Option.EXTENDED_HEADERS: profile.nbd_extended_headers,
        }
        return {option: handler for option, handler in self._HANDLERS.items() if missing.get(option, True)}

    @property
    def _words(self) -> str:
        """What messages call the option; a release calls those that it does not know so."""
        if self._option == Option.EXTENDED_HEADERS and not self._offers.profile.nbd_extended_headers:
            return "<unknown>"
        return option_words(self._option)

    # -- options

    def _export_name(self) -> Reading[bool]:
        """Choose an export in the old way, which has no words for a refusal (nbd_negotiate_handle_export_name)."""
        if self._option != Option.EXPORT_NAME or self.mode is Mode.EXTENDED or self._left > MAXIMUM_STRING:
            return False
        name = yield from self._take(self._left)
        self.export = self._find(name)
        if self.export is None:
            return False
        self._keep_contexts_of(self.export)
        answer = EXPORT.pack(self.export.size, self._flags(self.export))
        self._send(answer + bytes(ZEROES_AFTER_EXPORT) if self._zeroes else answer)
        return True

    def _list(self) -> Reading[None]:
        self._expect_no_payload()
        yield from ()
        for export in self._offers.offered:
            name = export.name.encode("utf-8", "surrogateescape")
            self._reply(OptionReply.SERVER, U32.pack(len(name)) + name + (export.description or "").encode())
        self._reply(OptionReply.ACK)

    def _start_tls(self) -> Reading[None]:
        self._expect_no_payload()
        yield from ()
        raise _RefusedError(OptionReply.ERR_POLICY, "TLS not configured")

    def _structured_reply(self) -> Reading[None]:
        self._expect_no_payload()
        yield from ()
        if self.mode is Mode.EXTENDED:
            raise _RefusedError(OptionReply.ERR_EXT_HEADER_REQD, "extended headers already negotiated")
        if self.mode is Mode.STRUCTURED:
            raise _RefusedError(OptionReply.ERR_INVALID, "structured reply already negotiated")
        self._reply(OptionReply.ACK)
        self.mode = Mode.STRUCTURED

    def _extended_headers(self) -> Reading[None]:
        self._expect_no_payload()
        yield from ()
        if self.mode is Mode.EXTENDED:
            raise _RefusedError(OptionReply.ERR_INVALID, "extended headers already negotiated")
        self._reply(OptionReply.ACK)
        self.mode = Mode.EXTENDED

    def _info(self) -> Reading[None]:
        """Tell of an export, and choose it if the option is GO (nbd_negotiate_handle_info)."""
        name = yield from self._take_string()
        (count,) = U16.unpack((yield from self._take(U16.size)))
        wanted = set()
        for _ in range(count):
            wanted.add(U16.unpack((yield from self._take(U16.size)))[0])
        self._expect_no_payload()
        export = self._find(name)
        if export is None:
            raise _not_present(name)
        going = self._option == Option.GO
        if going:
            self._keep_contexts_of(export)
        if Info.NAME in wanted:
            self._tell(Info.NAME, name)
        if export.description is not None:
            self._tell(Info.DESCRIPTION, export.description.encode())
        least = export.alignment if not going or Info.BLOCK_SIZE in wanted else 1
        self._tell(Info.BLOCK_SIZE, BLOCK_SIZES.pack(least, max(PREFERRED_SIZE, least), MAXIMUM_PAYLOAD))
        self._tell(Info.EXPORT, EXPORT.pack(export.size, self._flags(export)))
        if not going and Info.BLOCK_SIZE not in wanted and least > 1:
            raise _RefusedError(OptionReply.ERR_BLOCK_SIZE_REQD, "request NBD_INFO_BLOCK_SIZE to use this export")
        self._reply(OptionReply.ACK)
        if going:
            self.export = export

    def _meta_context(self) -> Reading[None]:
        """List contexts, or choose those that BLOCK_STATUS tells of (nbd_negotiate_meta_queries)."""
        listing = self._option == Option.LIST_META_CONTEXT
        if not listing:
            if self.mode is Mode.SIMPLE:
                text = f"request option '{self._words}' when structured reply is not negotiated"
                raise _RefusedError(OptionReply.ERR_INVALID, text)
            self.contexts, self._contexts_of = [], None
        name = yield from self._take_string()
        export = self._find(name)
        if export is None:
            raise _not_present(name)
        there, chosen = contexts_of(export), set()
        (count,) = U32.unpack((yield from self._take(U32.size)))
        if listing and not count:
            chosen = {each.id for each in there}
        for _ in range(count):
            query = yield from self._take_query()
            chosen |= matching(there, query, listing=listing)
        self._expect_no_payload()  # QEMU dies of it (an assertion in nbd_negotiate_options)
        found = [each for each in there if each.id in chosen]
        for each in found:
            self._reply(OptionReply.META_CONTEXT, U32.pack(0 if listing else each.id) + each.name.encode())
        self._reply(OptionReply.ACK)
        if not listing:
            self.contexts, self._contexts_of = found, export

    # -- payloads

    def _take(self, length: int) -> Reading[bytes]:
        """Take bytes of the payload.

        :raises _RefusedError: there are not that many.
        """
        if length > self._left:
            raise _RefusedError(OptionReply.ERR_INVALID, f"Inconsistent lengths in option {self._words}")
        self._left -= length
        return (yield length) if length else b""

    def _take_string(self) -> Reading[bytes]:
        """Take a length and as many bytes (nbd_opt_read_name).

        :raises _RefusedError: it is too long, or there are NUL bytes in it.
        """
        (length,) = U32.unpack((yield from self._take(U32.size)))
        if length > MAXIMUM_STRING:
            raise _RefusedError(OptionReply.ERR_INVALID, f"Invalid name length: {length}")
        return (yield from self._take_text(length))

    def _take_query(self) -> Reading[str]:
        """Take a query; one that is too long to match anything is empty (nbd_negotiate_meta_query)."""
        (length,) = U32.unpack((yield from self._take(U32.size)))
        if length > MAXIMUM_STRING:
            if length > self._left:
                yield from self._take(length)
            self._left -= length
            yield from discard(length)
            return ""
        return (yield from self._take_text(length)).decode("utf-8", "surrogateescape")

    def _take_text(self, length: int) -> Reading[bytes]:
        text = yield from self._take(length)
        if b"\0" in text:
            raise _RefusedError(OptionReply.ERR_INVALID, f"Unexpected embedded NUL in option {self._words}")
        return text

    def _expect_no_payload(self) -> None:
        if self._left:
            raise _RefusedError(OptionReply.ERR_INVALID, f"option '{self._words}' has unexpected length")

    # -- answers

    def _find(self, name: bytes) -> Export | None:
        text = name.decode("utf-8", "surrogateescape")
        return next((export for export in self._offers.offered if export.name == text), None)

    def _keep_contexts_of(self, export: Export) -> None:
        """Forget contexts that were chosen for another export (nbd_check_meta_export)."""
        if self._contexts_of is not export:
            self.contexts = []

    def _flags(self, export: Export) -> ExportFlag:
        flags = export.flags
        if self.mode is not Mode.SIMPLE:
            flags |= ExportFlag.SEND_DF
        if self.mode is Mode.EXTENDED and (self.contexts or self._option == Option.INFO):
            flags |= ExportFlag.BLOCK_STAT_PAYLOAD
        return flags

    def _tell(self, info: Info, data: bytes) -> None:
        self._reply(OptionReply.INFO, U16.pack(info) + data)

    def _reply(self, kind: OptionReply, data: bytes = b"") -> None:
        self._send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, self._option, kind, len(data)) + data)

    _HANDLERS: ClassVar[dict[Option, Callable[[Handshake], Reading[None]]]] = {
        Option.LIST: _list,
        Option.STARTTLS: _start_tls,
        Option.INFO: _info,
        Option.GO: _info,
        Option.STRUCTURED_REPLY: _structured_reply,
        Option.LIST_META_CONTEXT: _meta_context,
        Option.SET_META_CONTEXT: _meta_context,
        Option.EXTENDED_HEADERS: _extended_headers,
    }


def _not_present(name: bytes) -> _RefusedError:
    shown = name.decode("utf-8", "surrogateescape")
    if len(name) >= SHOWN_OF_NAME:
        shown = name[:SHOWN_OF_NAME].decode("utf-8", "surrogateescape") + "..."
    return _RefusedError(OptionReply.ERR_UNKNOWN, f"export '{shown}' not present")
