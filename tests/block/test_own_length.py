"""How long a node is when what is below it gets another length; as measured on QEMU 7.2, 10.0 and 11.1."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine

MIB = 1 << 20

TOPS = {
    "copy-on-read": {"file": "a"},
    "compress": {"file": "a"},
    "raw": {"file": "a"},
    "preallocate": {"file": "a"},
    "throttle": {"file": "a", "throttle-group": "g"},
    "blkdebug": {"image": "a"},
    "blklogwrites": {"file": "a", "log": "log"},
    "copy-before-write": {"file": "a", "target": "t"},
}

FOLLOWING = {"7.2": list(TOPS)[:4], "10.0": [], "11.1": list(TOPS)[:7]}


def made(profile, driver):
    machine = Machine(profile)
    for name, kind in (("a.qcow2", "qcow2"), ("t.qcow2", "qcow2"), ("log.raw", "raw")):
        machine.images.create(name, kind, MIB)
    machine.qmp("object-add", qom_type="throttle-group", id="g")
    machine.add_node({"driver": "qcow2", "node-name": "a", "file": {"driver": "file", "filename": "a.qcow2"}})
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t.qcow2"}})
    machine.add_node({"driver": "file", "node-name": "log", "filename": "log.raw"})
    machine.add_node({"driver": driver, "node-name": "top", **TOPS[driver]})
    machine.qmp("block-dirty-bitmap-add", node="top", name="b")
    return machine


@pytest.mark.parametrize("size", [2 * MIB, MIB // 2])
@pytest.mark.parametrize("profile", FOLLOWING)
@pytest.mark.parametrize("driver", TOPS)
def test_some_follow_and_others_stay_as_they_are_until_they_are_resized(driver, profile, size):
    machine = made(profile, driver)
    machine.qmp("block_resize", node_name="a", size=size)
    top = machine.graph.nodes["top"]
    assert top.length == (size if driver in FOLLOWING[profile] else MIB)
    assert top.bitmaps[-1].size == MIB
    machine.qmp("block_resize", node_name="top", size=MIB)
    assert [machine.graph.nodes[name].length for name in ("top", "a")] == [MIB, MIB]


@pytest.mark.parametrize(("profile", "length"), [("7.2", MIB), ("10.0", 2 * MIB), ("11.1", 2 * MIB)])
def test_a_reopened_node_is_asked_again_since_8_1(profile, length):
    machine = made(profile, "throttle")
    machine.qmp("block_resize", node_name="a", size=2 * MIB)
    machine.qmp("blockdev-reopen", options=[{"driver": "throttle", "node-name": "top", **TOPS["throttle"]}])
    assert machine.graph.nodes["top"].length == length


def test_what_is_behind_the_end_of_a_shorter_node_reads_as_zeroes_and_cannot_be_written():
    machine = made("10.0", "throttle")
    user = machine.anonymous_drive()
    user.insert(machine.graph.nodes["top"])
    user.write(0, b"1" * MIB)
    machine.qmp("block_resize", node_name="a", size=MIB // 2)
    assert user.read(MIB // 2 - 512, 1024) == b"1" * 512 + bytes(512)
    assert user.read(MIB - 512, 512) == bytes(512)
    assert machine.graph.nodes["top"].status(MIB - 512, 512).zero
    for request in (
        lambda: user.write(MIB // 2 - 512, b"2" * 1024),
        lambda: user.write_zeroes(MIB // 2 - 512, 1024),
    ):
        with pytest.raises(OSError, match=r"Input/output error"):
            request()
    assert machine.graph.nodes["a"].read(MIB // 2 - 512, 512) == b"1" * 512
