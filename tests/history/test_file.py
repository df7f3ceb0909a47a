"""Histories as files: written, read back, cut off, of a newer version, and damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Replay

from qbitsim import Machine
from qbitsim.history.file import HistoryError, dumps, is_history, loads
from qbitsim.history.runs import decode, encode
from qbitsim.history.salvage import salvage


def history() -> dict[str, Any]:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    watcher = machine.watch("a title")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").write(0, b"x" * 200_000)
    machine.qmp("drive-backup", device="drive0", sync="incremental", bitmap="b0", target="t")
    machine.run_until_idle()
    return watcher.to_json()


HISTORY = history()
TEXT = dumps(HISTORY)
CUT = "The file is cut off: it ends in the middle of a line."


def test_what_is_written_is_read_back() -> None:
    assert is_history(TEXT)
    assert loads(TEXT) == HISTORY


def test_a_file_that_is_cut_off_anywhere_is_read_up_to_there() -> None:
    header = TEXT.index("\n") + 1
    for end in range(header, len(TEXT)):
        read = loads(TEXT[:end])
        lines = TEXT[:end].count("\n") - 1
        whole = len(read["lanes"]) + len(read["moments"])
        last_is_whole = not TEXT[:end].endswith("\n") and TEXT[end] == "\n"
        assert whole == lines + last_is_whole
        assert read["lanes"] == HISTORY["lanes"][: len(read["lanes"])]
        assert read["moments"] == HISTORY["moments"][: len(read["moments"])]
        assert read["notes"] == ([] if TEXT[:end].endswith("\n") else [CUT])


def test_what_is_no_history_is_refused() -> None:
    for text in ("", "\n", "nonsense", "[1]\n", '{"kind": "something else"}\n', TEXT[:30]):
        assert not is_history(text) or text == TEXT[:30]
        with pytest.raises(HistoryError, match=r"^it does not begin with the header of a history$"):
            loads(text)


def test_a_newer_format_is_read_as_far_as_it_is_known_and_a_note_says_so() -> None:
    header, _, rest = TEXT.partition("\n")
    newer = json.dumps({**json.loads(header), "format": 2, "colour": "blue"})
    wished = json.dumps({"at": 5, "kind": "wish", "text": "a wish"})
    read = loads(f"{newer}\n{rest}{wished}\n")
    assert read["notes"] == ["The file has format 2; this qbitsim knows 1. Some of it may be missing."]
    assert read["moments"] == [*HISTORY["moments"], {"at": 5, "kind": "look", "text": "a wish"}]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "1",
        '{"lane": 1}',
        '{"lane": {"kind": "disk", "name": "d"}}',
        '{"lane": {"kind": "disk", "name": "d", "size": 1, "cell": 0}}',
        '{"lane": {"kind": "plane", "name": "d"}}',
        '{"lane": {"kind": "disk", "size": 1, "cell": 1}}',
        '{"lane": {"kind": "disk", "name": null, "size": 1, "cell": 1}}',
        '{"lane": {"kind": "bitmap", "size": 1, "cell": 1}}',
        '{"lane": {"kind": "bitmap", "name": 3, "size": 1, "cell": 1}}',
        '{"lane": {"kind": "bitmap", "name": "b", "drive": 3, "size": 1, "cell": 1}}',
        '{"lane": {"kind": "job", "name": null}}',
        '{"lane": {"kind": "job", "name": "j", "type": 3}}',
        '{"at": "now", "kind": "event", "text": "x"}',
        '{"at": -1, "kind": "event", "text": "x"}',
        '{"at": 0, "kind": "event"}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"99": null}}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"0": 1}}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"0": {"+": [1]}}}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"0": {"+": "ab"}}}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"0": {"count": 1.5}}}',
        '{"at": 0, "kind": "event", "text": "x", "changes": {"0": {"flags": [1]}}}',
        '{"at": 0, "kind": "event", "text": "x", "data": NaN}',
        "[" * 100_000,
    ],
)
def test_a_line_that_cannot_be_read_is_left_out_and_named(line: str) -> None:
    read = loads(f"{TEXT}{line}\n")
    assert read == {**HISTORY, "notes": [f"Line {TEXT.count(chr(10)) + 1} could not be read."]}


@pytest.mark.parametrize("name", ["5", "null", "}"])
@pytest.mark.parametrize("number", range(len(HISTORY["lanes"])))
def test_lanes_behind_one_that_cannot_be_read_keep_their_changes(number: int, name: str) -> None:
    lines = TEXT.splitlines()
    place = 1 + number
    lines[place] = f'{{"lane": {{"kind": "job", "name": {name}}}}}'
    read = loads("\n".join([*lines, ""]))
    lost = {number} | {at for at, lane in enumerate(HISTORY["lanes"]) if lane.get("of") == number}
    kept = [at for at in range(len(HISTORY["lanes"])) if at not in lost]
    assert [lane["name"] for lane in read["lanes"]] == [HISTORY["lanes"][at]["name"] for at in kept]
    for mine, theirs in zip(read["moments"], HISTORY["moments"], strict=True):
        expected = {
            str(kept.index(int(at))): change for at, change in theirs.get("changes", {}).items() if int(at) in kept
        }
        for at, change in expected.items():
            if change is not None and change.get("bitmap") is not None:
                held = change["bitmap"]
                expected[at] = {**change, "bitmap": None if held in lost else kept.index(held)}
        assert mine.get("changes", {}) == expected


@pytest.mark.parametrize("number", range(len(HISTORY["moments"])))
def test_replies_behind_a_moment_that_cannot_be_read_keep_their_requests(number: int) -> None:
    lines = TEXT.splitlines()
    place = 1 + len(HISTORY["lanes"]) + number
    lines[place] = lines[place][:-1]
    read = loads("\n".join([*lines, ""]))
    asked = [read["moments"][each["of"]]["text"] for each in read["moments"] if "of" in each]
    others = [each for at, each in enumerate(HISTORY["moments"]) if at != number]
    known = [each["of"] for each in others if each.get("of", number) != number]
    assert asked == [HISTORY["moments"][of]["text"] for of in known]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_makes_reading_fail_otherwise(data: st.DataObject) -> None:
    text = list(TEXT)
    for _ in range(data.draw(st.integers(1, 30))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from('{}[]",:0123456789-x\n\\ntruefals'))
    try:
        read = loads("".join(text))
    except HistoryError:
        return
    assert loads(dumps(read))["moments"] == read["moments"]


def test_a_number_that_is_too_large_becomes_a_text() -> None:
    line = '{"at": 0, "kind": "request", "text": "x", "data": {"id": 1e999, "speed": 1.5}}'
    assert loads(f"{TEXT}{line}\n")["moments"][-1]["data"] == {"id": "1e999", "speed": 1.5}


def test_runs_are_gaps_and_lengths() -> None:
    ranges = [(0, 3), (5, 6), (1 << 40, (1 << 40) + 2)]
    assert encode(ranges) == [0, 3, 2, 1, (1 << 40) - 6, 2]
    assert decode(encode(ranges)) == ranges


def test_a_history_that_was_read_can_be_replayed() -> None:
    read = loads(TEXT)
    replay = Replay(read["lanes"])
    for moment in read["moments"]:
        replay.apply(moment)
    assert replay.shown() == {("bitmap", "node0", "b0"): (frozenset(), ())}


VALUE = {"name": "x", "steps": [{"a": [1, 2]}, {"b": ']}\\"'}, {"c": 3}], "records": [{"r": 1}, {"r": {"q": []}}]}


def test_json_that_is_cut_off_is_read_up_to_the_last_whole_element() -> None:
    text = json.dumps(VALUE)
    found = [salvage(text[:end]) for end in range(len(text))]
    steps, records = VALUE["steps"], VALUE["records"]
    wanted = [None, *({"name": "x", "steps": steps[:count]} for count in range(4))]
    wanted += [{**VALUE, "records": records[:count]} for count in range(3)]
    assert [each for place, each in enumerate(found) if place == 0 or each != found[place - 1]] == wanted


def test_what_is_no_json_at_all_is_not_read() -> None:
    for text in ("", "nonsense", "{", "[", "]", '{"a": 1', "{]", "[" * 100_000, '{"a": [1, 2, x, {"b": 1}, '):
        assert salvage(text) in (None, [])
