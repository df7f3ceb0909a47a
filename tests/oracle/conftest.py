"""Finds real QEMUs to compare with; without one every test here is skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from summaries import summary

sys.path.insert(0, str(Path(__file__).parent))

from duel import ROUNDS, profile_for
from real_qemu import PROGRAM, ROOT_VARIABLE, installations


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per installation, or one that is skipped."""
    if "installation" not in metafunc.fixturenames:
        return
    found = [pytest.param(each, id=f"{each} as {profile_for(each)}".replace(" ", "-")) for each in installations()]
    reason = f"no {PROGRAM} on the path (Debian: qemu-system-x86), nor in a root directory that {ROOT_VARIABLE} names"
    none = pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")
    metafunc.parametrize("installation", found or [none])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell what is to be said at the end to the process that says it, if this is a worker of pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["oracle"] = {"compared": _compared(), "rounds": dict(ROUNDS)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what real QEMUs there were, which profile stood for them, and how the examples ended."""
    if terminalreporter.config.getoption("numprocesses", None):
        return  # workers have told it
    for line in summary(_compared(), ROUNDS):
        terminalreporter.write_line(line)


def _compared() -> list[str]:
    lines = []
    for each in installations():
        name = profile_for(each)
        exact = name == ".".join(map(str, each.version[:2]))
        lines.append(f"{each} was compared with profile {name}" + ("" if exact else ", the nearest one"))
    return lines
