"""Finds real QEMUs to compare with; without one every test here is skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from duel import ROUNDS, profile_for
from real_qemu import PROGRAM, ROOT_VARIABLE, installations


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per installation, or one that is skipped."""
    if "installation" not in metafunc.fixturenames:
        return
    found = [pytest.param(each, id=f"{each} as {profile_for(each)}".replace(" ", "-")) for each in installations()]
    reason = f"no {PROGRAM} on the path, and {ROOT_VARIABLE} names no root directory of a system that has one"
    none = pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")
    metafunc.parametrize("installation", found or [none])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what real QEMUs there were, which profile stood for them, and how the examples ended."""
    for each in installations():
        name = profile_for(each)
        exact = name == ".".join(map(str, each.version[:2]))
        terminalreporter.write_line(f"{each} was compared with profile {name}" + ("" if exact else ", the nearest one"))
    for ending, count in sorted(ROUNDS.items()):
        terminalreporter.write_line(f"  {count} examples: {ending}")
