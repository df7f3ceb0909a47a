"""Random images written here are what the real programs say that they are, and those that they wrote are read here.

A few examples are played in every run; ``python -m tests.oracle.exchange`` plays as many as one likes.
"""

from __future__ import annotations

import pytest
from duel import profile_for
from exchange import WAYS, Exchange
from real_qemu import Installation, RealQemu
from test_tools import ROUNDS, has_tools


@pytest.mark.parametrize("way", WAYS)
def test_both_say_the_same_of_the_images(installation: Installation, way: str) -> None:
    if not has_tools(installation.root) or profile_for(installation) != ".".join(map(str, installation.version[:2])):
        pytest.skip(f"no qemu-img and qemu-io of a release that has a profile ({installation})")
    qemu = RealQemu(installation)
    try:
        qemu.step(0, {"start": {}})
        for seed in range(ROUNDS):
            Exchange(qemu, way, seed).play()
    finally:
        qemu.close()
