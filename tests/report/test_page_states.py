"""The state that the page shows at a moment is the state that there was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from deeds import act, make
from looking import Looking
from tales import CELL, Tale, random_history, replay, runs_of

from qbitsim import Machine
from qbitsim.history.history import History
from qbitsim.history.why import Cause, Copy, Why, why

Open = Callable[..., Looking]

EVERY = "(moments) => moments.map((moment) => qbitsim.runs[0].at(moment))"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("cells", [10, 1000, 1 << 24])
def test_every_moment_has_the_bits_that_a_naive_replay_has(show: Open, seed: int, cells: int) -> None:
    history = random_history(seed, cells=cells)
    assert show(history).js(EVERY, list(range(120))) == replay(history)


def test_moments_can_be_asked_for_in_any_order(show: Open) -> None:
    history = random_history(99, cells=5000, moments=600)
    expected = replay(history)
    page = show(history)
    order = [599, 0, 300, 299, 301, 10, 590, 1, 598, 150, 151, 149]
    assert page.js(EVERY, order) == [expected[moment] for moment in order]


def test_scrubbing_through_a_backup_shows_the_bits_that_the_machine_had(show: Open) -> None:
    machine = Machine()
    history = History("a backup with writes under it")
    truth: list[list[int] | None] = []
    history.listener = lambda: truth.append(_runs_of_bitmap(machine))
    history.watch(machine)
    disk = machine.add_disk("drive0", 64 * CELL)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0")
    for cell in (3, 4, 9, 60):
        disk.write(cell * CELL, b"x")
    machine.qmp("drive-backup", device="drive0", bitmap="b0", sync="incremental", target="increment")
    for cell in (4, 30, 31):
        machine.step()
        disk.write(cell * CELL, b"y")
    machine.run_until_idle()
    told = history.to_json()
    (bitmap,) = (
        number for number, lane in enumerate(told["lanes"]) if (lane["kind"], lane["name"]) == ("bitmap", "b0")
    )
    page = show(told)
    states = [moment[bitmap] for moment in page.js(EVERY, list(range(len(truth))))]
    assert [state and state["runs"] for state in states] == truth
    assert truth[-1] == [4, 1, 30, 2]


def _runs_of_bitmap(machine: Machine) -> list[int] | None:
    """Where the machine's bitmap is dirty: start, length, ... in cells; None if there is none."""
    bitmaps = [bitmap for node in machine.graph.nodes.values() for bitmap in node.bitmaps if bitmap.name == "b0"]
    if not bitmaps:
        return None
    return [number // CELL for dirty in bitmaps[0].dirty_ranges for number in dirty]


def test_what_is_appended_is_as_good_as_what_was_there(show: Open) -> None:
    history = random_history(7, cells=300)
    page = show({**history, "lanes": [], "moments": []})
    later = [history["lanes"], history["moments"]]
    page.js("([lanes, moments]) => qbitsim.runs[0].append(lanes, moments)", later)
    assert page.js(EVERY, list(range(120))) == replay(history)


def test_the_cursor_at_the_end_follows_what_is_appended_and_elsewhere_stays(show: Open) -> None:
    history = random_history(8, cells=10, moments=20)
    page = show({**history, "moments": history["moments"][:10]})
    page.js("(moments) => qbitsim.runs[0].append([], moments)", history["moments"][10:15])
    followed = page.moment
    page.press("Home")
    page.js("(moments) => qbitsim.runs[0].append([], moments)", history["moments"][15:])
    assert (followed, page.moment) == (14, 0)


def test_ten_cells_are_boxes_with_their_numbers_and_the_picture_has_their_colours(show: Open) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 10)
    tale.tell("start", "it begins", {bitmap: {"flags": [], "count": 0}})
    tale.tell("write", "a write", {bitmap: {"+": runs_of({0, 7}), "count": 2}})
    page = show(tale.done())
    colours = [page.colour(".lane-strip .strip", (cell + 0.15) / 10, 0.3) for cell in range(10)]
    assert [cell for cell in range(10) if colours[cell] != colours[1]] == [0, 7]
    assert page.text(".lane-strip .count") == "2 of 10 cells dirty, 128 KiB of 640 KiB, 64 KiB each"
    assert page.texts(".ranges .span") == ["2 ranges", "0+64 KiB", "448 KiB+64 KiB"]


@pytest.mark.parametrize("cell", [0, 1_234_567, (1 << 24) - 1])
def test_one_dirty_cell_of_16_million_can_be_seen(show: Open, cell: int) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 1 << 24)
    tale.tell("start", "it begins", {bitmap: {"flags": [], "count": 0}})
    tale.tell("write", "a write", {bitmap: {"+": [cell, 1], "count": 1}})
    page = show(tale.done())
    share = (cell + 0.5) / (1 << 24)
    clean = page.colour(".lane-strip .strip", 0.6, 0.3)
    assert page.colour(".lane-strip .strip", share, 0.3) != clean
    before, after = page.column(".row.bitmap canvas", 0.25), page.column(".row.bitmap canvas", 0.75)
    rows = [row for row, colour in enumerate(after) if colour != before[row]]
    rail = 6
    assert rows == pytest.approx([rail + share * (len(after) - rail)] * len(rows), abs=3)
    assert len(rows) in (2, 3)


def test_a_clicked_cell_tells_since_when_it_is_dirty(show: Open) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 10)
    tale.tell("start", "it begins", {bitmap: {"flags": [], "count": 0}})
    tale.tell("write", "the guest writes 65536 bytes at 0 of drive0", {bitmap: {"+": [0, 1], "count": 1}})
    tale.tell("step", "nothing")
    page = show(tale.done())
    page.click(".strip", across=0.05, down=0.4)
    assert page.text(".readout") == (
        "cell 0: 0+64 KiB, dirty since moment 1: the guest writes 65536 bytes at 0 of drive0 go there "
        "clean before since moment 0: it begins go there no backup that was seen here has copied it and completed close"
    )
    page.click(".readout button")
    assert page.moment == 1


def _plain(cause: Cause) -> dict[str, Any]:
    """A cause as the page tells it."""
    sources = [_plain(each) for each in cause.sources]
    return {"moment": cause.moment, "kind": cause.kind, "text": cause.text, "sources": sources}


def _answer(found: Why) -> dict[str, Any]:
    """An answer as the page gives it."""

    def told(copy: Copy | None) -> dict[str, Any] | None:
        if copy is None:
            return None
        return {name: getattr(copy, name) for name in ("moment", "job", "sync", "target", "outcome")}

    return {
        "dirty": found.dirty,
        "causes": [_plain(each) for each in found.causes],
        "successor": [_plain(each) for each in found.successor],
        "cleared": found.cleared and _plain(found.cleared),
        "copied": told(found.copied),
        "unfinished": told(found.unfinished),
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_page_says_why_a_cell_is_dirty_as_python_does(show: Open, seed: int) -> None:
    dice = Random(seed)
    machine = make(seed)
    history = machine.watch()
    for drive in ("drive0", "drive1"):
        machine.qmp("block-dirty-bitmap-add", node=f"{drive}-node", name="b0")
    for _ in range(60):
        act(machine, dice)
    told = history.to_json()
    asked, answers = [], []
    for moment in range(0, len(told["moments"]), 7):
        for number, lane in enumerate(told["lanes"]):
            for cell in (0, 1, 5, 11):
                if lane["kind"] != "bitmap" or lane["name"] is None:
                    continue
                with suppress(ValueError):  # it does not exist then
                    found = why(told, lane["name"], cell * lane["cell"], node=lane["node"], moment=moment)
                    if found.offset // lane["cell"] == cell:
                        asked.append([number, cell, moment])
                        answers.append(_answer(found))
    assert len(asked) > 50
    page = show(told)
    found = page.js("(asked) => asked.map((each) => qbitsim.runs[0].why(...each))", asked)
    for place, mine, theirs in zip(asked, found, answers, strict=True):
        assert mine == theirs, place


def test_a_dragged_range_is_shown_and_the_whole_again(show: Open) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 1000)
    tale.tell("start", "it begins", {bitmap: {"+": [0, 1, 500, 2], "count": 3, "flags": []}})
    page = show(tale.done())
    page.drag(".strip", 0.4, 0.6)
    zoomed = (page.js("document.querySelector('.range').value"), page.texts(".ranges .span"))
    page.click(".drive-head button:last-child")
    assert zoomed == ("25 MiB + 12,800 KiB", ["32,064 KiB+128 KiB"])
    assert page.texts(".ranges .span") == ["2 ranges", "0+64 KiB", "32,064 KiB+128 KiB"]


def test_a_typed_range_is_shown(show: Open) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 1000)
    tale.tell("start", "it begins", {bitmap: {"+": [0, 1, 500, 2], "count": 3, "flags": []}})
    page = show(tale.done())
    page.click(".range")
    page.press("Control+a")
    page.type("1m + 64k")
    page.press("Enter")
    assert page.js("document.querySelector('.range').value") == "1 MiB + 64 KiB"
    assert page.texts(".ranges .span") == []


def test_where_only_sums_are_known_the_page_says_about(show: Open) -> None:
    tale = Tale()
    bitmap = tale.bitmap("b0", "drive0", 1000)
    tale.tell("start", "it begins", {bitmap: {"heat": [0, 3, 0, 900], "count": 903, "flags": []}})
    page = show(tale.done())
    assert page.text(".ranges").startswith("About")
    assert page.text(".lane-strip .count").startswith("903 of 1,000 cells dirty")


def only_counts(count: int, *, cells: int) -> dict[str, Any]:
    """A history of one bitmap of which only the number of dirty cells is known; the size may be unknown, too."""
    tale = Tale(bits=False, epoch=None)
    bitmap = tale.bitmap("b0", "drive0", cells)
    tale.tell("start", "it begins")
    tale.tell("reply", "return", {bitmap: {"count": count, "flags": []}})
    return tale.done()


UNKNOWN = "It is not known which cells."
COUNTS = {
    (50, 1000): [
        "50 of 1,000 cells dirty, 3,200 KiB of 64,000 KiB, 64 KiB each", "5 % dirty, it is not known where", UNKNOWN,
    ],
    (1000, 1000): [
        "1,000 of 1,000 cells dirty, 64,000 KiB of 64,000 KiB, 64 KiB each", "100 % dirty", "All of them.",
    ],
    (0, 1000): ["0 of 1,000 cells dirty, 0 bytes of 64,000 KiB, 64 KiB each", "clean", "clean"],
    (48, 0): ["48 cells dirty of 64 KiB each", "48 cells dirty, it is not known where", UNKNOWN],
    (0, 0): ["0 cells dirty of 64 KiB each", "clean", "clean"],
}  # fmt: skip
"""How many cells are dirty, and of how many; what is said of it, what is written where bits would be, and below."""


@pytest.mark.parametrize(("count", "cells"), COUNTS)
def test_where_only_counts_are_known_the_page_says_how_much_and_not_where(show: Open, count: int, cells: int) -> None:
    page = show(only_counts(count, cells=cells))
    (in_strip, in_lane) = (page.written(selector)[0][0] for selector in (".strip", ".row.bitmap canvas"))
    assert [page.text(".lane-strip .count"), in_strip, page.text(".ranges")] == COUNTS[count, cells]
    assert in_lane == in_strip
    assert page.texts(".range, .scale") == []


@pytest.mark.parametrize("selector", [".strip", ".row.bitmap canvas"])
def test_a_count_is_a_hatch_that_has_no_place_and_no_density(show: Open, selector: str) -> None:
    looks = set()
    for count, cells in ((50, 1000), (1000, 1000), (48, 0)):
        page = show(only_counts(count, cells=cells))
        for across in (0.8, 0.9):
            colours = {tuple(colour) for colour in page.column(selector, across)[8:24]}
            assert min(map(sum, colours)) > 400, "it is light"
            assert len(colours) > 3, "it is hatched"
        looks.add(tuple(map(tuple, page.column(selector, 0.9))))
    assert len(looks) == 1


def test_many_counts_are_told_one_after_the_other(show: Open) -> None:
    history = only_counts(0, cells=1000)
    history["moments"] += [
        {"at": 0, "kind": "reply", "text": "return", "changes": {"0": {"count": count}}} for count in (0, 500, 500)
    ]
    page = show(history, viewport={"width": 1600, "height": 800})
    words = [word for word, _, _ in page.written(".row.bitmap canvas")]
    assert words == ["clean", "50 % dirty, it is not known where"]
    page.page.mouse.move(*page.place(".row.bitmap canvas", 0.9, 0.5))
    assert page.texts(".tip div") == ["moment 4 of 4, reply: return", "b0: 500 of 1,000 cells"]


PROGRESS = [
    (True, "running", 0, "nothing done yet"), (True, "pending", 0, "nothing to copy"),
    (False, "running", 0, "its progress is not known"), (True, "running", 200, "0 %, 0 bytes of 200 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "status", "total", "said"), PROGRESS)
def test_a_job_without_anything_to_do_has_no_progress(
    show: Open, bits: bool, status: str, total: int, said: str
) -> None:
    tale = Tale(bits=bits)
    job = tale.job("job0")
    tale.tell("start", "it begins", {job: {"status": status, "done": 0, "total": total}})
    assert show(tale.done()).text("table.jobs td:nth-child(3)").strip() == said
