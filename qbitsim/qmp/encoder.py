"""Values to one line of QMP output, byte for byte as QEMU writes it.

Members come in the order of QEMU's hash table (:mod:`~qbitsim.qapi.hashorder`), not in that of
the value; the orders of sets of keys that occur often are remembered. Commas and colons are
followed by one space. All that is not printable ASCII is escaped, with upper-case digits, DEL
included; U+FFFD stands for what QEMU calls invalid. A double is printed with ``%.17g``, so 1.0
becomes ``1`` and infinity ``inf``, which is not JSON (qobject/json-writer.c).

There is no recursion: an `id` may be nested deeper than Python's stack. A value that is long can be written in pieces,
so that others get their turn meanwhile (:func:`encode_pieces`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import lru_cache
from typing import Any

from qbitsim.jsontypes import JsonObject, JsonValue
from qbitsim.qapi.hashorder import qdict_order, qdict_order_in_steps
from qbitsim.qapi.text import printable

_CACHED_KEYS = 32
_PIECE = 2048  # values that are written, or keys that are put in order, at a time
_VERBATIM = re.compile(r"[ !#-\[\]-~]*").fullmatch
_SPECIAL = re.compile(r"[^ !#-\[\]-~]")
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def encode(value: JsonValue) -> bytes:
    """`value` as QEMU writes it in a reply, without the end of the line.

    :raises TypeError: the value holds something that is not JSON.
    """
    return b"".join(encode_pieces(value))


def encode_pieces(value: JsonValue) -> Iterator[bytes]:
    """What :func:`encode` returns, in pieces each of which takes about a millisecond; some may be empty.

    :raises TypeError: the value holds something that is not JSON.
    """
    out: list[str] = []
    frames: list[Iterator[tuple[str, JsonValue]]] = [iter((("", value),))]
    closers = [""]
    while frames:
        if len(out) >= _PIECE:
            yield "".join(out).encode("ascii")
            out.clear()
        for prefix, item in frames[-1]:
            scalar = _SCALARS.get(type(item))
            if scalar is not None:
                out.append(prefix + scalar(item))
                if len(out) >= _PIECE:
                    break
                continue
            if isinstance(item, dict) and len(item) > _PIECE:
                layout = yield from _layout_in_steps(item)
                opener, closer, frame = "{", "}", _laid_out(item, layout)
            else:
                opener, closer, frame = _open(item)
            out.append(prefix + opener)
            frames.append(frame)
            closers.append(closer)
            break
        else:
            frames.pop()
            out.append(closers.pop())
    yield "".join(out).encode("ascii")


def _layout_in_steps(item: JsonObject) -> Generator[bytes, None, list[tuple[str, str]]]:
    """What :func:`_layout` returns; nothing is written meanwhile."""
    layout: list[tuple[str, str]] = []
    for part in qdict_order_in_steps(list(item)):
        layout += [(f"{', ' if layout or index else ''}{_quote(key)}: ", key) for index, key in enumerate(part)]
        yield b""
    return layout


def encode_pretty(value: JsonValue) -> bytes:
    """The same with each part on a line of its own, indented by four spaces for each container that it is in."""
    depth, begins, out = 0, False, []
    for text, mark in _PARTS.findall(encode(value)):
        closes = mark in (b"}", b"]")
        if begins and not (closes and not text):
            out.append(_new_line(depth))
        out.append(text)
        depth -= closes
        out.append(_new_line(depth) + mark if closes else mark.rstrip())
        depth += mark in (b"{", b"[")
        begins = bool(mark) and not closes
    return b"".join(out)


_PARTS = re.compile(rb'((?:"(?:[^"\\]|\\.)*"|[^"{}\[\],])*)([{}\[\]]|, |)')
"""What stands between the marks of containers, and the mark behind it."""


def _new_line(depth: int) -> bytes:
    return b"\n" + b"    " * depth


def _open(item: JsonValue) -> tuple[str, str, Iterator[tuple[str, JsonValue]]]:
    """How to write a container: what opens it, what closes it, and its parts with what precedes each."""
    if isinstance(item, dict):
        return "{", "}", _members(item)
    if isinstance(item, list):
        return "[", "]", zip(_list_prefixes(len(item)), item, strict=True)
    raise TypeError(f"not a JSON value: {item!r}")


def member_order(value: JsonObject) -> tuple[str, ...]:
    """The keys of an object in the order in which QEMU visits them."""
    keys = tuple(value)
    return _cached_order(keys) if len(keys) <= _CACHED_KEYS else tuple(qdict_order(list(keys)))


@lru_cache(maxsize=1024)
def _cached_order(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(qdict_order(list(keys)))


def _members(item: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    keys = tuple(item)
    layout = _cached_layout(keys) if len(keys) <= _CACHED_KEYS else _layout(keys)
    return _laid_out(item, layout)


def _laid_out(item: JsonObject, layout: Iterable[tuple[str, str]]) -> Iterator[tuple[str, JsonValue]]:
    return ((prefix, item[key]) for prefix, key in layout)


def _layout(keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """The keys in QEMU's order, each behind the text that precedes its value."""
    return [(f"{', ' if index else ''}{_quote(key)}: ", key) for index, key in enumerate(qdict_order(list(keys)))]


_cached_layout = lru_cache(maxsize=1024)(_layout)


def _list_prefixes(count: int) -> Iterator[str]:
    return (", " if index else "" for index in range(count))


def _quote(text: str) -> str:
    if _VERBATIM(text):
        return f'"{text}"'
    return f'"{_SPECIAL.sub(_escape, printable(text))}"'


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    short = _SHORT_ESCAPES.get(char)
    if short is not None:
        return short
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: _quote,
    int: str,
    bool: lambda item: "true" if item else "false",
    type(None): lambda _: "null",
    float: lambda item: f"{item:.17g}",
}
