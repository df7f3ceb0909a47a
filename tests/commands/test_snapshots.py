"""blockdev-snapshot(-sync) and internal snapshots; texts as measured on QEMU 10.0."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine


@pytest.fixture
def machine():
    made = Machine()
    made.add_disk("drive0", "1M", node_name="node0", file="src.qcow2")
    made.add_drive("cd0", None)
    for name in ("ov", "wb"):
        made.images.create(f"{name}.qcow2", "qcow2", 1 << 20)
        made.add_node({"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": f"{name}.qcow2"}})
    made.add_node({"driver": "null-co", "node-name": "nul", "size": 1 << 20})
    return made


def refusal(machine, command, **arguments):
    before = machine.qmp("query-named-block-nodes")
    with pytest.raises(QmpError) as caught:
        machine.qmp(command, **arguments)
    assert machine.qmp("query-named-block-nodes") == before
    return caught.value.desc


def test_refusals_of_an_overlay_come_in_order(machine):
    snapshot = "blockdev-snapshot"
    assert refusal(machine, snapshot, node="cd0", overlay="ov") == "Device 'cd0' has no medium"
    assert refusal(machine, snapshot, node="node0", overlay="drive0") == "The overlay is already in use"
    assert refusal(machine, snapshot, node="node0", overlay="nul") == "The overlay does not support backing images"
    machine.qmp(snapshot, node="wb", overlay="ov")
    assert refusal(machine, snapshot, node="node0", overlay="ov") == "The overlay already has a backing image"
    assert (
        refusal(machine, snapshot, node="wb", overlay="ov") == "Node 'wb' is busy: node is used as backing hd of 'ov'"
    )


def test_the_bitmap_stays_below_and_the_old_node_becomes_read_only(machine):
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0")
    machine.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file="s.qcow2", snapshot_node_name="s")
    machine.drive("drive0").write(0, b"x" * 65536)
    nodes = {info["node-name"]: info for info in machine.qmp("query-named-block-nodes")}
    assert nodes["node0"]["ro"]
    assert [bitmap["count"] for bitmap in nodes["node0"]["dirty-bitmaps"]] == [0]
    assert "dirty-bitmaps" not in nodes["s"]
    assert nodes["s"]["backing_file"] == "src.qcow2"


def test_refusals_of_a_new_overlay(machine):
    sync = "blockdev-snapshot-sync"
    assert refusal(machine, sync, node_name="node0", snapshot_file="s") == "New overlay node-name missing"
    assert (
        refusal(machine, sync, device="drive0", snapshot_file="s", snapshot_node_name="ov")
        == "New overlay node-name already in use"
    )
    assert (
        refusal(machine, sync, device="drive0", snapshot_file="s", snapshot_node_name="cd0")
        == "node-name=cd0 is conflicting with a device id"
    )
    assert (
        refusal(machine, sync, device="drive0", snapshot_file="src.qcow2")
        == "Error: Trying to create an image with the same filename as the backing file"
    )
    assert refusal(machine, sync, device="drive0", snapshot_file="") == (
        "Could not create '': No such file or directory"
    )


def test_an_overlay_of_a_node_that_nobody_uses_goes_at_once(machine):
    machine.qmp("blockdev-snapshot-sync", node_name="nul", snapshot_file="s.qcow2", snapshot_node_name="s")
    assert "s" not in machine.graph.nodes
    assert "s.qcow2" in machine.images


def test_a_prepared_overlay_shows_as_json(machine):
    machine.qmp("blockdev-snapshot", node="node0", overlay="ov")
    inserted = machine.qmp("query-block")[0]["inserted"]
    assert inserted["file"] == (
        'json:{"backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "src.qcow2"}}, '
        '"driver": "qcow2", "file": {"driver": "file", "filename": "ov.qcow2"}}'
    )


def test_an_aborted_snapshot_leaves_the_file_and_nothing_else(machine):
    before = machine.qmp("query-named-block-nodes")
    actions = [
        {"type": "blockdev-snapshot-sync", "data": {"device": "drive0", "snapshot-file": "s.qcow2"}},
        {"type": "abort", "data": {}},
    ]
    with pytest.raises(QmpError, match="Transaction aborted using Abort action"):
        machine.qmp("transaction", actions=actions)
    assert machine.qmp("query-named-block-nodes") == before
    assert "s.qcow2" in machine.images


def internal(machine):
    return [snapshot.name for snapshot in machine.images.lookup("src.qcow2").snapshots]


def test_internal_snapshots_are_taken_undone_and_deleted(machine):
    take = "blockdev-snapshot-internal-sync"
    machine.qmp(take, device="drive0", name="i0")
    assert refusal(machine, take, device="drive0", name="") == "Name is empty"
    assert (
        refusal(machine, take, device="drive0", name="i0")
        == "Snapshot with name 'i0' already exists on device 'drive0'"
    )
    actions = [{"type": take, "data": {"device": "drive0", "name": "i1"}}, {"type": "abort", "data": {}}]
    with pytest.raises(QmpError):
        machine.qmp("transaction", actions=actions)
    assert internal(machine) == ["i0"]
    info = machine.qmp("blockdev-snapshot-delete-internal-sync", device="drive0", name="i0")
    assert (info["id"], info["name"], info["vm-state-size"]) == ("1", "i0", 0)
    assert internal(machine) == []
    assert (
        refusal(machine, "blockdev-snapshot-delete-internal-sync", device="drive0", id="1")
        == "Snapshot with id '1' and name 'null' does not exist on device 'drive0'"
    )
    assert (
        refusal(machine, take, device="nul", name="i")
        == "Block format 'null-co' used by device 'nul' does not support internal snapshots"
    )


def test_options_in_a_header_do_not_give_the_node_above_another_name():
    machine = Machine()
    machine.images.create("base.qcow2", "qcow2", 1 << 20)
    options = 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
    machine.images.create("top.qcow2", "qcow2", 1 << 20, backing=options, backing_format="qcow2")
    machine.add_node({"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": "top.qcow2"}})
    machine.add_drive("d0", machine.graph.nodes["top"])
    machine.qmp("blockdev-snapshot-sync", device="d0", snapshot_file="ov.qcow2", snapshot_node_name="ov")
    nodes = {info["node-name"]: info for info in machine.qmp("query-named-block-nodes")}
    assert (nodes["top"]["file"], nodes["ov"]["backing_file"]) == ("top.qcow2", "top.qcow2")
