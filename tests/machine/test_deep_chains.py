"""Chains that are longer than Python's stack is deep; QEMU makes one of 500 snapshots without a word."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe
from qbitsim.qmp.encoder import encode

DEPTH = 1000
SIZE = 1 << 20


@pytest.fixture(scope="module")
def made():
    """A machine with a disk of a thousand layers, of which the first and the last have data of their own."""
    machine = Machine()
    for number in range(DEPTH):
        below = {"backing": f"{number - 1}.qcow2", "backing_format": "qcow2"} if number else {}
        image = machine.images.create(f"{number}.qcow2", "qcow2", SIZE, **below)
        if not number:
            image.write(0, b"a" * 4096)
    file = {"driver": "file", "filename": f"{DEPTH - 1}.qcow2"}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "top", "file": file})
    machine.add_drive("disk", machine.graph.nodes["top"]).write(8192, b"z" * 512)
    return machine


@pytest.fixture(scope="module")
def kept(made):
    """What the machine is before a test does anything to it."""
    return made.snapshot()


@pytest.fixture
def deep(made, kept):
    """The machine, as if nobody had done anything to it."""
    made.restore(kept)
    return made


def images_inside(info):
    """How many images are shown inside of one, without recursion."""
    count = 0
    while "backing-image" in info:
        info, count = info["backing-image"], count + 1
    return count


def test_a_guest_reads_through_all_layers(made):
    assert made.drive("disk").read(0, 16384) == b"a" * 4096 + bytes(4096) + b"z" * 512 + bytes(7680)


def test_queries_show_all_layers(made):
    nodes = made.execute("query-named-block-nodes", {})
    drives = made.execute("query-block", {})
    assert images_inside(nodes[-2]["image"]) == images_inside(drives[0]["inserted"]["image"]) == DEPTH - 1
    stats, depth = made.execute("query-blockstats", {})[0], 0
    while "backing" in stats:
        stats, depth = stats["backing"], depth + 1
    assert depth == DEPTH - 1
    assert encode(drives).count(b'"virtual-size"') == DEPTH


def test_a_snapshot_of_the_machine_is_the_machine(made, kept):
    before = describe(made)
    made.drive("disk").write(0, b"b" * 65536)
    assert describe(made) != before
    made.restore(kept)
    assert describe(made) == before


def test_an_overlay_and_a_backup_are_made_and_the_overlay_is_committed(deep):
    overlay = {"node-name": "top", "snapshot-file": "over.qcow2", "snapshot-node-name": "over"}
    deep.execute("blockdev-snapshot-sync", overlay)
    deep.drive("disk").write(4096, b"b" * 512)
    deep.execute("drive-backup", {"device": "disk", "target": "copy.qcow2", "sync": "full", "job-id": "b"})
    deep.run_until_idle()
    expected = b"a" * 4096 + b"b" * 512 + bytes(3584) + b"z" * 512
    assert deep.images.file("copy.qcow2").image.content.read(0, 8704) == expected
    deep.execute("block-commit", {"device": "disk", "base-node": "top", "job-id": "c"})
    deep.run_until_idle()
    deep.execute("block-job-complete", {"device": "c"})
    deep.run_until_idle()
    assert deep.drive("disk").node.name == "top"
    assert deep.drive("disk").read(0, 8704) == expected


def test_the_top_is_reopened_with_all_that_was_opened_with_it(deep):
    top = deep.graph.nodes["top"]
    options = {"driver": "qcow2", "node-name": "top", "backing": top.backing.name, "file": top.child("file").node.name}
    assert deep.execute("blockdev-reopen", {"options": [{**options, "read-only": True}]}) == {}
    assert top.read_only


def test_all_layers_are_closed_with_the_last_user(deep):
    deep.execute("human-monitor-command", {"command-line": "drive_del disk"})
    deep.execute("blockdev-del", {"node-name": "top"})
    assert deep.graph.nodes == {}
