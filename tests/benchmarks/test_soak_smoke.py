"""The soak runs and finds nothing, as far as a moment shows; and it would say if there were something to find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TINY = ["--minutes", "0.025", "--commands", "2000", "--machines", "6", "--monitors", "4", "--seed", "1"]

REPORT = """
import json
from collections import Counter
from benchmarks.soak import Outcome, Plan, report
outcome = Outcome(Counter(commands=10), seconds=100.0, failures={"no reply lost": ["machine 3: no reply"]})
outcome.memory = [(0.5, 10)] + [(second, 100 if second < 50 else 110) for second in range(3, 101)]
print(json.dumps([report(Plan(), outcome).splitlines()[-2:], outcome.growth(), Outcome(seconds=1.0).growth()]))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=TOP, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_moment_of_the_soak_loses_nothing_and_leaves_nothing() -> None:
    done = python("-m", "benchmarks.soak", *TINY)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    for law in ("no reply lost", "no dirty bit lost", "nothing left behind", "no bug met"):  # a moment is never flat
        assert f"{law}: ok" in lines, done.stdout
    assert int(lines[0].split()[0].replace(",", "")) > 50
    assert lines[1] == "6 machines, 4 monitors, seed 1"


def test_the_report_shows_what_failed_and_compares_the_memory_of_the_quarters() -> None:
    shown, growth, unknown = json.loads(python("-c", REPORT).stdout)
    assert shown == ["no reply lost: FAILED, 1 times", "    machine 3: no reply"]
    assert round(growth, 6) == 0.1
    assert unknown is None
