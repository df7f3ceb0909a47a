"""A machine in Python, without a socket."""

from __future__ import annotations

import copy
import inspect
import pydoc
import sys

import pytest

from qbitsim import Machine, QmpError
from qbitsim.commands.bitmaps import BlockDirtyBitmapAdd
from qbitsim.injection.faults import FaultInjection
from qbitsim.machine.clock import Clock
from qbitsim.machine.disks import Disks
from qbitsim.machine.state import describe
from qbitsim.profiles import PROFILES


def test_a_command_is_a_method_call_with_underscores_for_hyphens() -> None:
    machine = Machine()
    machine.add_disk("drive0", "64M")
    assert machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0") == {}
    assert machine.qmp("query-block")[0]["inserted"]["dirty-bitmaps"][0]["name"] == "bitmap0"


def test_typed_commands_go_the_same_way() -> None:
    plain, typed = Machine(), Machine()
    for machine in (plain, typed):
        machine.add_disk("drive0", "64M", node_name="node0")
    plain.qmp("block-dirty-bitmap-add", node="drive0", name="b", granularity=4096)
    typed.run(BlockDirtyBitmapAdd(node="drive0", name="b", granularity=4096))
    assert describe(typed) == describe(plain)
    with pytest.raises(QmpError, match=r"^Bitmap already exists: b$"):
        typed.run(BlockDirtyBitmapAdd(node="drive0", name="b"))


def test_an_unknown_command_is_not_found() -> None:
    with pytest.raises(QmpError, match=r"^The command nosuch has not been found$") as error:
        Machine().qmp("nosuch")
    assert error.value.error_class == "CommandNotFound"


def test_an_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=f"^no profile '1.0': choose one of {', '.join(PROFILES)}$"):
        Machine("1.0")


def test_several_versions_run_in_one_process() -> None:
    machines = [Machine(version) for version in ("2.5", "7.2", "10.0")]
    assert [each.qmp("query-version")["qemu"]["major"] for each in machines] == [2, 7, 10]


@pytest.mark.parametrize("size", ["", "x", "-1", "1.5.2M", "64Q"])
def test_a_size_that_is_no_number_is_refused(size: str) -> None:
    machine = Machine()
    with pytest.raises(ValueError, match="size"):
        machine.add_disk("drive0", size)
    assert list(machine.graph.drives) == []
    assert machine.images.names() == []


def test_an_unknown_disk_format_is_refused() -> None:
    machine = Machine()
    with pytest.raises(ValueError, match=r"^unknown disk format 'vmdk': choose raw or qcow2$"):
        machine.add_disk("drive0", "1M", format="vmdk")
    assert list(machine.graph.drives) == []


def test_nothing_happens_behind_the_callers_back() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M").write(0, b"x" * (1 << 20))
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", speed=1, job_id="j")
    machine.run_until_idle()
    before = describe(machine)
    assert machine.step() is False
    assert machine.run_until_idle() == 0
    assert describe(machine) == before


def test_jobs_go_on_step_by_step_and_to_the_end() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M").write(0, b"x" * (1 << 20))
    machine.qmp("drive-backup", device="drive0", target="t", sync="full")
    assert machine.qmp("query-jobs") != []
    assert machine.step() is True
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    assert machine.images.compare("t", "drive0.qcow2") is None


def test_time_moves_when_told_to_and_shows_in_the_events() -> None:
    machine = Machine(epoch=1_000)
    machine.advance(2.5)
    machine.qmp("stop")
    assert machine.clock() == 2_500_000_000
    assert machine.events.read(0) == [{"timestamp": {"seconds": 1002, "microseconds": 500000}, "event": "STOP"}]


def test_a_machine_with_a_running_job_can_be_copied_and_both_go_their_way() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0").write(0, b"x" * (1 << 20))
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", x_perf={"max-workers": 1, "max-chunk": 65536})
    machine.step()
    twin = copy.deepcopy(machine)
    machine.qmp("job-cancel", id="drive0")
    machine.run_until_idle()
    twin.run_until_idle()
    assert machine.events.read(0)[-3]["event"] == "BLOCK_JOB_CANCELLED"
    assert twin.events.read(0)[-3]["event"] == "BLOCK_JOB_COMPLETED"
    assert twin.images.compare("t", "drive0.qcow2") is None


def test_two_machines_share_nothing() -> None:
    one, other = Machine(), Machine()
    one.add_disk("drive0", "1M").write(0, b"x")
    one.qmp("stop")
    assert other.qmp("query-block") == []
    assert other.images.names() == []
    assert other.events.read(0) == []


# -- its parts, and a new process


def test_what_people_say_most_often_stands_for_methods_of_the_parts():
    machine = Machine()
    disk = machine.disks.add_disk("d", "1M")
    assert machine.drive("d") is machine.disks.drive("d") is disk
    machine.clock.advance(1.5)
    assert machine.clock() == machine.scheduler.now == 1_500_000_000
    assert machine.time_of_day() == machine.clock.time_of_day()
    machine.refuse("stop", "no")
    assert machine.refusals == machine.faults.refusals != []
    for name, part, part_name in (
        ("add_disk", Disks, "disks"),
        ("inject_error", FaultInjection, "faults"),
        ("until", Clock, "clock"),
    ):
        assert inspect.signature(getattr(Machine, name)) == inspect.signature(getattr(part, name))
        told = getattr(Machine, name).__doc__
        assert told.partition(" More: ")[0] == getattr(part, name).__doc__.partition("\n\n")[0]
        assert told.endswith(f"More: ``machine.{part_name}.{name}``.")


def test_the_help_of_a_machine_is_an_overview():
    lines = pydoc.plain(pydoc.render_doc(Machine)).splitlines()
    assert len(lines) < (600 if sys.version_info >= (3, 13) else 420)  # with a line for each parameter since 3.13
    begin = next(number for number, line in enumerate(lines) if line.strip() == "|")  # behind the signature
    assert any("disks" in line for line in lines[begin : begin + 8])


@pytest.mark.parametrize("crash", [False, True])
def test_a_machine_is_started_anew_on_its_files_in_place(crash):
    machine = Machine("7.2", pacing="immediate")
    history = machine.watch()
    machine.add_disk("d", "1M", node_name="n").write(0, b"A")
    machine.add_drive("empty", None)
    machine.inject_error("d", "read", once=True)
    machine.refuse("stop", "no")
    machine.hold_reply("cont")
    machine.advance(2)
    machine.stop()
    machine.qmp("block-dirty-bitmap-add", node="n", name="b")
    parts = [getattr(machine, name) for name in ("events", "images", "clock", "disks", "faults", "registry")]
    old = machine.graph, machine.jobs, machine.scheduler
    machine.restart(crash=crash)
    assert parts == [getattr(machine, name) for name in ("events", "images", "clock", "disks", "faults", "registry")]
    assert not any(
        one is other for one, other in zip(old, (machine.graph, machine.jobs, machine.scheduler), strict=True)
    )
    assert (list(machine.graph.drives), machine.drive("d").node.name) == (["d", "empty"], "n")
    assert machine.drive("d").node.bitmaps == []
    assert (machine.run_state, machine.pacing, machine.clock()) == ("running", "immediate", 2_000_000_000)
    assert machine.monitor_faults == []
    with pytest.raises(QmpError, match=r"^no$"):
        machine.qmp("stop")
    with pytest.raises(OSError, match=r"Input/output"):
        machine.drive("d").read(0, 1)
    assert machine.drive("d").read(0, 1) == b"A"
    assert machine.watch() is history
    assert [each["text"] for each in history.moments if each["kind"] == "look"][
        -1
    ] == "QEMU is started anew on its files"


def test_a_machine_that_has_ended_is_not_started_anew():
    machine = Machine()
    machine.add_disk("d", "1M")
    machine.qmp("quit")
    before = machine.state()
    with pytest.raises(RuntimeError, match=r"^the machine has ended already$"):
        machine.restart()
    assert machine.state() == before


def test_a_machine_that_cannot_end_cleanly_is_not_started_anew():
    machine = Machine()
    machine.add_disk("d", "1M").write(0, b"A")
    machine.stall_io("d", "read")
    machine.qmp("drive-backup", job_id="j", device="d", target="t", sync="full", format="qcow2")
    machine.run_until_idle()
    before = machine.state()
    with pytest.raises(QmpError, match=r"a request is stalled"):
        machine.restart()
    assert machine.state() == before


def test_a_snapshot_put_back_into_another_machine_takes_its_parts_along():
    one, other = Machine(), Machine()
    one.add_disk("d", "1M")
    one.refuse("stop", "no")
    one.guest_writes("d", [(0, 1), (65536, 1)], every=1)
    one.advance(1.5)
    other.restore(one.snapshot())
    assert other == one
    other.advance(1)
    assert (other.clock(), one.clock()) == (2_500_000_000, 1_500_000_000)
    assert (other.drive("d").read(65536, 1), one.drive("d").read(65536, 1)) == (b"\2", b"\0")
    with pytest.raises(QmpError, match=r"^no$"):
        other.qmp("stop")
    assert [each.times for each in one.refusals] == [1]
