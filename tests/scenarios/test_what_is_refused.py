"""Cookbook: what QEMU refuses, in its words, and that a refused command has changed nothing."""

from __future__ import annotations

import pytest
from seen import actions, counts, ends, incremental, refusal

from qbitsim import Machine

CLUSTER = 65536


@pytest.mark.parametrize(("version", "word"), [("7.2", "Transaction"), ("10.0", "transaction")])
def test_05_a_grouped_transaction_cannot_add_the_bitmap_of_its_backup(version, word):
    """Source: measured."""
    machine = Machine(version)
    machine.add_disk("drive0", "1M", node_name="node0")
    both = actions(
        ("block-dirty-bitmap-add", {"node": "node0", "name": "b0"}),
        ("drive-backup", {"device": "drive0", "sync": "full", "target": "full.qcow2"}),
    )
    assert refusal(machine, "transaction", actions=both, properties={"completion-mode": "grouped"}) == (
        f"Action 'block-dirty-bitmap-add' does not support {word} property completion-mode = grouped"
    )
    assert machine.qmp("transaction", actions=both) == {}


def test_06_a_transaction_that_fails_takes_back_what_its_first_actions_did_to_bitmaps(machine):
    """Source: measured."""
    before = machine.state()
    on_b0 = {"node": "node0", "name": "b0"}
    changes = (
        ("block-dirty-bitmap-add", {"node": "node0", "name": "b1"}),
        ("block-dirty-bitmap-clear", on_b0),
        ("block-dirty-bitmap-disable", on_b0),
    )
    backup = ("drive-backup", {"device": "drive0", "sync": "full", "target": "missing/full.qcow2"})
    assert refusal(machine, "transaction", actions=actions(*changes, backup)) == (
        "Could not create 'missing/full.qcow2': No such file or directory"
    )
    assert machine.state() == before
    machine.drive("drive0").write(2 * CLUSTER, b"B" * 2 * CLUSTER)
    assert counts(machine) == {"node0/b0": 5 * CLUSTER}


def test_07_a_bitmap_that_a_backup_uses_is_busy_for_everybody_else(machine):
    """Source: measured; tp-qemu ``bitmap_inuse``; qmpbackup #31 (clients crash on a bitmap without ``name``)."""
    machine.qmp("block-dirty-bitmap-add", node="node0", name="free")
    machine.qmp("drive-backup", **incremental(speed=CLUSTER))
    busy = "Bitmap 'b0' is currently in use by another operation and cannot be used"
    for verb in ("clear", "remove", "enable", "disable"):
        assert refusal(machine, f"block-dirty-bitmap-{verb}", node="node0", name="b0") == busy
    for target, source in (("b0", "free"), ("free", "b0")):
        assert refusal(machine, "block-dirty-bitmap-merge", node="node0", target=target, bitmaps=[source]) == busy
    assert refusal(machine, "drive-backup", **incremental(job_id="inc1", device="node0", target="inc1.qcow2")) == busy

    (disk,) = machine.qmp("query-block")
    (node,) = [node for node in machine.qmp("query-named-block-nodes") if node["node-name"] == "node0"]
    nameless = {"7.2": (2, 2), "10.0": (3, 1)}[machine.profile.name]
    on_disk, on_node = disk["inserted"]["dirty-bitmaps"], node["dirty-bitmaps"]
    assert [bitmap.get("name") for bitmap in on_disk] == [None] * nameless[0]
    assert [bitmap.get("name") for bitmap in on_node] == [None] * nameless[1] + ["free", "b0"]
    assert on_node[-1] == {"name": "b0", "granularity": CLUSTER, "count": 4 * CLUSTER} | {
        "busy": True,
        "recording": True,
        "persistent": False,
    }


def test_21_a_bitmap_cannot_be_persistent_on_raw_and_a_filter_on_top_hides_the_bitmaps_of_its_child(machine):
    """Source: measured; qmpbackup #30 (PVE 9)."""
    machine.images.create("disk.raw", "raw", 1 << 20)
    machine.qmp("blockdev-add", driver="raw", node_name="r", file={"driver": "file", "filename": "disk.raw"})
    assert refusal(machine, "block-dirty-bitmap-add", node="r", name="b0", persistent=True) == (
        "Can't store persistent bitmaps to r: Operation not supported"
    )
    machine.qmp("object-add", qom_type="throttle-group", id="limits")
    filter_ = {"driver": "throttle", "node-name": "top", "throttle-group": "limits", "file": "r"}
    machine.add_drive("drive1", machine.add_node(filter_))
    machine.qmp("block-dirty-bitmap-add", node="r", name="b0")
    machine.drive("drive1").write(0, b"A")

    shown = {disk["device"]: disk["inserted"].get("dirty-bitmaps") for disk in machine.qmp("query-block")}
    assert shown["drive1"] is None
    assert counts(machine) == {"node0/b0": 4 * CLUSTER, "r/b0": CLUSTER}
    missing = "Bitmap 'b0' could not be found"
    machine.qmp("blockdev-add", driver="null-co", node_name="target", size=1 << 20)
    assert refusal(machine, "blockdev-backup", **incremental(1, target="target")) == missing


def test_26_a_job_that_waits_to_be_finalized_cannot_be_dismissed_and_its_bitmap_is_still_busy(machine):
    """Source: measured."""
    machine.qmp("drive-backup", **incremental(auto_finalize=False, auto_dismiss=False))
    machine.until(job="inc0", status="pending")
    assert ends(machine) == []
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}
    assert refusal(machine, "job-dismiss", id="inc0") == (
        "Job 'inc0' in state 'pending' cannot accept command verb 'dismiss'"
    )
    assert refusal(machine, "block-dirty-bitmap-clear", node="node0", name="b0").endswith("cannot be used")

    machine.qmp("job-finalize", id="inc0")
    assert ends(machine) == [("BLOCK_JOB_COMPLETED", "inc0", None)]
    assert counts(machine) == {"node0/b0": 0}
    progress = {"current-progress": 4 * CLUSTER, "total-progress": 4 * CLUSTER}
    assert machine.qmp("query-jobs") == [{"id": "inc0", "type": "backup", "status": "concluded", **progress}]
    machine.qmp("job-dismiss", id="inc0")
    assert refusal(machine, "job-dismiss", id="inc0") == "Job not found"
