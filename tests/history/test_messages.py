"""Histories of what was said alone: recorded conversations, transcripts, and machines that nobody watched."""

from __future__ import annotations

from typing import Any

from qbitsim import Machine
from qbitsim.history.events import history_of_events
from qbitsim.history.messages import MessageHistory
from qbitsim.history.records import history_of_records
from qbitsim.machine.machine import EPOCH

STAMP = {"seconds": 100, "microseconds": 0}
LATER = {"seconds": 101, "microseconds": 500_000}


def test_jobs_are_told_by_their_events() -> None:
    told = MessageHistory("a title", "10.0")
    told.event({"event": "JOB_STATUS_CHANGE", "data": {"id": "j", "status": "running"}, "timestamp": STAMP})
    end = {"device": "j", "type": "backup", "len": 8, "offset": 3, "speed": 0, "error": "No space left on device"}
    told.event({"event": "BLOCK_JOB_COMPLETED", "data": end, "timestamp": LATER})
    told.event({"event": "JOB_STATUS_CHANGE", "data": {"id": "j", "status": "null"}, "timestamp": LATER})
    history = told.to_json()
    assert history["lanes"] == [{"kind": "job", "name": "j", "type": "job"}]
    assert (history["epoch"], history["bits"]) == (100, False)
    assert [(each["at"], each.get("failed"), each["changes"]) for each in history["moments"]] == [
        (0, None, {"0": {"status": "running"}}),
        (1_500_000_000, True, {"0": {"done": 3, "total": 8, "error": "No space left on device"}}),
        (1_500_000_000, None, {"0": None}),
    ]


def test_bitmaps_are_told_by_commands_that_succeed_and_by_queries() -> None:
    told = MessageHistory("")
    add = {"node": "drive0", "name": "b0", "granularity": 4096}
    told.request({"execute": "block-dirty-bitmap-add", "arguments": add})
    told.reply({"error": {"class": "GenericError", "desc": "no"}})
    assert told.lanes == []
    told.request(
        {"execute": "transaction", "arguments": {"actions": [{"type": "block-dirty-bitmap-add", "data": add}]}}
    )
    told.reply({"return": {}})
    told.request({"execute": "query-block"})
    bitmap = {"name": "b0", "granularity": 4096, "count": 8192, "recording": False, "busy": True}
    told.reply({"return": [{"device": "drive0", "inserted": {"dirty-bitmaps": [bitmap, {}, 1]}}, 7]})
    told.request({"execute": "block-dirty-bitmap-remove", "arguments": add})
    told.reply({"return": {}})
    place = {"node": "drive0", "drive": "drive0", "size": 0, "cell": 4096}
    assert told.lanes == [{"kind": "bitmap", "name": "b0", **place}]
    assert [each.get("changes") for each in told.moments if each["kind"] != "request"] == [
        None,
        {"0": {"count": 0}},
        {"0": {"count": 2, "flags": ["busy", "disabled"]}},
        {"0": None},
    ]
    assert [each["of"] for each in told.moments if each["kind"] != "request"] == [0, 2, 4, 6]


def test_messages_of_any_shape_are_told() -> None:
    odd: list[Any] = [None, 1, "x", [], {}, {"return": None}, {"error": 1}, {"execute": 1}, {"execute": "transaction"}]
    odd += [{"execute": "transaction", "arguments": {"actions": each}} for each in (1, [1], [{}], [{"type": 1}])]
    odd += [{"execute": name, "arguments": []} for name in ("block-dirty-bitmap-add", "query-block")]
    told = MessageHistory("")
    for request in odd:
        for reply in [*odd, {"return": [1, {}, {"inserted": 1}, {"inserted": {"dirty-bitmaps": [{}]}}]}]:
            told.request(request)
            told.reply(reply)
    for event in (
        {},
        {"event": 1},
        {"event": "JOB_STATUS_CHANGE", "data": 1, "timestamp": 1},
        {"event": "X", "data": {}},
    ):
        told.event(event)
    assert len(told.moments) == 2 * len(odd) * (len(odd) + 1) + 4
    assert told.lanes == []


def test_a_recorded_conversation_has_its_requests() -> None:
    steps = [
        {"start": {}},
        {"qmp": {"execute": "query-jobs"}},
        {"raw": "{]"},
        {"qmp": {"execute": "quit"}, "monitor": 1},
    ]
    records = [
        {"step": 0, "type": "greeting", "greeting": {}},
        {"step": 1, "type": "reply", "reply": {"return": []}},
        {"type": "event", "event": "STOP"},
        {"step": 2, "type": "reply", "reply": {"error": {"class": "GenericError", "desc": "bad"}}, "text": "..."},
        {"step": 3, "type": "reply", "reply": {"return": {}}, "monitor": 1},
        {"type": "closed", "by": "server"},
        {"step": 99, "type": "shell", "argv": ["qemu-img", "info"], "rc": 0},
    ]
    history = history_of_records({"steps": steps, "records": records, "qemu": "7.2.22"}, "a talk")
    assert (history["title"], history["profile"]) == ("a talk", "7.2.22")
    assert [(each["kind"], each["text"], each.get("who")) for each in history["moments"]] == [
        ("request", "query-jobs", "client"),
        ("reply", "return []", "client"),
        ("event", "STOP", None),
        ("request", "{]", "client"),
        ("error", "bad", "client"),
        ("request", "quit", "monitor 1"),
        ("reply", "return {}", "monitor 1"),
        ("look", 'closed {"by": "server"}', None),
        ("look", "$ qemu-img info", None),
    ]


def test_a_machine_that_nobody_watched_shows_its_events_and_what_it_is() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0").write(0, b"x")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.qmp("drive-backup", device="drive0", sync="full", target="t", job_id="j")
    machine.drive("drive0").write(0, b"y")
    history = history_of_events(machine).to_json()
    (note,) = history["notes"]
    assert note.startswith("The machine was not watched")
    assert {each["kind"] for each in history["moments"]} == {"event", "end"}
    assert [lane["kind"] for lane in history["lanes"]][:3] == ["job", "disk", "bitmap"]
    assert (history["bits"], history["epoch"]) == (True, EPOCH)
    changes = history["moments"][-1]["changes"]
    assert changes["1"] == {"size": 1 << 20, "count": 1, "+": [0, 1]}
    assert changes["2"] == {"flags": [], "size": 1 << 20, "count": 1, "+": [0, 1]}
    assert "0" not in changes


def test_a_query_tells_the_size_and_that_a_node_is_a_drive() -> None:
    told = MessageHistory("")
    for node, name in (("node0", "b0"), ("drive1", "b0")):
        told.request({"execute": "block-dirty-bitmap-add", "arguments": {"node": node, "name": name}})
        told.reply({"return": {}})
    bitmap = {"name": "b0", "granularity": 65536, "count": 65536, "recording": True}
    inserted = {"node-name": "node0", "image": {"virtual-size": 1 << 20}, "dirty-bitmaps": [bitmap]}
    told.request({"execute": "query-block"})
    told.reply({"return": [{"device": "drive0", "inserted": inserted}]})
    told.request({"execute": "drive-backup", "arguments": {"device": "drive0", "job-id": "j", "target": "t"}})
    told.reply({"return": {}})
    told.event({"event": "JOB_STATUS_CHANGE", "data": {"id": "j", "status": "running"}})
    assert told.lanes == [
        {"kind": "bitmap", "name": "b0", "node": "node0", "drive": "node0", "size": 1 << 20, "cell": 65536},
        {"kind": "bitmap", "name": "b0", "node": "drive1", "drive": "drive1", "size": 0, "cell": 65536},
        {"kind": "job", "name": "j", "type": "backup", "drive": "node0"},
    ]
    assert told.moments[5]["changes"] == {"0": {"count": 1, "flags": []}}
    assert told.to_json()["epoch"] is None


def test_a_transcript_without_requests_tells_of_bitmaps_too() -> None:
    told = MessageHistory("")
    bitmap = {"name": "b0", "granularity": 65536, "count": 131072, "recording": True}
    told.reply({"return": [{"device": "drive0", "node-name": "node0", "dirty-bitmaps": [bitmap]}]})
    assert told.lanes == [
        {"kind": "bitmap", "name": "b0", "node": "drive0", "drive": "drive0", "size": 0, "cell": 65536}
    ]
    assert told.moments[0]["changes"] == {"0": {"count": 2, "flags": []}}
