"""How often recorded scenarios and differential draws use what: the counts of the reference.

A *subject* is what is counted: a command (``drive-backup``), an event (``BLOCK_JOB_ERROR``), a member of the arguments
at any depth (``drive-backup x-perf max-workers``), a block driver (``driver qcow2``) or an option of it (``driver qcow2
backing``). An action of a transaction counts as its command. A scenario counts once, however often it uses a subject.

The files are found in directories that the caller names; an installed package has none.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from qbitsim.drivers.drive_options import parse_drive
from qbitsim.jsontypes import JsonValue
from qbitsim.qmp.parser import JsonStream
from qbitsim.scenario.messages import raw_bytes
from qbitsim.terminal.errors import CliError

DRIVER = "driver"
"""First word of the subjects that are block drivers."""

EVERY_DRIVER = "every driver"
"""The subject that is any of them."""

_HMP = "human-monitor-command"
_STEPS = {"quit": "quit", "write": _HMP, "io": _HMP, "settle": "query-jobs"}
"""Step of a scenario -> the command that it is made of."""


class Coverage:
    """The counts.

    :ivar scenarios: subject -> how many scenarios use it; None if it is not known where they are.
    :ivar total: how many scenarios there are.
    :ivar draws: subject -> how many drawn steps use it and were compared with real QEMU; None if it is not known.
    """

    def __init__(self, scenarios: dict[str, int] | None = None, total: int = 0, draws: dict[str, int] | None = None):
        self.scenarios = scenarios
        self.total = total
        self.draws = draws

    def of(self, subject: str) -> int | None:
        """How many scenarios use it; None if it is not known."""
        return None if self.scenarios is None else self.scenarios.get(subject, 0)

    def draws_of(self, subject: str) -> int | None:
        """How many drawn steps use it; None if it is not known."""
        return None if self.draws is None else self.draws.get(subject, 0)


def read(conformance: Path | None, draws: Path | None) -> Coverage:
    """Count.

    :param conformance: a directory with scenarios and their transcripts in ``recorded/*.json.gz``; those without a
        transcript to be compared with, which are of group x, do not count.
    :param draws: a file with one JSON object, subject -> number; it may be missing.
    :raises CliError: a file is not what it should be.
    """
    drawn = _draws(draws) if draws is not None and draws.exists() else None
    if conformance is None:
        return Coverage(draws=drawn)
    scenarios = [path for path in sorted(conformance.glob("recorded/*.json.gz")) if not path.name.startswith("x")]
    if not scenarios:
        raise CliError(f"{conformance}: no recorded/*.json.gz")
    counts: Counter[str] = Counter()
    for path in scenarios:
        scenario = _load(path)
        used = set(subjects(_list(_get(scenario, "steps"))))
        transcripts = _get(scenario, "transcripts")
        for transcript in transcripts.values() if isinstance(transcripts, dict) else ():
            used.update(_events(transcript))
        counts.update(used)
    return Coverage(dict(counts), len(scenarios), drawn)


def _draws(path: Path) -> dict[str, int]:
    value = _load(path)
    if not isinstance(value, dict):
        raise CliError(f"{path}: no JSON object")
    return {name: number for name, number in value.items() if isinstance(number, int)}


def _load(path: Path) -> JsonValue:
    try:
        data = path.read_bytes()
        value: JsonValue = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise CliError(f"{path}: {error}") from None
    return value


def _events(transcript: JsonValue) -> Iterator[str]:
    """The names of the events in a transcript."""
    for record in _list(_get(transcript, "records")):
        if _get(record, "type") == "event":
            yield str(_get(record, "event"))


def subjects(steps: list[JsonValue]) -> Iterator[str]:
    """Everything that the steps of a scenario use, each as often as it is used."""
    for step in steps:
        assert isinstance(step, dict)
        yield from (command for kind, command in _STEPS.items() if kind in step)
        if "second" in step:
            step = {"qmp": step["second"]}  # noqa: PLW2901 - another client's message is a message, too
        if "start" in step:
            yield from _started(step["start"])
        for message in _messages(step):
            yield from _used(_get(message, "execute") or _get(message, "exec-oob"), _get(message, "arguments"))


def _started(start: JsonValue) -> Iterator[str]:
    """The subjects of starting a machine; ``-drive`` and ``-blockdev`` make nodes as blockdev-add does."""
    if _get(start, "negotiate") is not False:
        yield "qmp_capabilities"
    yield from _drivers(_get(start, "blockdevs"))
    for drive in _list(_get(start, "drives")):
        assert isinstance(drive, dict)
        _id, name, options = parse_drive(drive)
        if name is not None:
            options["file"] = {"driver": "file", "filename": name, **options.get("file", {})}
        yield from _drivers(options)


def _messages(step: dict[str, JsonValue]) -> Iterator[JsonValue]:
    """The messages of a step, those that are given as text or bytes, too."""
    if "qmp" in step:
        yield step["qmp"]
    data = raw_bytes(step) if "raw" in step or "raw_hex" in step else b""
    yield from (each for each in JsonStream().feed(data + b"\n") if isinstance(each, dict))


def _used(command: JsonValue, arguments: JsonValue) -> Iterator[str]:
    """The subjects of one command or action."""
    if not isinstance(command, str):
        return
    yield command
    yield from _members(command, arguments)
    yield from _drivers(arguments)
    if command == "transaction":
        for action in _list(_get(arguments, "actions")):
            yield from _used(_get(action, "type"), _get(action, "data"))


def _members(subject: str, value: JsonValue) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            for name, member in each.items():
                yield f"{subject} {name}"
                yield from _members(f"{subject} {name}", member)


def _drivers(value: JsonValue) -> Iterator[str]:
    """The drivers in options of nodes, at any depth."""
    if isinstance(value, list):
        for each in value:
            yield from _drivers(each)
    if isinstance(value, dict):
        driver = value.get("driver")
        if isinstance(driver, str):
            for subject in (EVERY_DRIVER, f"{DRIVER} {driver}"):
                yield subject
                yield from _members(subject, value)
        for member in value.values():
            yield from _drivers(member)


def _get(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
