"""Long requests are read, and long replies are written, in pieces, so that no call of a session takes long."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from qbitsim import Machine
from qbitsim.machine.talking import TalkingMachine
from qbitsim.qapi.hashorder import qdict_order, qdict_order_in_steps
from qbitsim.qmp.encoder import encode, encode_pieces
from qbitsim.qmp.parser import JsonStream
from qbitsim.qmp.session import Session

MANY = 20_000
NUMBERS = list(range(10**9, 10**9 + MANY))
MEMBERS = {f"member{number}": number for number in range(MANY)}


def answers(machine: Machine, text: str) -> list[bytes]:
    """What a session that serves says to a request, call by call."""
    session = Session(machine, negotiated=True, waits=True)
    session.receive(text.encode() + b"\n")
    said = []
    while session.pending:
        assert session.ready
        said.append(session.answer())
    return said


@pytest.mark.parametrize("value", [NUMBERS, MEMBERS, [[]] * MANY, {"a": [MEMBERS, NUMBERS], "b": {}}])
def test_a_long_value_is_written_in_many_pieces(value):
    pieces = list(encode_pieces(value))
    assert max(map(len, pieces)) < 80_000
    assert len(pieces) > 8
    assert json.loads(b"".join(pieces)) == value
    assert b"".join(pieces) == encode(value)


def test_a_long_object_is_put_in_order_in_steps():
    steps = list(qdict_order_in_steps(list(MEMBERS)))
    assert max(map(len, steps)) <= 1024
    assert [key for part in steps for key in part] == qdict_order(list(MEMBERS))


def test_a_long_message_is_read_in_many_pieces():
    stream = JsonStream()
    text = json.dumps(NUMBERS).encode()
    stream.receive(text)
    pieces, items = 0, []
    while stream.unread:
        items += stream.read_piece()
        pieces += 1
    assert pieces > len(text) / 5000
    assert items == [NUMBERS]
    assert stream.read_piece() == []


@pytest.mark.parametrize("pieces", [1, 3, 4095, 4096, 4097, 10**9])
def test_messages_do_not_depend_on_how_they_are_read(pieces):
    text = (json.dumps({"a": NUMBERS[:900]}) + "\n" + json.dumps([1.5, "\u00e9"]) + "nonsense}").encode() * 2
    expected = JsonStream().feed(text)
    stream, items = JsonStream(), []
    for start in range(0, len(text), pieces):
        items += stream.feed(text[start : start + pieces])
    assert list(map(str, items)) == list(map(str, expected))
    assert len(items) > 4


def test_a_long_id_is_echoed_bit_by_bit():
    said = answers(Machine("10.0"), json.dumps({"execute": "query-name", "id": NUMBERS}))
    assert max(map(len, said)) < 100_000
    assert json.loads(b"".join(said)) == {"return": {}, "id": NUMBERS}


def test_which_of_many_arguments_is_wrong_is_found_bit_by_bit():
    request = {"execute": "query-name", "arguments": MEMBERS, "id": 1}
    said = answers(Machine("10.0"), json.dumps(request))
    first = next(number for number, piece in enumerate(said) if piece)
    assert len(said) - first < 3
    assert first > 20
    at_once = Session(Machine("10.0"), negotiated=True).feed(json.dumps(request).encode() + b"\n")
    assert b"".join(said) == at_once
    assert b"' is unexpected" in at_once


def test_events_come_behind_the_reply_that_is_being_written():
    machine = Machine("10.0")
    session = Session(machine, negotiated=True, waits=True)
    session.receive(json.dumps({"execute": "query-name", "id": NUMBERS}).encode() + b"\n")
    while not (said := session.answer()):
        pass
    machine.execute("stop", {})
    assert session.pump() == b""
    while session.pending:
        said += session.answer()
    reply, event = (said + session.pump()).splitlines()
    assert json.loads(reply)["id"] == NUMBERS
    assert json.loads(event)["event"] == "STOP"


def test_a_reply_that_is_being_written_ends_with_the_machine():
    machine = Machine("10.0")
    session = Session(machine, negotiated=True, waits=True)
    session.receive(json.dumps({"execute": "query-name", "id": NUMBERS}).encode() + b"\n")
    while not (said := session.answer()):
        pass
    machine.execute("quit", {})
    reply, *events = (said + session.pump()).splitlines()
    assert json.loads(reply)["id"] == NUMBERS
    assert json.loads(events[-1])["event"] == "SHUTDOWN"


def test_a_long_dump_is_printed_bit_by_bit_before_the_reply(tmp_path):
    printed = tmp_path / "out"
    line = 'qemu-io d0 "read -v 0 1M"'
    with printed.open("w") as out:
        machine = TalkingMachine("10.0", epoch=0, running=True)
        machine.out = out
        machine.add_disk("d0", size="64M")
        session = Session(machine, negotiated=True, waits=True)
        session.receive(json.dumps({"execute": "human-monitor-command", "arguments": {"command-line": line}}).encode())
        sizes, said = [0], b""
        while session.pending:
            said += session.answer()
            sizes.append(printed.stat().st_size)
        assert max(after - before for before, after in pairwise(sizes)) < 600_000
        assert len(sizes) > 10
        assert said == b'{"return": ""}\r\n'
    in_process = Machine("10.0")
    in_process.add_disk("d0", size="64M")
    in_process.execute("human-monitor-command", {"command-line": line})
    assert printed.read_text() == in_process.take_stdout()
    assert printed.read_text().count("\n") == 65536 + 2


def test_what_is_printed_next_comes_behind_a_long_dump(tmp_path):
    printed = tmp_path / "out"
    with printed.open("w") as out:
        machine = TalkingMachine("10.0", epoch=0, running=True)
        machine.out = out
        machine.add_disk("d0", size="64M")
        machine.execute("human-monitor-command", {"command-line": 'qemu-io d0 "read -v 0 1M"'})
        machine.print("last\n")
    assert printed.read_text().count("\n") == 65536 + 3
    assert printed.read_text().endswith("last\n")
