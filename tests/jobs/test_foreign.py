"""Jobs of somebody else, which end when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qbitsim.jobs.foreign import ForeignJob
from qbitsim.machine.machine import Machine

LENGTH = 3 << 20


def said(machine: Machine, cursor: int = 0) -> list[str]:
    """The events since ``cursor``: the new status, or the name."""
    return [each["data"].get("status", each["event"]) for each in machine.events.read(cursor)]


def end(machine: Machine) -> dict[str, Any]:
    (event,) = [each for each in machine.events.read(0) if each["event"].startswith("BLOCK_JOB_")]
    return {"event": event["event"], **event["data"]}


@pytest.mark.parametrize("kind", ["backup", "commit", "stream"])
def test_it_runs_until_it_is_to_end_and_does_nothing_meanwhile(kind: Any) -> None:
    machine = Machine()
    job = machine.foreign_job("other", kind, LENGTH)
    machine.advance(10)
    assert job.text == f"a {kind} job of another client, running"
    progress = {"current-progress": 0, "total-progress": LENGTH}
    assert machine.qmp("query-jobs") == [{"id": "other", "type": kind, "status": "running", **progress}]
    job.finish()
    assert machine.qmp("query-jobs") == []
    assert said(machine) == [
        *("created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded", "null"),
    ]
    assert end(machine) == {
        "event": "BLOCK_JOB_COMPLETED",
        "device": "other",
        "type": kind,
        "len": LENGTH,
        "offset": LENGTH,
        "speed": 0,
    }


def test_it_fails_with_an_errno_before_it_has_done_anything() -> None:
    machine = Machine()
    machine.foreign_job("other", length=LENGTH).fail("ENOSPC")
    assert said(machine) == ["created", "running", "aborting", "BLOCK_JOB_COMPLETED", "concluded", "null"]
    assert end(machine) == {
        "event": "BLOCK_JOB_COMPLETED",
        "device": "other",
        "type": "backup",
        "error": "No space left on device",
        "len": LENGTH,
        "offset": 0,
        "speed": 0,
    }


def test_it_is_cancelled() -> None:
    machine = Machine()
    machine.foreign_job("other", length=LENGTH).cancel()
    assert said(machine) == ["created", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]
    assert (end(machine)["len"], end(machine)["offset"]) == (LENGTH, 0)


ENDS: list[Callable[[ForeignJob], None]] = [ForeignJob.finish, ForeignJob.fail, ForeignJob.cancel]


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_it_ends_once(first: Callable[[ForeignJob], None], second: Callable[[ForeignJob], None]) -> None:
    machine = Machine()
    job = machine.foreign_job("other")
    first(job)
    cursor = machine.events.end
    with pytest.raises(ValueError, match=r"^the foreign job 'other' has ended already$"):
        second(job)
    assert said(machine, cursor) == []


def test_one_that_is_paused_ends_once_it_is_resumed() -> None:
    machine = Machine()
    job = machine.foreign_job("other")
    machine.qmp("job-pause", id="other")
    cursor = machine.events.end
    job.finish()
    machine.run_until_idle()
    assert said(machine, cursor) == []
    with pytest.raises(ValueError, match=r"^the foreign job 'other' has ended already$"):
        job.fail()
    machine.qmp("job-resume", id="other")
    assert said(machine, cursor)[-4:] == ["pending", "BLOCK_JOB_COMPLETED", "concluded", "null"]


def test_there_are_three_kinds() -> None:
    with pytest.raises(
        ValueError, match="no foreign job is of the kind 'mirror': choose one of backup, commit, stream"
    ):
        Machine().foreign_job("other", "mirror")  # type: ignore[arg-type]
