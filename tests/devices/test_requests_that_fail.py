"""What a guest's device does about requests that fail: werror, rerror, BLOCK_IO_ERROR, STOP and cont.

The events and states are those that QEMU 7.2, 10.0 and 11.1 showed when a boot sector wrote to a disk on blkdebug.
"""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.block.drive import Drive
from qbitsim.devices.device import GuestStoppedError
from qbitsim.machine.boot import add_device, add_drive
from qbitsim.machine.machine import Machine

BACKEND = "/machine/peripheral/vd/virtio-backend"


def machine_with(options: str = "", profile: str = "10.0", *, named: bool = False) -> tuple[Machine, Drive]:
    """A machine with one disk, on a node or on a drive with an id."""
    machine = Machine(profile, machine_type="pc")
    machine.images.create("disk.qcow2", "qcow2", 1 << 20)
    if named:
        add_drive(machine, {"if": "none", "id": "d0", "file": "disk.qcow2", "node-name": "n0"})
    else:
        file = {"driver": "file", "filename": "disk.qcow2"}
        machine.add_node({"driver": "qcow2", "node-name": "n0", "file": file})
    add_device(machine, f"virtio-blk-pci,drive={'d0' if named else 'n0'},id=vd{options}")
    assert machine.devices is not None
    drive = machine.devices.devices["/machine/peripheral/vd"].drive
    assert drive is not None
    return machine, drive


def events(machine: Machine) -> list[tuple[str, Any]]:
    return [(event["event"], event.get("data")) for event in machine.events.read(0)]


def io_status(machine: Machine) -> str | None:
    (info,) = machine.qmp("query-block")
    status: str | None = info.get("io-status")
    return status


def test_werror_stop_stops_the_guest_and_cont_tries_again() -> None:
    machine, drive = machine_with(",werror=stop")
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    with pytest.raises(GuestStoppedError, match="stopped the guest, until cont"):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    failed = {"qom-path": BACKEND, "device": "", "node-name": "n0", "operation": "write", "action": "stop"}
    failed |= {"nospace": False, "reason": "Input/output error"}
    assert events(machine) == [("BLOCK_IO_ERROR", failed), ("STOP", None)]
    assert machine.qmp("query-status")["status"] == "io-error"
    assert io_status(machine) == "failed"
    assert drive.read(0, 512) == bytes(512)
    machine.qmp("cont")
    machine.run_until_idle()
    assert events(machine)[2:] == [("RESUME", None)]
    assert drive.read(0, 512) == b"x" * 512
    assert io_status(machine) == "failed"  # cont forgets it of drives with an id only


def test_cont_forgets_the_failure_of_a_drive_with_an_id() -> None:
    machine, drive = machine_with(",werror=stop", named=True)
    machine.inject_error("disk.qcow2", "write", errno="ENOSPC", times=1)
    with pytest.raises(GuestStoppedError):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    assert events(machine)[0][1]["device"] == "d0"
    assert io_status(machine) == "nospace"
    machine.qmp("cont")
    assert io_status(machine) == "ok"


def test_a_request_that_fails_again_stops_the_guest_again() -> None:
    machine, drive = machine_with(",werror=stop")
    fault = machine.inject_error("disk.qcow2", "write", errno="EIO")
    with pytest.raises(GuestStoppedError):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    machine.qmp("cont")
    machine.run_until_idle()
    assert [name for name, _ in events(machine)] == ["BLOCK_IO_ERROR", "STOP", "RESUME", "BLOCK_IO_ERROR", "STOP"]
    fault.lift()
    machine.qmp("cont")
    machine.run_until_idle()
    assert machine.running
    assert drive.read(0, 512) == b"x" * 512


def test_by_default_only_a_lack_of_space_stops_the_guest() -> None:
    machine, drive = machine_with()
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    with pytest.raises(OSError, match="Input/output error"):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    assert [(name, data["action"]) for name, data in events(machine)] == [("BLOCK_IO_ERROR", "report")]
    assert io_status(machine) == "ok"
    machine.inject_error("disk.qcow2", "write", errno="ENOSPC", times=1)
    with pytest.raises(GuestStoppedError):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    assert (machine.run_state, io_status(machine)) == ("io-error", "nospace")


@pytest.mark.parametrize("action", ["report", "ignore"])
def test_a_device_that_never_stops_has_no_io_status(action: str) -> None:
    machine, drive = machine_with(f",werror={action}")
    assert io_status(machine) is None
    machine.inject_error("disk.qcow2", "write", errno="ENOSPC", times=1)
    if action == "report":
        with pytest.raises(OSError, match="No space left"):
            drive.write(0, b"x" * 512)
    else:
        drive.write(0, b"x" * 512)
        assert drive.read(0, 512) == bytes(512)
    ((name, data),) = events(machine)
    assert name == "BLOCK_IO_ERROR"
    assert "nospace" not in data
    assert (data["action"], data["reason"]) == (action, "No space left on device")
    assert machine.running


def test_rerror_is_about_reads_alone() -> None:
    machine, drive = machine_with(",rerror=stop,werror=report")
    machine.inject_error("disk.qcow2", "read", errno="EIO", times=1)
    with pytest.raises(GuestStoppedError):
        drive.read(0, 512)
    machine.run_until_idle()
    assert events(machine)[0][1]["operation"] == "read"
    assert machine.run_state == "io-error"


def test_the_path_came_with_9_2() -> None:
    machine, drive = machine_with(profile="7.2")
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    with pytest.raises(OSError, match="Input/output error"):
        drive.write(0, b"x" * 512)
    assert "qom-path" not in events(machine)[0][1]


def test_a_reset_forgets_what_stopped_the_guest() -> None:
    machine, drive = machine_with(",werror=stop")
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    with pytest.raises(GuestStoppedError):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    machine.qmp("system_reset")
    assert machine.run_state == "prelaunch"
    machine.qmp("cont")
    machine.run_until_idle()
    assert drive.read(0, 512) == bytes(512)


def test_a_guest_that_writes_by_itself_goes_on_after_cont_and_makes_no_request_twice() -> None:
    machine, _ = machine_with(",werror=stop", named=True)
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    activity = machine.guest_writes("d0", [(0, 512), (512, 512)])
    machine.run_until_idle()
    assert (machine.run_state, activity.done) == ("io-error", 1)
    machine.qmp("cont")
    machine.run_until_idle()
    assert (activity.done, activity.failures) == (2, [])
    assert machine.drive("d0").stats.stats(machine.scheduler.now)["wr_operations"] == 2


def test_qemu_io_is_no_guest() -> None:
    machine, _ = machine_with(",werror=stop", named=True)
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    machine.qmp("human-monitor-command", command_line='qemu-io d0 "write 0 512"')
    machine.run_until_idle()
    assert events(machine) == []
    assert machine.running


def test_a_machine_with_a_held_request_is_kept_and_put_back() -> None:
    machine, drive = machine_with(",werror=stop")
    machine.inject_error("disk.qcow2", "write", errno="EIO", times=1)
    with pytest.raises(GuestStoppedError):
        drive.write(0, b"x" * 512)
    machine.run_until_idle()
    kept = machine.snapshot()
    machine.qmp("cont")
    machine.run_until_idle()
    machine.restore(kept)
    assert machine.run_state == "io-error"
    machine.qmp("cont")
    machine.run_until_idle()
    assert machine.devices is not None
    again = machine.devices.devices["/machine/peripheral/vd"].drive
    assert again is not None
    assert again.read(0, 512) == b"x" * 512
