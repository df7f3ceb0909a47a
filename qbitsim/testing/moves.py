"""Moves: what may happen between two requests of a client, one plain call each.

Theory of operation: a move is a method that was declared with :func:`move`. Each call is kept in ``self.moves``, so
that it can be made again without Hypothesis, left out, or pasted into a test. What is to happen next is read from
:class:`Choices`, a few bytes that Hypothesis draws at once: a draw costs more than most moves do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from qbitsim.jsontypes import Json

F = TypeVar("F", bound=Callable[..., None])
_T = TypeVar("_T")

Move = tuple[str, Json]
"""The name of a method and the arguments that it was called with."""

Values = Sequence[Any] | Callable[[Any], Sequence[Any]]
"""What an argument may be: the simplest first; a function is given the state machine."""


class Choices:
    """Choices that were drawn.

    :param drawn: they are read from its start; after its end the first of everything is chosen.
    """

    __slots__ = ("_drawn", "_place")

    def __init__(self, drawn: bytes) -> None:
        self._drawn = drawn
        self._place = 0

    @property
    def left(self) -> bool:
        """Whether there is something to be read."""
        return self._place < len(self._drawn)

    def number(self) -> int:
        """From 0 to 65535."""
        place = self._place
        self._place = place + 2
        return int.from_bytes(self._drawn[place : place + 2], "big")

    def pick(self, among: Sequence[_T]) -> _T:
        """One of them."""
        if len(among) == 1:
            return among[0]
        if len(among) > 256:
            return among[self.number() % len(among)]
        place = self._place
        self._place = place + 1
        return among[self._drawn[place] % len(among)] if place < len(self._drawn) else among[0]


class Declared(NamedTuple):
    """How often a move is made, and with what.

    :ivar kind: a word for what it is about, see :mod:`qbitsim.testing.weights`.
    :ivar at_rest: how often, relative to others, while the client does nothing; :ivar under_way: while it does.
    :ivar arguments: what each may be.
    """

    kind: str
    at_rest: int
    under_way: int
    arguments: Mapping[str, Values]

    def draw(self, state: Any, choices: Choices) -> Json:
        """Arguments for the move."""
        return {
            name: choices.pick(values(state) if callable(values) else values) for name, values in self.arguments.items()
        }


def move(
    when: Callable[[Any], object] | None = None,
    *,
    kind: str = "own",
    weights: tuple[int, int] | None = None,
    **arguments: Values,
) -> Callable[[F], F]:
    """Let a method record its calls in ``self.moves``, so that they can be made again; goes below ``@rule``.

    :param when: the method's precondition: a call does nothing if it does not hold.
    :param kind: a word for what it is about; what has the same word is left out together in some runs.
    :param weights: how often it is made, relative to others, while the client does nothing and while it does. A move
        without weights is made only by those who call it, such as a rule of Hypothesis.
    :param arguments: what each of its arguments may be, the simplest first.
    """
    declared = Declared(kind, *weights, arguments) if weights is not None else None

    def decorate(method: F) -> F:
        @wraps(method)
        def recorded(self: Any, **given: Any) -> None:
            if when is None or when(self):
                self.moves.append((method.__name__, given))
                method(self, **given)

        recorded.declared = declared  # type: ignore[attr-defined]
        recorded.when = when  # type: ignore[attr-defined]
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
