"""The page of a live machine, in a browser: it follows what happens, and its controls do what Python does."""

from __future__ import annotations

import errno
import time

import pytest
from browser import DRAWN
from live import Live

from qbitsim import Machine
from qbitsim.history.file import loads

STATE = "qbitsim.runs[0].at(qbitsim.runs[0].recording.last)"


@pytest.fixture
def live():
    with Live(disks=("drive0", "drive1")) as served:
        yield served


@pytest.fixture
def page(live, visit):
    return visit(live.url)


@pytest.fixture(scope="module")
def calm(chromium):
    """A page for tests that leave the machine as it is."""
    with Live(disks=("drive0", "drive1")) as served:
        page = chromium.new_page()
        page.goto(served.url)
        page.evaluate(DRAWN)
        yield page
        page.close()


def wait(page, expression, argument=None):
    """Wait until an expression is true. (The policy of the page does not let it be evaluated within the page.)"""
    until = time.monotonic() + 10
    while not page.evaluate(expression, argument):
        assert time.monotonic() < until, f"not in ten seconds: {expression}"
        time.sleep(0.02)


def caught_up(live, page):
    """Wait until the page has got every moment."""
    count = live.do(lambda _: len(live.history.moments))
    wait(page, f"qbitsim.runs[0].recording.length === {count}")


def shown(live, page):
    """The lanes of the page that exist now, by kind and name, as the page knows them."""
    caught_up(live, page)
    lanes = page.evaluate("qbitsim.runs[0].recording.lanes")
    states = page.evaluate(STATE)
    return {(lane["kind"], lane["name"]): state for lane, state in zip(lanes, states, strict=True) if state}


def dirty(state, cell=65536):
    """The ranges of a lane as (offset, length) in bytes."""
    starts, lengths = state["runs"][::2], state["runs"][1::2]
    return [(start * cell, length * cell) for start, length in zip(starts, lengths, strict=True)]


def form(page, name):
    return page.get_by_role("form", name=name, exact=True)


_FILL = """([name, text, fields]) => {
    const form = [...document.forms].find(({ ariaLabel }) => ariaLabel === name);
    for (const [field, value] of Object.entries(fields)) {
        const control = form.querySelector(`[name=${field}]`);
        control[typeof value === "boolean" ? "checked" : "value"] = value;
        for (const event of ["input", "change"]) control.dispatchEvent(new Event(event, { bubbles: true }));
    }
    form.parentElement.querySelector("output").textContent = "";
    const button = [...form.querySelectorAll("button")].find(({ textContent }) => textContent === text);
    button.scrollIntoView({ block: "nearest" });
    const { x, y, width, height } = button.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
}"""
_SAID = """(name) => new Promise((done) => {
    const form = [...document.forms].find(({ ariaLabel }) => ariaLabel === name);
    const output = form.parentElement.querySelector("output");
    const look = () => output.textContent && done(output.innerText);
    new MutationObserver(look).observe(output, { childList: true, characterData: true, subtree: true });
    look();
})"""


def use(page, name, button, **fields):
    """Fill in a form, press its button, and return what it says."""
    page.mouse.click(*page.evaluate(_FILL, [name, button, fields]))
    return page.evaluate(_SAID, name)


def backup(machine):
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0")
    for cluster in (1, 4, 9, 30):
        machine.drive("drive0").write(cluster * 65536, b"x")
    machine.qmp(
        "drive-backup", device="drive0", job_id="job0", target="t", sync="incremental", bitmap="b0", format="raw"
    )


# -- looking


def test_the_page_follows_a_job_and_shows_the_bits_that_the_machine_has(live, page):
    live.do(backup)
    for _ in range(3):
        live.do(lambda machine: machine.step())
        live.do(lambda machine: machine.drive("drive0").write(40 * 65536, b"y"))
        lanes, state = shown(live, page), live.do(lambda machine: machine.state())
        (bitmap,) = [each for each in state["nodes"]["drive0-node"]["bitmaps"] if each["name"] == "b0"]
        assert dirty(lanes["bitmap", "b0"]) == bitmap["dirty"]
        assert dirty(lanes["successor", "b0"]) == bitmap["successor"]["dirty"]
        (job,) = state["jobs"]
        assert [lanes["job", "job0"][name] for name in ("status", "done", "total")] == [job["status"], *job["progress"]]
    live.do(lambda machine: machine.run_until_idle())
    lanes = shown(live, page)
    assert ("job", "job0") not in lanes
    assert dirty(lanes["bitmap", "b0"]) == [(40 * 65536, 65536)]
    page.get_by_text("1 job completed").wait_for()


def test_who_looks_at_the_end_stays_at_the_end(live, page):
    live.do(backup)
    caught_up(live, page)
    wait(page, "qbitsim.moment === qbitsim.runs[0].recording.last")


def test_who_looks_at_the_past_stays_there(live, page):
    live.do(backup)
    caught_up(live, page)
    page.evaluate("qbitsim.goto(0)")
    live.do(lambda machine: machine.run_until_idle())
    caught_up(live, page)
    assert page.evaluate("qbitsim.moment") == 0


def test_a_history_that_begins_anew_is_loaded_anew(visit):
    with Live(longest=60) as live:
        page = visit(live.url)
        live.do(backup)
        for _ in range(4):
            live.do(lambda machine: [machine.drive("drive0").write(0, b"x") for _ in range(40)])
        state = live.do(lambda machine: machine.state())
        wait(page, "qbitsim.runs[0].recording.moments[0].text === 'what was before is forgotten'")
        (bitmap,) = [each for each in state["nodes"]["drive0-node"]["bitmaps"] if each["name"] == "b0"]
        assert dirty(shown(live, page)["bitmap", "b0"]) == bitmap["dirty"]
        assert page.inner_text(".live-state") == "● live"
        assert "The beginning is forgotten" in page.inner_text("#banners")


def test_a_quit_is_told_and_what_is_known_stays(live, page):
    live.do(backup)
    live.do(lambda machine: machine.shut_down())
    live.thread.run(live.site.close())
    page.get_by_text("QEMU has quit").wait_for()
    assert page.get_by_role("form", name="Steps").count() == 0
    assert page.evaluate("qbitsim.runs[0].recording.moments.some(({ text }) => text === 'SHUTDOWN')")


@pytest.mark.parametrize("quits", [False, True])
def test_the_history_can_be_saved_before_the_end_and_after_it(live, page, quits):
    live.do(backup)
    if quits:
        live.do(lambda machine: machine.shut_down())
        live.thread.run(live.site.close())
        page.get_by_text("QEMU has quit").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="save the history").click()
    saved = loads(download.value.path().read_text())
    assert saved == {**live.history.header(), "lanes": live.history.lanes, "moments": live.history.moments}


def test_a_crash_with_a_restart_goes_on(live, page):
    assert use(page, "QMP command", "send", line="x-qbitsim-crash restart=true") == "✔ {}"
    live.do(lambda machine: machine.drive("drive0").write(0, b"x"))
    assert shown(live, page)["disk", "drive0"]["count"] == 1


def test_when_the_server_is_gone_the_page_says_so_and_comes_back_by_itself(visit):
    with Live() as live:
        page = visit(live.url)
        port = int(live.home.rstrip("/").rpartition(":")[2])
        page.evaluate("document.documentElement.classList.add('same')")
        live.do(lambda machine: machine.drive("drive0").write(0, b"x"))
        caught_up(live, page)  # a connection that is accepted while the server leaves would be served for ever
        live.leave()
        page.get_by_text("no connection").wait_for()
        assert use(page, "Steps", "step") == "✖ the server does not answer"
    with Live(port=port, disks=("other",)) as again:
        page.wait_for_selector("html.ready:not(.same)", timeout=10_000)
        assert list(shown(again, page)) == [("disk", "other")]
        page.get_by_text("✖ The token is not that of this server.").wait_for()
    assert all("ERR_" in text or "401" in text for text in visit.complaints)
    visit.complaints.clear()


def test_a_page_that_nobody_sees_does_not_listen_and_catches_up_later(live, page):
    see = """how => {
        Object.defineProperty(document, 'hidden', { value: how === 'hidden', configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(see, "hidden")
    live.do(backup)
    page.evaluate(see, "visible")
    assert ("job", "job0") in shown(live, page)


# -- who may act


def test_a_page_without_its_token_can_look_and_says_how_to_act(live, visit):
    page = visit(live.home)
    assert "You can look, but not act: this page does not know the token" in page.inner_text("#controls")
    assert page.get_by_role("form", name="Steps").count() == 0
    live.do(backup)
    assert ("job", "job0") in shown(live, page)


def test_the_token_can_be_given_later(live, visit):
    page = visit(live.home)
    page.get_by_label("token").fill(live.url)
    page.get_by_role("button", name="use it").click()
    assert use(page, "Steps", "step") == "✔ 0 steps, now at 0 s"


def test_the_address_with_the_token_may_be_opened_in_the_same_window(live, visit):
    page = visit(live.home)
    page.goto(live.url)
    assert use(page, "Steps", "step") == "✔ 0 steps, now at 0 s"


def test_the_token_leaves_the_address_and_outlives_a_reload(live, page):
    assert live.token not in page.url
    page.reload()
    assert use(page, "Steps", "step") == "✔ 0 steps, now at 0 s"


def test_a_wrong_token_is_refused_and_nothing_changes(live, visit):
    before = live.do(lambda machine: machine.state())
    page = visit(f"{live.home}#token=wrong")
    page.get_by_text("✖ The token is not that of this server.").wait_for()
    assert page.get_by_role("form", name="Steps").count() == 0
    assert live.do(lambda machine: machine.state()) == before
    assert all("401" in text for text in visit.complaints)
    visit.complaints.clear()


def test_after_a_wrong_token_the_right_one_can_be_given(live, visit):
    page = visit(f"{live.home}#token=wrong")
    page.get_by_text("✖ The token is not that of this server.").wait_for()
    visit.complaints.clear()
    page.get_by_label("token").fill(live.token)
    page.get_by_role("button", name="use it").click()
    assert use(page, "Steps", "step") == "✔ 0 steps, now at 0 s"
    assert page.locator("#controls .bad").count() == 0


def test_a_token_of_another_server_is_forgotten(live, visit):
    page = visit(f"{live.home}#token=wrong")
    page.get_by_text("✖ The token is not that of this server.").wait_for()
    visit.complaints.clear()
    page.reload()
    page.evaluate(DRAWN)
    assert "this page does not know the token" in page.inner_text("#controls")


def test_without_control_the_page_says_how_to_get_the_controls(visit):
    with Live(control=False) as live:
        page = visit(live.url)
        assert "You can look, but not act: for that, qbitsim serve is started with --control." in page.inner_text(
            "#controls"
        )
        assert page.get_by_role("form").count() == 0


# -- acting: a control does on one machine what Python does on another


@pytest.mark.parametrize(
    ("steps", "python"),
    [
        ([("Steps", "step", {})], lambda machine: machine.step()),
        ([("Steps", "step", {"count": "3"})], lambda machine: [machine.step() for _ in range(3)]),
        ([("Run to idle", "run to idle", {})], lambda machine: machine.run_until_idle()),
        ([("Advance", "advance", {"seconds": "0.5"})], lambda machine: machine.advance(0.5)),
        (
            [("Guest write", "write", {"drive": "drive1", "offset": "64k", "length": "1M", "pattern": "0x42"})],
            lambda machine: machine.drive("drive1").write(65536, b"B" * (1 << 20)),
        ),
        (
            [
                ("Fault", "let it fail", {"where": "drive0", "operation": "read", "offset": "64k", "length": "64k"}),
                ("Run to idle", "run to idle", {}),
            ],
            lambda machine: (
                machine.inject_error("drive0", "read", errno.EIO, offset=65536, length=65536, once=True),
                machine.run_until_idle(),
            ),
        ),
        (
            [("Capacity", "limit", {"file": "t", "capacity": "64k"}), ("Run to idle", "run to idle", {})],
            lambda machine: (machine.limit_capacity("t", 65536), machine.run_until_idle()),
        ),
        (
            [("QMP command", "send", {"line": "block-dirty-bitmap-add node=drive1 name=b1 granularity=4096"})],
            lambda machine: machine.qmp("block-dirty-bitmap-add", node="drive1", name="b1", granularity=4096),
        ),
        (
            [("QMP command", "send", {"line": '{"execute": "job-cancel", "arguments": {"id": "job0"}}'})],
            lambda machine: machine.qmp("job-cancel", id="job0"),
        ),
        (
            [
                ("Undo", "keep this", {}),
                ("Run to idle", "run to idle", {}),
                ("Undo", "back to what was kept", {}),
                ("Steps", "step", {}),
            ],
            lambda machine: machine.step(),
        ),
    ],
)
def test_a_control_does_what_python_does(live, page, steps, python):
    live.do(backup)
    twin = Machine()
    twin.restore(live.do(lambda machine: machine.snapshot()))
    for name, button, fields in steps:
        assert use(page, name, button, **fields).startswith("✔")
    python(twin)
    state, expected = live.do(lambda machine: machine.state()), twin.state()
    assert state == expected
    caught_up(live, page)


def test_pause_and_go_set_the_pacing(live, page):
    assert use(page, "Pacing", "go") == "✔ time goes on by itself"
    live.do(backup)
    page.get_by_text("1 job completed").wait_for()
    assert use(page, "Pacing", "pause") == "✔ nothing goes on by itself"
    live.do(lambda machine: machine.qmp("drive-backup", device="drive0", target="t2", sync="full", format="raw"))
    assert live.do(lambda machine: [str(job.status) for job in machine.jobs.jobs]) == ["running"]


@pytest.mark.parametrize(
    ("name", "button", "fields", "said"),
    [
        ("Steps", "step", {"count": "many"}, "✖ steps: 'many' is no whole number"),
        ("Steps", "step", {"count": "0"}, "✖ 0 steps are none"),
        ("Steps", "step", {"count": "-1"}, "✖ steps: '-1' is out of range"),
        ("Steps", "step", {"count": "1e99"}, "✖ steps: '1e99' is out of range"),
        ("Steps", "step", {"count": "1.5"}, "✖ steps: '1.5' is no whole number"),
        ("Advance", "advance", {"seconds": "-1"}, "✖ seconds: '-1' is out of range"),
        ("Advance", "advance", {"seconds": "1e99"}, "✖ seconds: '1e99' is out of range"),
        ("Advance", "advance", {"seconds": "1e999"}, "✖ seconds: '1e999' is out of range"),
        ("Advance", "advance", {"seconds": "soon"}, "✖ seconds: 'soon' is no number"),
        ("Guest write", "write", {"offset": "-1"}, "✖ offset: '-1' is out of range"),
        ("Guest write", "write", {"length": "9999E"}, "✖ length: '9999E' is out of range"),
        ("Guest write", "write", {"offset": "here"}, "✖ offset: 'here' is no size, such as 64k"),
        (
            "Guest write",
            "write",
            {"offset": "1G"},
            "✖ 1073741824+65536 goes beyond the end of 'drive0'",
        ),
        ("Guest write", "write", {"pattern": "256"}, "✖ pattern 256 is no byte"),
        ("Fault", "let it fail", {"where": ""}, "✖ where: there is none"),
        (
            "Fault",
            "let it fail",
            {"where": "nowhere"},
            "✖ no drive with a medium, no node and no image file is called 'nowhere'",
        ),
        ("Fault", "let it fail", {"where": "drive0", "errno": "EHUH"}, "✖ unknown errno 'EHUH'"),
        ("Capacity", "limit", {"file": ""}, "✖ file: there is none"),
        ("Undo", "back to what was kept", {}, "✖ there is no snapshot 'page' (there are: none)"),
        ("QMP command", "send", {"line": ""}, "✖ write a command, such as query-block"),
        ("QMP command", "send", {"line": "nope"}, "✖ The command nope has not been found"),
        (
            "QMP command",
            "send",
            {"line": "stop now"},
            "✖ 'now' is not key=value: write NAME key=value ..., or a JSON object",
        ),
        ("QMP command", "send", {"line": '{"execute": "stop"}{"execute": "cont"}'}, "✖ write one command at a time"),
        ("QMP command", "send", {"line": "{"}, "✖ write one command as a JSON object: this is not a whole one"),
    ],
)
def test_what_is_wrong_is_said_beside_the_control(calm, name, button, fields, said):
    calm.evaluate("for (const each of document.forms) each.reset()")
    assert use(calm, name, button, **fields).startswith(said)


def test_a_complaint_goes_when_another_control_acts(calm):
    use(calm, "Advance", "advance", seconds="soon")
    use(calm, "Capacity", "limit", file="")
    complaints = calm.locator(".said.bad").filter(has_text="✖").all_inner_texts()
    assert complaints == ["✖ file: there is none"]


def test_a_great_number_is_shown_with_all_its_digits(live, page):
    great = '{"execute": "query-status", "id": 9223372036854775807, "x": -9223372036854775808}'
    use(page, "QMP command", "send", line=great)
    caught_up(live, page)
    page.evaluate("qbitsim.goto(qbitsim.runs[0].recording.last - 1)")
    wait(page, "document.querySelector('.detail pre')?.textContent.includes('\"id\": 9223372036854775807,')")
    assert "-9223372036854775808" in page.inner_text(".detail pre")


def test_a_value_is_what_it_looks_like(live, page):
    line = 'x y=1 z=true big=9223372036854775807 text=drive0 quoted="a b" list=[1,2] none=null'
    use(page, "QMP command", "send", line=line)
    asked = live.do(lambda _: live.history.moments[-2]["data"])
    assert asked == {
        "execute": "x",
        "arguments": {
            "y": 1, "z": True, "big": (1 << 63) - 1, "text": "drive0", "quoted": "a b", "list": [1, 2], "none": None,
        },
    }  # fmt: skip


def test_the_drives_to_choose_from_are_those_that_there_are(live, page):
    choice = form(page, "Guest write").locator("select")
    assert choice.locator("option").all_inner_texts() == ["drive0", "drive1"]
    choice.select_option("drive1")
    live.do(lambda machine: machine.add_disk("drive2", "1M"))
    live.do(lambda machine: machine.drive("drive2").write(0, b"x"))
    wait(page, "select => select.length === 3", choice.element_handle())
    assert choice.input_value() == "drive1"


def test_everything_can_be_reached_with_the_keyboard_and_has_a_name(calm):
    unnamed = """[...document.querySelectorAll('#controls :is(input, select, button, a)')]
        .filter((each) => !(each.labels?.length || each.textContent.trim() || each.ariaLabel) || each.tabIndex < 0)
        .map((each) => each.outerHTML)"""
    assert calm.evaluate(unnamed) == []


def test_enter_presses_the_button_and_the_keys_of_the_timeline_stay_out_of_fields(live, page):
    before = live.do(lambda _: len(live.history.moments))
    field = form(page, "Steps").locator("[name=count]")
    field.fill("2")
    field.press("Home")
    field.press("Enter")
    page.get_by_text("✔ 0 steps, now at 0 s").wait_for()
    assert live.do(lambda _: live.history.moments[before]["data"]["arguments"]) == {"count": 2}
    assert page.evaluate("qbitsim.moment === qbitsim.runs[0].recording.last")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_controls_fit_into_the_window(live, visit, width):
    page = visit(live.url, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
