"""The handshake as a client has it, without I/O: which export it gets, and how (nbd/client.c, QEMU 10.0).

Theory of operation: a :class:`Negotiation` asks for extended headers first, for structured replies if there are none,
for the contexts that are wanted, and for the export; with a server that does not know GO it looks into the list, which
has words for what is missing, and chooses the export in the old way. That is the order of QEMU's own client, and so are
the words of its errors.

Each piece that the server is to say has a name: who finds the connection at its end can tell what was missing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final

from qbitsim.errors import NbdError
from qbitsim.nbd.protocol import (
    BLOCK_SIZES,
    EXPORT,
    GREETING_MAGIC,
    MAXIMUM_PAYLOAD,
    MAXIMUM_STRING,
    OLD_STYLE_MAGIC,
    OPTION,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    U16,
    U32,
    U64,
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
    reply_words,
    string,
)

_ERROR_BIT: Final = 0x80000000
_ERRNOS: Final[dict[int, int]] = {
    OptionReply.ERR_UNKNOWN: errno.ENOENT,
    OptionReply.ERR_POLICY: errno.EPERM,
    OptionReply.ERR_UNSUP: errno.ENOTSUP,
    OptionReply.ERR_SHUTDOWN: errno.ESHUTDOWN,
}
"""Refusal of an option -> errno; all others are EINVAL."""

_REFUSALS: Final[dict[int, str]] = {
    OptionReply.ERR_POLICY: "Denied by server for option {}",
    OptionReply.ERR_INVALID: "Invalid parameters for option {}",
    OptionReply.ERR_PLATFORM: "Server lacks support for option {}",
    OptionReply.ERR_TLS_REQD: "TLS negotiation required before option {}",
    OptionReply.ERR_UNKNOWN: "Requested export not available",
    OptionReply.ERR_SHUTDOWN: "Server shutting down before option {}",
    OptionReply.ERR_BLOCK_SIZE_REQD: "Server requires INFO_BLOCK_SIZE for option {}",
}
"""How QEMU puts the refusal of an option (nbd_handle_reply_err)."""


class RefusedError(NbdError):
    """A server refuses an option; the text is what the server says about it, if it does.

    :ivar option: of :class:`.Option`; ``kind``: of :class:`.OptionReply`.
    :ivar summary: what QEMU says of it; ``hint``: whole lines that it adds for people.
    """

    def __init__(self, option: Option, kind: int, told: str) -> None:
        super().__init__(_ERRNOS.get(kind, errno.EINVAL), told or f"the server refuses {option.words}")
        self.option = option
        self.kind = kind
        text = _REFUSALS.get(kind, "Unknown error code when asking for option {}")
        self.summary = text.format(f"{option} ({option.words})")
        self.hint = "Did you forget a valid tls-creds?\n" if kind == OptionReply.ERR_TLS_REQD else ""
        if told:
            self.hint += f"server reported: {told}\n"


class Negotiation:
    """One handshake.

    :param send: called with what the server is to be told.
    :param name: of the export.
    :param wanted: metadata contexts.
    :param best: what to ask for at most: extended headers, structured replies, or nothing.
    :ivar awaited: what the server is to say next, in QEMU's words.
    :ivar mode: what it has agreed to.
    :ivar contexts: the contexts that it has agreed to, by their ids.
    :ivar size: of the export, in bytes; ``flags``: what can be done with it; ``description``: for people, or None.
    :ivar block_sizes: the least, the preferred and the largest size of a request, in bytes; None if it does not tell.
    """

    def __init__(self, send: Callable[[bytes], None], name: bytes, wanted: Iterable[str], best: Mode) -> None:
        self._send = send
        self._name = name
        self._wanted = list(wanted)
        self._best = best
        self._no_zeroes = False
        self._told = 0  # bytes of the answer to an option
        self.awaited = ""
        self.mode = Mode.SIMPLE
        self.contexts: dict[int, str] = {}
        self.size = 0
        self.flags = ExportFlag(0)
        self.description: str | None = None
        self.block_sizes: tuple[int, int, int] | None = None

    def run(self) -> Reading[None]:
        """Come to the export (nbd_receive_negotiate).

        :raises NbdError: the server refuses, or breaks the rules; in QEMU's words.
        """
        greeting = yield from self.greet()
        if greeting is None:
            if self._name:
                raise NbdError(errno.EINVAL, "Server does not support non-empty export names")
            yield from self.take_only_export()
            yield from self._drop(ZEROES_AFTER_EXPORT, "reserved block")
            return
        if greeting & HandshakeFlag.FIXED_NEWSTYLE and (yield from self._choose()):
            return
        yield from self._choose_by_name()

    # -- the greeting

    def greet(self) -> Reading[HandshakeFlag | None]:
        """Hear the greeting, and answer; None for a server of the old style, which has one export and no options."""
        magic = yield from self._take(U64.size, "initial magic")
        if magic != GREETING_MAGIC:
            raise _broken(f"Bad initial magic received: 0x{U64.unpack(magic)[0]:x}")
        magic = yield from self._take(U64.size, "server magic")
        if magic == OLD_STYLE_MAGIC:
            return None
        if magic != OPTION_MAGIC:
            raise _broken(f"Bad server magic received: 0x{U64.unpack(magic)[0]:x}")
        (flags,) = U16.unpack((yield from self._take(U16.size, "server flags")))
        known = HandshakeFlag(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES))
        self._no_zeroes = bool(known & HandshakeFlag.NO_ZEROES)
        self._say("clientflags field", U32.pack(known))
        return known

    def take_only_export(self) -> Reading[None]:
        """Take the export of a server of the old style, but no zeroes behind it (nbd_negotiate_finish_oldstyle)."""
        (self.size,) = U64.unpack((yield from self._take(U64.size, "export length")))
        (flags,) = U32.unpack((yield from self._take(U32.size, "export flags")))
        if flags >> 16:
            raise NbdError(errno.EINVAL, f"Unexpected export flags {flags:x}x")  # QEMU's format has a letter too many
        self.flags = ExportFlag(flags)

    # -- options

    def _choose(self) -> Reading[bool]:
        """Choose what is wanted with options; False if the server does not know GO."""
        try:
            yield from self.settle_mode()
            if self._wanted and self.mode is not Mode.SIMPLE:
                yield from self._choose_contexts()
            length = yield from self._info_or_go(Option.GO, self._name)
            if length is None:
                yield from self._check_listed()
                return False
        except NbdError:
            self.abort()
            raise
        self._check_told(length)  # the server has no ear for options any more
        return True

    def settle_mode(self) -> Reading[None]:
        """Agree on the best way to write replies."""
        for mode, option in ((Mode.EXTENDED, Option.EXTENDED_HEADERS), (Mode.STRUCTURED, Option.STRUCTURED_REPLY)):
            if mode <= self._best and (yield from self._is_granted(option)):
                self.mode = mode
                return

    def _is_granted(self, option: Option) -> Reading[bool]:
        """Ask for an option without payload (nbd_request_simple_option)."""
        self.ask(option)
        try:
            kind, length = yield from self._next_reply(option)
        except RefusedError:
            return False
        if kind != OptionReply.ACK:
            what = f"option {option} ({option.words}) with unexpected reply {kind} ({reply_words(kind)})"
            raise _broken(f"Server answered {what}")
        if length:
            raise _broken(f"Option {option} ('{option.words}') response length is {length} (it should be zero)")
        return True

    def _choose_contexts(self) -> Reading[None]:
        """Choose what BLOCK_STATUS is to tell of (nbd_negotiate_simple_meta_context, which wants one)."""
        queries = [string(each.encode("utf-8", "surrogateescape")) for each in self._wanted]
        self.ask(Option.SET_META_CONTEXT, string(self._name) + U32.pack(len(queries)) + b"".join(queries))
        while (found := (yield from self.next_context(Option.SET_META_CONTEXT))) is not None:
            number, name = found
            if len(self.contexts) == len(self._wanted):
                raise _broken("Server answered with more than one context")
            if name not in self._wanted:
                what = f"meta context '{self._wanted[0]}', server answered with different context '{name}'"
                raise _broken(f"Failed to negotiate {what}")
            self.contexts[number] = name

    def next_context(self, option: Option) -> Reading[tuple[int, str] | None]:
        """The id and the name of the next context; None if there is no other (nbd_receive_one_meta_context)."""
        try:
            kind, length = yield from self._next_reply(option)
        except RefusedError:
            return None  # if there is no such export, GO will say so
        if kind == OptionReply.ACK:
            if length:
                raise _broken("Unexpected length to ACK response")
            return None
        if kind != OptionReply.META_CONTEXT:
            raise _unexpected(kind, OptionReply.META_CONTEXT)
        if not U32.size < length <= MAXIMUM_PAYLOAD:
            what = f"server answered with unexpected length {length}"
            raise _broken(f"Failed to negotiate meta context, {what}")
        (number,) = U32.unpack((yield from self._take(U32.size, "context id")))
        name = yield from self._take(length - U32.size, "context name")
        return number, name.decode("utf-8", "surrogateescape")

    def knows(self, name: bytes) -> Reading[bool]:
        """Ask for what there is to know of an export; False if the server does not know the option."""
        length = yield from self._info_or_go(Option.INFO, name)
        if length is not None:
            self._check_told(length)
        return length is not None

    def _info_or_go(self, option: Option, name: bytes) -> Reading[int | None]:
        """Ask for what there is to know of an export, or choose it (nbd_opt_info_or_go).

        :return: how many bytes belong to the server's last word; None if it does not know the option.
        """
        self.flags = ExportFlag(0)
        self.ask(option, string(name) + U16.pack(1) + U16.pack(Info.BLOCK_SIZE))
        while True:
            try:
                kind, length = yield from self._next_reply(option)
            except RefusedError as error:
                if error.kind != OptionReply.ERR_UNSUP:
                    raise
                return None
            if kind == OptionReply.ACK:
                return length
            if kind != OptionReply.INFO:
                raise _broken(f"unexpected reply type {_against(kind, OptionReply.INFO)}")
            yield from self._take_info(length)

    def _check_told(self, length: int) -> None:
        """Refuse an export of which was told too little.

        :param length: how many bytes belong to the server's last word, which has none to say.
        """
        if length:
            raise _broken("server sent invalid NBD_REP_ACK")
        if not self.flags:
            raise _broken("broken server omitted NBD_INFO_EXPORT")

    def _take_info(self, length: int) -> Reading[None]:
        if length < U16.size:
            raise _broken(f"NBD_REP_INFO length {length} is too short")
        (info,) = U16.unpack((yield from self._take(U16.size, "info type")))
        length -= U16.size
        expected = {Info.EXPORT: EXPORT.size, Info.BLOCK_SIZE: BLOCK_SIZES.size}.get(info, length)
        if length != expected:
            raise _broken(f"remaining export info len {length} is unexpected size")
        if info == Info.EXPORT:
            yield from self._take_size_and_flags()
        elif info == Info.BLOCK_SIZE:
            yield from self._take_block_sizes()
        elif info == Info.DESCRIPTION and length <= MAXIMUM_STRING:
            self.description = (yield from self._take(length, "info payload")).decode("utf-8", "surrogateescape")
        else:
            yield from self._drop(length, "info payload")

    def _take_size_and_flags(self) -> Reading[None]:
        (self.size,) = U64.unpack((yield from self._take(U64.size, "info size")))
        (flags,) = U16.unpack((yield from self._take(U16.size, "info flags")))
        self.flags = ExportFlag(flags)
        if self.block_sizes is not None and self.size % self.block_sizes[0]:
            what = f"export size {self.size} is not multiple of minimum block size {self.block_sizes[0]}"
            raise NbdError(errno.EINVAL, what)

    def _take_block_sizes(self) -> Reading[None]:
        least = yield from self._take_block_size("minimum")
        if least.bit_count() != 1:
            raise NbdError(errno.EINVAL, f"server minimum block size {least} is not a power of two")
        preferred = yield from self._take_block_size("preferred")
        if preferred.bit_count() != 1 or preferred < least:
            raise NbdError(errno.EINVAL, f"server preferred block size {preferred} is not valid")
        largest = yield from self._take_block_size("maximum")
        if largest < least:
            raise NbdError(errno.EINVAL, f"server maximum block size {largest} is not valid")
        self.block_sizes = least, preferred, largest

    def _take_block_size(self, which: str) -> Reading[int]:
        return int.from_bytes((yield from self._take(U32.size, f"info {which} block size")), "big")

    # -- servers that do not know GO

    def _check_listed(self) -> Reading[None]:
        """Refuse an export that is not in the server's list, if that has any (nbd_receive_query_exports)."""
        self.ask(Option.LIST)
        found, empty = False, True
        while (listed := (yield from self.next_listed())) is not None:
            found, empty = found or listed[0] == self._name, False
        if not (found or empty):
            raise NbdError(errno.ENOENT, f"No export with name '{self._name.decode('utf-8', 'replace')}' available")

    def next_listed(self) -> Reading[tuple[bytes, bytes] | None]:
        """The name and the description of the next export; None if there is no other (nbd_receive_list)."""
        try:
            kind, length = yield from self._next_reply(Option.LIST)
        except RefusedError as error:
            if error.kind != OptionReply.ERR_UNSUP:
                raise
            return None
        if kind == OptionReply.ACK:
            if length:
                raise _broken("length too long for option end")
            return None
        if kind != OptionReply.SERVER:
            raise _unexpected(kind, OptionReply.SERVER)
        if not U32.size <= length <= MAXIMUM_PAYLOAD:
            raise _broken(f"incorrect option length {length}")
        (name_length,) = U32.unpack((yield from self._take(U32.size, "option name length")))
        length -= U32.size
        if name_length > min(length, MAXIMUM_STRING):
            raise _broken("incorrect name length in server's list response")
        name = yield from self._take(name_length, "export name")
        length -= name_length
        if length > MAXIMUM_STRING:
            raise _broken("incorrect description length in server's list response")
        return name, (yield from self._take(length, "export description"))

    def _choose_by_name(self) -> Reading[None]:
        """Choose the export in the old way: a server that does not have it hangs up."""
        self.ask(Option.EXPORT_NAME, self._name)
        (self.size,) = U64.unpack((yield from self._take(U64.size, "export length")))
        (flags,) = U16.unpack((yield from self._take(U16.size, "export flags")))
        self.flags = ExportFlag(flags)
        if not self._no_zeroes:
            yield from self._drop(ZEROES_AFTER_EXPORT, "reserved block")

    # -- what is said

    def ask(self, option: Option, payload: bytes = b"") -> None:
        """Ask for an option.

        :raises NbdError: the connection is broken.
        """
        self._told = 0
        self._say("option request header", OPTION.pack(OPTION_MAGIC, option, len(payload)) + payload)

    def abort(self) -> None:
        """Tell the server that nothing more will be asked for; whether it hears that is all the same."""
        try:
            self._send(OPTION.pack(OPTION_MAGIC, Option.ABORT, 0))
        except OSError:
            return  # it has gone before

    def _say(self, what: str, data: bytes) -> None:
        try:
            self._send(data)
        except OSError as error:
            reason = error.strerror or error
            raise NbdError(error.errno, f"Failed to send {what}: Unable to write to socket: {reason}") from None

    def _next_reply(self, option: Option) -> Reading[tuple[int, int]]:
        """The kind of the next reply to an option, and how many bytes belong to it.

        :raises RefusedError: the server refuses the option.
        """
        if self._told > MAXIMUM_PAYLOAD:
            raise _broken(f"the answer to {option.words} has no end")  # QEMU hears it out
        reply = yield from self._take(OPTION_REPLY.size, "option reply")
        magic, answered, kind, length = OPTION_REPLY.unpack(reply)
        if magic != OPTION_REPLY_MAGIC:
            raise _broken("Unexpected option reply magic")
        if answered != option:
            what = f"{answered} ({option_words(answered)}), expected {option} ({option.words})"
            raise _broken(f"Unexpected option type {what}")
        if kind & _ERROR_BIT:
            what = f"error {kind} ({reply_words(kind)}) message"
            if length > MAXIMUM_PAYLOAD:
                raise _broken(f"server {what} is too long")
            told = yield from self._take(length, f"option {what}")
            raise RefusedError(option, kind, told.decode("utf-8", "replace"))
        self._told += OPTION_REPLY.size + length
        return kind, length

    def _take(self, length: int, what: str) -> Reading[bytes]:
        self.awaited = what
        return (yield length) if length else b""

    def _drop(self, length: int, what: str) -> Reading[None]:
        self.awaited = what
        yield from discard(length)


def _against(kind: int, expected: OptionReply) -> str:
    return f"{kind} ({reply_words(kind)}), expected {expected} ({reply_words(expected)})"


def _unexpected(kind: int, expected: OptionReply) -> NbdError:
    return _broken(f"Unexpected reply type {_against(kind, expected)}")


def _broken(text: str) -> NbdError:
    """The server breaks the rules of the protocol."""
    return NbdError(errno.EPROTO, text)
