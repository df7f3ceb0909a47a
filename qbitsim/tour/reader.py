"""Who takes the tour."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from qbitsim.tour.lesson import Question


class LeftError(Exception):
    """The reader leaves; the tour can be taken up again at the step where this happens."""


class Next(Enum):
    """What a reader wants after a command of his own."""

    BACK = "put the machine back"
    RUN = "let the jobs go on"


class Reader(Protocol):
    """Who is asked. Each method may raise :class:`LeftError`."""

    def guess(self, question: Question) -> str | None:
        """An answer that the question accepts, None if the reader would rather see."""

    def change(self, command: str, idea: str) -> str | None:
        """The command as the reader wants it, None for as it is.

        :param idea: what could be tried instead; empty if there is no idea.
        """

    def after_change(self) -> Next:
        """What to do now that the reader's own command has run."""

    def turn(self) -> None:
        """Comes back when the reader has read the step."""


class Auto:
    """A reader without a keyboard: makes no guesses, changes nothing and reads on."""

    def guess(self, question: Question) -> str | None:
        """None."""
        return None

    def change(self, command: str, idea: str) -> str | None:
        """None."""
        return None

    def after_change(self) -> Next:
        """Not asked, as nothing is changed."""
        return Next.BACK

    def turn(self) -> None:
        """At once."""
