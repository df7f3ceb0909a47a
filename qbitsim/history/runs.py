"""Sets of cells as flat lists of numbers: gap, length, gap, length, and so on.

A gap counts from the end of the run before, the first one from 0, so that most numbers are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from qbitsim.bits.bits import Bits

PARTS = 1024
"""Into so many equal parts a bitmap is divided where its runs are too many."""


def encode(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Ranges [start, stop), ascending and apart, as a flat list."""
    flat: list[int] = []
    place = 0
    for start, stop in ranges:
        flat += (start - place, stop - start)
        place = stop
    return flat


def decode(flat: Iterable[int]) -> list[tuple[int, int]]:
    """The ranges [start, stop) of a flat list."""
    numbers = iter(flat)
    ranges = []
    place = 0
    for gap, length in zip(numbers, numbers, strict=True):
        ranges.append((place + gap, place + gap + length))
        place += gap + length
    return ranges


def heat(bits: Bits) -> list[int]:
    """How many bits are set in each of :data:`PARTS` equal parts; the bounds are rounded down."""
    bounds = [part * bits.length // PARTS for part in range(PARTS + 1)]
    return [bits.count_in(start, stop) for start, stop in pairwise(bounds)]
