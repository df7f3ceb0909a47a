"""Some lives of machines are lived, each law holds, and what is decided by a number is decided by it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

LIVES = """
import json, sys
from benchmarks.soak_lives import Outcome, live, run
outcome = run(first=0, lives=8, minutes=1, moves=80)
again = [live(3, 80, Outcome()) for _ in range(2)]
print(json.dumps([outcome.tally, outcome.failures, len(set(again))]))
"""

JUDGED = """
from benchmarks.soak_lives import Outcome
outcome = Outcome(memory=[100] * 150 + [130] * 150, objects=[100] * 150 + [102] * 150, files=(3, 5))
outcome.judge()
print(outcome.failures)
"""

BROKEN = """
from benchmarks.soak_life import Life
from benchmarks.soak_lives import Outcome, live
from qbitsim.block.bitmap import DirtyBitmap
DirtyBitmap.mark = lambda self, offset, length: None
outcome = Outcome()
live(2, 100, outcome)
print(outcome.failures)
"""


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout


def test_eight_lives_break_no_law_and_the_same_number_is_the_same_life() -> None:
    tally, failures, lives = json.loads(python(LIVES))
    assert failures == []
    assert lives == 1
    for what in ("backup", "mirror", "commit", "stream"):
        assert tally[f"{what} jobs that succeeded"] > 0
    for what in ("crashes", "clean restarts", "requests over NBD", "take snapshot"):
        assert tally[what] > 0


def test_memory_that_grows_and_files_that_stay_open_are_failures() -> None:
    assert (
        python(JUDGED) == "['memory grew by 30.0%', 'the number of objects grew by 2.0%', '2 files were left open']\n"
    )


def test_bits_that_are_lost_are_told_with_the_number_of_the_life() -> None:
    assert python(BROKEN).startswith("['life 2 (10.0), move ")
