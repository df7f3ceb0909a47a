"""What is recorded is packed, and comes out as it went in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import recordings
from recordings import NAMES, VERSIONS, pack, recording, unpack

NAME = "e05-id-echo"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An unpacked scenario, and from now on no other place where scenarios are."""
    unpack(tmp_path, [NAME])
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(recordings, "FOLDER", tmp_path / "recorded")
    recording.cache_clear()
    yield tmp_path
    recording.cache_clear()


def packed(place: Path) -> bytes:
    return (place / f"{NAME}.json.gz").read_bytes()


def test_every_scenario_has_its_own_name_and_a_transcript_of_each_version() -> None:
    for name in NAMES:
        assert recording(name)["name"] == name
        assert list(recording(name)["transcripts"]) == list(VERSIONS)


def test_what_is_unpacked_and_packed_again_is_the_same_file(elsewhere: Path) -> None:
    before = packed(Path(__file__).parent / "recorded")
    pack(elsewhere)
    assert packed(recordings.FOLDER) == before


def test_what_is_not_in_the_folder_stays_while_the_steps_are_the_same(elsewhere: Path) -> None:
    pack(elsewhere)
    before = recording(NAME)
    (elsewhere / "golden-7.2" / f"{NAME}.json").unlink()
    pack(elsewhere)
    assert recording(NAME) == before


def test_answers_to_other_steps_are_forgotten(elsewhere: Path) -> None:
    pack(elsewhere)
    (elsewhere / "golden-7.2" / f"{NAME}.json").unlink()
    scenario = elsewhere / "scenarios" / f"{NAME}.json"
    scenario.write_text(json.dumps({**json.loads(scenario.read_text()), "steps": []}))
    pack(elsewhere)
    assert list(recording(NAME)["transcripts"]) == ["11.1", "10.0"]
