"""What differs between a record and what came now, in lines for people."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any

SHORT = 300
"""Characters of JSON that are shown whole; of longer values, only the first part that differs."""

_NOTHING = object()


def difference_lines(was: Any, now: Any) -> str:
    """``- recorded: ...`` and ``+ now: ...``, and where in a long value the two differ first.

    :param was, now: JSON values that are not equal, None for nothing at all.
    """
    if was is None or now is None:
        return _lines(*(_NOTHING if each is None else each for each in (was, now)))
    if len(json.dumps(was)) <= SHORT and len(json.dumps(now)) <= SHORT:
        return _lines(was, now)
    place, one, other = first_place(was, now)
    return f"in {place}:\n{_lines(one, other)}" if place else _lines(was, now)


def first_place(one: Any, other: Any) -> tuple[str, Any, Any]:
    """The path to the first part that differs, such as ``reply.return[0].count``, and what the two values have there.

    It ends at objects that do not have the same members. The path is empty if the values are of two kinds.
    """
    place = ""
    while True:
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            name = next(name for name in one if one[name] != other[name])
            place += f".{name}"
            one, other = one[name], other[name]
        elif isinstance(one, list) and isinstance(other, list):
            pairs = enumerate(zip_longest(one, other, fillvalue=_NOTHING))
            index = next(index for index, (mine, theirs) in pairs if mine != theirs)
            place += f"[{index}]"
            one, other = (each[index] if index < len(each) else _NOTHING for each in (one, other))
        else:
            return place.removeprefix("."), one, other


def _lines(one: Any, other: Any) -> str:
    was, now = ("nothing more" if each is _NOTHING else json.dumps(each) for each in (one, other))
    return f"- recorded: {was}\n+ now: {now}"
