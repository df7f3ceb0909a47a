"""Bytes that no client would send: the protocol's error or the connection's end, never more."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbd_talk import MB, Talk, contexts, go, option, request, served, string

from qbitsim.errors import NbdError
from qbitsim.nbd.client import ClientSession
from qbitsim.nbd.protocol import OPTION_REPLY_MAGIC, Command, Mode
from qbitsim.nbd.session import Session

numbers = st.integers(0, (1 << 32) - 1)
options = st.builds(
    lambda number, payload, lie: b"IHAVEOPT" + struct.pack(">II", number, max(0, len(payload) + lie)) + payload,
    st.one_of(st.integers(0, 12), numbers),
    st.one_of(st.binary(max_size=40), st.builds(string, st.binary(max_size=20)), st.just(string(b"disk") + b"\0\0")),
    st.sampled_from([0, 0, 0, 0, -1, 1, 4, 1 << 25]),
)
requests = st.builds(
    request,
    st.integers(0, 9),
    st.one_of(st.integers(0, 1 << 24), st.integers(0, (1 << 64) - 1)),
    st.one_of(st.integers(0, 70000), numbers),
    st.integers(0, 65535),
    st.binary(max_size=60),
    cookie=st.integers(0, (1 << 64) - 1),
)
valid = st.sampled_from([option(8), option(11), contexts(b"base:allocation", b"qemu:"), go()])
MACHINE = served(bitmaps=["b0"], allocation_depth=True)


@settings(max_examples=300)
@given(
    flags=st.sampled_from([3, 3, 3, 1, 0, 0xFFFFFFFF]),
    messages=st.lists(st.one_of(options, valid, valid, st.binary(max_size=30)), max_size=8),
    asked=st.lists(requests, max_size=6),
    cut=st.integers(1, 50),
)
def test_whatever_comes_the_machine_lives_and_the_connection_lives_or_ends(flags, messages, asked, cut):
    talk = Talk(MACHINE, flags=None)
    data = struct.pack(">I", flags) + b"".join([*messages, go(), *asked])
    answer = b"".join(talk.say(data[place : place + cut]) for place in range(0, len(data), cut))
    if talk.session.ended:
        assert talk.session not in MACHINE.exports.connections
    else:
        talk.session.hang_up()
    MACHINE.run_until_idle()
    assert MACHINE.exports.connections == []
    assert MACHINE.exports.find("drive0").clients == []
    assert isinstance(answer, bytes)


@settings(max_examples=50)
@given(data=st.data())
def test_how_the_bytes_are_cut_makes_no_difference(data):
    messages = struct.pack(">I", 3) + option(8) + contexts(b"base:allocation") + go() + request(7, 0, 512)
    whole, pieces = Talk(MACHINE, flags=None), Talk(MACHINE, flags=None)
    expected = whole.say(messages)
    got, place = b"", 0
    while place < len(messages):
        step = data.draw(st.integers(1, len(messages) - place))
        got += pieces.say(messages[place : place + step])
        place += step
    assert got == expected
    assert expected.startswith(struct.pack(">Q", OPTION_REPLY_MAGIC))
    whole.session.hang_up()
    pieces.session.hang_up()


@settings(max_examples=150)
@given(
    mode=st.sampled_from(Mode),
    spoiled=st.integers(0, 12),
    place=st.integers(0, 600),
    how=st.one_of(st.binary(min_size=1, max_size=8), st.none()),
)
def test_whatever_a_server_says_a_client_has_an_answer_or_an_error(mode, spoiled, place, how):
    """The server's ``spoiled``-th part is overwritten at a place, or ends there."""
    said, failures = [], []
    server, client = Session(MACHINE.exports), ClientSession(said.append, "disk", ["base:allocation"], mode=mode)
    for number in range(14):
        while said:
            server.receive(said.pop(0))
        MACHINE.run_until_idle()
        heard = b"".join(server.take())
        if number == spoiled:
            place %= len(heard) or 1
            heard = heard[:place] + (b"" if how is None else how + heard[place + len(how) :])
        client.receive(heard)
        if client.ready and client.error is None:
            command = (Command.READ, Command.BLOCK_STATUS, Command.FLUSH)[number % 3]
            failures.append(client.request(command, 0, 0 if command is Command.FLUSH else 70000))
    server.hang_up()
    MACHINE.run_until_idle()
    assert client.ready or isinstance(client.error, NbdError) or number >= spoiled
    for pending in failures:
        assert pending.error is None or isinstance(pending.error, NbdError)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((0, 4096, 4096), "server minimum block size 0 is not a power of two"),
        ((512, 256, 4096), "server preferred block size 256 is not valid"),
        ((512, 4097, 4096), "server preferred block size 4097 is not valid"),
        ((4096, 4096, 512), "server maximum block size 512 is not valid"),
    ],
)
def test_block_sizes_with_which_nothing_could_be_asked_are_refused(sizes, text):
    client = ClientSession(lambda _data: None, "disk", mode=Mode.SIMPLE)
    answer = struct.pack(">HIII", 3, *sizes)
    client.receive(b"NBDMAGICIHAVEOPT\0\3" + struct.pack(">QIII", OPTION_REPLY_MAGIC, 7, 3, len(answer)) + answer)
    client.receive(struct.pack(">QIII", OPTION_REPLY_MAGIC, 7, 1, 0))
    assert client.error is not None
    assert client.error.strerror == text


def test_a_server_that_never_comes_to_the_end_of_an_answer_is_not_heard_out():
    client = ClientSession(lambda _data: None, "disk", mode=Mode.SIMPLE)
    client.receive(b"NBDMAGICIHAVEOPT\0\3")
    answer = struct.pack(">QIII", OPTION_REPLY_MAGIC, 7, 3, MB) + b"\0\x63" + bytes(MB - 2)
    for _ in range(33):
        client.receive(answer)
    assert str(client.error) == "[Errno 71] the answer to go has no end"


def test_a_thousand_idle_clients_cost_the_machine_nothing():
    machine = served()
    clients = [Talk(machine).go() for _ in range(1000)]
    steps = machine.scheduler.steps
    machine.advance(1000)
    assert machine.scheduler.steps == steps
    assert machine.scheduler.ready() == []
    assert clients[500].say(request(0, 0, 1)).endswith(b"\0")
