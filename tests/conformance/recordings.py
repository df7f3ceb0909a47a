"""The recorded scenarios: what was played on real QEMU 11.1, 10.0 and 7.2, and what it answered."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from qbitsim.scenario.player import Player

Records = list[dict[str, Any]]

HERE = Path(__file__).parent
VERSIONS = ("11.1", "10.0", "7.2")
NAMES = sorted(path.stem for path in (HERE / "scenarios").glob("*.json"))
COMPARED = [name for name in NAMES if not name.startswith("x")]
MORE = sorted(path.stem for path in (HERE / "more" / "scenarios").glob("*.json"))
CASES = [(version, name) for version in VERSIONS for name in COMPARED + MORE]


def place(name: str) -> Path:
    return HERE / "more" if name in MORE else HERE


@cache
def scenario(name: str) -> dict[str, Any]:
    return json.loads((place(name) / "scenarios" / f"{name}.json").read_text())


@cache
def recorded(version: str, name: str) -> list[Records]:
    """Every way in which it was seen to go, the first one first."""
    transcript = json.loads((place(name) / f"golden-{version}" / f"{name}.json").read_text())
    return [transcript["records"], *transcript.get("alternatives", [])]


@cache
def played(version: str, name: str) -> Records:
    """What qbitsim answers, with its images in memory."""
    return as_recorded(Player(version).play(scenario(name)["steps"]))


def as_recorded(records: Records) -> Records:
    """Records as they come out of a file."""
    return json.loads(json.dumps(records))
