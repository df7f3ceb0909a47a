"""What a person does with the page: keys, pointer, search, two runs, paper."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from looking import Looking
from tales import CELL, Tale

from qbitsim import Machine
from qbitsim.history.history import History

Open = Callable[..., Looking]

SELECTED = ".line[aria-selected='true']"
HOSTILE = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"


def conversation() -> dict[str, Any]:
    """Eight moments: 1 and 5 requests, 2 an event, 4 a fault, 6 a refusal, 7 an event that failed."""
    tale = Tale("a conversation", notes=["The file ends early."])
    bitmap = tale.bitmap("b0", "drive0", 100)
    tale.tell("start", "it begins", {bitmap: {"count": 0, "flags": ["busy"]}})
    tale.tell("request", "query-jobs", who="monitor 1", data={"execute": "query-jobs"})
    tale.event("RESUME", at=10)
    tale.tell("reply", "return []", of=1, data={"return": []}, at=20)
    tale.tell("fault", "EIO on drive0", {bitmap: {"+": [3, 1], "count": 1}}, at=1_500_000_000)
    tale.tell("request", "nonsense", data={"execute": "nonsense"}, at=1_500_000_000)
    tale.tell(
        "error", "The command nonsense has not been found", of=5, data={"error": {"desc": "..."}}, at=2_000_000_000
    )
    tale.tell("event", "BLOCK_JOB_ERROR", failed=True, data={"data": {"device": "job0"}}, at=3_000_000_000)
    return tale.done()


@pytest.fixture(scope="module")
def grouped() -> dict[str, Any]:
    """Two backups in a grouped transaction; the second finds no space, the first is cancelled."""
    machine = Machine()
    history = History("a grouped failure")
    history.watch(machine)
    for number in range(2):
        disk = machine.add_disk(f"drive{number}", "4M", node_name=f"node{number}")
        machine.qmp("block-dirty-bitmap-add", node=f"node{number}", name=f"b{number}")
        disk.write(0, b"x" * (1 << 20))
    machine.limit_capacity("target1", 65536)
    backups = [
        {
            "type": "drive-backup",
            "data": {
                "job-id": f"job{number}", "device": f"drive{number}", "sync": "incremental", "bitmap": f"b{number}",
                "target": f"target{number}",
            },
        }
        for number in range(2)
    ]  # fmt: skip
    machine.qmp("transaction", actions=backups, properties={"completion-mode": "grouped"})
    machine.run_until_idle()
    return history.to_json()


KEYS = [
    (3, "ArrowRight", 4), (3, "ArrowLeft", 2), (0, "Shift+ArrowRight", 7), (7, "Shift+ArrowLeft", 0), (3, "Home", 0),
    (3, "End", 7), (0, "PageDown", 1), (4, "PageUp", 3), (0, "e", 2), (2, "e", 7), (7, "Shift+E", 2), (1, "r", 5),
    (5, "Shift+R", 1), (0, "f", 4), (4, "f", 6), (7, "Shift+F", 6), (7, "f", 7),
    (0, "ArrowLeft", 0), (7, "ArrowRight", 7),
]  # fmt: skip
"""Where the cursor is, the key, and where it is then."""


def test_keys_move_the_cursor(show: Open) -> None:
    page = show(conversation())
    moved = []
    for start, key, _ in KEYS:
        page.goto(start)
        page.press(key)
        moved.append((start, key, page.moment))
    assert moved == KEYS


def test_the_page_opens_at_its_first_failure_and_says_what_there_was(show: Open) -> None:
    page = show(conversation(), hash_="")
    assert page.moment == 6
    assert page.text("#facts") == "QEMU 10.0 · 3 s · 2 commands · 1 refused · 2 events · 1 fault"
    assert page.texts(".banner") == ["⚠ The file ends early."]


def test_the_slider_tells_the_moment_to_those_who_cannot_see_it(show: Open) -> None:
    page = show(conversation())
    page.js("document.querySelector('[role=slider]').focus()")
    page.press("ArrowDown")
    read = "(name) => document.querySelector('[role=slider]').getAttribute(name)"
    told = [page.js(read, name) for name in ("aria-valuemin", "aria-valuenow", "aria-valuemax", "aria-valuetext")]
    assert told == ["0", "6", "7", "moment 6 of 7, 2 s, error: The command nonsense has not been found"]


def test_the_address_keeps_the_moment(show: Open) -> None:
    page = show(conversation(), hash_="#m=3")
    assert page.moment == 3
    page.press("e")
    page.js("new Promise((done) => setTimeout(done, 400))")
    assert page.js("location.hash") == "#m=7"


def test_a_page_without_failures_opens_at_its_start(show: Open) -> None:
    calm = conversation()
    calm["moments"] = calm["moments"][:5]
    assert show(calm, hash_="").moment == 0


@pytest.mark.parametrize(("address", "moment"), [("#m=999", 7), ("#m=x", 6)])
def test_an_address_of_no_moment_shows_the_end_and_one_that_is_none_nothing_else(
    show: Open, address: str, moment: int
) -> None:
    assert show(conversation(), hash_=address).moment == moment


def test_a_click_and_a_drag_on_the_timeline_scrub(show: Open) -> None:
    page = show(conversation())
    page.click(".ruler", across=0.3, down=0.5)
    clicked = page.moment
    page.drag(".row.bitmap canvas", 0.3, 0.7)
    assert (clicked, page.moment) == (2, 5)
    assert page.text(".lane-strip .count").startswith("1 of 100 cells dirty")


def test_the_wheel_zooms_and_zero_shows_all(show: Open) -> None:
    history = conversation()
    history["moments"] = [*history["moments"], *history["moments"][1:]]
    page = show(history)
    page.wheel(".ruler", -300)
    zoomed = page.js("qbitsim.app.view.span")
    page.press("0")
    assert (zoomed, page.js("qbitsim.app.view.span")) == (pytest.approx(15 / 2.718281828**0.3333, rel=0.01), 15)


def test_the_axis_turns_to_virtual_time_and_back(show: Open) -> None:
    page = show(conversation())
    page.press("t")
    page.click(".ruler", across=0.5, down=0.5)
    at_half_the_time = page.moment
    page.press("t")
    page.click(".ruler", across=0.5, down=0.5)
    assert (at_half_the_time, page.moment) == (5, 4)


def test_on_the_axis_of_time_a_failure_is_seen_among_others_of_the_same_instant(show: Open) -> None:
    tale = Tale()
    for kind in ("request", "fault", "reply"):
        tale.tell(kind, kind)
    tale.tell("end", "much later", at=1_000_000_000)
    page = show(tale.done())
    by_moment = page.column(".row.lane canvas", 0.004)
    page.press("t")
    failure = [179, 38, 30]
    assert (failure in by_moment, failure in page.column(".row.lane canvas", 0.004)) == (False, True)


def test_a_drag_on_lanes_that_are_zoomed_in_pans(show: Open) -> None:
    page = show(conversation(), hash_="#m=0")
    page.js("qbitsim.app.setView(() => qbitsim.app.view.set(0, 6))")
    page.drag(".row.bitmap canvas", 0.9, 0.75)
    view = page.js("[qbitsim.app.view.from, qbitsim.app.view.to]")
    assert (view, page.moment) == ([pytest.approx(0.9, abs=0.02), pytest.approx(6.9, abs=0.02)], 0)


def test_the_pointer_tells_what_it_is_on(show: Open) -> None:
    page = show(conversation())
    page.page.mouse.move(*page.place(".row.bitmap canvas", 0.55, 0.5))
    assert page.texts(".tip div") == [
        "moment 4 of 7, 1.5 s, fault: EIO on drive0",
        "b0: 1 of 100 cells, busy",
        "at this height: from 2,816 KiB",
    ]


def test_play_goes_to_the_end(show: Open) -> None:
    page = show(conversation(), hash_="#m=5")
    page.press(" ")
    page.js("new Promise((done) => setInterval(() => qbitsim.moment === 7 && done(), 20))")
    assert page.text("#play") == "▶ play"


def test_the_conversation_shows_the_entry_at_the_cursor_and_its_message(show: Open) -> None:
    page = show(conversation(), hash_="#m=6")
    assert page.text(SELECTED).split("\n") == ["6", "✖", "The command nonsense has not been found"]
    assert '"error": {\n    "desc": "..."\n  }' in page.text(".detail pre")
    page.click(".detail .link")
    assert page.moment == 5
    assert "refused at 6" in page.text(".detail")


def test_a_click_on_an_entry_moves_the_cursor_there(show: Open) -> None:
    page = show(conversation())
    page.click(".line[data-moment='2']")
    assert page.moment == 2


def test_a_search_shows_what_was_found_and_enter_goes_there(show: Open) -> None:
    page = show(conversation(), hash_="#m=0")
    page.press("/")
    page.type("nonsense")
    assert page.text(".found") == "2 of 8"
    page.press("Enter", "Enter")
    found = page.moment
    page.press("Escape")
    assert (found, len(page.texts(".line"))) == (6, 8)


def test_ten_thousand_entries_are_few_elements(show: Open) -> None:
    tale = Tale()
    for number in range(10_000):
        tale.event("RESUME", at=number)
    page = show(tale.done())
    page.js("qbitsim.goto(5000)")
    page.settle()
    assert page.js("document.querySelectorAll('.line').length") < 100
    assert page.text(SELECTED).startswith("5000")


def test_many_steps_are_hidden_until_asked_for(show: Open) -> None:
    tale = Tale()
    tale.tell("request", "query-jobs")
    for number in range(200):
        tale.tell("step", f"step {number}")
    page = show(tale.done(), hash_="#m=0")
    hidden = page.texts(".line .text")
    page.js("[...document.querySelectorAll('.filters button')].find((b) => b.innerText.includes('steps')).click()")
    page.settle()
    assert hidden == ["query-jobs"]
    assert page.texts(".line .text")[:2] == ["query-jobs", "step 0"]


def test_a_grouped_failure_names_the_failed_and_the_cancelled_job(show: Open, grouped: dict[str, Any]) -> None:
    page = show(grouped)
    assert sorted(page.texts("#facts button")) == ["⊘ job0 cancelled", "✖ job1 failed: No space left on device"]
    label = "[...document.querySelectorAll('.row.job canvas')].map((canvas) => canvas.getAttribute('aria-label'))"
    assert page.js(label) == ["job job0 over time: cancelled", "job job1 over time: failed: No space left on device"]
    page.click("#facts button")
    assert "BLOCK_JOB_COMPLETED" in page.text(SELECTED)


def test_jobs_and_successors_are_shown_while_they_exist(show: Open, grouped: dict[str, Any]) -> None:
    page = show(grouped)
    names = page.texts(".lane-head b")
    during = next(i for i, moment in enumerate(grouped["moments"]) if moment["text"] == "BLOCK_JOB_ERROR")
    page.goto(during)
    assert names == ["drive0", "b0", "drive1", "b1"]
    assert page.texts(".lane-head b") == ["drive0", "b0", "successor of b0", "drive1", "b1", "successor of b1"]
    assert sorted(page.texts("table.jobs th small")) == ["backup", "backup"]


def test_hostile_texts_stay_texts(show: Open) -> None:
    tale = Tale(HOSTILE, notes=[HOSTILE])
    bitmap = tale.bitmap(HOSTILE, HOSTILE, 10, internal=False)
    job = tale.job(HOSTILE)
    running = {"status": HOSTILE, "done": 1, "total": 2, "error": HOSTILE}
    tale.tell(
        "request",
        HOSTILE,
        {bitmap: {"count": 1, "+": [0, 1], "flags": [HOSTILE]}, job: running},
        who=HOSTILE,
        data={HOSTILE: HOSTILE},
    )
    tale.event(HOSTILE, id=HOSTILE, device=HOSTILE, error=HOSTILE)
    page = show(tale.done(), difference=None, hash_="#m=0")
    assert page.text("h1") == HOSTILE
    assert page.text(".detail b") == f"▸ {HOSTILE}"
    assert page.js("[window.harmed, document.images.length]") == [None, 0]


def test_two_runs_move_together_and_mark_their_first_difference(show: Open) -> None:
    one, other = conversation(), conversation()
    other["moments"] = other["moments"][:4]
    text = f"Up to moment 4 they are equal. {HOSTILE}"
    page = show(one, other, difference={"moments": [4, 4], "text": text})
    opened = page.moment
    assert page.text(".banner.difference") == f"≠ first difference: {text} show (d)"
    assert page.texts(".line.differs .sign") == ["≠"]
    page.press("Home")
    both = page.js("qbitsim.app.timelines.map((timeline) => timeline.moment)")
    page.press("d")
    assert (opened, both, page.moment) == (4, [0, 0], 4)
    assert page.texts(".difference-mark") == ["≠ first difference"] * 2
    assert page.texts(".where")[1].endswith("(this run has ended)")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_nothing_is_wider_than_the_window(show: Open, grouped: dict[str, Any], scheme: Any, width: int) -> None:
    page = show(grouped, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.js("document.documentElement.scrollWidth") == width
    assert page.js("document.documentElement.dataset.theme") == scheme


def names_of(page: Looking) -> list[str]:
    return [*page.texts("#facts b"), *page.texts(".ruler-row .label b"), *page.texts(".run-name")]


def test_two_runs_are_called_what_they_were_read_from(show: Open) -> None:
    page = show(conversation(), conversation(), names=["good.jsonl", "bad.jsonl"])
    one, other = "1: good.jsonl", "2: bad.jsonl"
    titles = [f"{one}, a conversation", f"{other}, a conversation"]
    assert names_of(page) == [*titles, one, other, one, one, other, other]
    assert page.texts(".banner")[0] == f"⚠ {one}: The file ends early."


def test_runs_without_names_are_called_by_their_titles(show: Open) -> None:
    names = ["1: a conversation", "2: a conversation"]
    assert names_of(show(conversation(), conversation()))[:2] == names


def test_the_names_of_two_runs_are_seen_in_a_narrow_window(show: Open) -> None:
    page = show(conversation(), conversation(), names=["good", "bad"], viewport={"width": 400, "height": 800})
    assert page.texts(".ruler-row .label b") == ["1: good", "2: bad"]


def test_two_equal_runs_are_said_to_be_equal(show: Open) -> None:
    assert show(conversation(), conversation()).texts(".banner.equal") == ["= The two runs are equal."]
    assert show(conversation()).texts(".banner.equal") == []


def test_times_that_are_not_known_are_not_shown(show: Open) -> None:
    history = {**conversation(), "epoch": None}
    for moment in history["moments"]:
        moment["at"] = 0
    page = show(history)
    assert page.text("#facts").startswith("QEMU 10.0 · times are not known · 2 commands")
    assert page.text("#now") == "moment 7 of 7"
    assert page.text(".detail .faint") == "7 · event"
    assert page.text(".where") == "After moment 7 of 7, event: BLOCK_JOB_ERROR (failed)"


def test_a_date_that_no_calendar_has_is_left_out(show: Open) -> None:
    page = show({**conversation(), "epoch": 1 << 60}, hash_="#m=0")
    assert page.text(".detail .faint") == "0 · start · 0 s"


GREAT = {"id": (1 << 63) - 1, "least": -(1 << 63), "small": 7, "more": [10**30]}


def test_great_numbers_keep_all_their_digits(show: Open) -> None:
    tale = Tale()
    tale.tell("request", "x", data=GREAT)
    page = show(tale.done())
    assert json.loads(page.text(".detail pre")) == GREAT
    page.press("/")
    page.type("9223372036854775807")
    assert page.text(".found") == "1 of 1"


def test_a_disk_of_a_great_size_is_still_counted(show: Open) -> None:
    tale = Tale()
    size = 1 << 60
    disk = tale.disk("drive0", size // CELL)
    tale.tell("start", "it begins", {disk: {"count": 1, "+": [3, 1], "flags": []}})
    said = show(tale.done()).text(".lane-strip .count")
    assert said == "1 of 17,592,186,044,416 cells written, 64 KiB of 1 EiB, 64 KiB each"


@pytest.mark.parametrize("width", [1280, 800, 400, 320])
def test_how_jobs_ended_is_always_written_and_overlaps_nothing(show: Open, grouped: dict[str, Any], width: int) -> None:
    page = show(grouped, grouped, viewport={"width": width, "height": 800})
    for job, sign in (("job0", "⊘"), ("job1", "✖")):
        lane = next(i for i, each in enumerate(grouped["lanes"]) if each["name"] == job)
        words = page.written(f".row[data-lane='{lane}'] canvas")
        first = sorted(words[: len(words) // 2], key=lambda word: word[1])
        assert [word[0] for word in words if word[0].startswith(sign)] == [f"{sign} {ENDS[sign]}"] * 2
        assert all(one[2] < other[1] for one, other in itertools.pairwise(first))


ENDS = {"⊘": "cancelled", "✖": "failed"}


def test_how_jobs_ended_is_written_on_paper(show: Open, grouped: dict[str, Any]) -> None:
    page = show(grouped, grouped)
    page.page.emulate_media(media="print")
    page.settle()
    words = [word for word, _, _ in page.written(".row.job canvas")]
    assert [sum(word.startswith(sign) for word in words) for sign in ENDS] == [2, 2]


def test_a_failed_job_that_is_a_line_has_its_sign(show: Open) -> None:
    tale = Tale()
    jobs = [tale.job(f"job{number}") for number in range(2)]
    tale.tell("start", "it begins")
    for _ in range(400):
        tale.tell("step", "nothing")
    tale.tell("step", "it fails", {job: {"status": "aborting", "error": "EIO"} for job in jobs})
    tale.tell("step", "it is gone", dict.fromkeys(jobs))
    tale.tell("step", "again", {jobs[0]: {"status": "running"}})
    words = show(tale.done()).written(".row.job canvas")
    assert [word for word, _, _ in words] == ["✖", "✖"]


def test_paper_says_what_was_left_out(show: Open) -> None:
    tale = Tale()
    for number in range(200):
        tale.event("RESUME", at=number)
    for number in range(101):
        tale.tell("step", f"step {number}")
    page = show(tale.done(), hash_="#m=60")
    page.page.emulate_media(media="print")
    page.settle()
    said = "20 earlier and 100 later entries are left out. 101 entries are hidden by the filter."
    assert page.text(".left-out") == said
    assert len(page.texts(".paper p")) == 81


def test_paper_of_a_short_run_leaves_nothing_out(show: Open) -> None:
    page = show(conversation())
    page.page.emulate_media(media="print")
    page.settle()
    assert page.texts(".left-out") == []


def test_the_conversation_takes_the_room_that_there_is(show: Open, grouped: dict[str, Any]) -> None:
    page = show(grouped, viewport={"width": 1280, "height": 900})
    end = "(selector) => document.querySelector(selector).getBoundingClientRect().bottom"
    assert page.js("document.querySelector('.list').clientHeight") > 8 * 24
    assert page.js(end, ".conversation") - page.js(end, ".detail") < 40
    assert page.js("document.querySelector('.detail').scrollHeight <= document.querySelector('.detail').clientHeight")


def test_commands_are_counted_as_requests(show: Open) -> None:
    page = show(conversation())
    assert page.texts(".filters button") == ["commands 2", "events 2", "faults 1", "other 1"]


def test_replies_to_nothing_are_counted_as_replies(show: Open) -> None:
    tale = Tale()
    tale.tell("reply", "return {}")
    tale.tell("error", "refused")
    assert show(tale.done()).texts(".filters button") == ["replies 2"]


def test_the_buttons_fill_two_rows_in_a_narrow_window(show: Open, grouped: dict[str, Any]) -> None:
    page = show(grouped, viewport={"width": 400, "height": 800})
    rows = """(selector) => new Set([...document.querySelectorAll(selector)].filter((each) => each.offsetParent)
        .map((each) => each.getBoundingClientRect().top)).size"""
    assert page.js(rows, ".toolbar button") == 2
    assert page.js(rows, ".drive:first-of-type .drive-head button") == 1


def test_paper_is_light_and_screens_are_as_before(show: Open) -> None:
    page = show(conversation(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.js(ground)
    page.page.emulate_media(media="print")
    page.settle()
    printed = page.js(ground)
    page.page.emulate_media(media="screen")
    page.settle()
    assert (printed, page.js(ground)) == ("rgb(255, 255, 255)", before)


def test_what_has_no_name_or_changed_nothing_is_shown_all_the_same(show: Open) -> None:
    tale = Tale("")
    page = show(tale.done())
    assert page.js("qbitsim.runs[0].at(0)") == []


def two_machines() -> dict[str, Any]:
    """Jobs of one name on two machines, of which one fails, and a reply that was not expected."""
    tale = Tale("two machines", bits=False)
    jobs = {name: tale.job(f"{name} backup") for name in ("mail", "web")}
    for name, job in jobs.items():
        tale.tell("request", "block-job-cancel device=backup", who=name, machine=name, data={"execute": "x"})
        status = {"event": "JOB_STATUS_CHANGE", "data": {"id": "backup", "status": "running"}}
        tale.tell("event", "JOB_STATUS_CHANGE", {job: {"status": "running"}}, machine=name, data=status)
    for name, more in (("mail", {"error": "No space left on device"}), ("web", {})):
        end = {"event": "BLOCK_JOB_COMPLETED", "data": {"device": "backup", **more}}
        tale.tell("event", "BLOCK_JOB_COMPLETED", machine=name, data=end, failed=bool(more))
        tale.tell("event", "JOB_STATUS_CHANGE", {jobs[name]: None}, machine=name, data={"data": {"id": "backup"}})
    tale.tell("reply", "return {}", of=0, who="mail", data={"return": {}}, expected={"error": {"desc": "Not so"}})
    return tale.done()


def test_jobs_of_one_name_on_two_machines_are_told_apart(show: Open) -> None:
    outcomes = show(two_machines()).js("qbitsim.app.runs[0].outcomes().map(({ lane, end }) => [lane.name, end])")
    assert outcomes == [["mail backup", "failed"], ["web backup", "completed"]]


def test_a_reply_that_was_not_expected_is_marked(show: Open) -> None:
    looking = show(two_machines())
    looking.goto(8)
    assert looking.js("qbitsim.app.runs[0].isFailure(8)")
    (line,) = looking.texts(SELECTED)
    assert line.split("\n") == ["8", "≠", "return {}", "unexpected"]
    (detail,) = looking.texts(".detail")
    assert "≠ QEMU 10.0 answers:" in detail
    assert '"desc": "Not so"' in detail
