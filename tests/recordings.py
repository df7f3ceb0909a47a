"""The recorded scenarios: what was played on real QEMU 11.1, 10.0 and 7.2, and what it answered.

``conformance/recorded`` has one file for each, compressed, so that a search of the repository does not find each word
some thousands of times; ``zgrep`` searches in them, and ``record_scenarios.py`` shows them and makes new ones.

A scenario is as :mod:`qbitsim.scenario.player` describes it. Its name begins with the letter of its group: ``a``
commands of bitmaps, ``b`` queries, ``c`` transactions, ``d`` backups and their jobs, ``e`` the monitor, ``f`` what is
kept, ``g`` commit, ``h`` stream, ``j`` mirror, ``k`` sessions of real clients, ``l`` exports, ``m`` filters and other
drivers, ``n`` resize and reopen, ``o`` and ``s`` many things together, ``p`` the machine, ``q`` HMP, ``r`` qemu-img and
qemu-io, ``u`` crashes and restarts, ``v`` devices, ``y`` bytes of files, ``x`` what real QEMU dies of. ``m-`` before it
means that it came later.
"""

from __future__ import annotations

import gzip
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

Record = dict[str, Any]

FOLDER = Path(__file__).parent / "conformance" / "recorded"
SUFFIX = ".json.gz"
VERSIONS = ("11.1", "10.0", "7.2")
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))
COMPARED = [name for name in NAMES if not name.startswith("x")]
CASES = [(version, name) for name in COMPARED for version in VERSIONS]


def _path(name: str) -> Path:
    return FOLDER / f"{name}{SUFFIX}"


@lru_cache(maxsize=2)
def recording(name: str) -> Record:
    """All of one: the scenario, and in ``transcripts`` what each release answered."""
    value: Record = json.loads(gzip.decompress(_path(name).read_bytes()))
    return value


def scenario(name: str) -> Record:
    return {key: value for key, value in recording(name).items() if key != "transcripts"}


def recorded(version: str, name: str) -> list[list[Record]]:
    """Every way in which it was seen to go, the first one first."""
    transcript = recording(name)["transcripts"][version]
    return [transcript["records"], *transcript.get("alternatives", [])]


def transcript(version: str, name: str) -> Record:
    """What a release answered, as ``qbitsim play --transcript`` writes it."""
    whole = recording(name)
    return {"scenario": name, "group": whole["group"], **whole["transcripts"][version]}


def as_recorded(records: list[Record]) -> list[Record]:
    """Records as they come out of a file."""
    value: list[Record] = json.loads(json.dumps(records))
    return value


def keep(whole: Record) -> None:
    """Write one down, or write it anew."""
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    _path(whole["name"]).write_bytes(zlib.compress(text.encode(), level=9, wbits=31))  # as gzip does, without a time
    recording.cache_clear()


# -- files of plain JSON: FOLDER/scenarios/NAME.json, FOLDER/golden-RELEASE/NAME.json


def unpack(folder: Path, names: list[str]) -> None:
    """Write scenarios, all if none is named, and transcripts."""
    for name in names or NAMES:
        _write(folder / "scenarios" / f"{name}.json", scenario(name))
        for release in recording(name)["transcripts"]:
            _write(folder / f"golden-{release}" / f"{name}.json", transcript(release, name))


def _write(path: Path, value: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def pack(folder: Path) -> None:
    """Take over what is in a folder; of a scenario whose steps are as before, what is not in the folder stays."""
    for path in sorted((folder / "scenarios").glob("*.json")):
        whole = json.loads(path.read_text("utf-8"))
        before = recording(whole["name"]) if _path(whole["name"]).exists() else {}
        found = dict(before["transcripts"]) if before.get("steps") == whole["steps"] else {}
        for release in VERSIONS:
            answers = folder / f"golden-{release}" / path.name
            if answers.exists():
                found[release] = without_names(json.loads(answers.read_text("utf-8")))
        keep({**whole, "transcripts": {release: found[release] for release in VERSIONS if release in found}})


def without_names(transcript: Record) -> Record:
    """A transcript without what stands in its scenario."""
    return {name: value for name, value in transcript.items() if name not in {"scenario", "group", "order_varies"}}
