"""Errnos and sizes as control commands take them: a number, or a text such as ``EIO`` and ``64M``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from qbitsim.errors import QmpError
from qbitsim.qapi.schema import Alternate, Int64
from qbitsim.sizes import parse_size

ErrnoOnWire: TypeAlias = Annotated[str | int, Alternate("XQbitsimErrno")]
SizeOnWire: TypeAlias = Annotated[str | Int64, Alternate("XQbitsimSize")]


def bytes_of(size: str | int) -> int:
    """The bytes that are meant; a negative number is left to whoever takes it.

    :raises QmpError: it is no size.
    """
    if isinstance(size, int):
        return size
    try:
        return parse_size(size)
    except ValueError as error:
        raise QmpError(str(error)) from None
