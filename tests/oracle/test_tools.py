"""qemu-img and qemu-io against the real ones: answers, and where everything is in the files.

A few examples are played in every run; ``QBITSIM_ORACLE_ROUNDS`` asks for more.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest
from real_qemu import Installation
from tools_draws import ToolsDrawer
from tools_duel import OtherOrderError, ToolsDuel

from qbitsim.profiles import PROFILES

ROUNDS = int(os.environ.get("QBITSIM_ORACLE_ROUNDS", "4"))
STEPS = 25


def has_tools(root: str | None) -> bool:
    """Whether there are a qemu-img and a qemu-io."""
    if root is None:
        return shutil.which("qemu-img") is not None and shutil.which("qemu-io") is not None
    found = subprocess.run(
        ["chroot", root, "sh", "-c", "command -v qemu-img qemu-io"], capture_output=True, check=False
    )
    return found.returncode == 0


def test_the_tools_do_what_the_real_ones_do(installation: Installation) -> None:
    major, minor = installation.version[:2]
    profile = f"{major}.{minor}"
    if profile not in PROFILES or not has_tools(installation.root):
        pytest.skip(f"no qemu-img and qemu-io of a release that has a profile ({profile})")
    for seed in range(ROUNDS):
        duel = ToolsDuel(installation.root, profile)
        drawer = ToolsDrawer(random.Random(seed), duel.store)
        try:
            for _ in range(STEPS):
                duel.play(drawer.line())
        except OtherOrderError:
            pass  # QEMU has several requests of a commit in flight
        finally:
            duel.close()
