"""How many steps a second Hypothesis makes of the state machine, with the client of ``tests/examples``."""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from hypothesis import settings

from benchmarks.harness import Row, Run, main
from benchmarks.yardsticks import TOP
from qbitsim.testing.counter_examples import SETTINGS
from qbitsim.testing.moves import Choices
from qbitsim.testing.stateful import run_as_test
from qbitsim.testing.weights import DISRUPTION, GUEST, Table, Weights

if TYPE_CHECKING:
    from collections.abc import Iterator


LONG = ("backup_begins", "backup_ends")
"""The moves that are conversations of many steps."""


class Evenly(Weights):
    """Makes each move as often as the others, so that a step is the same work whatever is thought to be likely."""

    def tables(self, choices: Choices) -> tuple[Table, Table]:
        """The guest's moves first: Hypothesis likes the first one."""
        del choices
        ordered = sorted(self.moves.items(), key=lambda each: (each[1].kind != GUEST, each[0]))
        table = [(name,) for name, each in ordered if each.kind != DISRUPTION and name not in LONG]
        return table, table


def steps(run: Run) -> Iterator[Row]:
    """The honest client, so that nothing is found; drawing the moves is part of them."""
    sys.path.insert(0, str(TOP / "tests" / "examples"))
    from planted_faults import Honest  # noqa: PLC0415 - it is no package

    made = [0]

    class Counting(Honest):
        def teardown(self) -> None:
            made[0] += len(self.moves)
            super().teardown()

    Counting.weighted = Evenly(Counting.weighted.moves, {})
    chosen = settings(SETTINGS, max_examples=5 * run.few_repeats, derandomize=True, database=None)
    times = []
    for _ in range(1 + run.few_repeats // 2):
        made[0] = 0
        began = time.process_time()
        run_as_test(Counting, settings=chosen)
        times.append((time.process_time() - began) / made[0])
    needed = median(times[1:] or times)  # in the first round Hypothesis looks for constants in all modules
    yield Row(name="a step of the Hypothesis state machine", unit="µs", measured=needed, beside=run.turns, aim=2_500)


BENCHMARKS = (steps,)

if __name__ == "__main__":
    main(*BENCHMARKS)
