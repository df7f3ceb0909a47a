"""Hypothesis finds what is wrong with a backup client, and nothing where nothing is."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from planted_faults import FAULTY, FILE, HEAD, SETTINGS, Honest, found, moves_of, section

from qbitsim.testing.laws import NO_BIT_LOST, NOTHING_LEFT, RESTORES
from qbitsim.testing.moves import play
from qbitsim.testing.stateful import run_as_test

LAWS = {"ClearsTheBitmap": NO_BIT_LOST, "TakesAnyJob": RESTORES, "CleansUpEarly": NOTHING_LEFT}


def test_the_honest_client_breaks_no_law() -> None:
    run_as_test(Honest, settings=settings(SETTINGS, max_examples=100))


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_found_and_told_in_a_few_lines(name: str) -> None:
    error = found(FAULTY[name], settings(SETTINGS, phases=[Phase.generate]))
    story, code = "\n".join(error.__notes__).split("as a test:")
    assert error.law == LAWS[name]
    assert f"state = {name}()" in code
    assert len(error.__dict__["moves"]) <= 8
    assert len(story.splitlines()) <= 35


@pytest.mark.parametrize("name", FAULTY)
def test_the_honest_client_survives_what_breaks_the_others(name: str) -> None:
    assert play(Honest, moves_of(FILE.read_text())[name]) is None


def test_the_counter_examples_are_what_comes_of_their_moves() -> None:
    text = FILE.read_text()
    sections = [section(FAULTY[name], moves) for name, moves in moves_of(text).items()]
    assert text == "\n".join([HEAD, *sections])
    assert list(moves_of(text)) == list(FAULTY)
