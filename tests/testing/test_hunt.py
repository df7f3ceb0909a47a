"""A hunt tells failures apart, goes on behind what is known, and leaves a story, a test and a page of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from qbitsim import Machine
from qbitsim.cli.main import main
from qbitsim.testing import hunt
from qbitsim.testing.clients import Chain, Conversation, execute
from qbitsim.testing.hunt import Hunter, Known, machine_at
from qbitsim.testing.laws import NOTHING_LEFT
from qbitsim.testing.stateful import BackupClientMachine

PLACE = f"{__name__}:LitteringMachine"


class Littering:
    """Leaves a node behind when a command is refused, and one each time that it is told to."""

    def __init__(self) -> None:
        self.number = 0

    def chains(self) -> list[Chain]:
        return []

    def litters(self) -> Conversation:
        self.number += 1
        yield execute("blockdev-add", driver="null-co", node_name=f"left{self.number}")

    def fails(self) -> Conversation:
        self.number += 1
        yield execute("blockdev-add", driver="null-co", node_name=f"used{self.number}")
        yield execute("transaction", actions=[])
        yield execute("blockdev-del", node_name=f"used{self.number}")


class LitteringMachine(BackupClientMachine):
    actions = ("fails", "litters")

    def client(self, machine: Machine) -> Any:
        return Littering()


LitteringMachine.TestCase.settings = settings(LitteringMachine.TestCase.settings, database=None)


class CarefulMachine(LitteringMachine):
    actions = ("fails",)
    refusable = ()


def test_more_bad_luck_than_it_takes_is_the_same_failure() -> None:
    known = Known("LawBrokenError", "law", frozenset({"disk_fails"}))
    assert known.covers(Known("LawBrokenError", "law", frozenset({"disk_fails", "machine_crashes"})))
    assert not known.covers(Known("LawBrokenError", "law", frozenset()))
    assert not known.covers(Known("LawBrokenError", "another law", frozenset({"disk_fails"})))
    assert not known.covers(Known("LookupError", "law", frozenset({"disk_fails"})))


def test_a_round_finds_a_failure_and_the_next_one_looks_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "ROUND", 10)
    hunter = Hunter(PLACE)
    first = hunter.round(0)
    assert first.failure is not None
    assert first.failure.kind == Known("LawBrokenError", NOTHING_LEFT, frozenset())
    assert len(first.failure.moves) == 1
    second = hunter.round(1)
    assert second.failure is None
    assert second.again > 0
    assert second.runs >= second.again
    assert second.counts["moves", "client_begins"] > 0
    assert second.counts["commands", "blockdev-add"] > 0


def test_what_needs_bad_luck_is_another_failure_than_what_does_not() -> None:
    hunter = Hunter(PLACE)
    hunter.known = [Known("LawBrokenError", NOTHING_LEFT, frozenset({"command_refused"}))]
    found = hunter.round(0).failure
    assert found is not None
    assert found.kind.bad_luck == frozenset()


@pytest.mark.parametrize("place", ["test_hunt", "test_hunt:none", "test_hunt:Littering", "no_such_module:Machine"])
def test_a_place_without_a_machine_is_refused(place: str) -> None:
    with pytest.raises((ImportError, ValueError)):
        machine_at(place)


def test_the_command_leaves_a_story_a_test_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--minutes", "1", "--workers", "1", "--failures", "1", "-o", str(tmp_path / "found")]
    assert main(["hunt", PLACE, *arguments]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"failure 1 (seed 0): LawBrokenError: {NOTHING_LEFT}: ")
    assert "\nstate = LitteringMachine()\n" in shown
    assert "job states never seen: " in shown
    names = ["LitteringMachine-1.html", "LitteringMachine-1.txt", "test_littering_machine_1.py"]
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == names
    text = (tmp_path / "found" / names[2]).read_text()
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{text}\ntest_littering_machine_1()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert NOTHING_LEFT in ran.stderr


def test_a_hunt_that_finds_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{__name__}:CarefulMachine"
    told = Hunter(place).round(0)
    monkeypatch.setattr(hunt.Campaign, "rounds_until", lambda campaign, _: iter([campaign.total.add(told) or told]))
    assert main(["hunt", place, "--workers", "1", "-o", str(tmp_path / "found")]) == 0
    _, actions, *_ = capsys.readouterr().out.splitlines()
    assert actions == f"actions of the client: {told.outcomes.counts()}"
    assert not (tmp_path / "found").exists()


def test_a_hunt_in_which_no_round_has_ended_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hunt.Campaign, "rounds_until", lambda _campaign, _end: iter([]))
    assert main(["hunt", f"{__name__}:CarefulMachine", "--workers", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "nothing was tested: no round of runs has ended in this time"


@pytest.mark.parametrize("option", ["--minutes=0", "--minutes=inf", "--workers=0", "--failures=0", "--minutes=x"])
def test_a_wrong_number_is_an_error_of_use(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hunt", PLACE, option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("test_hunt:Littering", "'test_hunt:Littering' is no subclass of BackupClientMachine that has actions"),
        ("test_hunt:Litering", "there is no 'Litering' in 'test_hunt'; did you mean 'Littering'?"),
        ("test_hunt", "expected module:Class, not 'test_hunt'"),
        ("no_such_module:Littering", "No module named 'no_such_module'"),
    ],
)
def test_a_wrong_place_is_an_error_of_use(place: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hunt", place]) == 2
    assert capsys.readouterr().err == f"qbitsim: {text}\n"


class UnableMachine(LitteringMachine):
    actions = ("is_refused",)

    def client(self, machine: Machine) -> Any:
        return Unable()


class Unable(Littering):
    """Asks for what there is not."""

    def is_refused(self) -> Conversation:
        yield execute("nonsense")


REFUSED = (
    "is_refused has never succeeded: it gave up {:,} times, last with QmpError: The command nonsense has not been found"
)


def test_a_round_counts_how_actions_end() -> None:
    told = Hunter(f"{__name__}:UnableMachine").round(0)
    gave_up = told.outcomes.gave_up["is_refused"]
    assert list(told.outcomes.in_vain()) == [REFUSED.format(gave_up)]


def test_a_client_that_never_succeeds_is_no_client_without_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Hunter(f"{__name__}:UnableMachine").round(0)
    monkeypatch.setattr(hunt.Campaign, "rounds_until", lambda campaign, _: iter([campaign.total.add(told) or told]))
    assert main(["hunt", f"{__name__}:UnableMachine", "--workers", "1"]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"nothing was tested with it: {REFUSED.format(told.outcomes.gave_up['is_refused'])}"
