"""The end of a job that would wait for another one, whose request is stalled."""

from __future__ import annotations

import pytest

from qbitsim import Machine
from qbitsim.files.faults import Stall, StalledError
from qbitsim.profiles import QEMU_7_2, QEMU_10_0, Profile


def two_backups(profile: Profile, mode: str, *, fails: bool = True, **options: object) -> tuple[Machine, Stall]:
    """Two backups in a transaction; a write to the target of the second one is stalled, and the first one fails."""
    machine = Machine(profile)
    for number in range(2):
        machine.add_disk(f"drive{number}", 4 * 65536)
        machine.images.create(f"t{number}.qcow2", "qcow2", 4 * 65536)
        machine.qmp(
            "blockdev-add",
            **{
                "driver": "qcow2",
                "node-name": f"t{number}",
                "file": {"driver": "file", "filename": f"t{number}.qcow2"},
            },
        )
        machine.drive(f"drive{number}").write(0, b"x" * 65536)
    if fails:
        machine.inject_error("t0", "write", 5)
    stall = machine.stall_io("t1", "write")
    backups = [
        {
            "type": "blockdev-backup",
            "data": {"job-id": f"j{n}", "device": f"drive{n}", "target": f"t{n}", "sync": "full", **options},
        }
        for n in range(2)
    ]
    machine.qmp("transaction", actions=backups, properties={"completion-mode": mode})
    return machine, stall


def ends(machine: Machine) -> list[tuple[str, str]]:
    return [(e["event"], e["data"]["device"]) for e in machine.events.read(0) if e["event"].startswith("BLOCK_JOB_C")]


@pytest.mark.parametrize(
    ("profile", "mode", "fails"),
    [
        (QEMU_10_0, "individual", True),
        (QEMU_10_0, "individual", False),
        (QEMU_10_0, "grouped", True),
        (QEMU_7_2, "grouped", True),
    ],
)
def test_a_job_whose_end_waits_for_a_stalled_one_ends_after_its_release(
    profile: Profile, mode: str, fails: bool
) -> None:
    machine, stall = two_backups(profile, mode, fails=fails)
    with pytest.raises(StalledError):
        machine.run_until_idle()
    assert ends(machine) == []
    with pytest.raises(StalledError):
        machine.run_until_idle()
    stall.release()
    machine.run_until_idle()
    second = "BLOCK_JOB_CANCELLED" if mode == "grouped" else "BLOCK_JOB_COMPLETED"
    assert set(ends(machine)) == {("BLOCK_JOB_COMPLETED", "j0"), (second, "j1")}
    assert machine.qmp("query-jobs") == []


def test_before_8_0_a_job_does_not_wait_for_jobs_of_other_nodes() -> None:
    machine, _stall = two_backups(QEMU_7_2, "individual")
    machine.run_until_idle()
    assert ends(machine) == [("BLOCK_JOB_COMPLETED", "j0")]


def test_a_job_is_not_finalized_while_that_would_wait_and_nothing_has_changed() -> None:
    machine = Machine()
    for number in range(2):
        machine.add_disk(f"drive{number}", 4 * 65536).write(0, b"x" * 65536)
        machine.images.create(f"t{number}.qcow2", "qcow2", 4 * 65536)
    backup = {"mode": "existing", "format": "qcow2"}
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.drive("drive0").write(0, b"y" * 65536)
    held = {"sync": "incremental", "bitmap": "b", "auto_finalize": False}
    machine.qmp("drive-backup", device="drive0", job_id="j0", target="t0.qcow2", **held, **backup)
    machine.run_until_idle()
    stall = machine.stall_io("t1.qcow2", "write")
    machine.qmp("drive-backup", device="drive1", job_id="j1", target="t1.qcow2", sync="full", **backup)
    machine.run_until_idle()
    before = machine.state()
    with pytest.raises(StalledError):
        machine.qmp("job-finalize", id="j0")
    assert machine.state() == before
    stall.release()
    machine.qmp("job-finalize", id="j0")
    machine.run_until_idle()
    assert ends(machine) == [("BLOCK_JOB_COMPLETED", "j1"), ("BLOCK_JOB_COMPLETED", "j0")]


@pytest.mark.parametrize(
    ("mode", "auto_finalize", "status"),
    [("individual", False, "pending"), ("grouped", True, "waiting"), ("grouped", False, "waiting")],
)
def test_the_end_of_the_work_waits_for_nobody_if_the_end_of_the_job_comes_later(
    mode: str, auto_finalize: bool, status: str
) -> None:
    machine, stall = two_backups(QEMU_10_0, mode, fails=False, **{"auto-finalize": auto_finalize})
    machine.run_until_idle()
    assert {job["id"]: job["status"] for job in machine.qmp("query-jobs")} == {"j0": status, "j1": "running"}
    stall.release()
    machine.run_until_idle()
    assert [job["status"] for job in machine.qmp("query-jobs")] == ["pending"] * 2 * (not auto_finalize)


STALLED: dict[str, tuple[str, dict[str, object], str]] = {
    "backup": ("blockdev-backup", {"device": "drive0", "target": "t", "sync": "full"}, "t"),
    "mirror": ("blockdev-mirror", {"device": "drive0", "target": "t", "sync": "full"}, "t"),
    "commit": ("block-commit", {"device": "drive0", "top_node": "mid", "base_node": "base"}, "base"),
    "stream": ("block-stream", {"device": "drive0"}, "top"),
}


@pytest.mark.parametrize("kind", STALLED)
def test_once_it_is_released_a_drained_section_waits_for_a_request_like_any_other(kind: str) -> None:
    machine, size = Machine(), 4 * 65536
    for name, below in (("base", None), ("mid", "base"), ("top", "mid"), ("t", None)):
        machine.images.create(name, "qcow2", size, backing=below)
        file = {"driver": "blkdebug", "image": {"driver": "file", "filename": name}}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file, **({"backing": below} if below else {})})
    machine.images.lookup("mid").write(0, b"x" * size)
    machine.add_drive("drive0", machine.graph.nodes["top"])
    command, arguments, written = STALLED[kind]
    machine.graph.nodes[written].breakpoints.set("write_aio", "A")
    machine.qmp(command, job_id="j", **arguments)
    machine.run_until_idle()
    with pytest.raises(StalledError):
        machine.qmp("transaction", actions=[])
    machine.graph.nodes[written].breakpoints.remove("A")
    machine.qmp("transaction", actions=[])
    assert machine.graph.nodes[written].read(0, size) == b"x" * size
    machine.run_until_idle()
    assert [job["status"] for job in machine.qmp("query-jobs")] == (["ready"] if kind == "mirror" else [])
