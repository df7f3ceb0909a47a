"""What the suite says at its end, whether one process ran it or several workers of pytest-xdist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest


def summary(compared: Iterable[str], rounds: Mapping[str, int]) -> Iterator[str]:
    """The lines about the comparison with real QEMUs: which there were, and how so many examples ended."""
    yield from compared
    for ending, count in sorted(rounds.items()):
        yield f"  {count} examples: {ending}"


def skipped(reports: Sequence[pytest.TestReport]) -> Iterator[str]:
    """A line for each reason why tests were skipped, which says how to get what they need."""
    reasons = Counter(str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, (tuple, list)))
    for reason, count in reasons.most_common():
        yield f"SKIPPED [{count}] {reason.removeprefix('Skipped: ')}"


class Workers:
    """A plugin that collects what the workers have to say, and says it once."""

    def __init__(self) -> None:
        self.compared: dict[str, None] = {}
        self.rounds: Counter[str] = Counter()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take what a worker says when it ends."""
        told = getattr(node, "workeroutput", {}).get("oracle")
        if told is not None:
            self.compared |= dict.fromkeys(told["compared"])
            self.rounds.update(told["rounds"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it, and what was skipped."""
        for line in (*skipped(terminalreporter.stats.get("skipped", [])), *summary(self.compared, self.rounds)):
            terminalreporter.write_line(line)
