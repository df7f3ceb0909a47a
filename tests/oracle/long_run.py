"""A long differential run without Hypothesis: ``python -m tests.oracle.long_run ROUNDS [FIRST_SEED [KIND...]]``.

Plays so many random examples of each kind (``plain``, ``chain``, ``graph``) on each QEMU that is found, prints what
differed, how the rounds ended and which steps were left out, and writes how many compared steps used which command and
argument to ``coverage.json`` beside this file, which the reference shows.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from duel import LEFT_OUT, ROUNDS, random_example
from kinds import KINDS
from real_qemu import installations

from qbitsim.cli.coverage import subjects


def main(rounds: int, first: int, kinds: list[str]) -> int:
    """Play; the number of differences."""
    counted: Counter[str] = Counter()
    differences = 0
    for kind in kinds:
        for installation in installations():
            ROUNDS.clear()
            LEFT_OUT.clear()
            for seed in range(first, first + rounds):
                try:
                    duel = random_example(installation, seed, *KINDS[kind])
                except Exception as difference:  # of the comparison, or of the emulator itself
                    differences += 1
                    print(f"{kind} {seed} on {installation}: {difference!r}", flush=True)  # noqa: T201
                    continue
                for step in duel.steps:
                    counted.update(set(subjects([step])))
            print(f"{kind} on {installation}: {dict(ROUNDS)}; left out: {dict(LEFT_OUT)}", flush=True)  # noqa: T201
    path = Path(__file__).with_name("coverage.json")
    path.write_text(json.dumps(dict(sorted(counted.items())), indent=1) + "\n")
    return differences


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(1 if main(int(given[0]), int(given[1]) if given[1:] else 0, given[2:] or list(KINDS)) else 0)
