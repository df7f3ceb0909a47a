"""The sizes that the human monitor reads: numbers of mebibytes, unless a suffix says otherwise."""

from __future__ import annotations

import re

from qbitsim.qemu_io.numbers import TOO_LARGE, SizeError, parse_size

_SIZE = re.compile(r"\s*\+?(?:0x[0-9a-f]+|\d*(?:\.\d*)?)[bkmgtpe]?", re.ASCII | re.IGNORECASE)
_UNITS = tuple("kmgtp")
_HEXADECIMAL_UNITS = ("b", "e")
"""These two are digits of a hexadecimal number."""


def read_size(line: str, position: int, *, strict: bool) -> tuple[int, int]:
    """The bytes that the size at ``position`` means, and where it ends (qemu_strtosz_MiB, util/cutils.c, 10.0).

    What comes after it is not looked at: ``2Mx`` is 2 MiB and an ``x``.

    :param strict: how, see :attr:`.Profile.qemu_io_sizes_strict`.
    :raises SizeError: there is none, or it is too large.
    """
    match = _SIZE.match(line, position)
    text = match[0] if match is not None else ""
    hexadecimal = "0x" in text.lower()
    if text[-1:].lower() in (_UNITS if hexadecimal else _UNITS + _HEXADECIMAL_UNITS):
        return parse_size(text, strict=strict), position + len(text)
    size = _mebibytes(text) if hexadecimal else parse_size(f"{text}M", strict=strict)
    return size, position + len(text)


def _mebibytes(text: str) -> int:
    value = int(text, 16) << 20
    if value >= 1 << 63:
        raise SizeError(TOO_LARGE)
    return value
