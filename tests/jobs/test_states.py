"""The tables of states and verbs, against those that were measured."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from qbitsim.errors import QmpError
from qbitsim.jobs.job import Job
from qbitsim.jobs.states import TRANSITIONS, VERBS, JobVerb
from qbitsim.machine.machine import Machine
from qbitsim.qapi.job import JobStatus

ALLOWED = {
    "cancel": "created running paused ready standby waiting pending",
    "pause": "created running paused ready standby",
    "resume": "created running paused ready standby",
    "set-speed": "created running paused ready standby",
    "change": "created running paused ready standby",
    "complete": "ready standby",
    "finalize": "pending",
    "dismiss": "concluded",
}


@pytest.mark.parametrize("verb", ALLOWED)
def test_a_verb_is_accepted_in_these_states_only(verb: str) -> None:
    assert {str(status) for status in VERBS[JobVerb(verb)]} == set(ALLOWED[verb].split())


ASKED: dict[str, Callable[[Job], None]] = {
    "cancel": lambda job: job.user_cancel(force=False),
    "pause": Job.user_pause,
    "resume": Job.user_resume,
    "set-speed": lambda job: job.set_speed(0),
    "change": lambda job: job.change("write-blocking"),
    "complete": Job.user_complete,
    "finalize": Job.user_finalize,
    "dismiss": Job.user_dismiss,
}


@pytest.mark.parametrize("verb", ALLOWED)
@pytest.mark.parametrize("command", ["drive-backup", "drive-mirror"])
def test_a_job_refuses_a_verb_in_all_other_states(command: str, verb: str) -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.qmp(command, device="drive0", target="t", sync="none", job_id="j")
    (job,) = machine.jobs.jobs
    job.user_paused = True
    for status in sorted({str(each) for each in JobStatus} - set(ALLOWED[verb].split())):
        job.status = JobStatus(status)
        with pytest.raises(QmpError) as refusal:
            ASKED[verb](job)
        assert refusal.value.desc == f"Job 'j' in state '{status}' cannot accept command verb '{verb}'"
    assert (job.user_paused, job.cancelled, machine.jobs.jobs) == (True, False, [job])


def test_there_is_a_row_for_every_verb_and_every_state() -> None:
    assert set(VERBS) == set(JobVerb)
    assert set(TRANSITIONS) == set(JobStatus)


def test_every_state_but_the_first_can_be_reached_and_only_null_is_the_end() -> None:
    reached = {after for afters in TRANSITIONS.values() for after in afters}
    assert reached >= set(JobStatus) - {JobStatus.UNDEFINED}
    assert [state for state, afters in TRANSITIONS.items() if not afters] == [JobStatus.NULL]


@pytest.mark.parametrize(
    "path",
    [
        "undefined created running waiting pending concluded null",
        "undefined created running paused running aborting concluded null",
        "undefined created running ready standby ready waiting pending concluded null",
        "undefined created aborting concluded null",
        "undefined created null",
    ],
)
def test_a_job_can_live_like_this(path: str) -> None:
    states = [JobStatus(word) for word in path.split()]
    assert all(after in TRANSITIONS[before] for before, after in pairwise(states))


@pytest.mark.parametrize(
    ("before", "after"),
    [("concluded", "running"), ("null", "created"), ("aborting", "waiting"), ("waiting", "running")],
)
def test_a_job_never_goes_back(before: str, after: str) -> None:
    assert JobStatus(after) not in TRANSITIONS[JobStatus(before)]
