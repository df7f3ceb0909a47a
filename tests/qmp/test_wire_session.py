from __future__ import annotations

import json

import pytest
from wire_fake import FakeMachine

from qbitsim.engine.events import EventLog
from qbitsim.qmp.session import Session

NEGOTIATE = b'{"execute":"qmp_capabilities"}'
NEGOTIATE_OOB = b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}'


def negotiated(machine=None, how=NEGOTIATE):
    session = Session(machine or FakeMachine())
    assert session.feed(how) == b'{"return": {}}\r\n'
    return session


def answers(session, data):
    return [json.loads(line) for line in session.feed(data).splitlines()]


def error(desc, error_class="GenericError", **more):
    return {"error": {"class": error_class, "desc": desc}, **more}


def test_the_greeting_is_one_line():
    assert Session(FakeMachine()).connect() == (
        b'{"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "fake"}, '
        b'"capabilities": ["oob"]}}\r\n'
    )


def test_before_the_negotiation_only_shape_errors_have_their_own_text():
    machine = FakeMachine()
    session = Session(machine)
    expecting = "Expecting capabilities negotiation with 'qmp_capabilities'"
    assert answers(session, b'{"execute":"nosuch","id":1} {"execute":"echo","arguments":{}} {"execute":1} [1] }') == [
        error(expecting, "CommandNotFound", id=1),
        error(expecting, "CommandNotFound"),
        error("QMP input member 'execute' must be a string"),
        error("QMP input must be a JSON object"),
        error("JSON parse error, expecting value"),
    ]
    assert machine.executed == []


@pytest.mark.parametrize(
    ("arguments", "desc"),
    [
        ('{"enable":null}', "Invalid parameter type for 'enable', expected: array"),
        ('{"enable":"oob","bar":1}', "Invalid parameter type for 'enable', expected: array"),
        ('{"enable":["oob",1]}', "Invalid parameter type for 'enable[1]', expected: string"),
        ('{"enable":["foo"],"bar":1}', "Parameter 'null' does not accept value 'foo'"),
        ('{"foo":1}', "Parameter 'foo' is unexpected"),
    ],
)
def test_a_failed_negotiation_changes_nothing(arguments, desc):
    session = Session(FakeMachine())
    text = f'{{"execute":"qmp_capabilities","arguments":{arguments}}}'.encode()
    assert answers(session, text) == [error(desc)]
    assert answers(session, b'{"execute":"echo"}')[0]["error"]["class"] == "CommandNotFound"
    assert answers(session, NEGOTIATE) == [{"return": {}}]


def test_oob_can_only_be_enabled_if_it_is_offered():
    session = Session(FakeMachine(), oob=False)
    assert json.loads(session.connect())["QMP"]["capabilities"] == []
    assert answers(session, NEGOTIATE_OOB) == [error("Capability oob not available")]


def test_a_second_negotiation_is_refused_after_its_arguments_are_checked():
    session = negotiated()
    assert answers(session, NEGOTIATE + b'{"execute":"qmp_capabilities","arguments":{"x":1}}') == [
        error("Capabilities negotiation is already complete, command ignored", "CommandNotFound"),
        error("Parameter 'x' is unexpected"),
    ]


@pytest.mark.parametrize(
    ("message", "desc"),
    [
        ("{}", "QMP input lacks member 'execute'"),
        ('{"foo":1,"execute":5}', "QMP input member 'execute' must be a string"),
        ('{"arguments":[],"execute":5}', "QMP input member 'execute' must be a string"),
        ('{"execute":"echo","arguments":null}', "QMP input member 'arguments' must be an object"),
        ('{"execute":"echo","foo":1}', "QMP input member 'foo' is unexpected"),
        ('{"execute":"echo","exec-oob":"x"}', "QMP input member 'exec-oob' is unexpected"),
    ],
)
def test_the_shape_of_a_message_is_checked_in_hash_order(message, desc):
    machine = FakeMachine()
    assert answers(negotiated(machine), message.encode()) == [error(desc)]
    assert machine.executed == []


def test_unknown_commands_are_not_found():
    assert answers(negotiated(), b'{"execute":"Echo"}{"execute":""}') == [
        error("The command Echo has not been found", "CommandNotFound"),
        error("The command  has not been found", "CommandNotFound"),
    ]


def test_any_id_is_echoed_with_results_and_refusals():
    text = b'{"execute":"fail","id":{"b":[null,1.5],"a":"x"}} {"id":null,"execute":"echo","arguments":{"k":1}}'
    assert negotiated().feed(text) == (
        b'{"id": {"a": "x", "b": [null, 1.5]}, "error": {"class": "DeviceNotFound", "desc": "it failed"}}\r\n'
        b'{"return": {"k": 1}, "id": null}\r\n'
    )


def test_an_id_as_deep_as_the_parser_allows_is_echoed():
    deep = b"[" * 1023 + b"]" * 1023
    assert negotiated().feed(b'{"execute":"echo","id":' + deep + b"}") == b'{"return": {}, "id": ' + deep + b"}\r\n"


def test_out_of_band_execution_is_checked_once_it_is_enabled():
    session = negotiated(how=NEGOTIATE_OOB)
    assert answers(session, b'{"exec-oob":"echo","id":1}{"exec-oob":"nosuch"}{"exec-oob":"yank"}{"exec-oob":5}') == [
        error("The command echo does not support OOB", id=1),
        error("The command nosuch has not been found", "CommandNotFound"),
        {"return": {}},
        error("QMP input member 'exec-oob' must be a string"),
    ]
    assert answers(session, b'{"execute":"echo","exec-oob":"yank"}') == [
        error("QMP input member 'execute' clashes with 'exec-oob'")
    ]


def test_events_come_before_the_reply_of_the_command_that_caused_them():
    assert answers(negotiated(), b'{"execute":"emit"}{"execute":"echo"}') == [
        {"timestamp": {"seconds": 0, "microseconds": 0}, "event": "TEST"},
        {"return": {}},
        {"return": {}},
    ]


def test_events_before_the_negotiation_are_never_delivered():
    machine = FakeMachine()
    session = Session(machine)
    machine.emit("LOST")
    assert session.pump() == b""
    session.feed(NEGOTIATE)
    machine.emit("SEEN")
    assert session.pump() == b'{"timestamp": {"seconds": 0, "microseconds": 0}, "event": "SEEN"}\r\n'
    assert session.pump() == b""


def test_nothing_is_answered_after_quit():
    machine = FakeMachine()
    session = negotiated(machine)
    got = answers(session, b'{"execute":"quit","id":1}{"execute":"echo"}}{"execute":"quit"}')
    assert [each.get("event", each.get("id")) for each in got] == ["SHUTDOWN", 1]
    assert machine.executed == ["quit"]


def test_a_log_can_forget_what_everybody_has_read():
    log = EventLog()
    for name in "abc":
        log.append({"event": name})
    log.trim(2)
    assert (log.end, log.read(2), log.read(3)) == (3, [{"event": "c"}], [])
    log.trim(1)
    assert log.read(2) == [{"event": "c"}]
