"""The handshake, as QEMU 10.0 answers it; measured on 7.2, 10.0 and 11.1, which differ in one option."""

from __future__ import annotations

import struct

import pytest
from nbd_talk import GREETING, Talk, answered, contexts, go, option, refused, served, string

from qbitsim.nbd.protocol import Option
from qbitsim.nbd.session import Session

RELEASES = ("7.2", "10.0", "11.1")
READ_ONLY = 0x50F


def infos(number, size=16 << 20, flags=READ_ONLY, *more):
    told = [*more, struct.pack(">HIII", 3, 1, 4096, 32 << 20), struct.pack(">HQH", 0, size, flags)]
    return b"".join(answered(number, 3, each) for each in told) + answered(number, 1)


@pytest.fixture(params=RELEASES)
def machine(request):
    made = served(request.param, writable=False, allocation_depth=True)
    made.export_nbd("node0", "other", writable=False)
    return made


def test_the_server_greets_first(machine):
    assert b"".join(Session(machine.exports).take()) == GREETING


def test_list_names_the_exports_oldest_first(machine):
    told = [answered(3, 2, string(b"disk")), answered(3, 2, string(b"other")), answered(3, 1)]
    assert Talk(machine).say(option(Option.LIST)) == b"".join(told)


def test_a_description_is_told_in_lists_and_before_the_sizes(machine):
    machine.qmp("block-export-add", type="nbd", id="e", node_name="node0", name="d", description="a disk")
    talk = Talk(machine)
    assert answered(3, 2, string(b"d") + b"a disk") in talk.say(option(Option.LIST))
    assert talk.say(go(b"d", (), Option.INFO)) == infos(6, 16 << 20, READ_ONLY, b"\0\2a disk")


def test_info_tells_and_goes_on_and_go_begins(machine):
    talk = Talk(machine)
    assert talk.say(go(number=Option.INFO)) == infos(6)
    assert talk.session.export is None
    assert talk.say(go(infos=(1,))) == infos(7, 16 << 20, READ_ONLY, b"\0\1disk")
    assert talk.session.export is machine.exports.find("drive0")


def test_export_name_answers_with_size_and_flags_and_with_zeroes_unless_agreed_otherwise(machine):
    told = struct.pack(">QH", 16 << 20, READ_ONLY)
    assert Talk(machine).say(option(Option.EXPORT_NAME, b"disk")) == told
    assert Talk(machine, flags=1).say(option(Option.EXPORT_NAME, b"disk")) == told + bytes(124)
    assert Talk(machine, flags=0).say(option(Option.EXPORT_NAME, b"disk")) == told + bytes(124)


def test_structured_replies_are_agreed_on_once_and_add_the_flag_of_whole_reads(machine):
    talk = Talk(machine)
    assert talk.say(option(8)) == answered(8, 1)
    assert talk.say(option(8)) == refused(8, 3, "structured reply already negotiated")
    assert talk.say(go()) == infos(7, 16 << 20, READ_ONLY | 0x80)


def test_extended_headers_came_with_8_2():
    for release in ("10.0", "11.1"):
        talk = Talk(served(release))
        assert talk.say(option(11)) == answered(11, 1)
        assert talk.say(option(8)) == refused(8, 10, "extended headers already negotiated")
        assert talk.say(option(11)) == refused(11, 3, "extended headers already negotiated")
    assert Talk(served("7.2")).say(option(11)) == refused(11, 1, "Unsupported option 11 (<unknown>)")


def test_contexts_are_listed_without_ids_and_chosen_with_them(machine):
    talk = Talk(machine)
    everything = b"".join(
        answered(9, 4, bytes(4) + name) for name in (b"base:allocation", b"qemu:allocation-depth")
    ) + answered(9, 1)
    assert talk.say(contexts(number=9)) == everything
    assert talk.say(contexts(b"base:", b"qemu:", number=9)) == everything
    text = "request option 'set meta context' when structured reply is not negotiated"
    assert talk.say(contexts(b"base:allocation")) == refused(10, 3, text)
    talk.say(option(8))
    depth = answered(10, 4, b"\0\0\0\1qemu:allocation-depth")
    assert talk.say(contexts(b"qemu:allocation-depth", b"qemu:dirty-bitmap:nope")) == depth + answered(10, 1)
    assert talk.say(contexts(b"", b"base:", b"qemu:", b"foo:bar")) == answered(10, 1)


def test_contexts_of_another_export_are_forgotten(machine):
    talk = Talk(machine)
    talk.say(option(8), contexts(b"base:allocation", name=b"other"), go())
    assert talk.say(struct.pack(">IHHQQI", 0x25609513, 0, 7, 1, 0, 512))[-31:] == b"CMD_BLOCK_STATUS not negotiated"


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        (option(5), 2, "TLS not configured"),
        (option(5, b"x"), 3, "option 'starttls' has unexpected length"),
        (option(3, b"x"), 3, "option 'list' has unexpected length"),
        (option(4), 1, "Unsupported option 4 (<unknown>)"),
        (option(99, bytes(70000)), 1, "Unsupported option 99 (<unknown>)"),
        (go(b"nope"), 6, "export 'nope' not present"),
        (go(b"n" * 80), 6, f"export '{'n' * 80}...' not present"),
        (option(7), 3, "Inconsistent lengths in option go"),
        (option(7, string(b"disk") + b"\0\0\0"), 3, "option 'go' has unexpected length"),
        (option(7, string(b"di\0k") + b"\0\0"), 3, "Unexpected embedded NUL in option go"),
        (option(7, struct.pack(">I", 4097) + bytes(5000)), 3, "Invalid name length: 4097"),
        (contexts(name=b"nope", number=9), 6, "export 'nope' not present"),
        (contexts(b"base:\0", number=9), 3, "Unexpected embedded NUL in option list meta context"),
        (option(9, string(b"disk") + b"\0\0\0\2"), 3, "Inconsistent lengths in option list meta context"),
        (option(9, string(b"disk") + bytes(5)), 3, "option 'list meta context' has unexpected length"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_words_and_the_client_may_go_on(machine, message, kind, text):
    talk = Talk(machine)
    number = struct.unpack(">I", message[8:12])[0]
    assert talk.say(message) == refused(number, kind, text)
    assert talk.say(go()) == infos(7)


def test_a_query_that_is_too_long_matches_nothing(machine):
    talk = Talk(machine)
    assert talk.say(contexts(b"q" * 5000, b"base:allocation", number=9)) == answered(
        9, 4, bytes(4) + b"base:allocation"
    ) + answered(9, 1)


@pytest.mark.parametrize(
    "messages",
    [
        (struct.pack(">I", 7),),
        (struct.pack(">I", 3), b"IHAVEOPX"),
        (struct.pack(">I", 3), b"IHAVEOPT" + struct.pack(">II", 99, (32 << 20) + 1)),
        (struct.pack(">I", 3), option(1, b"nope")),
        (struct.pack(">I", 3), option(1, b"n" * 4097)),
        (struct.pack(">I", 0), option(3)),
    ],
)
def test_where_the_protocol_has_no_words_the_connection_ends(machine, messages):
    talk = Talk(machine, flags=None)
    assert talk.say(*messages) == b""
    assert talk.session.ended
    assert machine.exports.connections == []


def test_abort_is_answered_and_ends(machine):
    talk = Talk(machine)
    assert talk.say(option(2)) == answered(2, 1)
    assert talk.session.ended


def test_after_extended_headers_nobody_goes_the_old_way():
    talk = Talk(served())
    talk.say(option(11))
    assert talk.say(option(1, b"disk")) == b""
    assert talk.session.ended


def test_a_node_with_an_alignment_asks_clients_to_mind_it(monkeypatch):
    monkeypatch.setattr("qbitsim.nbd.export.Export.alignment", 8192)
    talk = Talk(served())
    assert talk.say(go(infos=(), number=Option.INFO)).endswith(b"request NBD_INFO_BLOCK_SIZE to use this export")
    assert struct.pack(">HIII", 3, 8192, 8192, 32 << 20) in talk.say(go(number=Option.INFO))
    assert struct.pack(">HIII", 3, 1, 4096, 32 << 20) in talk.say(go(infos=()))
