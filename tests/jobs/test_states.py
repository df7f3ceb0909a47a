"""The tables of states and verbs, against those that were measured."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qbitsim.jobs.states import TRANSITIONS, VERBS, JobVerb
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
