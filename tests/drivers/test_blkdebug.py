"""blkdebug's events, states and masks, and the other filters made by hand; as measured on QEMU 10.0."""

from __future__ import annotations

import json

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine

CLUSTER = 65536


def disk(*rules, states=()):
    """A raw disk over blkdebug."""
    machine = Machine()
    machine.images.create("r.img", "raw", 1 << 20)
    debug = {"driver": "blkdebug", "image": {"driver": "file", "filename": "r.img"}}
    debug |= {"inject-error": list(rules), "set-state": list(states)}
    machine.execute("blockdev-add", {"driver": "raw", "node-name": "n", "file": debug})
    return machine.add_drive("d", machine.graph.nodes["n"])


def outcomes(drive, *requests):
    """For each request its errno, or 0."""
    found = []
    for name in requests:
        try:
            {
                "read": lambda: drive.read(0, CLUSTER),
                "write": lambda: drive.write(0, b"x" * CLUSTER),
                "far": lambda: drive.write(CLUSTER, b"x" * CLUSTER),
                "zero": lambda: drive.write_zeroes(0, CLUSTER),
                "flush": drive.flush,
            }[name]()
            found.append(0)
        except OSError as error:
            found.append(error.errno)
    return found


def test_a_rule_without_a_mask_strikes_all_requests():
    assert outcomes(disk({"event": "none", "errno": 28}), "read", "write", "zero", "flush") == [28] * 4


def test_an_error_that_is_none_lets_requests_pass():
    assert outcomes(disk({"event": "none", "errno": 0}), "read", "write", "flush") == [0, 0, 0]


def test_an_alignment_shows_in_the_name():
    machine = Machine()
    machine.images.create("r.img", "raw", 1 << 20)
    image = {"driver": "file", "filename": "r.img"}
    machine.execute("blockdev-add", {"driver": "blkdebug", "node-name": "b", "align": 512, "image": image})
    name = next(each["file"] for each in machine.qmp("query-named-block-nodes") if each["node-name"] == "b")
    assert json.loads(name.removeprefix("json:")) == {"driver": "blkdebug", "align": 512, "image": image}


def test_a_mask_chooses_requests():
    assert outcomes(disk({"event": "none", "iotype": "write"}), "read", "write", "zero") == [0, 5, 0]


def test_a_sector_chooses_places_and_once_ends_the_rule():
    assert outcomes(disk({"event": "none", "sector": 0, "once": True}), "far", "write", "write") == [0, 5, 0]


def test_an_event_wakes_rules_and_puts_others_to_sleep():
    rules = {"event": "none", "iotype": "read"}, {"event": "write_aio", "iotype": "write", "once": True}
    assert outcomes(disk(*rules), "read", "write", "write", "read") == [5, 5, 0, 0]


def test_states_choose_rules():
    drive = disk({"event": "read_aio", "state": 2}, states=[{"event": "write_aio", "state": 1, "new_state": 2}])
    assert outcomes(drive, "read", "write", "read") == [0, 0, 5]


def test_the_events_of_writes_and_flushes_happen():
    assert outcomes(disk({"event": "pwritev"}), "read", "zero", "write", "read") == [0, 0, 5, 5]
    assert outcomes(disk({"event": "pwritev_zero"}), "write", "zero", "write") == [0, 5, 5]
    assert outcomes(disk({"event": "pwritev_done"}), "write", "write") == [0, 5]
    flushed = disk({"event": "flush_to_disk", "iotype": "read"})
    assert outcomes(flushed, "flush", "read", "write", "flush", "read") == [0, 0, 0, 0, 5]
    flushed = disk({"event": "flush_to_os", "iotype": "read"})
    assert outcomes(flushed, "read", "flush", "read") == [0, 0, 5]


def test_what_cannot_be_zeroed_is_written():
    drive = disk({"event": "none", "iotype": "write-zeroes", "errno": 95})
    assert outcomes(drive, "write", "zero") == [0, 0]
    assert drive.read(0, CLUSTER) == bytes(CLUSTER)


@pytest.mark.parametrize(
    "options",
    [
        {"driver": "blkdebug", "image": "f", "max-transfer": 4096},
        {"driver": "blkdebug", "image": "f", "inject-error": [{"event": "l2_load"}]},
        {"driver": "copy-on-read", "file": "f", "bottom": "f"},
        {"driver": "quorum", "children": ["f", "f"], "vote-threshold": 2, "blkverify": True},
    ],
)
def test_options_that_would_change_something_are_refused_loudly(options):
    machine = Machine()
    machine.execute("blockdev-add", {"driver": "null-co", "node-name": "f"})
    with pytest.raises(UnsupportedError):
        machine.execute("blockdev-add", {"node-name": "n", **options})
    assert list(machine.graph.nodes) == ["f"]


def test_detected_zeroes_are_no_data():
    machine = Machine()
    machine.images.create("q.qcow2", "qcow2", 1 << 20)
    file = {"driver": "file", "filename": "q.qcow2"}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": file, "detect-zeroes": "on"})
    machine.add_drive("d", machine.graph.nodes["q"]).write(0, bytes(CLUSTER))
    assert machine.images.lookup("q.qcow2").host_offset(0) is None


def test_a_quorum_writes_to_all_and_needs_equal_lengths():
    machine = Machine()
    for name in "ab":
        machine.images.create(f"{name}.img", "raw", 1 << 20)
        file = {"driver": "file", "filename": f"{name}.img"}
        machine.execute("blockdev-add", {"driver": "raw", "node-name": name, "file": file})
    machine.execute("blockdev-add", {"driver": "null-co", "node-name": "nul", "size": 512})
    quorum = {"driver": "quorum", "node-name": "q", "vote-threshold": 2}
    for children, text in (
        ([], "Number of provided children must be 1 or more"),
        (["a"], "threshold may not exceed children count"),
        (["a", "nul"], "Could not refresh total sector count: Input/output error"),
    ):
        with pytest.raises(QmpError, match=text):
            machine.execute("blockdev-add", {**quorum, "children": children})
    machine.execute("blockdev-add", {**quorum, "children": ["a", "b"]})
    drive = machine.add_drive("d", machine.graph.nodes["q"])
    drive.write(0, b"x" * CLUSTER)
    assert drive.read(0, CLUSTER) == b"x" * CLUSTER
    assert machine.images.compare("a.img", "b.img") is None


def test_reading_through_copy_on_read_keeps_the_data_and_marks_nothing():
    machine = Machine()
    machine.images.create("base.qcow2", "qcow2", 1 << 20).write(0, b"b" * CLUSTER)
    machine.images.create("top.qcow2", "qcow2", 1 << 20, backing="base.qcow2", backing_format="qcow2")
    file = {"driver": "file", "filename": "top.qcow2"}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "top", "file": file})
    machine.execute("blockdev-add", {"driver": "copy-on-read", "node-name": "cor", "file": "top"})
    machine.qmp("block-dirty-bitmap-add", node="top", name="b")
    drive = machine.add_drive("d", machine.graph.nodes["cor"])
    assert drive.read(0, 512) == b"b" * 512
    assert machine.images.lookup("top.qcow2").host_offset(0) is not None
    bitmap = machine.graph.nodes["top"].find_bitmap("b")
    assert bitmap is not None
    assert bitmap.count == 0
