"""A stream of bytes to JSON messages, exactly as a QMP monitor of QEMU reads them.

There are two ways through. The exact one is :mod:`~qbitsim.qmp.lexer` and
:mod:`~qbitsim.qmp.assembler`; it knows QEMU's dialect, its limits and its recovery from errors, and goes on
wherever the last piece of data ended. The fast one is the C scanner of the standard library.
It is only tried between messages, on data whose characters mean the same in both dialects, and
only for whole objects; from the first thing that it does not accept, the exact way takes over, and
a piece of data is never given to the fast way twice.

Data may be read in pieces (:meth:`JsonStream.read_piece`), so that a long message does not hold up others.

What keeps the fast way honest: the characters are plain ASCII without control characters, and of escapes there are
only those of two characters that JSON has (so strings are the same); `_fast_integer` and `_fast_float` do what QEMU
does or refuse; a key given twice is refused; NaN and Infinity are refused; and the data is so short and has so few
brackets that no limit can be exceeded.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from typing import NoReturn

from qbitsim.errors import QmpError
from qbitsim.jsontypes import JsonObject, JsonValue
from qbitsim.qmp.assembler import MAX_NESTING, Message
from qbitsim.qmp.lexer import Lexer

_FAST_BYTES = 1 << 20
_EXACT_BYTES = 4096  # read by the exact way at a time: some milliseconds
_PLAIN = re.compile(rb'[\t\n\r -\[\]-~]*(?:\\["\\/bfnrt][\t\n\r -\[\]-~]*)*').fullmatch
_SPACE = re.compile(r"[ \t\n\r]*").match
_INT64_DIGITS = 19


class JsonStream:
    """The parser of one monitor."""

    __slots__ = ("_lexer", "_message", "_read", "_unread")

    def __init__(self, *, errors_at_once: bool = False) -> None:
        """:param errors_at_once: see :attr:`.Profile.json_errors_at_once`."""
        self._lexer = Lexer()
        self._message = Message(self._lexer.place if errors_at_once else None)
        self._unread: deque[bytes] = deque()
        self._read = 0  # bytes of the first of these that were read

    @property
    def unread(self) -> int:
        """How many bytes :meth:`read_piece` has to read."""
        return sum(map(len, self._unread)) - self._read if self._unread else 0

    def feed(self, data: bytes) -> list[JsonValue | QmpError]:
        """What `data` completes, in order: values, and for broken messages the error to report.

        A QmpError here is an answer, not an exception: the stream goes on behind it. The
        results do not depend on how the stream was cut into pieces.
        """
        items: list[JsonValue | QmpError] = []
        self.receive(data)
        while self._unread:
            items += self.read_piece()
        return items

    def receive(self, data: bytes) -> None:
        """Take data for :meth:`read_piece`."""
        if data:
            self._unread.append(data)

    def read_piece(self) -> list[JsonValue | QmpError]:
        """What the next piece of the data completes, as :meth:`feed` returns it; nothing if there is no data."""
        items: list[JsonValue | QmpError] = []
        if not self._unread:
            return items
        data, start = self._unread[0], self._read
        if self._lexer.idle and self._message.idle:
            fresh = data[start : start + _FAST_BYTES]
            done = _feed_fast(fresh, items)
            if done:
                self._lexer.skip(fresh[:done])
                start += done
        end = start + _EXACT_BYTES
        push = self._message.push
        for kind, token in self._lexer.feed(data[start:end]) if start < len(data) else ():
            result = push(kind, token)
            if result is not None:
                items.append(result[0])
        self._read = end
        if end >= len(data):
            self._unread.popleft()
            self._read = 0
        return items


def parse_command_line_object(text: str, *, named: bool) -> JsonObject:
    """The object that a text is, as QEMU reads JSON from its command line.

    :param named: whether line and column of an early end are told.
    :raises QmpError: it is none.
    """
    stream = JsonStream(errors_at_once=True)
    items = stream.feed(os.fsencode(text))
    if not items:
        early = f"1:{len(text) + 1}: JSON parse error, premature end of input" if named else ""
        raise QmpError(early or "JSON parse error, premature EOI")
    first = items[0]
    if isinstance(first, QmpError):
        raise first
    if len(items) > 1:
        raise QmpError("JSON parse error, expecting value")
    assert isinstance(first, dict)
    return first


def _feed_fast(data: bytes, items: list[JsonValue | QmpError]) -> int:
    """Append the leading messages of `data` that are safe to read fast; where the rest starts."""
    if (
        len(data) > _FAST_BYTES
        or not data.startswith(b"{")
        or data.count(b"[") + data.count(b"{") > MAX_NESTING
        or not _PLAIN(data)
    ):
        return 0
    text = data.decode("ascii")
    done = 0
    while text.startswith("{", done):
        try:
            value, end = _DECODER.raw_decode(text, done)
        except (ValueError, RecursionError):
            break
        items.append(value)
        space = _SPACE(text, end)
        assert space is not None
        done = space.end()
    return done


def _fast_integer(text: str) -> int:
    if len(text) < _INT64_DIGITS:
        return int(text)
    raise ValueError(text)


def _fast_float(text: str) -> float:
    if text.lstrip("-")[:2] in ("0e", "0E"):  # QEMU's lexer takes no exponent here
        raise ValueError(text)
    return float(text)


def _fast_object(members: list[tuple[str, JsonValue]]) -> JsonObject:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("duplicate key")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_fast_object,
    parse_int=_fast_integer,
    parse_float=_fast_float,
    parse_constant=_refuse,
)
