"""Cookbook: disks that come and go, checkpoints, granularities, and what differs between releases of QEMU."""

from __future__ import annotations

import errno

import pytest
from seen import actions, counts, ends, incremental, refusal

from qbitsim import Machine
from qbitsim.machine.boot import add_device
from qbitsim.profiles import QEMU_7_2, release

CLUSTER = 65536
MISSING = "Bitmap 'b0' could not be found"


def test_20_what_one_release_of_qemu_answers_another_does_not():
    """Source: qmpbackup #2, #26, ``vm.py:80-104``; tp-qemu PR #2740, ``get_bitmaps``."""
    seen = {}
    for version in ("2.5", "7.2", "10.0"):
        machine = Machine(version)
        machine.add_disk("drive0", "1M", node_name="node0")
        machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
        (disk,) = machine.qmp("query-block")
        seen[version] = (disk.get("dirty-bitmaps"), disk["inserted"].get("dirty-bitmaps"))
        assert "children" not in disk["inserted"]  # they came with 10.1
    b0 = {"name": "b0", "granularity": CLUSTER, "count": 0}
    today = (None, [b0 | {"recording": True, "busy": False, "persistent": False}])
    assert seen == {"2.5": ([b0 | {"status": "active"}], None), "7.2": today, "10.0": today}


def test_20_an_option_that_came_with_a_later_release_is_unexpected():
    """Source: qmpbackup #26. A release between those that are there is like one of them."""
    cbw = {"driver": "copy-before-write", "node-name": "cbw", "file": "node0", "target": "scratch", "cbw-timeout": 45}
    for profile in (release("7.0", like=QEMU_7_2), QEMU_7_2):
        machine = Machine(profile)
        machine.add_disk("drive0", "1M", node_name="node0")
        machine.add_node({"driver": "null-co", "node-name": "scratch", "size": 1 << 20})
        if profile.name == "7.0":
            assert refusal(machine, "blockdev-add", **cbw) == "Parameter 'cbw-timeout' is unexpected"
        else:
            assert machine.qmp("blockdev-add", **cbw) == {}


def test_22_after_a_snapshot_the_bitmap_stays_on_the_base_and_the_overlay_is_not_tracked(machine):
    """Source: incus #3741, #3654; qmpbackup #12, #24."""
    snapshot = {"device": "drive0", "snapshot-file": "over.qcow2", "snapshot-node-name": "over"}
    machine.qmp("blockdev-snapshot-sync", **snapshot)
    machine.drive("drive0").write(9 * CLUSTER, b"B")
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}
    assert refusal(machine, "drive-backup", **incremental()) == MISSING

    fault = machine.inject_error("node0", "write", errno.EPERM)
    for error in ("Operation not permitted", None):
        machine.qmp("block-commit", job_id="commit", device="drive0")
        if error is None:
            machine.until("BLOCK_JOB_READY")
            machine.qmp("block-job-complete", device="commit")
        machine.run_until_idle()
        assert ends(machine)[-1] == ("BLOCK_JOB_COMPLETED", "commit", error)
        fault.lift()
    # What was written to the overlay is tracked once it has been committed.
    assert counts(machine) == {"node0/b0": 5 * CLUSTER}


def test_22_a_base_that_was_opened_read_only_cannot_be_committed_to():
    """Source: incus #3741; measured."""
    machine = Machine("7.2")
    machine.images.create("base.qcow2", "qcow2", 1 << 20)
    machine.images.create("over.qcow2", "qcow2", backing="base.qcow2", backing_format="qcow2")
    for options in (
        {"driver": "file", "node-name": "file", "filename": "base.qcow2", "read-only": True},
        {"driver": "qcow2", "node-name": "base", "file": "file", "read-only": True},
    ):
        machine.qmp("blockdev-add", **options)
    over = {"driver": "qcow2", "file": {"driver": "file", "filename": "over.qcow2"}, "backing": "base"}
    machine.add_drive("drive0", machine.add_node(over))
    assert refusal(machine, "block-commit", job_id="commit", device="drive0") == "Block node is read-only"


def test_23_a_count_is_in_granules_and_merging_into_coarse_ones_loses_what_no_merge_brings_back(machine):
    """Source: measured; SmolVM PR #453 ("That exact 65536 is a bet on the granularity"); tp-qemu."""
    for bad in (256, 3000):
        assert refusal(machine, "block-dirty-bitmap-add", node="node0", name="bad", granularity=bad) == (
            "Granularity must be power of 2 and at least 512"
        )
    machine.qmp("block-dirty-bitmap-remove", node="node0", name="b0")
    for name, granularity in (("usual", None), ("fine", 4096), ("coarse", 1 << 20), ("back", 4096)):
        size = {"granularity": granularity} if granularity else {}
        machine.qmp("block-dirty-bitmap-add", node="node0", name=name, **size)
    machine.drive("drive0").write(5000, b"A")
    expected = {"usual": CLUSTER, "fine": 4096, "coarse": 1 << 20, "back": 4096}
    assert counts(machine) == {f"node0/{name}": count for name, count in reversed(expected.items())}

    machine.qmp("block-dirty-bitmap-clear", node="node0", name="back")
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="back", bitmaps=["coarse"])
    assert counts(machine)["node0/back"] == 1 << 20
    assert machine.graph.find_bitmap("node0", "fine").dirty_ranges == [(4096, 4096)]
    assert machine.graph.find_bitmap("node0", "back").dirty_ranges == [(0, 1 << 20)]


@pytest.mark.parametrize("together", [True, False], ids=["in one transaction", "one after the other"])
def test_25_a_new_epoch_must_begin_in_the_transaction_of_the_copy_that_it_follows(machine, together):
    """Source: incus #3688; libvirt's merge actions."""
    copy = ("drive-backup", {"device": "drive0", "job-id": "full", "sync": "full", "target": "full.qcow2"})
    epoch = [
        ("block-dirty-bitmap-disable", {"node": "node0", "name": "b0"}),
        ("block-dirty-bitmap-add", {"node": "node0", "name": "b1"}),
    ]
    machine.qmp("transaction", actions=actions(*epoch, copy) if together else actions(copy))
    machine.drive("drive0").write(9 * CLUSTER, b"B")
    if not together:
        machine.qmp("transaction", actions=actions(*epoch))
    machine.run_until_idle()

    # The copy has not got what was written after it began: it belongs to the new epoch, and else to none that counts.
    assert machine.images.read_chain("full.qcow2", 9 * CLUSTER, 1) == b"\0"
    new = {True: [(9 * CLUSTER, CLUSTER)], False: []}[together]
    assert machine.graph.find_bitmap("node0", "b1").dirty_ranges == new
    # An epoch only grows; what several of them say is their union.
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="b0", bitmaps=["b1"])
    assert counts(machine)["node0/b0"] == 5 * CLUSTER


def test_27_a_disk_that_is_new_has_no_bitmap_and_needs_a_full_backup_of_its_own(machine):
    """Source: virtnbdbackup #135, #240; ovirt-site PR #2340."""
    machine.add_disk("drive1", "1M", node_name="node1").write(0, b"new")
    both = actions(("drive-backup", incremental(0)), ("drive-backup", incremental(1)))
    assert refusal(machine, "transaction", actions=both) == MISSING
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}

    first_time = (
        ("block-dirty-bitmap-add", {"node": "drive1", "name": "b0"}),
        ("drive-backup", {"device": "drive1", "job-id": "full1", "sync": "full", "target": "full1.qcow2"}),
    )
    machine.qmp("transaction", actions=actions(("drive-backup", incremental(0)), *first_time))
    machine.run_until_idle()
    assert sorted(ends(machine)) == [("BLOCK_JOB_COMPLETED", "full1", None), ("BLOCK_JOB_COMPLETED", "inc0", None)]
    assert counts(machine) == {"node0/b0": 0, "node1/b0": 0}
    assert machine.images.compare("full1.qcow2", "drive1.qcow2") is None


def a_pc_with_drives_of_all_kinds(profile):
    """A drive, a device that uses a node, a raw drive that no device uses, an empty one."""
    machine = Machine(profile, machine_type="pc")
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.images.create("disk.qcow2", "qcow2", 1 << 20)
    file = {"driver": "file", "filename": "disk.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "disk", "file": file})
    add_device(machine, "virtio-blk-pci,drive=disk,id=vd0")
    machine.add_disk("pflash0", "64K", format="raw")
    machine.add_drive("cdrom", None)
    return machine


def test_30_not_every_entry_of_query_block_has_a_device_a_qdev_or_a_medium(machine):
    """Source: qmpbackup #21, ``vm.py:166,202``."""
    machine = a_pc_with_drives_of_all_kinds(machine.profile)
    qdev = "/machine/peripheral/vd0/virtio-backend"
    machine.qmp("block-dirty-bitmap-add", node="disk", name="b0")

    assert [
        (entry["device"], entry.get("qdev"), "inserted" in entry and entry["inserted"]["node-name"][:6])
        for entry in machine.qmp("query-block")
    ] == [
        ("drive0", None, "node0"),
        ("", qdev, "disk"),
        ("pflash0", None, "#block"),
        ("cdrom", None, False),
    ]
    # A job takes its name from the device: where there is none, it must be given one.
    backup = {"device": "disk", "sync": "incremental", "bitmap": "b0", "target": "inc.qcow2"}
    assert refusal(machine, "drive-backup", **backup) == "Invalid job ID ''"
    assert machine.qmp("drive-backup", job_id="inc", **backup) == {}
