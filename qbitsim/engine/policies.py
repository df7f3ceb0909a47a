"""The order among tasks when several are due: a choice that a test can make.

A policy is called with the tasks that are due and answers with an index. Every choice can be recorded as a
plain list of numbers, so that an order which breaks something can be pasted into a test::

    machine = Machine(policy=Replay([0, 2, 1, 0, 0, 3]))

A task that is due alone is no choice and is not recorded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task


class ReplayError(Exception):
    """A recorded order does not fit: it names a task that is not there, or it ended too early."""


class Recorded:
    """The common part: keeps what was chosen.

    :ivar choices: the index chosen each time there was a choice, oldest first.
    """

    def __init__(self) -> None:
        self.choices: list[int] = []

    def __call__(self, ready: Sequence[Task]) -> int:
        """Choose among the tasks that are due, of which there are at least two."""
        chosen = self.choose(ready)
        if not 0 <= chosen < len(ready):
            raise ReplayError(f"choice {len(self.choices)} is {chosen}, but only {len(ready)} tasks are due")
        self.choices.append(chosen)
        return chosen

    def __repr__(self) -> str:
        return f"Replay({self.choices})"

    def choose(self, ready: Sequence[Task]) -> int:
        """The index of the task that runs next."""
        raise NotImplementedError


class Seeded(Recorded):
    """A random order, always the same for the same seed.

    :param seed: any number.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def choose(self, ready: Sequence[Task]) -> int:
        """One of them, each as likely as the others."""
        return self._random.randrange(len(ready))


class Replay(Recorded):
    """An order that was recorded.

    :param choices: what :attr:`Recorded.choices` held.
    :param then_first: after its end, or from a choice that does not fit, go on first in, first out, instead of raising
        :class:`ReplayError`.
    """

    def __init__(self, choices: Iterable[int], *, then_first: bool = False) -> None:
        super().__init__()
        self._given = list(choices)
        self._then_first = then_first

    def choose(self, ready: Sequence[Task]) -> int:
        """The next one of the record.

        :raises ReplayError: the record has ended, or names a task that is not there.
        """
        place = len(self.choices)
        if place < len(self._given):
            if not self._then_first or 0 <= self._given[place] < len(ready):
                return self._given[place]
            del self._given[place:]
        if self._then_first:
            return 0
        raise ReplayError(
            f"the record ends after {place} choices, but there is one more: {', '.join(task.label for task in ready)}"
        )


class Drawn(Recorded):
    """An order that somebody else draws, Hypothesis for instance.

    :param draw: called with the number of tasks that are due and their labels; answers with an index.
    """

    def __init__(self, draw: Callable[[int, list[str]], int]) -> None:
        super().__init__()
        self._draw = draw

    def choose(self, ready: Sequence[Task]) -> int:
        """What is drawn."""
        return self._draw(len(ready), [task.label for task in ready])
