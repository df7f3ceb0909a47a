"""Running a state machine of :mod:`qbitsim.testing.stateful`, and telling what is found in few words."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as Settings  # noqa: N812 - a class
from hypothesis.stateful import run_state_machine_as_test

import qbitsim
from qbitsim.testing.moves import Move, as_code, play
from qbitsim.testing.outcomes import Outcomes
from qbitsim.testing.shorten import PATIENCE, shortened

if TYPE_CHECKING:
    from qbitsim.testing.stateful import BackupClientMachine

SETTINGS = Settings(
    max_examples=500,
    stateful_step_count=6,
    deadline=None,
    report_multiple_bugs=False,
    print_blob=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target],
    suppress_health_check=list(HealthCheck),
)
"""What a ``TestCase`` has unless it is told otherwise; Hypothesis does not shrink, for :mod:`.shorten` does."""

_FOLDERS = tuple(str(Path(module.__file__).parent) for module in (hypothesis, qbitsim) if module.__file__)


def run_as_test(machine: type[BackupClientMachine], *, settings: Settings | None = None) -> None:
    """Let Hypothesis play, and shorten what it finds.

    :param settings: those of the class's ``TestCase`` if not given.
    :raises Exception: what was found, with the story and the calls that lead to it as notes. Its traceback begins in
        the client.
    :raises AssertionError: an action of the client has never succeeded.
    """
    __tracebackhide__ = True
    if machine.actions:
        _end(machine())  # a client that cannot be made is told as it is, and not by Hypothesis
    machine.outcomes = Outcomes()
    found = find(machine, settings=settings)
    if found is not None:
        raise found.with_traceback(_own_part(found.__traceback__))
    in_vain = list(machine.outcomes.in_vain())
    if in_vain:
        raise AssertionError("; ".join(in_vain))


def find(machine: type[BackupClientMachine], *, settings: Settings | None = None) -> Exception | None:
    """Let Hypothesis play, and return what it finds, made as short as it can be."""
    found = first_failure(machine, settings=settings)
    return None if found is None else shorten(machine, found)


def first_failure(machine: type[BackupClientMachine], *, settings: Settings | None = None) -> Exception | None:
    """Let Hypothesis play, and return what it finds as it is."""
    try:
        with _only_new_garbage():
            run_state_machine_as_test(machine, settings=settings or machine.TestCase.settings)
    except Exception as error:
        return error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    return None


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Do not look for garbage among what is there already: every machine of a run leaves some behind.

    With all the modules of a test run that is a tenth of the time.
    """
    if gc.get_freeze_count():  # somebody else does so
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def shorten(machine: type[BackupClientMachine], found: Exception, seconds: float = PATIENCE) -> Exception:
    """The same failure with the shortest story that can be found for it in so many seconds."""
    wanted = kind_of(found)

    def fails(moves: list[Move]) -> bool:
        error = play(machine, moves)
        return error is not None and kind_of(error) == wanted

    moves: list[Move] = found.__dict__.get("moves", [])
    if not moves or not fails(moves):
        return found
    moves = shortened(moves, fails, simpler_arguments(machine), seconds=seconds)
    error = play(machine, moves)
    assert error is not None
    error.__cause__ = error.__context__ = None
    error.add_note("\n".join(["as a test:", *as_code(machine.__name__, moves)]))
    return error


def kind_of(error: Exception) -> tuple[type[Exception], str | None]:
    """What must stay the same while a failure is shortened."""
    return type(error), getattr(error, "law", None)


def simpler_arguments(machine: type[BackupClientMachine]) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    """What arguments of moves may be, the simplest first, by the names of move and argument."""
    state = machine()
    try:
        return {
            name: {
                argument: list(values(state) if callable(values) else values)
                for argument, values in declared.arguments.items()
            }
            for name, declared in machine.weighted.moves.items()
        }
    finally:
        _end(state)


def _end(state: BackupClientMachine) -> None:
    """End a machine with which nothing was done."""
    state.over = True
    state.teardown()


def _own_part(traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins outside of Hypothesis and qbitsim; None if there is none."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_FOLDERS):
        traceback = traceback.tb_next
    return traceback


def add_test_case(cls: type[BackupClientMachine]) -> None:
    """Let the ``TestCase`` of a state machine shorten what Hypothesis finds."""

    class Case(cls.TestCase):  # type: ignore[misc,name-defined]
        settings = SETTINGS

        def runTest(self) -> None:  # noqa: N802 - unittest's name
            __tracebackhide__ = True
            run_as_test(cls, settings=self.settings)

        runTest.is_hypothesis_test = True  # type: ignore[attr-defined]

    Case.__name__ = Case.__qualname__ = f"{cls.__name__}.TestCase"
    cls.TestCase = Case  # type: ignore[assignment]
