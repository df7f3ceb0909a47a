"""Commands that would wait for a stalled request are refused, and then nothing has changed."""

from __future__ import annotations

import pytest

from qbitsim import Machine
from qbitsim.files.faults import StalledError

SIZE = 128 << 10


def stalled_machine() -> Machine:
    machine = Machine()
    machine.add_disk("drive0", SIZE)
    machine.drive("drive0").write(0, b"x" * SIZE)
    for name in ("t0", "t1", "t2"):
        machine.images.create(f"{name}.qcow2", "qcow2", SIZE)
    for name in ("t1", "t2"):
        add_node(machine, name)
    machine.stall_io("t1.qcow2", "write")
    machine.qmp("blockdev-backup", job_id="j0", device="drive0", sync="full", target="t1")
    machine.run_until_idle()
    return machine


def add_node(machine: Machine, name: str) -> None:
    machine.qmp("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": f"{name}.qcow2"})


def test_a_node_that_cannot_be_added_is_gone() -> None:
    machine = stalled_machine()
    before = machine.state()
    with pytest.raises(StalledError):
        add_node(machine, "t0")
    assert machine.state() == before
    machine.jobs.jobs[0].stall.release()  # type: ignore[union-attr]
    add_node(machine, "t0")
    machine.run_until_idle()
    assert "t0" in machine.graph.nodes


def test_a_node_that_cannot_be_removed_stays() -> None:
    machine = stalled_machine()
    before = machine.state()
    with pytest.raises(StalledError):
        machine.qmp("blockdev-del", node_name="t2")
    assert machine.state() == before
    machine.jobs.jobs[0].stall.release()  # type: ignore[union-attr]
    machine.run_until_idle()
    machine.qmp("blockdev-del", node_name="t2")
    assert "t2" not in machine.graph.nodes


def test_a_machine_does_not_collect_faults_that_strike_no_more() -> None:
    machine = Machine()
    machine.add_disk("drive0", SIZE)
    for _ in range(50):
        machine.refuse("query-status", "not now").lift()
        machine.drop_monitor("query-status").lift()
        machine.inject_error("drive0", "write", once=True).lift()
        machine.delay_io("drive0", "write", 1.0).lift()
        machine.stall_io("drive0", "write").release()
    faults = machine.images.lookup("drive0.qcow2").file.faults
    assert faults is not None
    kept = (machine.refusals, machine.monitor_faults, faults.rules, faults.delays, faults.stalls)
    assert [len(each) for each in kept] == [1] * 5
