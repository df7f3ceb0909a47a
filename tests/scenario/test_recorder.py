"""Scenarios made out of conversations."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim import Machine
from qbitsim.qmp.session import Session
from qbitsim.scenario.player import Player
from qbitsim.scenario.recorder import Recorder
from qbitsim.scenario.replayer import check


def line(**message):
    return json.dumps(message).encode() + b"\r\n"


GREETING = line(QMP={"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []})
NO_REPLY = {"type": "closed", "by": "client"}


@pytest.fixture
def recorder():
    return Recorder("test")


@pytest.fixture
def conversation(recorder):
    made = recorder.open(0.0)
    made.received(GREETING, 0.0)
    return made


def test_a_message_becomes_a_step_and_its_reply_a_record(recorder, conversation):
    conversation.sent(b'{"execute": "stop"}\n', 0)
    conversation.received(line(event="STOP", timestamp={"seconds": 1, "microseconds": 2}) + line(**{"return": {}}), 0)
    conversation.closed("client")
    assert recorder.steps == [
        {"start": {"negotiate": False}},
        {"qmp": {"execute": "stop"}},
        {"note": "the client hangs up", "hangs_up": "client"},
    ]
    assert recorder.records[1:] == [
        {"type": "event", "event": "STOP"},
        {"step": 1, "type": "reply", "reply": {"return": {}}},
        {"type": "closed", "by": "client"},
    ]
    assert recorder.scenario()["qemu"] == "7.2.22"


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts):
    asked = b'{"execute": "a"}{"execute": "b", "id": [{}]}\n{"execute": \xff{"execute": "d"}'
    told = GREETING + line(**{"return": 1}) + line(**{"return": 2}) + line(error={}) + line(**{"return": 4})
    recorder = Recorder("test")
    conversation = recorder.open(0)
    for data, note in ((asked, conversation.sent), (told, conversation.received)):
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for begin, end in pairwise(places):
            note(data[begin:end], 0)
    conversation.closed("client")
    assert [step.get("qmp", {}).get("execute") for step in recorder.steps] == [None, "a", "b", None, "d", None]
    assert bytes.fromhex(recorder.steps[3]["raw_hex"]) == b'\n{"execute": \xff'
    replies = [(record["step"], record["reply"]) for record in recorder.records if record["type"] == "reply"]
    assert replies == [(1, {"return": 1}), (2, {"return": 2}), (3, {"error": {}}), (4, {"return": 4})]


def test_an_event_that_the_client_may_have_waited_for_becomes_a_step(recorder, conversation):
    conversation.sent(b'{"execute": "a"}', 0)
    conversation.received(line(**{"return": {}}) + line(event="ONE"), 0)
    conversation.received(line(event="TWO", data={"device": "#block123"}), 0)
    conversation.sent(b'{"execute": "b"}', 0)
    assert recorder.steps[2:] == [{"wait_event": "TWO", "data": {"device": "#auto"}}, {"qmp": {"execute": "b"}}]


def test_a_pause_becomes_a_step_and_a_short_one_does_not(recorder, conversation):
    conversation.sent(b'{"execute": "a"}', 0.01)
    conversation.received(line(**{"return": {}}), 5)
    conversation.sent(b'{"execute": "b"}', 5.5)
    assert recorder.steps[1:] == [{"qmp": {"execute": "a"}}, {"sleep": 0.5}, {"qmp": {"execute": "b"}}]


def test_what_is_sent_ahead_of_replies_is_marked_and_ids_find_their_step(recorder, conversation):
    conversation.sent(b'{"execute": "a", "id": 1}{"exec-oob": "b", "id": 2}', 0)
    conversation.received(line(**{"return": {}, "id": 2}) + line(**{"return": {}, "id": 1}), 0)
    assert [step.get("ahead") for step in recorder.steps] == [None, None, True]
    assert [record["step"] for record in recorder.records] == [0, 2, 1]


def test_connections_are_told_apart(recorder, conversation):
    other = recorder.open(0)
    other.received(GREETING, 0)
    other.sent(b'{"execute": "a"}', 0)
    assert recorder.steps[1:] == [
        {"reconnect": True, "negotiate": False, "monitor": 1},
        {"qmp": {"execute": "a"}, "monitor": 1},
    ]
    assert [record.get("monitor") for record in recorder.records] == [None, 1]


def test_half_of_a_message_and_half_of_a_line_are_kept(recorder, conversation):
    conversation.sent(b'{"execute": "a"}{"exec', 0)
    conversation.received(b'{"ret', 0)
    conversation.closed("server")
    conversation.closed("client")
    assert recorder.steps[2:] == [{"raw": '{"exec'}, {"note": "the server hangs up", "hangs_up": "server"}]
    assert recorder.records[1:] == [{"type": "half-line", "text": '{"ret'}, {"type": "closed", "by": "server"}]


def test_what_the_server_says_unasked_or_in_no_json_is_kept(recorder, conversation):
    conversation.received(b"hello\r\n[]\r\n", 0)
    assert [record["type"] for record in recorder.records] == ["greeting", "unexpected", "unexpected"]
    assert recorder.records[1]["reply"] == {"__not_json__": "hello"}


def test_a_recording_that_is_stopped_is_complete(recorder, conversation):
    recorder.close()
    check(json.loads(json.dumps(recorder.scenario())))


def test_what_was_recorded_can_be_played():
    machine = Machine(running=False)
    session, recorder = Session(machine), Recorder("test")
    conversation = recorder.open(0)
    conversation.received(session.connect(), 0)
    for name in ("qmp_capabilities", "cont", "query-status", "x"):
        data = json.dumps({"execute": name}).encode()
        conversation.sent(data, 0)
        conversation.received(session.feed(data), 0)
    conversation.closed("client")
    played = Player().play(recorder.steps)
    assert played == [record for record in recorder.records if record["type"] != "closed"]
