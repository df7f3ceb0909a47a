"""The reader of the tour, who is asked at each step."""

from __future__ import annotations

from qbitsim.tour.lesson import Question


class LeftError(Exception):
    """The reader leaves; the tour can be taken up again at the step where this happens."""


class Reader:
    """A reader without a keyboard: makes no guesses, changes nothing and reads on.

    Each method of a subclass may raise :class:`LeftError`.
    """

    def guess(self, question: Question) -> str | None:
        """An answer that the question accepts, None if the reader would rather see."""
        return None

    def change(self, command: str, idea: str) -> str | None:
        """The command as the reader wants it, None for as it is.

        :param idea: what could be tried instead; empty if there is no idea.
        """
        return None

    def lets_jobs_run(self) -> bool:
        """Whether the jobs go on after the reader's own command; otherwise the machine is put back."""
        return False

    def turn(self) -> None:
        """Come back when the reader has read the step."""
