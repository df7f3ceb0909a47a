"""A long load on a server: ``python -m benchmarks.soak [--minutes 10] [--commands 1000000] [--machines 1000] ...``.

One process serves all machines in one event loop (:mod:`benchmarks.soak_server`); others load it from as many monitors
as wanted (:mod:`benchmarks.soak_client`) with random commands, faults, disconnects, garbage and slow readers. It ends
after a number of commands or minutes, whichever comes first, and looks whether

* each command on a connection that stayed open got exactly one reply;
* no dirty bit was lost: a bitmap that nobody ever clears knows all writes and no others, and the last good chain of
  backups and the dirty bits together are the disk;
* the memory of the server stayed flat, from the first to the last quarter of the time;
* nothing is left behind: jobs, tasks, timers, connections, faults, open files.

The figures are printed; the exit status is 1 if any of this does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from benchmarks.startup import resident
from benchmarks.yardsticks import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAT = 0.05
"""By how much the memory may grow from the first to the last quarter."""

_SETTLING = 0.02
"""The part of the time that comes before the first quarter, in which everything happens for the first time."""

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done.

    :ivar processes: how many of them load the server.
    """

    minutes: float = 10.0
    commands: int = 1_000_000
    machines: int = 1000
    monitors: int = 50
    seed: int = 0
    processes: int = 2


@dataclass
class Outcome:
    """What was seen.

    :ivar tally: how often things happened; :ivar seconds: how long the load lasted.
    :ivar memory: (seconds, bytes) of the server, sampled; :ivar held: chains of backups that were compared.
    :ivar failures: what is wrong, by the law that was broken.
    """

    tally: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)
    chains: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)

    def growth(self) -> float | None:
        """By which part the memory of the last quarter is above that of the first; None if too little was sampled."""
        first = [size for when, size in self.memory if _SETTLING < when / self.seconds <= 0.25]
        last = [size for when, size in self.memory if 0.75 < when / self.seconds <= 1]
        return median(last) / median(first) - 1 if first and last else None


def run(plan: Plan) -> Outcome:
    """Do it."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        server = _python("soak_server", directory, str(plan.machines))
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n", "the server has not started"
            worlds = _load(plan, directory, server.pid, outcome)
            verdict = _end(server, worlds)
        finally:
            server.kill()
            server.wait()
    outcome.chains = sum(bool(world["chain"]) for world in worlds)
    outcome.tally["steps of jobs"] += verdict["steps"]
    outcome.tally["events emitted"] += verdict["events"]
    outcome.failures["no dirty bit lost"] = verdict["lost"]
    outcome.failures["nothing left behind"] = verdict["left"]
    outcome.failures["no bug met"] = verdict["bugs"]
    growth = outcome.growth()
    outcome.failures["memory flat"] = [f"it grew by {growth:.1%}"] if growth is not None and growth > FLAT else []
    return outcome


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _load(plan: Plan, directory: str, server: int, outcome: Outcome) -> list[dict[str, Any]]:
    """Let the clients run, sample the memory meanwhile, and add up what they say; return their worlds."""
    loads = [_start_client(plan, directory, number) for number in range(plan.processes)]
    sampler = Sampler(server, min(1.0, plan.minutes * 60 / 200))
    sampler.start()
    try:
        for load in loads:
            _said(load, load.stdout)  # the load has ended, and what follows is the cleaning up
        sampler.end()
        said = [_said(load, load.stdout) for load in loads]
    finally:
        sampler.end()
        for load in loads:
            load.kill()
            load.wait()
    outcome.memory = sampler.samples
    outcome.seconds = max(each["seconds"] for each in said)
    for each in said:
        outcome.tally.update(each["tally"])
    outcome.failures["no reply lost"] = [text for each in said for text in each["complaints"]]
    return [world for each in said for world in each["worlds"]]


def _start_client(plan: Plan, directory: str, number: int) -> subprocess.Popen[str]:
    share = range(number, plan.monitors, plan.processes)
    settings = {
        "directory": directory,
        "machines": list(range(number, plan.machines, plan.processes)),
        "monitors": len(share),
        "seconds": plan.minutes * 60,
        "commands": plan.commands // plan.processes,
        "seed": plan.seed * 1000 + number * 500,
    }
    return _python("soak_client", json.dumps(settings))


def _said(process: subprocess.Popen[str], stream: IO[str] | None) -> dict[str, Any]:
    assert stream is not None
    line = stream.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} has ended with status {process.wait()}")
    said: dict[str, Any] = json.loads(line)
    return said


def _end(server: subprocess.Popen[str], worlds: list[dict[str, Any]]) -> dict[str, Any]:
    assert server.stdin is not None
    server.stdin.write(json.dumps(worlds) + "\n")
    server.stdin.flush()
    verdict = _said(server, server.stdout)
    if (status := server.wait(timeout=60)) != 0:
        verdict["left"].append(f"the server ended with status {status}")
    return verdict


class Sampler(threading.Thread):
    """Looks at the memory of a process now and then.

    :ivar samples: (seconds since the start, bytes).
    """

    def __init__(self, pid: int, every: float) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int]] = []
        self._pid = pid
        self._every = every
        self._over = threading.Event()

    def run(self) -> None:
        """Sample until :meth:`end`."""
        began = time.monotonic()
        while not self._over.wait(self._every):
            self.samples.append((time.monotonic() - began, resident(self._pid)))

    def end(self) -> None:
        """Sample no more."""
        self._over.set()


def report(plan: Plan, outcome: Outcome) -> str:
    """The figures and the findings, as text."""
    tally = outcome.tally
    lines = [
        f"{tally['commands']:,} commands in {outcome.seconds:,.0f} s ({tally['commands'] / outcome.seconds:,.0f}/s)",
        f"{plan.machines:,} machines, {plan.monitors} monitors, seed {plan.seed}",
        ", ".join(f"{count:,} {what}" for what, count in sorted(tally.items()) if what != "commands"),
        f"chains of backups compared with their disks: {outcome.chains:,}",
    ]
    if (growth := outcome.growth()) is not None:
        sizes = [size for _, size in outcome.memory]
        lines.append(f"memory: {sizes[0] / 2**20:.0f} to {sizes[-1] / 2**20:.0f} MiB, by quarters {growth:+.1%}")
    for law, failures in outcome.failures.items():
        lines.append(f"{law}: " + ("ok" if not failures else f"FAILED, {len(failures)} times"))
        lines += [f"    {text}" for text in failures[:_SHOWN]]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description="Load a server for long and see what gives.")
    for name in ("minutes", "commands", "machines", "monitors", "seed", "processes"):
        default = getattr(Plan, name)
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default:,}")
    plan = Plan(**vars(parser.parse_args(argv)))
    outcome = run(plan)
    print(report(plan, outcome))
    return 1 if any(outcome.failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
