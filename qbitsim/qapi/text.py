r"""Strings between QEMU's wire and Python.

QEMU keeps strings as C strings in *modified UTF-8*: U+0000 is the two bytes C0 80, so that no
zero byte occurs. A code point is valid for QEMU if it is a Unicode scalar value and not one of
the 66 noncharacters (util/unicode.c is_valid_codepoint, mod_utf8_codepoint). Here a string is
a Python ``str``, U+0000 being an ordinary character, and these functions translate:

* :func:`decode` is strict: what a client may write inside a string;
* :func:`decode_replacing` never fails: what QEMU's JSON writer makes of bytes that got into an
  error text, each broken sequence becoming one U+FFFD (qobject/json-writer.c quoted_str);
* :func:`unquote` reads a whole string token with its quotes and escapes.
"""

from __future__ import annotations

import re

from qbitsim.errors import QmpError

_NONCHARACTER = (
    "[\ufdd0-\ufdef" + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0, 0x110000, 0x10000)) + "]"
)
_SEQUENCE = (
    rb"[\x00-\x7f]+|[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc\xfd][\x80-\xbf]{0,5}|[\x80-\xff]"
)
_PIECE = re.compile(rb"[^\\]+|\\u?")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = {
    ord('"'): '"',
    ord("'"): "'",
    ord("\\"): "\\",
    ord("/"): "/",
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
}


def decode(data: bytes) -> str | None:
    """The text of modified UTF-8 `data`, or None if QEMU calls it invalid."""
    try:
        text = data.replace(b"\xc0\x80", b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if text.isascii() or re.search(_NONCHARACTER, text) is None else None


def decode_replacing(data: bytes) -> str:
    """The text of the C string `data` as QEMU prints it in a reply.

    The text ends before the first zero byte. A broken sequence (a lead byte with the
    continuation bytes that it claims and finds, or one stray byte) becomes one U+FFFD.
    """
    data = data.partition(b"\0")[0]
    parts = (decode(match.group()) for match in re.finditer(_SEQUENCE, data))
    return "".join("\ufffd" if part is None else part for part in parts)


def encode(text: str) -> bytes:
    """`text` as QEMU holds it: modified UTF-8 without the final zero byte.

    Lone surrogates, which only a Python caller can produce, are encoded as if they were valid.
    """
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")


def printable(text: str) -> str:
    """`text` with all that is invalid for QEMU replaced by U+FFFD, as its JSON writer does."""
    return re.sub(_NONCHARACTER, "\ufffd", re.sub("[\ud800-\udfff]", "\ufffd", text))


def unquote(token: bytes) -> str:
    """The value of a string token, quotes included, which the lexer has accepted.

    :raises QmpError: the first offence from the left, as qobject/json-parser.c parse_string
        words it: bad UTF-8, an unknown escape or an escaped code point that is not valid.
    """
    body = token[1:-1]
    if b"\\" not in body:
        return _plain(body)
    out = []
    pos = 1
    end = len(token) - 1
    while pos < end:
        piece = _PIECE.match(token, pos, end)
        assert piece is not None
        pos = piece.end()
        if piece.group() == b"\\u":
            text, pos = _unicode_escape(token, pos)
            out.append(text)
        elif piece.group() == b"\\":
            if token[pos] not in _ESCAPES:
                raise QmpError("JSON parse error, invalid escape sequence in string")
            out.append(_ESCAPES[token[pos]])
            pos += 1
        else:
            out.append(_plain(piece.group()))
    return "".join(out)


def _plain(data: bytes) -> str:
    text = decode(data)
    if text is None:
        raise QmpError("JSON parse error, invalid UTF-8 sequence in string")
    return text


def _unicode_escape(token: bytes, pos: int) -> tuple[str, int]:
    r"""The character whose four digits should be at `pos`, behind ``\u``, and the position after it."""
    end = pos + 4
    code = _hex4(token, pos)
    if 0xD800 <= code <= 0xDBFF and token[end : end + 2] == b"\\u":
        trailing = _hex4(token, end + 2)
        if 0xDC00 <= trailing <= 0xDFFF:
            code = 0x10000 + ((code & 0x3FF) << 10 | trailing & 0x3FF)
            end += 6
    if code < 0 or 0xD800 <= code <= 0xDFFF or re.match(_NONCHARACTER, chr(code)):
        raise QmpError(f"JSON parse error, {decode_replacing(token[pos - 2 : end])} is not a valid Unicode character")
    return chr(code), end


def _hex4(token: bytes, pos: int) -> int:
    match = _HEX4.match(token, pos)
    return int(match.group(), 16) if match else -1
