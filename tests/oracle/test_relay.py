"""Files of the host that real programs and ours change in turns; see :mod:`relay`.

A few examples are played in every run; ``QBITSIM_ORACLE_ROUNDS`` asks for more.
"""

from __future__ import annotations

import random

import pytest
from real_qemu import Installation
from relay import Relay, RelayDrawer
from test_tools import ROUNDS, STEPS, has_tools
from tools_duel import OtherOrderError

from qbitsim.profiles import PROFILES


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_files_are_the_same_whoever_wrote_them(installation: Installation, share: float) -> None:
    profile = ".".join(map(str, installation.version[:2]))
    if profile not in PROFILES or not has_tools(installation.root):
        pytest.skip(f"no qemu-img and qemu-io of a release that has a profile ({profile})")
    for seed in range(-(-ROUNDS // 2)):
        relay = Relay(installation.root, profile, random.Random(seed), share)
        drawer = RelayDrawer(random.Random(seed), relay.images)
        try:
            for _ in range(STEPS):
                relay.play(drawer.line())
        except OtherOrderError:
            pass  # QEMU has several requests of a commit in flight
        finally:
            relay.close()
