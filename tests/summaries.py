"""What the suite says at its end, whether one process ran it or several workers of pytest-xdist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import pytest


def summary(compared: Iterable[str], rounds: Mapping[str, int]) -> Iterator[str]:
    """The lines about the comparison with real QEMUs: which there were, and how so many examples ended."""
    yield from compared
    for ending, count in sorted(rounds.items()):
        yield f"  {count} examples: {ending}"


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
        """Say it."""
        for line in summary(self.compared, self.rounds):
            terminalreporter.write_line(line)
