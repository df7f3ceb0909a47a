"""Making a failing sequence of moves shorter than Hypothesis does.

Hypothesis cannot always delete a step of a state machine, for its choices about which rules are in play are kept within
the steps. What remains is shortened here by leaving out moves, as long as the same thing fails: the moves are plain
calls, which can be made again without Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from qbitsim.jsontypes import Json

F = TypeVar("F", bound=Callable[..., None])

Move = tuple[str, Json]
"""The name of a method and the arguments that it was called with."""


def move(when: Callable[[Any], object] | None = None) -> Callable[[F], F]:
    """Let a method record its calls in ``self.moves``, so that they can be made again; goes below ``@rule``.

    :param when: the method's precondition: a call does nothing if it does not hold.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def recorded(self: Any, **arguments: Any) -> None:
            if when is None or when(self):
                self.moves.append((method.__name__, arguments))
                method(self, **arguments)

        return recorded  # type: ignore[return-value]

    return decorate


def as_code(name: str, moves: Sequence[Move]) -> list[str]:
    """The moves as lines of a test."""
    calls = [
        f"state.{each}({', '.join(f'{key}={_literal(value)}' for key, value in given.items())})"
        for each, given in moves
    ]
    return [f"state = {name}()", *calls, "state.teardown()"]


def _literal(value: object) -> str:
    """As formatters write it: a plain text in double quotes."""
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def play(make: Callable[[], Any], moves: Sequence[Move]) -> Exception | None:
    """Make the moves on a new state machine, and end it; return what was raised."""
    state = make()
    failure = None
    try:
        for name, arguments in moves:
            getattr(state, name)(**arguments)
    except Exception as error:
        state.over, failure = True, error
    try:
        state.teardown()
    except Exception as error:
        failure = failure or error
    return failure


def shortened(moves: Sequence[Move], fails: Callable[[list[Move]], bool]) -> list[Move]:
    """As few of the moves as still fail; none of them can be left out."""
    kept, size = list(moves), max(1, len(moves) // 2)
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
