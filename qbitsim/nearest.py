"""What somebody may have meant who wrote a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 100
"""Characters: what is longer is like no name, and not looked at."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing if no known name is like it."""
    if len(name) > LONGEST:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415 - wanted where a name is wrong

    found = get_close_matches(name, list(known), 1)
    return f"; did you mean '{found[0]}'?" if found else ""
