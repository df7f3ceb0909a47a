"""What can be read of a JSON text that is cut off."""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
_LISTS = ("[", "{[")
"""Where the lists are whose elements count: at the top, and in the object there."""


def salvage(text: str) -> object:
    """The value up to the last whole element of its lists; None if there is none.

    A value is a list, or an object with lists.
    """
    kept = 0
    open_there = ""
    stack: list[str] = []
    for token in _TOKEN.finditer(text):
        what = token.group()
        if what in _CLOSING:
            stack.append(what)
        elif what in _CLOSING.values() and (not stack or _CLOSING[stack.pop()] != what):
            return None
        here = "".join(stack) if len(stack) < 3 else ""
        if (here in _LISTS and what in "[]}") or (here == "{" and what == "]"):
            kept, open_there = token.end(), here
    if not kept:
        return None
    closing = "".join(_CLOSING[each] for each in reversed(open_there))
    try:
        return json.loads(text[:kept] + closing)
    except (ValueError, RecursionError):
        return None
