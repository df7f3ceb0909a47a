"""Nobody blames a client that is right in an unusual way.

``python tests/examples/honest_clients.py 200000`` looks longer.
"""

from __future__ import annotations

import pytest
from honest_clients import HONEST, moves_without_alarm

from qbitsim.testing.seen import BITMAP, COMMAND, JOB


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_client_is_blamed_for_nothing(name: str) -> None:
    seen = moves_without_alarm(HONEST[name], 100, runs=6)
    assert {(JOB, "running"), (JOB, "concluded"), (COMMAND, "transaction")} <= set(seen)
    assert any(subject == BITMAP for subject, _ in seen)
