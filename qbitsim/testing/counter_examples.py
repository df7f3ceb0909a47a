"""Running a state machine of :mod:`qbitsim.testing.stateful`, and making what is found as short as it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis.stateful import run_state_machine_as_test

from qbitsim.testing.shorten import Move, as_code, play, shortened

if TYPE_CHECKING:
    from hypothesis import settings as Settings  # noqa: N812 - a class

    from qbitsim.testing.stateful import BackupClientMachine


def run_as_test(machine: type[BackupClientMachine], *, settings: Settings | None = None) -> None:
    """Let Hypothesis play, and shorten what it finds.

    :param settings: those of the class's ``TestCase`` if not given.
    :raises Exception: what was found, with the story and the calls that lead to it as notes.
    """
    try:
        run_state_machine_as_test(machine, settings=settings)
    except Exception as error:
        for each in error.exceptions if isinstance(error, ExceptionGroup) else [error]:
            _shorten(machine, each)
        raise


def _shorten(machine: type[BackupClientMachine], found: Exception) -> None:
    """Put the shortest story that can be found into a failure."""

    def fails(moves: list[Move]) -> bool:
        error = play(machine, moves)
        return type(error) is type(found) and getattr(error, "law", None) == getattr(found, "law", None)

    moves = getattr(found, "moves", [])
    if not moves or not fails(moves):
        return
    moves = shortened(moves, fails)
    error = play(machine, moves)
    assert error is not None
    found.args = error.args
    found.__dict__.update(error.__dict__)
    found.__notes__ = [*error.__notes__, "as a test:", *as_code(machine.__name__, moves)]


def add_test_case(cls: type[BackupClientMachine]) -> None:
    """Let the ``TestCase`` of a state machine shorten what Hypothesis finds."""

    class Case(cls.TestCase):  # type: ignore[misc,name-defined]
        def runTest(self) -> None:  # noqa: N802 - unittest's name
            run_as_test(cls, settings=self.settings)

        runTest.is_hypothesis_test = True  # type: ignore[attr-defined]

    Case.__name__ = Case.__qualname__ = f"{cls.__name__}.TestCase"
    cls.TestCase = Case  # type: ignore[assignment]
