"""Every recorded scenario, played on qbitsim, against what real QEMU 11.1, 10.0 and 7.2 answered.

The records must be the same, with every pause of QEMU's own drained sections and every event on its side of the reply;
those of :data:`NOT_TO_THE_LETTER` are compared step by step (:func:`qbitsim.scenario.reductions.by_step`).

Where QEMU did not do the same each time, its transcript has the other ways as ``alternatives``: any of them will do.
In the scenarios of group x real QEMU crashes or corrupts its state; ``test_crashes.py`` has them.
"""

from __future__ import annotations

from typing import Any

import pytest
from recordings import CASES, as_recorded, recorded, scenario

from qbitsim.scenario.player import Player
from qbitsim.scenario.reductions import by_step

NOT_YET: dict[tuple[str, str], str] = {}
"""Scenarios whose answers differ step by step, with the reason. Each is a strict expected failure."""

NOT_TO_THE_LETTER: dict[tuple[str, str], str] = {}
"""Scenarios that agree step by step only, with the reason."""


def cases() -> list[Any]:
    marks = {case: [pytest.mark.xfail(strict=True, reason=reason)] for case, reason in NOT_YET.items()}
    return [pytest.param(*case, id="-".join(case), marks=marks.get(case, [])) for case in CASES]


@pytest.mark.parametrize(("version", "name"), cases())
def test_the_answers_are_those_of_real_qemu(version: str, name: str) -> None:
    mine = as_recorded(Player(version).play(scenario(name)["steps"]))
    ways = recorded(version, name)
    if (version, name) in NOT_TO_THE_LETTER:
        assert mine not in ways, "it agrees to the letter now"
        mine, ways = by_step(mine), [by_step(way) for way in ways]
    assert mine == (mine if mine in ways else ways[0])


def test_every_exception_names_a_scenario_and_a_reason() -> None:
    exceptions = NOT_YET | NOT_TO_THE_LETTER
    assert set(exceptions) <= set(CASES)
    assert all(exceptions.values())
    assert not set(NOT_YET) & set(NOT_TO_THE_LETTER)
