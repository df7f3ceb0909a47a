"""``blkverify``: two nodes that shall hold the same."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine

MIB = 1 << 20
ENDS = "qbitsim does not emulate the end of QEMU because of blkverify: "


def machine(**fails: Any) -> Machine:
    """The node ``v`` tests ``test.qcow2`` with ``copy.raw``; ``fails`` is a rule for the first of them."""
    made = Machine()
    made.images.create("test.qcow2", "qcow2", MIB)
    made.images.create("copy.raw", "raw", 2 * MIB)
    test: dict[str, Any] = {"driver": "qcow2", "file": {"driver": "file", "filename": "test.qcow2"}}
    if fails:
        test = {"driver": "blkdebug", "image": test, "inject-error": [{"event": "none", **fails}]}
    made.execute(
        "blockdev-add",
        {
            "driver": "blkverify",
            "node-name": "v",
            "test": {**test, "node-name": "test"},
            "raw": {"driver": "file", "node-name": "raw", "filename": "copy.raw"},
        },
    )
    return made


def test_all_is_done_on_both() -> None:
    made = machine()
    node = made.graph.nodes["v"]
    assert node.length == MIB
    node.write(1000, b"abc")
    node.write_zeroes(1001, 1)
    node.flush()
    for name in ("v", "test", "raw"):
        assert made.graph.nodes[name].read(999, 5) == b"\0a\0c\0"


def test_where_they_differ_the_request_is_refused_as_qemu_ends() -> None:
    made = machine()
    made.graph.nodes["raw"].write(70000, b"x")
    with pytest.raises(UnsupportedError) as caught:
        made.graph.nodes["v"].read(65536, 65536)
    assert caught.value.desc == f"{ENDS}read offset=65536 bytes=65536 contents mismatch at offset 70000"


def test_so_it_is_where_only_one_fails() -> None:
    made = machine(errno=errno.ENOSPC, iotype="write")
    with pytest.raises(UnsupportedError) as caught:
        made.graph.nodes["v"].write(0, b"x" * 512)
    assert caught.value.desc == f"{ENDS}write offset=0 bytes=512 return value mismatch -28 != 0"


def test_it_has_a_name_of_both_and_can_be_opened_by_it() -> None:
    made = machine()
    assert made.graph.nodes["v"].filename == "blkverify:copy.raw:test.qcow2"
    made.qmp("blockdev-del", **{"node-name": "v"})
    made.qmp("human-monitor-command", **{"command-line": "drive_add 0 if=none,id=d,file=blkverify:copy.raw:test.qcow2"})
    inserted = made.qmp("query-block")[-1]["inserted"]
    assert (inserted["drv"], inserted["image"]["virtual-size"]) == ("raw", MIB)
    with pytest.raises(QmpError, match=r"^blkverify requires raw copy and original image path$"):
        made.disks.open_file("blkverify:copy.raw", {})


def test_it_is_not_reopened_and_no_part_of_a_circle() -> None:
    made = machine()
    options = {"driver": "blkverify", "node-name": "v", "test": "test", "raw": "raw"}
    with pytest.raises(QmpError) as caught:
        made.execute("blockdev-reopen", {"options": [options]})
    assert caught.value.desc == "Block format 'blkverify' used by node 'v' does not support reopening files"
    overlay = {
        "driver": "qcow2",
        "node-name": "test",
        "backing": "v",
        "file": made.graph.nodes["test"].children[0].node.name,
    }
    with pytest.raises(QmpError) as caught:
        made.execute("blockdev-reopen", {"options": [overlay]})
    assert caught.value.desc == "Making 'v' a backing child of 'test' would create a cycle"
