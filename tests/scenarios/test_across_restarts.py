"""Cookbook: bitmaps across the end of one QEMU and the start of the next, clean or not."""

from __future__ import annotations

import pytest
from seen import actions, counts, incremental, refusal

from qbitsim import Machine
from qbitsim.images.store import ImageStore

CLUSTER = 65536
MISSING = "Bitmap 'b0' could not be found"


@pytest.fixture(params=["7.2", "10.0"])
def start(request):
    """Starts QEMU, on files that are there already if there are any."""

    def start(images: ImageStore | None = None, node_name: str | None = "node0") -> Machine:
        machine = Machine(request.param, images=images)
        machine.add_disk("drive0", "1M", node_name=node_name)
        return machine

    return start


@pytest.fixture
def stored(start):
    """Restarted with a persistent bitmap that was stored: cluster 0 is dirty."""
    machine = start()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", persistent=True)
    machine.drive("drive0").write(0, b"A")
    machine.shut_down()
    return start(machine.images)


def shown(machine):
    """The bitmaps of the disk, as ``query-block`` shows them."""
    (disk,) = machine.qmp("query-block")
    return disk["inserted"].get("dirty-bitmaps", [])


def node_name(machine):
    """The name of the disk's node."""
    (disk,) = machine.qmp("query-block")
    return disk["inserted"]["node-name"]


def test_08_after_kill_9_a_stored_bitmap_is_inconsistent_and_can_only_be_removed(stored, start):
    """Source: measured; qmpbackup #25; virtnbdbackup #145, #266; ovirt-engine PR #866, #896; launchpad 1814418."""
    stored.crash()
    machine = start(stored.images)
    (bitmap,) = shown(machine)
    flags = {"recording": False, "busy": False, "persistent": True, "inconsistent": True}
    assert bitmap == {"name": "b0", "granularity": CLUSTER, "count": 0, **flags}

    b0 = {"node": "node0", "name": "b0"}
    for verb in ("clear", "enable", "disable"):
        assert refusal(machine, f"block-dirty-bitmap-{verb}", **b0) == "Bitmap 'b0' is inconsistent and cannot be used"
    assert refusal(machine, "drive-backup", **incremental()) == "Bitmap 'b0' is inconsistent and cannot be used"
    assert refusal(machine, "block-dirty-bitmap-add", **b0) == "Bitmap already exists: b0"
    assert machine.qmp("block-dirty-bitmap-remove", **b0) == {}
    assert machine.qmp("block-dirty-bitmap-add", **b0) == {}


def test_09_after_kill_9_a_bitmap_that_was_never_stored_is_gone(start):
    """Source: measured. What the guest wrote to new clusters is there only if it was flushed."""
    before = start()
    before.qmp("block-dirty-bitmap-add", node="node0", name="b0", persistent=True)
    before.drive("drive0").write(0, b"A")
    before.drive("drive0").flush()
    before.drive("drive0").write(CLUSTER, b"B")
    before.crash()
    machine = start(before.images)
    assert shown(machine) == []
    assert machine.drive("drive0").read(0, 1) == b"A"
    assert machine.drive("drive0").read(CLUSTER, 1) == b"\0"
    assert refusal(machine, "drive-backup", **incremental()) == MISSING


def test_10_a_node_name_that_qemu_generated_is_another_one_after_a_restart(start):
    """Source: qmpbackup #34, PR #32."""
    before = start(node_name=None)
    old = node_name(before)
    before.qmp("block-dirty-bitmap-add", node=old, name=f"backup-{old}", persistent=True)
    before.shut_down()
    machine = start(before.images, node_name=None)

    new = node_name(machine)
    assert old.startswith("#block")
    assert new.startswith("#block")
    assert new != old
    # The bitmap is still there, but not where a client looks that goes by the name of the node, or makes others of it.
    assert counts(machine) == {f"{new}/backup-{old}": 0}
    assert refusal(machine, "block-dirty-bitmap-clear", node=old, name=f"backup-{old}") == f"Node '{old}' not found"
    assert refusal(machine, "block-dirty-bitmap-clear", node=new, name=f"backup-{new}") == (
        f"Dirty bitmap 'backup-{new}' not found"
    )


def test_11_a_client_that_lost_its_metadata_cannot_start_anew_while_the_bitmap_is_still_in_the_image(stored):
    """Source: virtnbdbackup #9, #63, #194, #219; OpenNebula #6206, #7092; CloudStack PR #13074."""
    full = {"device": "drive0", "sync": "full", "target": "full.qcow2"}
    add = {"node": "drive0", "name": "b0", "persistent": True}
    new_chain = [("block-dirty-bitmap-add", add), ("drive-backup", full)]
    assert refusal(stored, "transaction", actions=actions(*new_chain)) == "Bitmap already exists: b0"
    assert "full.qcow2" not in stored.images
    # It cannot be replaced in the same transaction, but it can be used again.
    remove = ("block-dirty-bitmap-remove", {"node": "drive0", "name": "b0"})
    assert refusal(stored, "transaction", actions=actions(remove, *new_chain)) == "Bitmap already exists: b0"
    clear = ("block-dirty-bitmap-clear", {"node": "drive0", "name": "b0"})
    assert stored.qmp("transaction", actions=actions(clear, ("drive-backup", full))) == {}
    stored.run_until_idle()
    assert counts(stored) == {"node0/b0": 0}


@pytest.mark.parametrize("end", ["shut_down", "crash"])
@pytest.mark.parametrize("persistent", [True, False])
def test_12_the_bitmap_that_the_metadata_names_may_be_missing_or_broken(start, end, persistent):
    """Source: virtnbdbackup #225, #237, #266, #284 ("5-10 % of VMs, randomly"); kubevirt PR #16448."""
    machine = start()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", persistent=persistent)
    machine.drive("drive0").write(0, b"A")
    getattr(machine, end)()
    machine = start(machine.images)
    if persistent and end == "shut_down":
        assert machine.qmp("drive-backup", **incremental()) == {}
    else:
        assert refusal(machine, "drive-backup", **incremental()) == MISSING
        assert machine.qmp("drive-backup", device="drive0", sync="full", target="full.qcow2") == {}


def test_28_bitmaps_that_do_not_fit_when_the_image_is_closed_are_lost(stored, start):
    """Source: vdsm PR #354 ("Lost persistent bitmaps during inactivation"); tp-qemu PR #2547; measured."""
    stored.qmp("block-dirty-bitmap-add", node="node0", name="b1", persistent=True)
    stored.drive("drive0").write(CLUSTER, b"B")
    assert counts(stored) == {"node0/b0": 2 * CLUSTER, "node0/b1": CLUSTER}
    stored.limit_capacity("drive0.qcow2", 2 * CLUSTER)
    file = {"driver": "file", "filename": "drive0.qcow2"}
    read_only = {"driver": "qcow2", "node-name": "node0", "file": file, "read-only": True}
    assert refusal(stored, "blockdev-reopen", options=[read_only]) == (
        "Failed to write bitmap 'b0' to file: No space left on device"
    )
    stored.shut_down()

    machine = start(stored.images)
    assert [(bitmap["name"], bitmap.get("inconsistent")) for bitmap in shown(machine)] == [("b0", True)]
    assert machine.drive("drive0").read(CLUSTER, 1) == b"B"
