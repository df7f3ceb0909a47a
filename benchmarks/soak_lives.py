"""Many lives of machines, one after the other: ``python -m benchmarks.soak_lives [--minutes 10] [--first 0] ...``.

What happens in a life, and which laws must hold, says :mod:`benchmarks.soak_life`: each release in turn, on files in
memory and on files of the host, with jobs of all kinds, NBD, crashes and restarts. Each life has a number that decides
everything, so that ``--first NUMBER --lives 1`` plays it again, and each tenth is lived twice to see that it is so.

It also looks whether memory and the number of open files stay what they were. The exit status is 1 if anything does
not hold.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.soak_life import Life
from benchmarks.startup import resident

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAT = 0.25
"""By how much the memory may grow from the first quarter of the lives to the last.

With the same objects at every look it goes up and down by an eighth: the allocator keeps what a large machine had.
"""

_LEFT = 0.01
"""By how much the number of objects may grow that are left after a life."""

_SETTLING = 0.1
"""The part of the lives that comes before the first quarter, in which everything happens for the first time."""

_FEWEST = 200
"""With fewer lives nothing is said of the memory."""

_LIVED_TWICE = 10


@dataclass
class Outcome:
    """What was seen.

    :ivar tally: how often things happened; :ivar lives: how many; :ivar seconds: of processor time.
    :ivar memory: bytes after each life; :ivar objects: how many the garbage collector knows then;
    :ivar files: open files before and after all of them.
    :ivar failures: what went wrong, each with the number of the life.
    """

    tally: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    seconds: float = 0.0
    memory: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    files: tuple[int, int] = (0, 0)
    failures: list[str] = field(default_factory=list)

    def growth(self, sizes: Sequence[int]) -> float:
        """By which part what it is of the last quarter of the lives is above that of the first."""
        count = len(sizes)
        first, last = sizes[int(count * _SETTLING) : count // 4], sizes[-count // 4 :]
        return median(last) / median(first) - 1

    def judge(self) -> None:
        """Add what is wrong with the memory and the files to the failures."""
        if len(self.memory) >= _FEWEST:
            for what, sizes, most in (("memory", self.memory, FLAT), ("the number of objects", self.objects, _LEFT)):
                if (growth := self.growth(sizes)) > most:
                    self.failures.append(f"{what} grew by {growth:.1%}")
        before, after = self.files
        if after > before:
            self.failures.append(f"{after - before} files were left open")

    def report(self) -> str:
        """The figures and the findings, as text."""
        lines = [f"{self.lives:,} lives in {self.seconds:,.0f} s of processor time"]
        lines += [f"{count:,} {what}" for what, count in sorted(self.tally.items())]
        if len(self.memory) >= _FEWEST:
            sizes = f"{self.memory[0] / 2**20:.0f} to {self.memory[-1] / 2**20:.0f} MiB"
            lines.append(f"memory: {sizes}, by quarters {self.growth(self.memory):+.1%}")
            lines.append(f"objects: {self.objects[-1]:,}, by quarters {self.growth(self.objects):+.1%}")
        return "\n".join([*lines, *(self.failures or ["all laws held"])])


def live(number: int, moves: int, outcome: Outcome) -> str:
    """One life; return the digest of what happened, or the failure."""
    with tempfile.TemporaryDirectory(prefix="life-") as folder:
        life = Life(number, folder)
        try:
            digest = life.run(moves)
        except Exception as bug:
            digest = f"life {number} ({life.profile}), move {len(life.moves)}: {traceback.format_exception(bug)[-1]}"
            outcome.failures.append("".join([digest, *traceback.format_exception(bug)[-4:-1]]))
        outcome.tally.update(life.tally)
    return digest


def run(*, first: int, lives: int, minutes: float, moves: int) -> Outcome:
    """Live through so many lives, or for so many minutes, whichever is over sooner."""
    outcome = Outcome()
    gc.collect()
    files, until, began = _open_files(), time.monotonic() + minutes * 60, time.process_time()
    for number in itertools.count(first):
        if outcome.lives >= lives or time.monotonic() > until:
            break
        digest = live(number, moves, outcome)
        if number % _LIVED_TWICE == 0 and live(number, moves, Outcome()) != digest:
            outcome.failures.append(f"life {number} was another one the second time")
        outcome.lives += 1
        gc.collect()
        outcome.memory.append(resident())
        outcome.objects.append(len(gc.get_objects()))
    outcome.seconds = time.process_time() - began
    outcome.files = files, _open_files()
    outcome.judge()
    return outcome


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description="Live through many lives of machines and see what gives.")
    for name, default in (("first", 0), ("lives", 1 << 30), ("minutes", 10.0), ("moves", 150)):
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default:,}")
    outcome = run(**vars(parser.parse_args(argv)))
    print(outcome.report())
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
