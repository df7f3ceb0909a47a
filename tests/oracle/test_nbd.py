"""NBD conversations with qbitsim and with real QEMU, compared byte for byte.

A few are played in every run; ``QBITSIM_ORACLE_ROUNDS`` asks for more: 150 are about 8,000 messages.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbd_duel import converse
from real_qemu import Installation

ROUNDS = int(os.environ.get("QBITSIM_ORACLE_ROUNDS", "4"))


def test_the_nbd_server_says_what_the_real_one_says(installation: Installation) -> None:
    @settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def play(rng: random.Random) -> None:
        converse(installation, rng)

    play()
