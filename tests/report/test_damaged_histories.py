"""A history that is damaged is refused in one line, or shown as far as it goes; it never ends in a traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random
from typing import Any

from deeds import act, make
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim.history.compare import first_difference
from qbitsim.history.file import HistoryError, dumps, loads
from qbitsim.history.why import why
from qbitsim.report.report import Report

ODD: list[Any] = [
    *(None, True, -1, 0, 3, 1 << 70, 1.5, "", "x", "5", [], [0], [1, 2], [0, 1 << 61], [None], {}),
    *(
        {"0": None},
        {"+": [0, 1]},
        {"kind": "job"},
        {"execute": 5},
        {"execute": "transaction", "arguments": {"actions": 3}},
    ),
]


def _history() -> list[str]:
    dice = Random(3)
    machine = make(3)
    history = machine.watch("a title")
    machine.qmp("block-dirty-bitmap-add", node="drive0-node", name="b0")
    for _ in range(80):
        act(machine, dice)
    return dumps(history.to_json()).splitlines()


LINES = _history()


def _damaged(value: Any, dice: Random) -> Any:
    """A JSON value in which something is odd, missing or doubled."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.2:
        return dice.choice(ODD)
    key = dice.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if isinstance(value, dict) and dice.random() < 0.2:
        return {name: each for name, each in value.items() if name != key}
    copy = value.copy()
    copy[key] = _damaged(value[key], dice)
    return copy


@settings(max_examples=100, deadline=None)
@given(dice=st.randoms(use_true_random=False), times=st.integers(1, 12))
def test_every_reader_survives(dice: Random, times: int) -> None:
    lines = LINES.copy()
    for _ in range(times):
        place = dice.randrange(len(lines))
        match dice.randrange(6):
            case 0:
                lines[place] = lines[place][: dice.randrange(len(lines[place]) + 1)]
            case 1:
                del lines[place]
            case 2:
                lines.insert(place, lines[dice.randrange(len(lines))])
            case _:
                with suppress(ValueError):
                    lines[place] = json.dumps(_damaged(json.loads(lines[place]), dice))
    try:
        read = loads("\n".join(lines) + "\n")
    except HistoryError:
        return
    assert loads(dumps(read))["moments"] == read["moments"]
    report = Report([read, loads("\n".join(LINES) + "\n")])
    assert report.html().startswith("<!doctype html>")
    assert report.svg().startswith("<svg")
    assert first_difference(read, read) is None
    for lane in read["lanes"]:
        if lane["kind"] == "bitmap" and lane["name"] is not None:
            for offset in (0, 65536, 999999):
                with suppress(ValueError):
                    assert str(why(read, lane["name"], offset, node=lane.get("node")))
