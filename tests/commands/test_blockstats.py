"""query-blockstats, thresholds and histograms: what the recorded scenarios do not reach."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536


@pytest.fixture
def machine() -> Machine:
    made = Machine(machine_type="pc")
    made.add_disk("drive0", "1M", node_name="node0")
    return made


def counters(machine: Machine) -> dict:
    (info,) = machine.qmp("query-blockstats")
    return info["stats"]


def test_a_guest_is_counted(machine: Machine) -> None:
    drive = machine.drive("drive0")
    drive.write(0, b"x" * 512)
    drive.write(CLUSTER, b"x" * 1024)
    drive.read(0, 4096)
    drive.flush()
    stats = counters(machine)
    assert (stats["wr_operations"], stats["wr_bytes"]) == (2, 1536)
    assert (stats["rd_operations"], stats["rd_bytes"]) == (1, 4096)
    assert stats["flush_operations"] == 1
    assert stats["wr_highest_offset"] == CLUSTER + 1024


def test_jobs_are_not_counted(machine: Machine) -> None:
    drive = machine.drive("drive0")
    drive.write(0, b"x" * CLUSTER)
    machine.add_disk("target", "1M")
    machine.qmp("blockdev-backup", device="drive0", target="target", sync="full", job_id="j")
    machine.settle()
    stats = {info["device"]: info["stats"] for info in machine.qmp("query-blockstats")}
    assert (stats["drive0"]["rd_operations"], stats["target"]["wr_operations"]) == (0, 0)


def test_counters_are_those_of_the_release() -> None:
    names = {}
    for profile in ("7.2", "10.0"):
        machine = Machine(profile)
        machine.add_disk("drive0", "1M")
        names[profile] = {name for name in counters(machine) if "zone" in name}
    assert not names["7.2"]
    assert "zone_append_bytes" in names["10.0"]


def test_snapshots_restore_counters(machine: Machine) -> None:
    drive = machine.drive("drive0")
    drive.write(0, b"x" * 512)
    before = machine.snapshot()
    drive.write(0, b"x" * 512)
    machine.restore(before)
    assert counters(machine)["wr_operations"] == 1


def test_a_threshold_is_told_once(machine: Machine) -> None:
    machine.qmp("block-set-write-threshold", node_name="node0", write_threshold=2 * CLUSTER)
    drive = machine.drive("drive0")
    seen = machine.events.end
    drive.write(0, b"x" * CLUSTER)
    drive.write(2 * CLUSTER, b"x" * CLUSTER)
    drive.write(3 * CLUSTER, b"x" * CLUSTER)
    told = [event["data"] for event in machine.events.read(seen) if event["event"] == "BLOCK_WRITE_THRESHOLD"]
    assert told == [{"node-name": "node0", "amount-exceeded": CLUSTER, "write-threshold": 2 * CLUSTER}]
    (info,) = machine.qmp("query-block")
    assert info["inserted"]["write_threshold"] == 0


def ends_behind(machine: Machine, threshold: int, command: str, **arguments: str) -> list[int]:
    """Where the first write of the file ends behind the threshold while a command runs, if one does."""
    machine.qmp("block-set-write-threshold", node_name="file0", write_threshold=threshold)
    seen = machine.events.end
    machine.qmp(command, **arguments)
    told = [event["data"] for event in machine.events.read(seen) if event["event"] == "BLOCK_WRITE_THRESHOLD"]
    return [data["amount-exceeded"] + threshold for data in told]


@pytest.fixture
def qcow2_machine() -> Machine:
    """A disk whose file notices writes; clusters 0 to 3 are the header, two tables of refcounts and the L1 table."""
    made = Machine()
    made.images.create("a.qcow2", "qcow2", 1 << 20)
    file = {"driver": "file", "filename": "a.qcow2", "node-name": "file0"}
    made.add_node({"driver": "qcow2", "node-name": "node0", "discard": "unmap", "file": file})
    made.add_drive("drive0", made.graph.nodes["node0"])
    return made


@pytest.mark.parametrize(
    ("threshold", "ends"),
    [
        (1, [262152, 524296, 196608, 72]),
        (262152, [327720, 524296, 327720, 393216]),
        (327720, [327744, 524296, 327744, 393216]),
        (327746, [327747, 524296, 327747, 393216]),
        (393216, [524296, 655360, 458752]),
    ],
)
def test_snapshots_write_tables_before_they_are_listed(qcow2_machine: Machine, threshold: int, ends: list[int]) -> None:
    """An L1 table of a snapshot, refcounts, the parts of the list, the header; a cluster that is freed is discarded."""
    machine = qcow2_machine
    found = []
    for command, name in (("", "s1"), ("", "s2"), ("delete-", "s1"), ("delete-", "s2")):
        found += ends_behind(
            machine, threshold, f"blockdev-snapshot-{command}internal-sync", device="drive0", name=name
        )
        if name == "s1" and not command:
            machine.drive("drive0").write(0, b"x" * CLUSTER)
    assert found == ends


def test_histograms_count_from_when_they_are_set(machine: Machine) -> None:
    drive = machine.drive("drive0")
    machine.execute("device_add", {"driver": "virtio-scsi-pci"})
    machine.execute("device_add", {"driver": "scsi-hd", "id": "disk0", "drive": "drive0"})
    drive.write(0, b"x" * 512)
    machine.qmp("block-latency-histogram-set", id="disk0", boundaries=[10, 20])
    drive.write(0, b"x" * 512)
    assert counters(machine)["wr_latency_histogram"] == {"boundaries": [10, 20], "bins": [1, 0, 0]}
    with pytest.raises(QmpError, match="Device 'disk0' set read boundaries fail"):
        machine.qmp("block-latency-histogram-set", id="disk0", boundaries=[20, 10])
    machine.qmp("block-latency-histogram-set", id="disk0")
    assert "wr_latency_histogram" not in counters(machine)
