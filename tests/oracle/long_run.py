"""A long differential run without Hypothesis: ``python -m tests.oracle.long_run ROUNDS [FIRST_SEED]``.

Plays so many random examples on each QEMU that is found, prints what differed and how the rounds ended, and writes how
often each command was drawn and compared to ``coverage.json`` beside this file, which the README's reference shows.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from draws import world
from duel import ROUNDS, DifferenceError, Duel, random_example
from real_qemu import installations


def commands_of(steps: list[dict[str, Any]]) -> Counter[str]:
    """How often the steps use which command, as a command or as an action of a transaction."""
    counted: Counter[str] = Counter()
    for step in steps:
        if "write" in step or "io" in step:
            counted["human-monitor-command"] += 1
        message = step.get("qmp")
        if not isinstance(message, dict) or not isinstance(message.get("execute"), str):
            continue
        counted[message["execute"]] += 1
        arguments = message.get("arguments", {})
        if message["execute"] == "transaction":
            counted.update(action["type"] for action in arguments["actions"])
    return counted


def main(rounds: int, first: int) -> int:
    """Play; the number of differences."""
    counted: Counter[str] = Counter()
    differences = 0
    for installation in installations():
        ROUNDS.clear()
        for seed in range(first, first + rounds):
            try:
                duel: Duel = random_example(installation, seed, world)
            except DifferenceError as difference:
                differences += 1
                print(f"seed {seed} on {installation}: {difference}", flush=True)  # noqa: T201
                continue
            counted.update(commands_of(duel.steps))
        print(f"{installation}: {dict(ROUNDS)}", flush=True)  # noqa: T201
    path = Path(__file__).with_name("coverage.json")
    path.write_text(json.dumps(dict(sorted(counted.items())), indent=1) + "\n")
    return differences


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) else 0)
