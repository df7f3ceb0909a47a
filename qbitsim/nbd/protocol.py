"""The words of the NBD protocol: numbers, flags, names and records, for servers and clients.

The protocol is described in doc/proto.md of https://github.com/NetworkBlockDevice/nbd. Numbers are big-endian; offsets
and lengths are in bytes. Names are those that QEMU writes into its messages (nbd/common.c, 10.0).
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from enum import IntEnum, IntFlag
from struct import Struct
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")

Reading: TypeAlias = Generator[int, bytes, _T]
"""A conversation without I/O: it yields how many bytes it needs next and is sent exactly these."""

MAXIMUM_STRING = 4096
"""Bytes of a name or a description."""
MAXIMUM_PAYLOAD = 32 << 20
"""Bytes of data in one request, and of the payload of an option."""
DISCARDED_AT_ONCE = 1 << 16
"""Bytes that are asked for at once where nobody looks at them."""

GREETING_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
OLD_STYLE_MAGIC = bytes.fromhex("00 00 42 02 81 86 12 53")
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
EXTENDED_REQUEST_MAGIC = 0x21E41C71
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF
EXTENDED_REPLY_MAGIC = 0x6E8A278C

GREETING = Struct(">8s8sH")
"""NBDMAGIC, IHAVEOPT and the flags of the server."""
OPTION = Struct(">8sII")
"""IHAVEOPT, the option, the length of its payload."""
OPTION_REPLY = Struct(">QIII")
"""Magic, the option, the kind of reply, the length of its payload."""
EXPORT = Struct(">QH")
"""Size and flags of an export."""
OLD_STYLE_EXPORT = Struct(">QI")
"""Size and flags of the only export of a server of the old style."""
BLOCK_SIZES = Struct(">III")
"""The least, the preferred and the largest size of a request."""
U16 = Struct(">H")
U32 = Struct(">I")
U64 = Struct(">Q")

REQUEST = Struct(">IHHQQI")
"""Magic, flags, command, cookie, offset, length."""
EXTENDED_REQUEST = Struct(">IHHQQQ")
SIMPLE_REPLY = Struct(">IIQ")
"""Magic, error, cookie."""
CHUNK = Struct(">IHHQI")
"""Magic, flags, kind, cookie, length."""
EXTENDED_CHUNK = Struct(">IHHQQQ")
"""Magic, flags, kind, cookie, offset of the request, length."""
HOLE = Struct(">QI")
"""Offset and length."""
ERROR = Struct(">IH")
"""Error, length of the message."""
EXTENDED_STATUS = Struct(">II")
"""Id of the context, number of extents."""

ZEROES_AFTER_EXPORT = 124
"""Bytes that follow the answer to EXPORT_NAME, unless NO_ZEROES was agreed on, and the greeting of the old style."""


class HandshakeFlag(IntFlag):
    """What both sides say before the options."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    """What a client asks for in the handshake."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10
    EXTENDED_HEADERS = 11

    @property
    def words(self) -> str:
        """As in messages: ``list meta context``."""
        return self.name.lower().replace("_", " ")


class OptionReply(IntEnum):
    """The kind of an answer to an option; errors have the highest bit."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = 0x80000001
    ERR_POLICY = 0x80000002
    ERR_INVALID = 0x80000003
    ERR_PLATFORM = 0x80000004
    ERR_TLS_REQD = 0x80000005
    ERR_UNKNOWN = 0x80000006
    ERR_SHUTDOWN = 0x80000007
    ERR_BLOCK_SIZE_REQD = 0x80000008
    ERR_TOO_BIG = 0x80000009
    ERR_EXT_HEADER_REQD = 0x8000000A


class Info(IntEnum):
    """What is told of an export."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class ExportFlag(IntFlag):
    """What can be done with an export."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    ROTATIONAL = 1 << 4
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8
    SEND_RESIZE = 1 << 9
    SEND_CACHE = 1 << 10
    SEND_FAST_ZERO = 1 << 11
    BLOCK_STAT_PAYLOAD = 1 << 12


class Command(IntEnum):
    """What a request asks for."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7

    @property
    def words(self) -> str:
        """As in messages: ``write zeroes``."""
        return "disconnect" if self is Command.DISC else self.name.lower().replace("_", " ")


class CommandFlag:
    """How a request is meant: plain numbers, which are looked at for each request."""

    FUA = 1 << 0
    NO_HOLE = 1 << 1
    DF = 1 << 2
    REQ_ONE = 1 << 3
    FAST_ZERO = 1 << 4
    PAYLOAD_LEN = 1 << 5


class ChunkKind(IntEnum):
    """The kind of a chunk of a structured reply; errors have the highest bit."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    BLOCK_STATUS_EXT = 6
    ERROR = 0x8001
    ERROR_OFFSET = 0x8002


CHUNK_DONE = 1
"""The flag of the last chunk of a reply."""

STATE_HOLE = 1
STATE_ZERO = 2
STATE_DIRTY = 1


class Mode(IntEnum):
    """How replies are written, as the handshake has settled it."""

    SIMPLE = 0
    STRUCTURED = 1
    EXTENDED = 2


_ERRORS = {
    errno.EPERM: errno.EPERM,
    errno.EROFS: errno.EPERM,
    errno.EIO: errno.EIO,
    errno.ENOMEM: errno.ENOMEM,
    errno.EDQUOT: errno.ENOSPC,
    errno.EFBIG: errno.ENOSPC,
    errno.ENOSPC: errno.ENOSPC,
    errno.EOVERFLOW: errno.EOVERFLOW,
    errno.ENOTSUP: errno.ENOTSUP,
    errno.ESHUTDOWN: errno.ESHUTDOWN,
}
"""errno -> error on the wire; all others are EINVAL. Errors on the wire have Linux's numbers."""


def error_on_wire(number: int | None) -> int:
    """The error that stands for an errno (system_errno_to_nbd_errno, nbd/server.c, QEMU 10.0)."""
    return _ERRORS.get(number or errno.EIO, errno.EINVAL)


def error_from_wire(number: int) -> int:
    """The errno that an error on the wire stands for (nbd_errno_to_system_errno, nbd/common.c, QEMU 10.0)."""
    return number if number in _ERRORS.values() else errno.EINVAL


def option_words(option: int) -> str:
    """What messages call an option, known or not."""
    return Option(option).words if option in Option._value2member_map_ else "<unknown>"


_REPLY_WORDS: dict[int, str] = {
    OptionReply.ACK: "ack",
    OptionReply.SERVER: "server",
    OptionReply.INFO: "info",
    OptionReply.META_CONTEXT: "meta context",
    OptionReply.ERR_UNSUP: "unsupported",
    OptionReply.ERR_POLICY: "denied by policy",
    OptionReply.ERR_INVALID: "invalid",
    OptionReply.ERR_PLATFORM: "platform lacks support",
    OptionReply.ERR_TLS_REQD: "TLS required",
    OptionReply.ERR_UNKNOWN: "export unknown",
    OptionReply.ERR_SHUTDOWN: "server shutting down",
    OptionReply.ERR_BLOCK_SIZE_REQD: "block size required",
    OptionReply.ERR_TOO_BIG: "option payload too big",
    OptionReply.ERR_EXT_HEADER_REQD: "extended headers required",
}


def reply_words(kind: int) -> str:
    """What messages call the kind of an answer to an option, known or not."""
    return _REPLY_WORDS.get(kind, "<unknown>")


def command_words(command: int) -> str:
    """What messages call a command, known or not."""
    return Command(command).words if command in Command._value2member_map_ else "<unknown>"


def string(text: bytes) -> bytes:
    """A text behind its length, as options have it."""
    return U32.pack(len(text)) + text


def discard(length: int) -> Reading[None]:
    """Take that many bytes and look at none of them."""
    while length:
        taken = min(length, DISCARDED_AT_ONCE)
        yield taken
        length -= taken
