"""Cookbook: what is left when a backup fails, and what clients make of it."""

from __future__ import annotations

import errno

import pytest
from seen import actions, counts, ends, incremental, refusal

CLUSTER = 65536


def test_01_an_incremental_backup_whose_target_is_full_keeps_all_dirty_bits(machine):
    """Source: measured; tp-qemu ``no_space``, ``nospace_with_bitmap_mode``."""
    machine.limit_capacity("inc0.qcow2", 2 * CLUSTER)
    machine.qmp("drive-backup", **incremental())
    start = machine.events.end
    machine.run_until_idle()

    assert [(event["event"], event["data"]) for event in machine.events.read(start)] == [
        ("BLOCK_JOB_ERROR", {"device": "inc0", "operation": "write", "action": "report"}),
        ("JOB_STATUS_CHANGE", {"id": "inc0", "status": "aborting"}),
        (
            "BLOCK_JOB_COMPLETED",
            {"device": "inc0", "type": "backup", "len": 4 * CLUSTER, "offset": 2 * CLUSTER, "speed": 0}
            | {"error": "No space left on device"},
        ),
        ("JOB_STATUS_CHANGE", {"id": "inc0", "status": "concluded"}),
        ("JOB_STATUS_CHANGE", {"id": "inc0", "status": "null"}),
    ]
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}


@pytest.mark.parametrize(
    ("bitmap_action", "bitmap_of_the_job", "kept"),
    [
        (("block-dirty-bitmap-clear", {"node": "drive0", "name": "b0"}), {}, 0),
        (None, {"bitmap": "b0", "bitmap-mode": "on-success"}, 4 * CLUSTER),
    ],
    ids=["cleared in the same transaction", "cleared by the job"],
)
def test_02_a_bitmap_that_is_cleared_in_the_transaction_of_a_backup_that_fails_has_lost_the_changes(
    machine, bitmap_action, bitmap_of_the_job, kept
):
    """Source: measured on qmpbackup; its issue #10."""
    machine.inject_error("drive0", "read", errno.EIO)
    backup = {"job-id": "full", "device": "drive0", "sync": "full", "target": "full.qcow2", **bitmap_of_the_job}
    given = [bitmap_action] if bitmap_action else []
    machine.qmp("transaction", actions=actions(*given, ("drive-backup", backup)))
    machine.run_until_idle()

    assert ends(machine) == [("BLOCK_JOB_COMPLETED", "full", "Input/output error")]
    assert counts(machine) == {"node0/b0": kept}


def test_03_of_two_disks_in_an_individual_transaction_the_one_that_succeeds_goes_on_without_the_other(two_disks):
    """Source: measured; tp-qemu ``with_complete_mode``."""
    machine = two_disks
    machine.limit_capacity("inc1.qcow2", 2 * CLUSTER)
    backups = [("drive-backup", incremental(0)), ("drive-backup", incremental(1))]
    machine.qmp("transaction", actions=actions(*backups))
    machine.run_until_idle()

    assert sorted(ends(machine)) == [
        ("BLOCK_JOB_COMPLETED", "inc0", None),
        ("BLOCK_JOB_COMPLETED", "inc1", "No space left on device"),
    ]
    assert counts(machine) == {"node0/b0": 0, "node1/b0": 4 * CLUSTER}

    machine.limit_capacity("inc1.qcow2", None)
    machine.drive("drive0").write(0, b"B")
    machine.qmp("transaction", actions=actions(*backups))
    machine.run_until_idle()
    # The second pair of increments holds one cluster of drive0 since the first attempt, but all four of drive1.
    allocated = [machine.images.lookup(f"inc{number}.qcow2").content.allocated for number in (0, 1)]
    assert allocated == [CLUSTER, 4 * CLUSTER]


def test_04_in_a_grouped_transaction_the_one_that_is_ready_waits_and_is_cancelled_when_the_other_fails(two_disks):
    """Source: measured; tp-qemu ``with_complete_mode``."""
    machine = two_disks
    machine.limit_capacity("inc1.qcow2", 2 * CLUSTER)
    backups = [("drive-backup", incremental(0)), ("drive-backup", incremental(1, speed=CLUSTER))]
    machine.qmp("transaction", actions=actions(*backups), properties={"completion-mode": "grouped"})

    machine.until(job="inc0", status="waiting")
    assert {job["id"]: job["status"] for job in machine.qmp("query-jobs")} == {"inc0": "waiting", "inc1": "running"}
    machine.settle()
    assert sorted(ends(machine)) == [
        ("BLOCK_JOB_CANCELLED", "inc0", None),
        ("BLOCK_JOB_COMPLETED", "inc1", "No space left on device"),
    ]
    assert counts(machine) == {"node0/b0": 4 * CLUSTER, "node1/b0": 4 * CLUSTER}


def test_15_cleaning_up_after_one_job_that_failed_is_refused_what_the_surviving_job_uses(two_disks):
    """Source: measured; qmpbackup #28, #31."""
    machine = two_disks
    for number in (0, 1):
        target = machine.images.create(f"target{number}", "qcow2", 1 << 20)
        file = {"driver": "file", "filename": target.name}
        machine.qmp("blockdev-add", driver="qcow2", node_name=target.name, file=file)
    machine.inject_error("target0", "write", errno.EIO)
    backups = [("blockdev-backup", incremental(0, target="target0"))]
    backups += [("blockdev-backup", incremental(1, target="target1", speed=CLUSTER))]
    machine.qmp("transaction", actions=actions(*backups))
    machine.until("BLOCK_JOB_COMPLETED", device="inc0")

    busy = "is busy: block device is in use by block job: backup"
    assert machine.qmp("blockdev-del", node_name="target0") == {}
    assert refusal(machine, "blockdev-del", node_name="target1") == f"Node 'target1' {busy}"
    # What is left over is in the way of the next attempt.
    again = {"driver": "qcow2", "node-name": "target1", "file": {"driver": "file", "filename": "target1"}}
    assert refusal(machine, "blockdev-add", **again) == "Duplicate nodes with node-name='target1'"
    once_more = {"device": "drive1", "sync": "full", "target": "target1"}
    assert refusal(machine, "blockdev-backup", **once_more) == f"Node 'drive1' {busy}"
    machine.settle()
    assert machine.qmp("blockdev-del", node_name="target1") == {}


def test_24_cancelling_an_incremental_backup_keeps_all_bits_even_those_that_were_copied(machine):
    """Source: measured; SmolVM PR #453."""
    machine.qmp("drive-backup", **incremental(speed=CLUSTER))
    machine.until(lambda machine: machine.jobs.find("inc0").progress.current == CLUSTER)
    machine.qmp("block-job-cancel", device="inc0")
    cancelled = machine.until("BLOCK_JOB_CANCELLED")["data"]

    speed = {"speed": CLUSTER}
    assert cancelled == {"device": "inc0", "type": "backup", "len": 4 * CLUSTER, "offset": CLUSTER} | speed
    assert ends(machine) == [("BLOCK_JOB_CANCELLED", "inc0", None)]
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}


@pytest.mark.parametrize(
    ("mode", "after_failure", "after_success"),
    [("on-success", 4 * CLUSTER, 0), ("never", 4 * CLUSTER, 4 * CLUSTER), ("always", 2 * CLUSTER, 0)],
)
def test_31_the_bitmap_mode_says_which_bits_are_kept_when_a_backup_fails(machine, mode, after_failure, after_success):
    """Source: tp-qemu."""
    for room, expected in ((2 * CLUSTER, after_failure), (None, after_success)):
        machine.limit_capacity("inc0.qcow2", room)
        machine.qmp("drive-backup", **incremental(sync="bitmap", bitmap_mode=mode))
        machine.run_until_idle()
        assert counts(machine) == {"node0/b0": expected}
