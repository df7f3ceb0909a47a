"""The words behind a meta command, as the numbers and sizes that they stand for."""

from __future__ import annotations

from qbitsim.shell.words import LineError, Word
from qbitsim.sizes import parse_size

Given = list[Word]
"""The words behind the name of a meta command."""


def size(word: Word) -> int:
    """Bytes: ``64k``, or a number, which may be hexadecimal.

    :raises LineError: it is no size.
    """
    try:
        return int(word.text, 16) if word.text.lower().startswith("0x") else parse_size(word.text)
    except ValueError:
        raise LineError(f"'{word.text}' is no size: write a number of bytes, such as 64k or 1M", word.start) from None


def number(word: Word, of_what: str) -> int:
    """A number of things, at least one.

    :param of_what: the things, for people.
    :raises LineError: it is none.
    """
    value = _integer(word)
    if value < 1:
        raise LineError(f"'{word.text}' is no number of {of_what}", word.start)
    return value


def byte(word: Word) -> int:
    """A number from 0 to 255.

    :raises LineError: it is none.
    """
    value = _integer(word)
    if not 0 <= value <= 255:
        raise LineError(f"'{word.text}' is no byte", word.start)
    return value


def _integer(word: Word) -> int:
    try:
        return int(word.text, 0)
    except ValueError:
        return -1
