"""How many steps a second Hypothesis makes of the state machine, with the client of ``tests/examples``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings

from benchmarks.harness import Row, Run, main
from benchmarks.startup import TOP
from qbitsim.testing.stateful import run_as_test

if TYPE_CHECKING:
    from collections.abc import Iterator


def steps(run: Run) -> Iterator[Row]:
    """The honest client, so that nothing is found and nothing shrunk; drawing the steps is part of them."""
    sys.path.insert(0, str(TOP / "tests" / "examples"))
    from planted_faults import Honest  # noqa: PLC0415 - it is no package

    made = [0]

    class Counting(Honest):
        def teardown(self) -> None:
            made[0] += len(self.moves)
            super().teardown()

    chosen = settings(
        max_examples=10 * run.few_repeats,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    began = time.perf_counter()
    run_as_test(Counting, settings=chosen)
    needed = (time.perf_counter() - began) / made[0]
    yield Row(name="a step of the Hypothesis state machine", unit="µs", measured=needed, aim=0.0005)


BENCHMARKS = (steps,)

if __name__ == "__main__":
    main(*BENCHMARKS)
