"""How often something strikes: it lets so many occasions go by first, and strikes so many times."""

from __future__ import annotations


class Countdown:
    """The common part of what a test wants to go wrong.

    :ivar after: how many more occasions are let go by first.
    :ivar times: how often it still strikes; None for always.
    """

    __slots__ = ("after", "times")

    def __init__(self, times: int | None, after: int = 0) -> None:
        self.times = times
        self.after = after

    def lift(self) -> None:
        """Strike no more."""
        self.times = 0

    @property
    def often(self) -> str:
        """In plain words, behind others: ``, once after 2 that do not``; empty for always."""
        if self.times == 0:
            return ", no more"
        often = "" if self.times is None else ", once" if self.times == 1 else f", {self.times} times"
        return f"{often} after {self.after} that do not" if self.after else often

    def _count(self) -> bool:
        """Whether it strikes at an occasion that is one of its own; it is counted."""
        if self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if not self._draw():
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def _draw(self) -> bool:
        """Whether chance lets it strike."""
        return True
