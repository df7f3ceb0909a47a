"""Tokens to JSON values, with QEMU's error texts and limits.

QEMU collects the tokens of a message until its brackets balance, then parses them
(qobject/json-streamer.c, json-parser.c). Here the value is built while the tokens come,
without recursion, and the first offence is remembered; only when QEMU would have parsed is the
value, or the offence, handed out. What is the same either way: one answer per message, the
first offence from the left, and that a limit, checked while collecting, beats a wrong syntax.

Braces and brackets are counted apart, and a message also ends when either count drops below
zero. So ``[}`` ends at once, but ``{[}`` goes on until a ``]``.

QEMU 11.1 parses each token when it comes. An offence is told at once, with the line and the column of the token at
which it was seen, and what follows is skipped up to where the message ends, or up to a stray token, which is not
reported then. An exceeded limit is followed by the same skipping; before, the next token began a new message.
"""

from __future__ import annotations

from collections.abc import Callable

from qbitsim.enums import StrEnum
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


class _Expect(StrEnum):
    """What the grammar wants next."""

    VALUE = "value"
    VALUE_OR_CLOSE = "value or close"  # just inside a bracket
    KEY = "key"
    KEY_OR_CLOSE = "key or close"  # just inside a brace
    COLON = "colon"
    COMMA_OR_CLOSE = "comma or close"


# how an offence is worded, and how if it is told at once
_NO_COLON = ("missing : in object pair", "expecting ':'")
_NO_KEY = ("key is not a string in object", "expecting key")
_NO_SEPARATOR_IN_OBJECT = ("expected separator in dict", "expected ',' or '}'")
_NO_SEPARATOR_IN_ARRAY = ("expected separator in list", "expected ',' or ']'")


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

    __slots__ = (
        *("_at_once", "_braces", "_brackets", "_count", "_error", "_expect", "_open", "_place", "_size", "_skipping"),
        "_value",
    )

    def __init__(self, place: Callable[[], tuple[int, int]] | None = None) -> None:
        """:param place: line and column of the token that is pushed; if given, offences are told at once."""
        self._place = place
        self._at_once = place is not None
        self._reset()

    def _reset(self) -> None:
        self._braces = self._brackets = self._count = self._size = 0
        self._error: QmpError | None = None
        self._skipping = False
        self._expect = _Expect.VALUE
        self._value: JsonValue = None
        # containers that are not closed yet, each object with the key whose value is awaited
        self._open: list[tuple[list[JsonValue] | JsonObject, str | None]] = []

    @property
    def idle(self) -> bool:
        """True if no token of a message has come yet."""
        return self._count == 0 and not self._skipping

    @property
    def _ended(self) -> bool:
        """Whether the brackets of the message are closed, or too many of them."""
        return (self._braces <= 0 and self._brackets <= 0) or self._braces < 0 or self._brackets < 0

    def push(self, kind: Kind, token: bytes) -> tuple[JsonValue | QmpError] | None:
        """Take one token; the finished message, or an error, in a 1-tuple, or None if it goes on."""
        if kind is Kind.STRAY:
            silent = self._skipping
            self._reset()
            text = f"JSON parse error, stray '{decode_replacing(token)}'"
            return None if silent else (self._located(QmpError(text)),)
        self._braces += (kind is Kind.OPEN_OBJECT) - (kind is Kind.CLOSE_OBJECT)
        self._brackets += (kind is Kind.OPEN_ARRAY) - (kind is Kind.CLOSE_ARRAY)
        if self._skipping:
            if self._ended:
                self._reset()
            return None
        limit = self._limit_exceeded(token)
        if limit is not None:
            return self._exceeded(QmpError(f"JSON {limit} limit exceeded"))
        self._count += 1
        self._size += len(token)
        if self._error is None:
            try:
                self._parse(kind, token)
            except QmpError as error:
                if self._at_once:
                    return self._skip_after(self._located(error))
                self._error = error
        return self._finished() if self._ended else None

    def _finished(self) -> tuple[JsonValue | QmpError]:
        result = self._value if self._error is None else self._error
        assert self._error is not None or not self._open
        self._reset()
        return (result,)

    def _exceeded(self, error: QmpError) -> tuple[QmpError]:
        if self._at_once:
            return self._skip_after(error)
        self._reset()
        return (error,)

    def _skip_after(self, error: QmpError) -> tuple[QmpError]:
        """Tell an offence, and skip what is left of the message."""
        self._skipping = True
        if self._ended:
            self._reset()
        return (error,)

    def _located(self, error: QmpError) -> QmpError:
        if self._place is None:
            return error
        line, column = self._place()
        return QmpError(f"{line}:{column}: {error.desc}")

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
                raise self._complaint(_NO_COLON)
            self._expect = _Expect.VALUE
        elif expect is _Expect.COMMA_OR_CLOSE:
            self._separate(kind)
        elif (expect is _Expect.KEY_OR_CLOSE and kind is Kind.CLOSE_OBJECT) or (
            expect is _Expect.VALUE_OR_CLOSE and kind is Kind.CLOSE_ARRAY
        ):
            self._close()
        elif expect in (_Expect.KEY, _Expect.KEY_OR_CLOSE) and self._at_once and kind is not Kind.STRING:
            raise self._complaint(_NO_KEY)
        else:
            self._start_value(kind, token)

    def _complaint(self, words: tuple[str, str]) -> QmpError:
        return QmpError(f"JSON parse error, {words[self._at_once]}")

    def _separate(self, kind: Kind) -> None:
        in_object = isinstance(self._open[-1][0], dict)
        if kind is Kind.COMMA:
            self._expect = _Expect.KEY if in_object else _Expect.VALUE
        elif kind is (Kind.CLOSE_OBJECT if in_object else Kind.CLOSE_ARRAY):
            self._close()
        else:
            raise self._complaint(_NO_SEPARATOR_IN_OBJECT if in_object else _NO_SEPARATOR_IN_ARRAY)

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
                raise self._complaint(_NO_KEY)
            self._open[-1] = (container, value)
            self._expect = _Expect.COLON
