"""Nobody blames a client that is right in an unusual way.

``python tests/examples/honest_clients.py 200000`` looks longer.
"""

from __future__ import annotations

import pytest
from honest_clients import HONEST, PullMachine, moves_without_alarm
from hypothesis import settings
from pull_client import ReadsLate

from qbitsim.testing.counter_examples import first_failure
from qbitsim.testing.laws import RESTORES, LawBrokenError
from qbitsim.testing.seen import BITMAP, COMMAND, JOB


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_client_is_blamed_for_nothing(name: str) -> None:
    seen = moves_without_alarm(HONEST[name], 100, runs=6)
    assert {(JOB, "running"), (JOB, "concluded"), (COMMAND, "transaction")} <= set(seen)
    assert any(subject == BITMAP for subject, _ in seen)


class ReadsLateMachine(PullMachine):
    client_class = ReadsLate


def test_a_pull_that_reads_after_its_job_has_ended_is_found() -> None:
    found = first_failure(
        ReadsLateMachine, settings=settings(PullMachine.TestCase.settings, derandomize=True, database=None)
    )
    assert isinstance(found, LawBrokenError)
    assert found.law == RESTORES
