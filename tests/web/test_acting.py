"""Commands that come from the page: what they do, and who is refused."""

from __future__ import annotations

import io
import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import Live

from qbitsim.testing.command_strategies import invalid_commands


@pytest.fixture(scope="module")
def shared():
    """A machine that refusals leave as it is."""
    with Live() as served:
        yield served


@pytest.fixture
def live():
    with Live() as served:
        yield served


def state(live):
    return live.do(lambda machine: machine.state())


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Authorization": ""}, 401, "acting needs the token"),
        ({"Authorization": "Bearer wrong"}, 401, "the token is not that of this server"),
        ({"Origin": "http://evil.example"}, 403, "only qbitsim's own page"),
        ({"Origin": "null"}, 403, "only qbitsim's own page"),
        ({"Host": "evil.example"}, 403, "the request is for 'evil.example'"),
    ],
)
def test_a_request_that_is_not_granted_changes_nothing(shared, headers, status, words):
    before, moments = state(shared), len(shared.history.moments)
    answer = shared.send(
        '{"execute": "x-qbitsim-write", "arguments": {"drive": "drive0", "offset": 0, "length": 1}}', **headers
    )
    assert answer.status == status
    assert answer.json["error"]["class"] == "GenericError"
    assert words in answer.json["error"]["desc"]
    assert (state(shared), len(shared.history.moments)) == (before, moments)


def test_the_token_in_the_address_is_not_taken(shared):
    request = {"headers": {}, "data": '{"execute": "query-status"}'}
    assert shared.request("POST", f"command?token={shared.token}", **request).status == 401


def test_whoever_wants_to_act_is_asked_for_a_bearer_token(shared):
    assert shared.send("{}", Authorization="").headers["WWW-Authenticate"] == "Bearer"


def test_the_page_of_the_server_itself_may_act(shared):
    reply = shared.send('{"execute": "query-status", "id": 7}', Origin=shared.home.rstrip("/"))
    assert reply.json == {"return": {"status": "running", "running": True}, "id": 7}


def test_without_control_nobody_acts():
    with Live(control=False) as live:
        assert live.url == live.home
        answer = live.send('{"execute": "query-status"}', Authorization=f"Bearer {live.site._guard.token}")
        assert (answer.status, len(live.history.moments)) == (403, 1)
        assert answer.json["error"]["desc"] == "this server was started without --control: one can look, but not act"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_commands_are_posted(shared, method):
    assert shared.request(method, "command", headers={"Authorization": f"Bearer {shared.token}"}).status == 405


def test_a_command_is_part_of_the_conversation(live):
    live.command("query-status")
    asked, answered = live.history.moments[-2:]
    assert (asked["kind"], asked["who"], asked["text"]) == ("request", "page", "query-status")
    assert (answered["kind"], answered["of"]) == ("reply", len(live.history.moments) - 2)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("", "this is not a whole one"),
        ("{", "this is not a whole one"),
        ('{"execute": "stop"} {"execute": "cont"}', "write one command at a time"),
        ("stop", "JSON parse error, invalid keyword 'stop'"),
        ("[]", "QMP input must be a JSON object"),
        ("{}", "QMP input lacks member 'execute'"),
        ('{"execute": 1}', "QMP input member 'execute' must be a string"),
        ('{"execute": "x", "arguments": 1}', "QMP input member 'arguments' must be an object"),
        ('{"execute": "nope"}', "The command nope has not been found"),
        ('{"execute": "stop", "arguments": {"x": 1}}', "Parameter 'x' is unexpected"),
        ('{"exec-oob": "stop"}', "QMP input member 'exec-oob' is unexpected"),
        ('{"execute": "qmp_capabilities"}', "Capabilities negotiation is already complete, command ignored"),
        (
            '{"execute": "x-qbitsim-step", "arguments": {"count": "1"}}',
            "Invalid parameter type for 'count', expected: integer",
        ),
        ('{"execute": "x-qbitsim-step", "arguments": {"count": 0}}', "0 steps are none"),
        (b"\xff\xfe\x00", "JSON parse error"),
        ("[" * 5000, "JSON nesting depth limit exceeded"),
    ],
)
def test_what_is_wrong_is_answered_as_a_monitor_does_and_changes_nothing(shared, sent, words):
    before = state(shared)
    answer = shared.send(sent)
    assert (answer.status, set(answer.json)) == (200, {"error"})
    assert words in answer.json["error"]["desc"]
    assert state(shared) == before


@pytest.mark.parametrize("sent", ["{", '{"execute": "stop"}{"execute": "cont"}'])
def test_what_is_not_one_command_is_no_part_of_the_conversation(shared, sent):
    before = len(shared.history.moments)
    shared.send(sent)
    assert len(shared.history.moments) == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204), ({"Authorization": ""}, 401), ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 403),
    ],
)  # fmt: skip
def test_a_token_can_be_checked_and_nothing_is_told(shared, headers, status):
    answer = shared.get("token", **{"Authorization": f"Bearer {shared.token}", **headers})
    assert answer.status == status
    assert shared.token not in answer.text
    assert shared.token not in str(answer.headers)


def test_without_control_no_token_is_right():
    with Live(control=False) as live:
        assert live.get("token", Authorization=f"Bearer {live.site._guard.token}").status == 403


def test_a_command_that_is_too_long_is_refused(shared):
    before = state(shared)
    answer = shared.send(io.BytesIO(b'{"execute": "stop"' + b" " * (1 << 20) + b"}"))
    assert answer.status == 413
    assert answer.json["error"]["desc"] == "a command has at most 1048576 bytes"
    assert state(shared) == before


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 100\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_a_request_that_is_cut_off_or_broken_is_not_the_end(shared, sent):
    port = int(shared.home.rstrip("/").rpartition(":")[2])
    head = f"POST /command HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shared.token}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head.encode() + sent)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1 << 16)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.0 400")
    assert shared.command("query-status")["return"]["running"]


def test_a_body_that_was_not_packed_as_it_says_is_refused(shared):
    answer = shared.send("abcde", **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["error"]["desc"]) == (400, "the body of the request is broken")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60).filter(lambda sent: b"execute" not in sent) | st.text("{}[]\":,'\\ue0 1atr-", max_size=60)
)
def test_garbage_is_answered_with_an_error_and_changes_nothing(shared, sent):
    before = state(shared)
    answer = shared.send(sent)
    assert (answer.status, set(answer.json)) == (200, {"error"})
    assert state(shared) == before


@settings(max_examples=100)
@given(invalid_commands())
def test_a_command_with_a_mistake_changes_nothing(shared, command):
    before = state(shared)
    answer = shared.send(json.dumps({"execute": command.name, "arguments": command.arguments}))
    assert (answer.status, set(answer.json)) == (200, {"error"})
    assert state(shared) == before


def test_faults_of_monitors_are_for_the_client_under_test(live):
    live.do(lambda machine: machine.hold_reply("query-status"))
    live.do(lambda machine: machine.drop_monitor("query-block"))
    assert live.command("query-status")["return"]["running"]
    assert [drive["device"] for drive in live.command("query-block")["return"]] == ["drive0"]


def test_a_change_of_pacing_is_obeyed_at_once():
    with Live(pacing="manual") as live:
        live.command("drive-backup", device="drive0", target="t", sync="full", format="raw")
        assert live.command("query-jobs")["return"][0]["status"] == "running"
        live.command("x-qbitsim-set-pacing", pacing="immediate")
        assert live.command("query-jobs")["return"] == []


def test_what_was_started_at_immediate_pacing_is_finished_before_the_next_command():
    with Live(pacing="immediate") as live:
        live.command("drive-backup", device="drive0", target="t", sync="full", format="raw")
        assert live.command("query-jobs")["return"] == []


def test_a_crash_with_a_restart_is_not_the_end(live):
    live.command("block-dirty-bitmap-add", node="drive0", name="b0")
    assert live.command("x-qbitsim-crash", restart=True) == {"return": {}}
    assert live.command("query-block")["return"][0]["inserted"].get("dirty-bitmaps") is None
    assert "QEMU is started anew on its files" in [moment["text"] for moment in live.history.moments]


def test_after_quit_nothing_is_answered(live):
    assert live.command("quit") == {"return": {}}
    answer = live.send('{"execute": "query-status"}')
    assert (answer.status, answer.json["error"]["desc"]) == (503, "QEMU has quit")


def test_a_bug_of_the_machine_ends_it_and_is_told_in_one_line():
    live = Live()
    answers = []

    def provoke():
        with live:
            live.do(lambda machine: delattr(machine.drive("drive0").node, "bitmaps"))
            answers.append(live.send('{"execute": "query-block"}'))

    with pytest.raises(AttributeError):
        provoke()
    assert [answer.status for answer in answers] == [500]
    assert answers[0].json["error"]["desc"].startswith("qbitsim has a bug and ends: AttributeError(")
