"""Tokens to JSON values, with QEMU's error texts and limits.

QEMU collects the tokens of a message until its brackets balance, then parses them
(qobject/json-streamer.c, json-parser.c). Here the value is built while the tokens come,
without recursion, and the first offence is remembered; only when QEMU would have parsed is the
value, or the offence, handed out. What is the same either way: one answer per message, the
first offence from the left, and that a limit, checked while collecting, beats a wrong syntax.

Braces and brackets are counted apart, and a message also ends when either count drops below
zero. So ``[}`` ends at once, but ``{[}`` goes on until a ``]``.
"""

from __future__ import annotations

from enum import Enum, auto

from qbitsim.errors import QmpError
from qbitsim.jsontypes import JsonObject, JsonValue
from qbitsim.qapi.text import decode_replacing, unquote
from qbitsim.qmp.lexer import MAX_TOKEN_BYTES, Kind

MAX_TOKENS = 2 << 20
"""Tokens in one message (json-streamer.c MAX_TOKEN_COUNT)."""
MAX_NESTING = 1024
"""Open braces plus open brackets (json-streamer.c MAX_NESTING)."""

_KEYWORDS: dict[bytes, JsonValue] = {b"true": True, b"false": False, b"null": None}
_INT64_MIN = -(1 << 63)
_UINT64_END = 1 << 64
_UINT64_DIGITS = 20


class _Expect(Enum):
    """What the grammar wants next."""

    VALUE = auto()
    VALUE_OR_CLOSE = auto()  # just inside a bracket
    KEY = auto()
    KEY_OR_CLOSE = auto()  # just inside a brace
    COLON = auto()
    COMMA_OR_CLOSE = auto()


def number(text: str) -> int | float:
    """The value of an integer token: int64, else uint64, else double.

    `-0` is the integer 0 (qobject/json-parser.c parse_literal).
    """
    if len(text) <= _UINT64_DIGITS:
        value = int(text)
        if _INT64_MIN <= value < _UINT64_END:
            return value
    return float(text)


def insert(target: JsonObject, key: str, value: JsonValue) -> None:
    """Add a member to an object.

    :raises QmpError: the object has a member of this name.
    """
    if key in target:
        raise QmpError("JSON parse error, duplicate key")
    target[key] = value


class Message:
    """The message that is being assembled; reused for the next one after each result."""

    __slots__ = ("_braces", "_brackets", "_count", "_error", "_expect", "_open", "_size", "_value")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._braces = self._brackets = self._count = self._size = 0
        self._error: QmpError | None = None
        self._expect = _Expect.VALUE
        self._value: JsonValue = None
        # containers that are not closed yet, each object with the key whose value is awaited
        self._open: list[tuple[list[JsonValue] | JsonObject, str | None]] = []

    @property
    def idle(self) -> bool:
        """True if no token of a message has come yet."""
        return self._count == 0

    def push(self, kind: Kind, token: bytes) -> tuple[JsonValue | QmpError] | None:
        """Take one token; the finished message in a 1-tuple, or None if it goes on."""
        if kind is Kind.STRAY:
            self._reset()
            return (QmpError(f"JSON parse error, stray '{decode_replacing(token)}'"),)
        self._braces += (kind is Kind.OPEN_OBJECT) - (kind is Kind.CLOSE_OBJECT)
        self._brackets += (kind is Kind.OPEN_ARRAY) - (kind is Kind.CLOSE_ARRAY)
        limit = self._limit_exceeded(token)
        if limit is not None:
            self._reset()
            return (QmpError(f"JSON {limit} limit exceeded"),)
        self._count += 1
        self._size += len(token)
        if self._error is None:
            try:
                self._parse(kind, token)
            except QmpError as error:
                self._error = error
        if (self._braces > 0 or self._brackets > 0) and self._braces >= 0 and self._brackets >= 0:
            return None
        result = self._value if self._error is None else self._error
        assert self._error is not None or not self._open
        self._reset()
        return (result,)

    def _limit_exceeded(self, token: bytes) -> str | None:
        if self._size + len(token) + 1 > MAX_TOKEN_BYTES:
            return "token size"
        if self._count + 1 > MAX_TOKENS:
            return "token count"
        if self._braces + self._brackets > MAX_NESTING:
            return "nesting depth"
        return None

    def _parse(self, kind: Kind, token: bytes) -> None:
        expect = self._expect
        if expect is _Expect.COLON:
            if kind is not Kind.COLON:
                raise QmpError("JSON parse error, missing : in object pair")
            self._expect = _Expect.VALUE
        elif expect is _Expect.COMMA_OR_CLOSE:
            self._separate(kind)
        elif (expect is _Expect.KEY_OR_CLOSE and kind is Kind.CLOSE_OBJECT) or (
            expect is _Expect.VALUE_OR_CLOSE and kind is Kind.CLOSE_ARRAY
        ):
            self._close()
        else:
            self._start_value(kind, token)

    def _separate(self, kind: Kind) -> None:
        in_object = isinstance(self._open[-1][0], dict)
        if kind is Kind.COMMA:
            self._expect = _Expect.KEY if in_object else _Expect.VALUE
        elif kind is (Kind.CLOSE_OBJECT if in_object else Kind.CLOSE_ARRAY):
            self._close()
        else:
            raise QmpError(f"JSON parse error, expected separator in {'dict' if in_object else 'list'}")

    def _start_value(self, kind: Kind, token: bytes) -> None:
        if kind is Kind.STRING:
            self._finish_value(unquote(token))
        elif kind is Kind.OPEN_OBJECT:
            self._open.append(({}, None))
            self._expect = _Expect.KEY_OR_CLOSE
        elif kind is Kind.OPEN_ARRAY:
            self._open.append(([], None))
            self._expect = _Expect.VALUE_OR_CLOSE
        elif kind is Kind.INTEGER:
            self._finish_value(number(token.decode()))
        elif kind is Kind.FLOAT:
            self._finish_value(float(token))
        elif kind is Kind.KEYWORD:
            if token not in _KEYWORDS:
                raise QmpError(f"JSON parse error, invalid keyword '{token.decode()}'")
            self._finish_value(_KEYWORDS[token])
        else:
            raise QmpError("JSON parse error, expecting value")

    def _close(self) -> None:
        self._finish_value(self._open.pop()[0])

    def _finish_value(self, value: JsonValue) -> None:
        """Put a complete value where it belongs."""
        if not self._open:
            self._value = value
            return
        container, key = self._open[-1]
        self._expect = _Expect.COMMA_OR_CLOSE
        if isinstance(container, list):
            container.append(value)
        elif key is not None:
            insert(container, key, value)
            self._open[-1] = (container, None)
        else:
            if not isinstance(value, str):
                raise QmpError("JSON parse error, key is not a string in object")
            self._open[-1] = (container, value)
            self._expect = _Expect.COLON
