"""Every recorded scenario, played on qbitsim, against what real QEMU 11.1, 10.0 and 7.2 answered.

Two comparisons, each a test named after its scenario:

* step by step (:func:`qbitsim.scenario.reductions.by_step`): required of all;
* record by record, with every pause of QEMU's own drained sections and every event on its side of the reply:
  required of all but :data:`NOT_TO_THE_LETTER`.

Where QEMU did not do the same each time, its transcript has the other ways as ``alternatives``: any of them will do.

The directory ``more`` has scenarios of the same kind that came later, named ``m-`` and the group they belong to.

In the scenarios of group x real QEMU crashes or corrupts its state; ``test_crashes.py`` has them.
"""

from __future__ import annotations

from typing import Any

import pytest
from recordings import CASES, HERE, MORE, NAMES, VERSIONS, as_recorded, played, recorded, scenario

from qbitsim.scenario.player import Player
from qbitsim.scenario.reductions import by_step

NOT_YET: dict[tuple[str, str], str] = {}
"""Scenarios whose answers differ step by step, with the reason. Each is a strict expected failure."""

NOT_TO_THE_LETTER: dict[tuple[str, str], str] = {}
"""Scenarios that agree step by step only, with the reason."""


def nearest(mine: list[Any], ways: list[list[Any]]) -> list[Any]:
    """The way that is equal to mine, or else the first one."""
    return mine if mine in ways else ways[0]


def cases(expected_failures: dict[tuple[str, str], str]) -> list[Any]:
    return [
        pytest.param(
            *case,
            id="-".join(case),
            marks=[pytest.mark.xfail(strict=True, reason=expected_failures[case])] if case in expected_failures else [],
        )
        for case in CASES
    ]


@pytest.mark.parametrize(("version", "name"), cases(NOT_YET))
def test_step_by_step(version: str, name: str) -> None:
    mine = by_step(played(version, name))
    assert mine == nearest(mine, [by_step(way) for way in recorded(version, name)])


@pytest.mark.parametrize(("version", "name"), cases(NOT_YET | NOT_TO_THE_LETTER))
def test_to_the_letter(version: str, name: str) -> None:
    mine = played(version, name)
    assert mine == nearest(mine, recorded(version, name))


def test_every_exception_names_a_scenario_and_a_reason() -> None:
    exceptions = NOT_YET | NOT_TO_THE_LETTER
    assert set(exceptions) <= set(CASES)
    assert all(exceptions.values())
    assert not set(NOT_YET) & set(NOT_TO_THE_LETTER)


def test_every_transcript_has_its_scenario_and_every_scenario_a_transcript_of_each_version() -> None:
    for version in VERSIONS:
        for folder, names in ((HERE, NAMES), (HERE / "more", MORE)):
            assert sorted(path.stem for path in (folder / f"golden-{version}").glob("*.json")) == names


@pytest.mark.parametrize("name", NAMES + MORE)
def test_the_same_scenario_gives_the_same_records_on_every_play(name: str) -> None:
    if any((version, name) in NOT_YET for version in VERSIONS):
        pytest.skip("does not play to its end yet")
    assert as_recorded(Player("10.0").play(scenario(name)["steps"])) == played("10.0", name)
