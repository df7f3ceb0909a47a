"""Which tables of qcow2 a flush writes after clusters became zero, were discarded or were taken from a snapshot.

As the first write behind the first cluster tells, measured on QEMU 7.2 and 10.0. The disk has its refcounts in cluster
2, its L2 table in 4 and data in 5 and 6; the snapshot's L1 table and the list of snapshots are in 7 and 8.
"""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine

CLUSTER = 65536
REFCOUNTS, TABLE, COPIED_TABLE = 3 * CLUSTER, 5 * CLUSTER, 10 * CLUSTER
WRITE, ZERO, UNMAP, DISCARD = "write -q 0 128k", "write -q -z 0 128k", "write -q -z -u 0 128k", "discard -q 0 128k"
PART = "write -q 64k 4k"
NEW_ZERO, NEW_DISCARD = "write -q -z 256k 64k", "discard -q 256k 64k"


def played(*requests: str, backing: bool = False) -> list[int]:
    """Where the first write of a flush after these requests ends, if there is one; "snapshot" takes one."""
    machine = Machine("10.0", machine_type="pc")
    machine.images.create("base", "qcow2", 1 << 20)
    machine.images.create("top", "qcow2", 1 << 20, backing="base" if backing else None, backing_format="qcow2")
    options = {"driver": "qcow2", "node-name": "node0", "discard": "unmap"}
    node = machine.add_node({**options, "file": {"driver": "file", "filename": "top", "node-name": "file0"}})
    machine.add_drive("drive0", node)
    for request in requests:
        if request == "snapshot":
            machine.qmp("blockdev-snapshot-internal-sync", device="drive0", name="s")
        else:
            machine.qmp("human-monitor-command", command_line=f'qemu-io drive0 "{request}"')
    machine.qmp("block-set-write-threshold", node_name="file0", write_threshold=CLUSTER)
    seen = machine.events.end
    node.flush()
    told = [event for event in machine.events.read(seen) if event["event"] == "BLOCK_WRITE_THRESHOLD"]
    return [event["data"]["amount-exceeded"] + CLUSTER for event in told]


@pytest.mark.parametrize("backing", [False, True])
@pytest.mark.parametrize("request_after", [WRITE, ZERO, UNMAP, DISCARD, PART, NEW_ZERO])
def test_a_table_that_a_snapshot_shared_is_written_where_its_copy_is(request_after: str, backing: bool) -> None:
    assert played(WRITE, "flush", "snapshot", request_after, backing=backing) == [COPIED_TABLE]


@pytest.mark.parametrize(
    ("request_alone", "backing", "ends"),
    [(ZERO, False, [TABLE]), (ZERO, True, [TABLE]), (DISCARD, False, []), (DISCARD, True, [TABLE])],
)
def test_a_new_table_is_written_again_if_its_entries_change(request_alone: str, backing: bool, ends: list[int]) -> None:
    """A discard of what nothing is below changes none (discard_in_l2_slice, block/qcow2-cluster.c)."""
    assert played(request_alone, backing=backing) == ends
    assert played(WRITE, "flush", NEW_DISCARD, backing=backing) == ([TABLE] if backing else [])


def test_what_zeroes_left_its_place_is_not_counted_anew() -> None:
    assert played(WRITE, "flush", ZERO, "flush", WRITE) == [TABLE]
    assert played(WRITE, "flush", DISCARD, "flush", WRITE) == [REFCOUNTS]


def test_each_cluster_that_a_snapshot_shared_changes_the_table() -> None:
    assert played(WRITE, "flush", "snapshot", "write -q 0 64k", "flush", "write -q 64k 64k") == [COPIED_TABLE]
    assert played(WRITE, "flush", "snapshot", WRITE, "flush", WRITE) == []
