"""What clients can do to a job in each of its states, with its events."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

import pytest

from qbitsim.errors import QmpError
from qbitsim.jobs.job import Job
from qbitsim.jobs.txn import JobTxn
from qbitsim.machine.machine import Machine

HELD: dict[str, Any] = {"speed": 1, "x_perf": {"max-workers": 1, "max-chunk": 65536}}


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.drive("drive0").write(0, b"x" * (1 << 20))
    return machine


def start(machine: Machine, **options: Any) -> None:
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", job_id="j", **{**HELD, **options})
    machine.run_until_idle()


def said(machine: Machine, cursor: int = 0) -> list[str]:
    """The events since ``cursor``: the new status, or the name."""
    return [each["data"].get("status", each["event"]) for each in machine.events.read(cursor)]


def status(machine: Machine) -> str | None:
    jobs = machine.qmp("query-jobs")
    return jobs[0]["status"] if jobs else None


def refusal(machine: Machine, command: str, **arguments: Any) -> str:
    before = machine.qmp("query-jobs"), machine.events.end
    with pytest.raises(QmpError) as error:
        machine.qmp(command, **arguments)
    assert (machine.qmp("query-jobs"), machine.events.end) == before
    return error.value.desc


def test_a_backup_starts_with_four_events(machine: Machine) -> None:
    start(machine)
    assert said(machine) == ["created", "running", "paused", "running"]


def test_a_job_that_is_let_go_ends_well(machine: Machine) -> None:
    start(machine)
    cursor = machine.events.end
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    assert said(machine, cursor) == ["waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded", "null"]
    data = {"device": "j", "len": 1 << 20, "offset": 1 << 20, "speed": 0, "type": "backup"}
    assert machine.events.read(cursor)[2]["data"] == data
    assert status(machine) is None


def test_a_cancelled_job_says_how_far_it_was(machine: Machine) -> None:
    start(machine)
    cursor = machine.events.end
    assert machine.qmp("job-cancel", id="j") == {}
    assert said(machine, cursor) == ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]
    data = {"device": "j", "len": 1 << 20, "offset": 65536, "speed": 1, "type": "backup"}
    assert machine.events.read(cursor)[1]["data"] == data


def test_a_pause_ends_with_a_resume_and_is_not_doubled(machine: Machine) -> None:
    start(machine)
    assert refusal(machine, "job-resume", id="j") == "Can't resume a job that was not paused"
    machine.qmp("job-pause", id="j")
    assert status(machine) == "paused"
    assert refusal(machine, "job-pause", id="j") == "Job is already paused"
    assert refusal(machine, "block-job-pause", device="j") == "Job is already paused"
    machine.qmp("job-resume", id="j")
    assert status(machine) == "running"


def test_a_paused_job_makes_no_progress(machine: Machine) -> None:
    start(machine)
    machine.qmp("job-pause", id="j")
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.advance(60)
    assert machine.qmp("query-jobs")[0]["current-progress"] == 65536


def test_block_job_cancel_refuses_a_paused_job_unless_forced(machine: Machine) -> None:
    start(machine)
    machine.qmp("job-pause", id="j")
    text = "The block job for device 'j' is currently paused"
    assert refusal(machine, "block-job-cancel", device="j") == text
    machine.qmp("block-job-cancel", device="j", force=True)
    assert status(machine) is None


def test_a_speed_is_not_negative(machine: Machine) -> None:
    start(machine)
    text = "Parameter 'speed' expects a non-negative value"
    assert refusal(machine, "block-job-set-speed", device="j", speed=-1) == text


def test_a_speed_limits_how_much_is_copied_in_a_time(machine: Machine) -> None:
    start(machine, speed=65536)
    for seconds in range(1, 10):
        machine.advance(1)
        progress = machine.qmp("query-jobs")[0]["current-progress"]
        assert abs(progress - (seconds + 1) * 65536) <= 65536


def test_a_job_without_auto_finalize_waits_to_be_finalized(machine: Machine) -> None:
    start(machine, auto_finalize=False, speed=0)
    assert status(machine) == "pending"
    assert said(machine)[-3:] == ["waiting", "pending", "BLOCK_JOB_PENDING"]
    assert refusal(machine, "job-pause", id="j") == "Job 'j' in state 'pending' cannot accept command verb 'pause'"
    machine.qmp("job-finalize", id="j")
    assert said(machine)[-3:] == ["BLOCK_JOB_COMPLETED", "concluded", "null"]


class Preparing(Job):
    """A job without work that cannot be prepared if it is the second."""

    kind = "preparing"
    prepared: ClassVar[list[str]] = []

    def _run(self) -> None:
        self._finish(0)

    def prepare(self) -> int:
        self.prepared.append(self.id)
        return errno.EIO if self.id == "second" else 0


def test_of_a_group_no_more_is_prepared_once_a_job_cannot_be(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preparing, "prepared", [])
    group = JobTxn()
    for job in [Preparing(machine.jobs, name, group) for name in ("first", "second", "third")]:
        job.start()
    machine.run_until_idle()
    ends = [(each["data"]["device"], each["event"]) for each in machine.events.read(0) if "device" in each["data"]]
    assert Preparing.prepared == ["third", "second"]
    assert ends == [
        ("third", "BLOCK_JOB_CANCELLED"),
        ("second", "BLOCK_JOB_COMPLETED"),
        ("first", "BLOCK_JOB_CANCELLED"),
    ]


def test_a_job_without_auto_dismiss_stays_until_it_is_dismissed(machine: Machine) -> None:
    start(machine, auto_dismiss=False, speed=0)
    assert status(machine) == "concluded"
    assert refusal(machine, "job-cancel", id="j") == "Job 'j' in state 'concluded' cannot accept command verb 'cancel'"
    machine.qmp("job-dismiss", id="j")
    assert status(machine) is None


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "complete", "finalize", "dismiss"])
def test_an_unknown_job_is_told_in_two_ways(machine: Machine, verb: str) -> None:
    assert refusal(machine, f"job-{verb}", id="nojob") == "Job not found"
    key = "id" if verb in ("finalize", "dismiss") else "device"
    with pytest.raises(QmpError, match=r"^Block job 'nojob' not found$") as error:
        machine.qmp(f"block-job-{verb}", **{key: "nojob"})
    assert error.value.error_class == "DeviceNotActive"


@pytest.mark.parametrize(("identifier", "text"), [("1x", "Invalid job ID '1x'"), ("", "Invalid job ID ''")])
def test_a_job_id_is_well_formed(machine: Machine, identifier: str, text: str) -> None:
    arguments = {"device": "drive0", "target": "t", "sync": "full", "job_id": identifier}
    assert refusal(machine, "drive-backup", **arguments) == text
    assert machine.drive("drive0").node.name == "node0"


def test_jobs_are_listed_newest_first(machine: Machine) -> None:
    start(machine)
    for number in (1, 2):
        machine.add_disk(f"drive{number}", "1M")
        machine.qmp("drive-backup", device=f"drive{number}", target=f"t{number}", sync="none", job_id=f"j{number}")
    assert [each["id"] for each in machine.qmp("query-jobs")] == ["j2", "j1", "j"]


def test_the_two_queries_show_the_same_job_with_their_own_words(machine: Machine) -> None:
    start(machine)
    common = {"type": "backup", "status": "running"}
    assert machine.qmp("query-jobs") == [{"id": "j", "current-progress": 65536, "total-progress": 1 << 20, **common}]
    (shown,) = machine.qmp("query-block-jobs")
    progress = {"device": "j", "offset": 65536, "len": 1 << 20, "speed": 1}
    flags = {"busy": False, "paused": False, "ready": False, "auto-finalize": True, "auto-dismiss": True}
    assert shown == {**progress, **common, **flags, "io-status": "ok"}
