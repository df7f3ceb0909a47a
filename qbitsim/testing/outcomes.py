"""How the actions of a client have ended: one that never succeeds keeps every law, and nothing was tested with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

ENOUGH = 20
"""After so many tries without a success an action counts as one that cannot succeed."""


class Outcomes:
    """Counts the ends of actions, each by its name.

    :ivar succeeded: how often each came to its end.
    :ivar gave_up: how often each gave up.
    """

    def __init__(self) -> None:
        self.succeeded: Counter[str] = Counter()
        self.gave_up: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def add(self, action: str, why: str) -> None:
        """An action has ended: *why* it gave up, or an empty text if it did not."""
        (self.gave_up if why else self.succeeded)[action] += 1
        if why:
            self._last[action] = why

    def update(self, other: Outcomes) -> None:
        """Count what another one counts."""
        self.succeeded.update(other.succeeded)
        self.gave_up.update(other.gave_up)
        self._last |= other._last

    def counts(self) -> str:
        """``full 120, incremental 80 (gave up 21)``: each action with how often it came to its end."""
        names = dict.fromkeys([*self.succeeded, *self.gave_up])
        return ", ".join(
            f"{name} {self.succeeded[name]}" + (f" (gave up {self.gave_up[name]})" if self.gave_up[name] else "")
            for name in names
        )

    def in_vain(self) -> Iterator[str]:
        """A line for each action that was tried often enough and never succeeded, with what it said last."""
        for action, count in self.gave_up.items():
            if count >= ENOUGH and not self.succeeded[action]:
                yield f"{action} has never succeeded: it gave up {count:,} times, last with {self._last[action]}"
