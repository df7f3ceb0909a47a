"""Seconds that people say, as nanoseconds of virtual time."""

from __future__ import annotations

from qbitsim.engine.scheduler import NANOSECONDS

LONGEST = 1e9
"""Seconds, some thirty years: the longest time that somebody may ask for."""


def nanoseconds(seconds: float, name: str) -> int:
    """So many seconds, which may be 0.

    :raises ValueError: it is less, more than :data:`LONGEST`, or no number; it names the argument.
    """
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{name}: {seconds!r} seconds are none from 0 to {LONGEST:.0f}")
    return round(seconds * NANOSECONDS)


def delay(seconds: float) -> int:
    """So many seconds for which something is put off, more than 0.

    :raises ValueError: it is none.
    """
    if seconds <= 0:
        raise ValueError(f"a delay of {seconds} seconds is none")
    return nanoseconds(seconds, "seconds")
