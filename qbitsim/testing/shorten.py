"""Making a failing sequence of moves as short and as simple as it can be.

Hypothesis does not shrink what a :class:`~qbitsim.testing.stateful.BackupClientMachine` finds: it knows bytes, and not
the moves that were made of them. Here moves are left out, and their arguments made simpler, as long as the same thing
fails: the moves are plain calls, which can be made again without Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from qbitsim.testing.moves import Move

PATIENCE = 10.0
"""Seconds that shortening may take, unless told otherwise."""

Fails = Callable[[list[Move]], bool]


def shortened(
    moves: Sequence[Move],
    fails: Fails,
    simpler: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    *,
    seconds: float = PATIENCE,
) -> list[Move]:
    """As few of the moves as still fail, as simple as they can be; if time allows, none of them can be left out.

    :param simpler: what the arguments of a move may be, the simplest first.
    :param seconds: after so many what was reached is returned.
    """
    end = monotonic() + seconds

    def still_fails(fewer: list[Move]) -> bool:
        return monotonic() < end and fails(fewer)

    kept = _fewer(list(moves), still_fails)
    if simpler:
        before = None
        while before != kept:
            before = kept
            kept = _fewer(_simpler(kept, still_fails, simpler), still_fails)
    return kept


def _fewer(kept: list[Move], fails: Fails) -> list[Move]:
    size = max(1, len(kept) // 2)
    while size:
        start, before = len(kept) - size, len(kept)
        while start > -size:
            fewer = kept[: max(0, start)] + kept[max(0, start) + size :]
            if len(fewer) < len(kept) and fails(fewer):
                kept = fewer
            start -= size
        if len(kept) == before or size > 1:
            size //= 2
    return kept


def _simpler(kept: list[Move], fails: Fails, simpler: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[Move]:
    for place, (name, given) in enumerate(kept):
        for argument, values in simpler.get(name, {}).items():
            for value in _simpler_values(given.get(argument), values):
                changed = [*kept[:place], (name, {**kept[place][1], argument: value}), *kept[place + 1 :]]
                if fails(changed):
                    kept = changed
                    break
    return kept


def _simpler_values(value: object, values: Sequence[Any]) -> Iterator[Any]:
    for each in values:
        if each == value:
            return
        yield each
