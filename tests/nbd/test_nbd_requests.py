"""Requests, as QEMU answers them; measured on 7.2, 10.0 and 11.1."""

from __future__ import annotations

import errno
import struct

import pytest
from nbd_talk import MB, Talk, chunk, contexts, failed, go, option, request, served, simple, structured

from qbitsim.nbd.protocol import Command, CommandFlag

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = Command
HEAD = struct.Struct(">IHHQQQ")


def hole(offset, length, *, done=True):
    return chunk(2, struct.pack(">QI", offset, length), done=done)


def data(offset, content, *, done=True):
    return chunk(1, struct.pack(">Q", offset) + content, done=done)


def extents(context, *pairs, done=True):
    return chunk(5, struct.pack(">I", context) + b"".join(struct.pack(">II", *pair) for pair in pairs), done=done)


@pytest.fixture(params=["7.2", "10.0", "11.1"])
def machine(request):
    return served(request.param, bitmaps=["b0"], allocation_depth=True)


def test_a_simple_read_is_a_header_and_the_bytes(machine):
    talk = Talk(machine).go()
    assert talk.say(request(READ, MB - 2, 4)) == simple() + b"\0\0AA"
    assert talk.say(request(READ, 0, 0)) == simple()


def test_a_structured_read_tells_holes_from_data_and_a_whole_one_does_not(machine):
    talk = structured(machine)
    assert talk.say(request(READ, MB - 2, 4)) == hole(MB - 2, 2, done=False) + data(MB, b"AA")
    assert talk.say(request(READ, MB - 2, 4, CommandFlag.DF)) == data(MB - 2, b"\0\0AA")
    assert talk.say(request(READ, 0, 0)) == chunk(0)


def test_a_chunk_ends_where_clusters_of_the_file_do_not_follow_each_other(machine):
    disk = machine.drive("drive0")
    disk.write(3 * MB + 65536, b"x" * 65536)
    disk.write(3 * MB, b"y" * 65536)
    assert structured(machine).say(request(READ, 3 * MB, 131072)) == (
        data(3 * MB, b"y" * 65536, done=False) + data(3 * MB + 65536, b"x" * 65536)
    )


def test_writes_reach_the_disk_and_the_bitmaps(machine):
    talk = structured(machine)
    assert talk.say(request(WRITE, 5, 3, CommandFlag.FUA, b"abc")) == simple()
    assert talk.say(request(ZEROES, MB, 65536), request(TRIM, 2 * MB, 65536)) == simple() * 2
    assert talk.say(request(FLUSH), request(CACHE, 0, 512)) == simple() * 2
    disk = machine.drive("drive0")
    assert disk.read(5, 3) == b"abc"
    assert disk.read(MB, 1) == b"\0"
    dirty = machine.graph.find_bitmap("node0", "b0").dirty_ranges
    assert dirty == [(0, 65536), (MB, 65536), (2 * MB, 65536)]


def test_zeroes_may_keep_their_clusters(machine):
    talk = structured(machine, b"base:allocation")
    talk.say(request(ZEROES, MB, 65536, CommandFlag.NO_HOLE))
    assert machine.images.lookup("drive0.qcow2").host_offset(MB) is not None
    talk.say(request(ZEROES, MB, 65536))
    assert machine.images.lookup("drive0.qcow2").host_offset(MB) is None
    assert talk.say(request(STATUS, MB, 65536)) == extents(0, (65536, 3))


def test_fast_zeroes_fail_where_a_part_of_a_cluster_would_have_to_be_written(machine):
    talk = structured(machine)
    assert talk.say(request(ZEROES, MB, 512, CommandFlag.FAST_ZERO)) == failed(95, "writing to file failed")
    assert machine.drive("drive0").read(MB, 1) == b"A"
    assert talk.say(request(ZEROES, 2 * MB, 512, CommandFlag.FAST_ZERO)) == simple()
    assert talk.say(request(ZEROES, MB, 65536 + 512, CommandFlag.FAST_ZERO)) == simple()


def test_caching_gives_the_topmost_layer_what_it_has_not(machine):
    talk = structured(machine, b"qemu:allocation-depth")
    assert talk.say(request(STATUS, 0, 65536)) == extents(1, (65536, 0))
    talk.say(request(CACHE, 0, 512))
    assert talk.say(request(STATUS, 0, 65536)) == extents(1, (65536, 1))
    assert machine.graph.find_bitmap("node0", "b0").count == 65536  # of the write before the export


def test_block_status_tells_of_each_context_in_the_order_of_their_ids(machine):
    talk = structured(machine, b"qemu:dirty-bitmap:b0", b"base:allocation", b"qemu:allocation-depth")
    assert talk.say(request(STATUS, MB - 512, 1024 + 65536)) == b"".join(
        (
            extents(0, (512, 3), (65536, 0), (512, 3), done=False),
            extents(1, (512, 0), (65536, 1), (512, 0), done=False),
            extents(2, (512, 0), (65536, 1), (512, 0)),
        )
    )
    one = talk.say(request(STATUS, MB - 512, 1024, CommandFlag.REQ_ONE))
    assert one == extents(0, (512, 3), done=False) + extents(1, (512, 0), done=False) + extents(2, (512, 0))


def test_block_status_without_contexts_or_length_is_refused(machine):
    release = machine.profile.name
    text = "need non-zero length" if release == "7.2" else "CMD_BLOCK_STATUS not negotiated"
    assert structured(machine).say(request(STATUS, 0, 0)) == failed(22, text)
    assert structured(machine).say(request(STATUS, 0, 512)) == failed(22, "CMD_BLOCK_STATUS not negotiated")
    assert structured(machine, b"base:allocation").say(request(STATUS, 0, 0)) == failed(22, "need non-zero length")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (request(READ, 16 * MB, 512), "operation past EOF; From: 16777216, Len: 512, Size: 16777216"),
        (request(FLUSH, 1, 16 * MB), "operation past EOF; From: 1, Len: 16777216, Size: 16777216"),
        (request(READ, 0, 512, CommandFlag.NO_HOLE), "unsupported flags for command read (got 0x2)"),
        (request(ZEROES, 0, 512, CommandFlag.DF), "unsupported flags for command write zeroes (got 0x4)"),
        (request(99), "invalid request type (99) received"),
        (request(99, flags=32), "unsupported flags for command <unknown> (got 0x20)"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words_and_the_client_may_go_on(machine, asked, text):
    talk = structured(machine)
    assert talk.say(asked) == failed(22, text)
    assert talk.say(request(READ, MB, 1)) == data(MB, b"A")


def test_a_client_without_structured_replies_hears_the_number_alone(machine):
    assert Talk(machine).go().say(request(READ, 16 * MB, 512)) == simple(errno.EINVAL)
    assert Talk(machine).go().say(request(READ, 0, 512, CommandFlag.DF)) == simple(errno.EINVAL)


def test_what_is_too_long_is_refused_and_a_write_that_is_ends_the_connection(machine):
    blank = " " if machine.profile.name == "7.2" else ""
    text = f"len (33554433{blank}) is larger than max len (33554432)"
    talk = structured(machine)
    assert talk.say(request(READ, 0, (32 << 20) + 1)) == failed(22, text)
    assert not talk.session.ended
    assert talk.say(request(WRITE, 0, (32 << 20) + 1)) == failed(22, text)
    assert talk.session.ended


def test_a_wrong_magic_number_is_told_and_ends_the_connection(machine):
    told = "" if machine.profile.name == "7.2" else ", expected 0x25609513"
    talk = structured(machine)
    assert talk.say(bytes(28)) == chunk(0x8001, failed(22, f"invalid magic (got 0x0{told})")[20:], cookie=0)
    assert talk.session.ended


def test_a_read_only_export_is_not_changed():
    machine = served(writable=False)
    talk = structured(machine)
    for asked in (request(WRITE, 0, 1, 0, b"x"), request(TRIM, 0, 512), request(ZEROES, 0, 512)):
        assert talk.say(asked) == failed(22, "Export is read-only")
    assert machine.drive("drive0").read(0, 1) == b"\0"


def test_disc_ends_without_an_answer(machine):
    talk = structured(machine)
    assert talk.say(request(READ, MB, 1)) == data(MB, b"A")
    assert talk.say(request(DISC)) == b""
    assert talk.session.ended
    assert machine.exports.connections == machine.exports.find("drive0").clients == []


# -- failures


def test_failures_of_the_disk_are_told_by_number_and_text(machine):
    talk = structured(machine)
    for operation, asked, number, text in (
        ("write", request(WRITE, 0, 1, 0, b"x"), errno.ENOSPC, "writing to file failed"),
        ("write", request(ZEROES, 0, 512), errno.EFBIG, "writing to file failed"),
        ("discard", request(TRIM, 0, 65536), errno.EIO, "discard failed"),
        ("flush", request(FLUSH), errno.EROFS, "flush failed"),
        ("flush", request(READ, 0, 1, CommandFlag.FUA), errno.EIO, "flush failed"),
        ("read", request(READ, MB, 1, CommandFlag.DF), errno.EACCES, "reading from file failed"),
    ):
        machine.inject_error("drive0", operation, number, once=True)
        wire = {errno.EFBIG: errno.ENOSPC, errno.EROFS: errno.EPERM, errno.EACCES: errno.EINVAL}.get(number, number)
        assert talk.say(asked) == failed(wire, text)


def test_a_read_in_chunks_that_fails_ends_the_connection_as_there_is_no_chunk_for_that(machine):
    machine.inject_error("drive0", "read", once=True)
    talk = structured(machine)
    assert talk.say(request(READ, MB - 512, 1024)) == b""
    assert talk.session.ended
    assert Talk(machine).go().say(request(READ, MB, 1)) == simple() + b"A"


# -- extended headers


def wide(command, offset=0, length=0, flags=0, payload=b""):
    return HEAD.pack(0x21E41C71, flags, command, 9, offset, length) + payload


def wide_chunk(kind, offset, payload=b""):
    return HEAD.pack(0x6E8A278C, 1, kind, 9, offset, len(payload)) + payload


@pytest.fixture
def extended():
    machine = served(bitmaps=["b0"])
    return Talk(machine).go(option(11), contexts(b"base:allocation", b"qemu:dirty-bitmap:b0"))


def test_extended_replies_tell_where_the_request_began(extended):
    assert extended.say(wide(WRITE, 3, 2, CommandFlag.PAYLOAD_LEN, b"ab")) == wide_chunk(0, 3)
    assert extended.say(wide(READ, 3, 2, CommandFlag.DF)) == wide_chunk(1, 3, struct.pack(">Q", 3) + b"ab")


def test_a_payload_chooses_among_the_contexts(extended):
    payload = struct.pack(">QI", 512, 2)
    told = wide_chunk(6, MB, struct.pack(">IIQQ", 2, 1, 512, 1))
    assert extended.say(wide(STATUS, MB, len(payload), CommandFlag.PAYLOAD_LEN, payload)) == told
    for wrong in (struct.pack(">Q", 512), struct.pack(">QII", 512, 2, 2), struct.pack(">QI", 512, 1), bytes(9)):
        answer = extended.say(wide(STATUS, MB, len(wrong), CommandFlag.PAYLOAD_LEN, wrong))
        assert answer.endswith(b"CMD_BLOCK_STATUS payload not valid")


def test_a_payload_where_none_belongs_is_thrown_away(extended):
    answer = extended.say(wide(TRIM, 0, 70000, CommandFlag.PAYLOAD_LEN, bytes(70000)))
    assert answer.endswith(b"unsupported flags for command trim (got 0x20)")
    assert not extended.session.ended


def test_a_payload_that_is_too_long_ends_the_connection(extended):
    assert b"is larger than max len" in extended.say(wide(STATUS, 0, (32 << 20) + 4, CommandFlag.PAYLOAD_LEN))
    assert extended.session.ended


def test_block_status_of_more_than_4_gib_is_one_extent():
    machine = served()
    machine.qmp("blockdev-add", driver="null-co", node_name="big", size=1 << 42)
    machine.export_nbd("big")
    talk = Talk(machine)
    talk.say(option(11), contexts(b"base:allocation", name=b"big"), go(b"big"))
    assert talk.say(wide(STATUS, 0, 1 << 42)) == wide_chunk(6, 0, struct.pack(">IIQQ", 0, 1, 1 << 42, 1))
