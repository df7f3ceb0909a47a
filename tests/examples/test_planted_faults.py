"""Hypothesis finds what is wrong with a backup client, and nothing where nothing is."""

from __future__ import annotations

import pytest
from hypothesis import settings
from planted_faults import FAULTY, FILE, HEAD, Honest, machine_of, moves_of, section

from qbitsim.testing.counter_examples import first_failure
from qbitsim.testing.moves import play
from qbitsim.testing.stateful import run_as_test

QUICK = settings(Honest.TestCase.settings, derandomize=True, database=None)
"""Those of the guide, but the same runs each time."""


def test_the_honest_client_breaks_no_law() -> None:
    run_as_test(Honest, settings=settings(QUICK, max_examples=5))


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_found_with_the_settings_of_the_guide(name: str) -> None:
    assert first_failure(machine_of(FAULTY[name]), settings=QUICK) is not None


@pytest.mark.parametrize("name", FAULTY)
def test_the_honest_client_survives_what_breaks_the_others(name: str) -> None:
    assert play(Honest, moves_of(FILE.read_text())[name]) is None


def test_the_counter_examples_are_what_comes_of_their_moves_and_short() -> None:
    text = FILE.read_text()
    examples = moves_of(text)
    assert text == "\n".join([HEAD, *(section(FAULTY[name], moves) for name, moves in examples.items())])
    assert list(examples) == list(FAULTY)
    assert max(map(len, examples.values())) <= 8
