"""Finds the real qemu-img and qemu-io that judge the files made here; without any, tests that need them are skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real_tools import ROOTS, RealTools


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each system that has the tools, or one that is skipped."""
    if "root" in metafunc.fixturenames:
        found = [pytest.param(root, id=root or "here") for root in ROOTS if RealTools.are_in(root)]
        none = pytest.param(None, marks=pytest.mark.skip(reason="no qemu-img and qemu-io"), id="none")
        metafunc.parametrize("root", found or [none])
