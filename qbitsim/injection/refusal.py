"""Commands that are refused because a test wants it."""

from __future__ import annotations

from qbitsim.errors import QmpError


class Refusal:
    """Commands of one name are refused for a while.

    :ivar times: how often yet; None for always.
    """

    __slots__ = ("command", "error", "times")

    def __init__(self, command: str, error: QmpError, times: int | None) -> None:
        self.command = command
        self.error = error
        self.times = times

    def __repr__(self) -> str:
        return f"<Refusal of {self.command}: {self.error.desc}>"

    def lift(self) -> None:
        """Refuse no more."""
        self.times = 0

    def strike(self, command: str) -> None:
        """Refuse the command, if it is its turn.

        :raises QmpError: what the test wants.
        """
        if command != self.command or self.times == 0:
            return
        if self.times is not None:
            self.times -= 1
        raise QmpError(self.error.desc, self.error.error_class)
