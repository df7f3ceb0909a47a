"""The ways to name an errno: a number, its digits as a text, or a name such as ``"EIO"``, in capitals or not."""

from __future__ import annotations

from errno import EIO, errorcode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Errno: TypeAlias = int | str
"""What every public function takes that takes an errno."""

_NUMBERS = {name: number for number, name in errorcode.items()}


def errno_number(given: Errno) -> int:
    """The number that is meant.

    :raises ValueError: there is no such errno.
    """
    if isinstance(given, int):
        if given not in errorcode:
            raise ValueError(f"{given} is no errno")
        return given
    number = int(given) if given.isdecimal() else _NUMBERS.get(given.upper())
    if number not in errorcode:
        raise ValueError(f"unknown errno {given!r}: write a name such as EIO or ENOSPC")
    assert number is not None
    return number


def errno_name(number: int) -> str:
    """``EIO`` for 5; the digits of what is no errno."""
    return errorcode.get(number, str(number))


def errno_of(error: OSError) -> int:
    """The errno of a failure; EIO of one that has none, such as the silence of a server."""
    return error.errno or EIO
