"""Commands that are refused because a test wants it."""

from __future__ import annotations

from qbitsim.countdown import Countdown
from qbitsim.errors import QmpError


class Refusal(Countdown):
    """Commands of one name are refused for a while."""

    __slots__ = ("command", "error")

    def __init__(self, command: str, error: QmpError, times: int | None) -> None:
        super().__init__(times)
        self.command = command
        self.error = error

    def __repr__(self) -> str:
        return f"<Refusal of {self.command}: {self.error.desc}>"

    @property
    def text(self) -> str:
        """In plain words: ``stop is refused, once: no``."""
        return f"{self.command} is refused{self.often}: {self.error.desc}"

    def check(self, command: str) -> None:
        """Refuse the command, if it is its turn.

        :raises QmpError: what the test wants.
        """
        if command == self.command and self._count():
            raise QmpError(self.error.desc, self.error.error_class)
