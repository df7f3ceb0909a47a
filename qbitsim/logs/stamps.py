"""The time of day in front of a line of a log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?(?: ?(Z|[+-]\d\d:?\d\d)(?!\d))?", re.ASCII
)
_FIRST = 100
"""Characters of a line in which its time of day stands."""


def stamp_of(line: str) -> tuple[int, bool] | None:
    """Nanoseconds since 1970 in a line's beginning, and whether it says in which time zone; UTC is assumed if not.

    None: there is no time, or one that no calendar has.
    """
    found = _STAMP.search(line, 0, _FIRST)
    if found is None:
        return None
    *numbers, fraction, zone = found.groups()
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        seconds = int(datetime(year, month, day, hour, minute, second, tzinfo=_zone(zone)).timestamp())
    except (ValueError, OverflowError):
        return None
    return max(0, seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")), zone is not None


def _zone(text: str | None) -> timezone:
    """``+0200`` as a time zone.

    :raises ValueError: no zone is so far away.
    """
    if text in (None, "Z"):
        return UTC
    assert text is not None
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1))
