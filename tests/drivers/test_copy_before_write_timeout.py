"""``cbw-timeout``: a copy before a write that would have to wait too long has failed.

As the case of QEMU's test ``copy-before-write`` with a throttled target (QEMU 10.0).
"""

from __future__ import annotations

import pytest

from qbitsim import Machine

MIB = 1 << 20
HALF = MIB >> 1


def made(*, on_error: str, timeout: int, profile: str = "10.0") -> Machine:
    """A disk whose old data a filter keeps on a target that takes 300 KiB a second."""
    machine = Machine(profile)
    for name in ("disk", "kept"):
        machine.images.create(f"{name}.qcow2", "qcow2", MIB)
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file})
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"bps-write": 300 << 10}})
    machine.add_node({"driver": "throttle", "node-name": "slow", "throttle-group": "g", "file": "kept"})
    disk = machine.graph.nodes["disk"]
    disk.write(0, b"o" * MIB)
    machine.add_node(
        {
            "driver": "copy-before-write",
            "node-name": "cbw",
            "file": "disk",
            "target": "slow",
            "on-cbw-error": on_error,
            "cbw-timeout": timeout,
        }
    )
    machine.add_node({"driver": "snapshot-access", "node-name": "old", "file": "cbw"})
    return machine


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_the_guests_write_fails(profile: str) -> None:
    machine = made(on_error="break-guest-write", timeout=1, profile=profile)
    cbw, old = machine.graph.nodes["cbw"], machine.graph.nodes["old"]
    cbw.write(0, b"n" * HALF)
    with pytest.raises(TimeoutError):
        cbw.write(HALF, b"n" * HALF)
    assert old.read(0, MIB) == b"o" * MIB
    assert cbw.read(0, MIB) == b"n" * HALF + b"o" * HALF


def test_the_copy_goes_on_and_the_next_write_does_not_wait_for_it() -> None:
    machine = made(on_error="break-guest-write", timeout=1)
    cbw, old = machine.graph.nodes["cbw"], machine.graph.nodes["old"]
    cbw.write(0, b"n" * HALF)
    with pytest.raises(TimeoutError):
        cbw.write(HALF, b"n" * HALF)
    cbw.write(HALF, b"n" * HALF)
    assert old.read(0, MIB) == b"o" * MIB
    assert cbw.read(0, MIB) == b"n" * MIB


def test_the_snapshot_breaks() -> None:
    machine = made(on_error="break-snapshot", timeout=1)
    cbw, old = machine.graph.nodes["cbw"], machine.graph.nodes["old"]
    cbw.write(0, b"n" * HALF)
    cbw.write(HALF, b"n" * HALF)
    with pytest.raises(PermissionError):
        old.read(0, 512)
    assert cbw.read(0, MIB) == b"n" * MIB


@pytest.mark.parametrize("timeout", [0, 2])
def test_a_copy_in_time_goes_well(timeout: int) -> None:
    machine = made(on_error="break-guest-write", timeout=timeout)
    cbw, old = machine.graph.nodes["cbw"], machine.graph.nodes["old"]
    cbw.write(0, b"n" * HALF)
    cbw.write(HALF, b"n" * HALF)
    assert old.read(0, MIB) == b"o" * MIB


def test_a_delay_counts() -> None:
    machine = made(on_error="break-guest-write", timeout=1)
    machine.delay_io("kept.qcow2", "write", 1.5)
    with pytest.raises(TimeoutError):
        machine.graph.nodes["cbw"].write(0, b"n" * 512)


def test_what_is_behind_the_end_of_a_target_that_is_too_short_cannot_be_copied() -> None:
    machine = made(on_error="break-guest-write", timeout=0)
    machine.qmp("blockdev-del", node_name="old")
    machine.qmp("blockdev-del", node_name="cbw")
    machine.qmp("blockdev-del", node_name="slow")
    machine.qmp("block_resize", node_name="kept", size=MIB - 512)
    machine.add_node({"driver": "copy-before-write", "node-name": "cbw", "file": "disk", "target": "kept"})
    drive = machine.add_drive("drive0", machine.graph.nodes["cbw"])
    with pytest.raises(OSError, match="Errno 5"):
        drive.write(MIB - 4096, b"n" * 512)
    assert machine.graph.nodes["disk"].read(0, MIB) == b"o" * MIB
