"""Bytes to JSON tokens, resumable at any byte.

The tokens and the recovery from errors are those of qobject/json-lexer.c. A state knows the
bytes that keep it (`run`, a regular expression that skips them at C speed), the bytes that lead to
another state (`moves`) and, if what was read so far is a whole token, its `kind`. A byte that
is in neither ends the token if there is one, and is read again at the start; if there is none, the
token so far *and that byte* are an error. After an error everything is skipped up to a
structural character, a control character other than tab, or a byte 0xFE or 0xFF.

Consequences that clients can see: a bare number or keyword is only known once the next byte
has come; ``-}`` swallows the brace; ``0`` takes no exponent; a run of small letters is always a
keyword; strings may be in single quotes; byte 0xFF always draws an error and so resets the parser.

A partial token is kept as a list of pieces, so a long string that arrives in many pieces costs no
more than one that arrives at once.

QEMU 11.1 tells where a token began. Lines are counted only when somebody asks (:meth:`Lexer.place`), and when data
ends. A token that begins with the byte that ended the one before it, or ended the skipping after an error, is said to
begin one column further right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qbitsim.enums import StrEnum

MAX_TOKEN_BYTES = 64 << 20
"""A token that grows beyond this is cut and reported (json-lexer.c MAX_TOKEN_SIZE)."""


class Kind(StrEnum):
    """What a token is. The values of the structural ones are their text."""

    OPEN_OBJECT = "{"
    CLOSE_OBJECT = "}"
    OPEN_ARRAY = "["
    CLOSE_ARRAY = "]"
    COLON = ":"
    COMMA = ","
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    KEYWORD = "keyword"
    STRAY = "stray"  # no token can start or go on like this
    OVERSIZE = "oversize"  # cut at the size limit


class _State:
    """A state of the lexer; see the module docstring."""

    __slots__ = ("final", "kind", "moves", "run")

    def __init__(self, run: bytes = b"", kind: Kind | None = None, *, final: bool = False) -> None:
        self.run = re.compile(run, re.DOTALL).match
        self.kind = kind
        self.final = final  # the token is complete without a look at the next byte
        self.moves: dict[int, _State] = {}

    def on(self, chars: bytes, state: _State) -> None:
        """Let each of `chars` lead to `state`."""
        self.moves.update(dict.fromkeys(chars, state))


_START = _State(rb"[ \t\r\n]*")
_RECOVERY = _State(rb"[\t\x20-+\--9;-Z\\^-z|~-\xfd]*")


def _build_strings() -> None:
    closed = _State(kind=Kind.STRING, final=True)
    for quote in (b'"', b"'"):
        inside = _State(rb"[^\x00-\x1f\\\xfe\xff" + quote + rb"]*")
        escape = _State()
        escape.on(bytes(range(0x20, 0xFE)), inside)
        inside.on(b"\\", escape)
        inside.on(quote, closed)
        _START.on(quote, inside)


def _build_numbers() -> None:
    digits = rb"[0-9]*"
    sign, point, exponent, exponent_sign = _State(), _State(), _State(), _State()
    zero, integer = _State(kind=Kind.INTEGER), _State(digits, Kind.INTEGER)
    fraction, power = _State(digits, Kind.FLOAT), _State(digits, Kind.FLOAT)
    never = _State(final=True)  # a digit behind a leading zero
    for state in (_START, sign):
        state.on(b"0", zero)
        state.on(b"123456789", integer)
    _START.on(b"-", sign)
    zero.on(b".", point)
    zero.on(b"0123456789", never)
    integer.on(b".", point)
    integer.on(b"eE", exponent)
    point.on(b"0123456789", fraction)
    fraction.on(b"eE", exponent)
    exponent.on(b"+-", exponent_sign)
    exponent.on(b"0123456789", power)
    exponent_sign.on(b"0123456789", power)


def _build_rest() -> None:
    for kind in (Kind.OPEN_OBJECT, Kind.CLOSE_OBJECT, Kind.OPEN_ARRAY, Kind.CLOSE_ARRAY, Kind.COLON, Kind.COMMA):
        _START.on(kind.value.encode(), _State(kind=kind, final=True))
    _START.on(b"abcdefghijklmnopqrstuvwxyz", _State(rb"[a-z]*", Kind.KEYWORD))


_build_strings()
_build_numbers()
_build_rest()


class Lexer:
    """Cuts a stream of bytes into tokens."""

    __slots__ = (
        *("_begun", "_column", "_counted", "_data", "_held", "_held_size", "_limit", "_line", "_looked_ahead"),
        *("_shift", "_start", "_state"),
    )

    def __init__(self, limit: int = MAX_TOKEN_BYTES) -> None:
        """:param limit: the longest token in bytes; a smaller one than QEMU's is for tests."""
        self._state = _START
        self._held: list[bytes] = []  # earlier pieces of the token that is being read
        self._held_size = 0
        self._limit = limit
        self._data = b""
        self._counted = 0  # bytes of the data whose lines were counted
        self._line = self._column = 1  # of the next byte that was not counted
        self._start = 0  # where the token begins in the data
        self._begun: tuple[int, int] | None = None  # the place of a token that began in earlier data
        self._looked_ahead = False  # the next byte ended something before it
        self._shift = False  # the token begins with such a byte

    @property
    def idle(self) -> bool:
        """True between tokens: nothing read so far has a bearing on what comes."""
        return self._state is _START

    def skip(self, data: bytes) -> None:
        """Count the lines of `data`, which somebody else has read, between tokens."""
        self._data, self._counted = data, 0
        self._count(len(data))

    def place(self) -> tuple[int, int]:
        """Line and column, from 1, at which the token began that :meth:`feed` yielded last."""
        line, column = self._begun or self._count(self._start)
        return line, column + self._shift

    def _count(self, end: int) -> tuple[int, int]:
        """Go on counting up to `end`; its line and column."""
        data, start = self._data, self._counted
        lines = data.count(b"\n", start, end)
        if lines:
            self._line += lines
            self._column = 1
            start = data.rfind(b"\n", start, end) + 1
        self._column += end - start
        self._counted = end
        return self._line, self._column

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The tokens that `data` completes, in order, each with its text.

        The lexer goes on only as far as the iterator is read; read it to its end.
        """
        self._data, self._counted = data, 0
        start = pos = 0
        while True:
            state = self._state
            match = state.run(data, pos)
            assert match is not None
            blank, pos = pos != match.end(), match.end()
            if state is _START:
                start = self._start = pos
                self._begun = None
                self._shift = self._looked_ahead and not blank
                self._looked_ahead = False
            elif state is _RECOVERY:
                start = pos
                if pos < len(data):
                    self._state = _START
                    self._looked_ahead = True
                    continue
            elif self._held_size + pos - start > self._limit:
                pos = start + self._limit + 1 - self._held_size
                yield self._emit(Kind.OVERSIZE, data[start:pos])
                start = pos
                continue
            if pos == len(data):
                break
            following = state.moves.get(data[pos])
            if following is None:
                kind = state.kind
                if kind is None:
                    pos += 1
                self._looked_ahead = kind is not None
                yield self._emit(kind or Kind.STRAY, data[start:pos])
                start = pos
            elif following.final:
                pos += 1
                yield self._emit(following.kind or Kind.STRAY, data[start:pos])
                start = pos
            else:
                pos += 1
                self._state = following
        if start < pos:
            if self._begun is None:
                self._begun = self._count(self._start)
            self._held.append(data[start:pos])
            self._held_size += pos - start
        self._count(pos)

    def _emit(self, kind: Kind, last: bytes) -> tuple[Kind, bytes]:
        """The token that ends with `last`, having put the lexer behind it."""
        self._state = _RECOVERY if kind is Kind.STRAY else _START
        if self._held:
            last = b"".join((*self._held, last))
            self._held.clear()
            self._held_size = 0
        return kind, last
