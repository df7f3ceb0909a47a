"""What results are compared with where QEMU has no counterpart, as machines differ two- and threefold.

A turn is one of a fixed loop of bytecode: a call of a method, an attribute, a dict and some arithmetic. What an import
costs is compared with the start of an interpreter that imports nothing.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
_TURNS = 2_000
_ROUNDS = 9


class _Counter:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        self.total = (self.total * 31 + number) & 0xFFFF
        return self.total


def _loop(turns: int) -> None:
    counter = _Counter()
    seen: dict[int, int] = {}
    for number in range(turns):
        seen[number & 63] = counter.add(number)


def turn() -> float:
    """Seconds of processor time for one turn, the median of some rounds."""
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        _loop(_TURNS)
        times.append(time.process_time() - start)
    return statistics.median(times) / _TURNS


def run_python(code: str, cache: str) -> str:
    """What ``code`` prints in a fresh interpreter that keeps compiled modules in ``cache``."""
    environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=cache, check=True, capture_output=True, text=True
    )
    return done.stdout


def start(statement: str, cache: str) -> float:
    """Seconds of processor time from the start of a fresh interpreter until it has done ``statement``."""
    return float(run_python(f"{statement}\nimport time\nprint(time.process_time())", cache))


def children_time() -> float:
    """Seconds of processor time of all children of this process that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
