"""What whoever reaches the server can see."""

from __future__ import annotations

import pytest
from live import Live, moments

from qbitsim.history.file import loads
from qbitsim.web.feed import NOTE


@pytest.fixture
def live():
    with Live() as served:
        yield served


def test_the_history_is_the_one_that_the_machine_is_watched_by(live):
    live.do(lambda machine: machine.drive("drive0").write(0, b"x" * 65536))
    assert live.get("history").json == live.do(lambda _: live.history.to_json())


def test_the_history_is_sent_compressed(live):
    answer = live.get("history", **{"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json["kind"] == "qbitsim-history"


def test_the_history_can_be_saved_as_a_file_for_a_report(live):
    live.command("query-status")
    saved = loads(live.get("history.jsonl").text)
    assert saved == live.get("history").json


def test_the_feed_goes_on_where_the_history_ends(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]
    live.do(lambda machine: machine.drive("drive0").write(0, b"x" * 65536))
    live.do(lambda machine: machine.drive("drive0").write(65536, b"x" * 512))
    (news,) = live.news(cursor, lambda found: len(moments(found)) == 2)
    assert news[1]["lanes"] == []
    assert news[1]["moments"] == live.history.moments[-2:]


def test_the_feed_tells_of_new_lanes_before_they_are_used(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]
    live.do(lambda machine: machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0"))
    live.do(lambda machine: machine.drive("drive0").write(0, b"x" * 65536))
    (news,) = live.news(cursor, lambda found: bool(moments(found)))
    assert [lane["name"] for lane in news[1]["lanes"]] == ["b0"]
    assert live.history.lanes[-1:] == news[1]["lanes"]


def test_what_happens_later_comes_later(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]

    def enough(found):
        if len(found) == 1:
            live.server._loop.call_soon(lambda: live.server.call(lambda: live.machine.drive("drive0").write(0, b"2")))
        return len(moments(found)) == 2

    live.do(lambda machine: machine.drive("drive0").write(0, b"1"))
    assert moments(live.news(cursor, enough)) == ["the guest writes 1 bytes at 0 of drive0"] * 2


def test_ten_thousand_moments_come_in_a_few_messages(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]
    live.do(lambda machine: [machine.drive("drive0").write(0, b"x") for _ in range(10_000)])
    found = live.news(cursor, lambda found: len(moments(found)) == 10_000)
    assert len(found) == 5


def test_a_number_that_json_has_not_does_not_break_the_history(live):
    live.send('{"execute": "query-status", "id": 1e999}')
    assert [moment["data"]["id"] for moment in live.get("history").json["moments"][1:]] == ["Infinity", "Infinity"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "x.0.0.0", "{name}.0.0", "{name}.0.0.99999", "{name}.0.-1.0", "{name}.7.0.0"]
)
def test_a_cursor_of_another_time_is_told_to_reload(live, cursor):
    cursor = cursor.format(name=live.site.feed._name)
    assert live.news(cursor, bool) == [("reload", {})]


def test_whoever_comes_back_with_the_cursor_of_a_message_gets_what_came_since(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]
    live.do(lambda machine: [machine.drive("drive0").write(0, b"x") for _ in range(5_000)])
    live.site.feed.end()
    text = live.get(f"feed?from={cursor}").text
    second = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")][1]
    assert live.get(f"feed?from={second}").text == text[text.index(f"id: {second}") :].partition("\n\n")[2]


def test_a_history_that_grows_too_long_begins_anew_and_readers_reload():
    with Live(longest=100) as live:
        cursor = live.get("history").headers["Qbitsim-Cursor"]
        live.do(lambda machine: [machine.drive("drive0").write(0, b"x") for _ in range(250)])
        assert live.news(cursor, bool) == [("reload", {})]
        document = live.get("history").json
        assert document["moments"][0]["text"] == "what was before is forgotten"
        assert document["notes"] == [NOTE]
        assert len(document["moments"]) <= 100
        assert document["moments"][0]["changes"] == {"0": {"size": 4 << 20, "count": 1, "+": [0, 1]}}


def test_a_history_that_is_wanted_whole_is_kept_whole():
    with Live(longest=None) as live:
        live.do(lambda machine: [machine.drive("drive0").write(0, b"x") for _ in range(20_100)])
        assert len(live.get("history").json["moments"]) == 20_101


def test_a_reader_that_does_not_read_keeps_nothing_in_memory_but_a_message(live):
    async def lag() -> int:
        feed = live.site.feed
        reader = feed.follow(feed.cursor)
        for _ in range(30_000):
            live.server.call(lambda: live.machine.drive("drive0").write(0, b"x"))
        assert len(live.history.moments) <= 20_000
        return (await anext(reader)).splitlines()[0]

    assert live.thread.run(lag()) == "event: reload"


def test_the_end_of_the_machine_is_told(live):
    cursor = live.get("history").headers["Qbitsim-Cursor"]

    async def end() -> None:
        live.server.call(live.machine.shut_down)
        live.site.feed.end()

    live.thread.run(end())
    found = live.news(cursor, lambda _: False)
    assert [name for name, _ in found] == ["news", "end"]
    assert moments(found) == ["SHUTDOWN"]


def test_the_page_brings_the_history_and_says_where_to_go_on(live):
    answer = live.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert live.token not in answer.text


@pytest.mark.parametrize("path", ["/", "history", "history.jsonl", "feed?from=x", "nowhere", "command"])
def test_every_response_has_the_headers_that_keep_others_out(live, path):
    headers = live.get(path).headers
    assert {name: headers[name] for name in ("X-Content-Type-Options", "Referrer-Policy", "Cache-Control")} == {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert not [name for name in headers if name.lower().startswith("access-control")]


def test_the_page_may_run_its_own_script_and_talk_to_its_server_and_nothing_else(live):
    policy = live.get("/").headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("script-src").startswith("'sha256-")
    assert rules.pop("style-src").startswith("'sha256-")
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("path", ["/", "history", "history.jsonl", "feed", "command", "nowhere"])
def test_a_request_for_another_host_is_refused(live, path):
    answer = live.get(path, Host="evil.example")
    assert answer.status == 403
    assert answer.json["error"]["desc"].startswith("the request is for 'evil.example': open the address")


def test_the_feed_is_not_for_pages_from_elsewhere(live):
    assert live.get("feed", Origin="http://evil.example").status == 403
