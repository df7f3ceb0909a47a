"""What clients, guests and failing disks do, on qbitsim and on real QEMU.

A few examples are played in every run; ``QBITSIM_ORACLE_ROUNDS`` asks for more.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from draws import world
from duel import DifferenceError, Duel, profile_for, random_example
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from kinds import KINDS
from real_qemu import Installation

from qbitsim.scenario import player as scenario_player

ROUNDS = int(os.environ.get("QBITSIM_ORACLE_ROUNDS", "6"))

chance = st.randoms(use_true_random=False)


class Differential(RuleBasedStateMachine):
    """Draws steps; each is compared at once, and the images at the end."""

    installation: Installation

    def __init__(self) -> None:
        super().__init__()
        self.duel = Duel(self.installation)

    def do(self, kind: str, rng: random.Random) -> None:
        """Play what the drawer draws of that kind, unless the example is over."""
        if self.duel.over is None:
            self.duel.play(getattr(self.duel.drawer(rng), kind)())

    @initialize(rng=chance)
    def start(self, rng: random.Random) -> None:
        """Begin with some images and a machine."""
        self.duel.play(world(rng))

    @rule(rng=chance)
    def change_a_bitmap(self, rng: random.Random) -> None:
        """A command on bitmaps."""
        self.do("bitmap_command", rng)

    @rule(rng=chance)
    def let_the_guest_work(self, rng: random.Random) -> None:
        """A read or a write."""
        self.do("guest", rng)

    @rule(rng=chance)
    def start_a_backup(self, rng: random.Random) -> None:
        """A backup, of any kind."""
        self.do("backup_command", rng)

    @rule(rng=chance)
    def run_a_transaction(self, rng: random.Random) -> None:
        """A transaction, which may fail."""
        self.do("transaction", rng)

    @precondition(lambda self: self.duel.player.machine is not None and self.duel.machine.jobs.jobs)
    @rule(rng=chance)
    def control_a_job(self, rng: random.Random) -> None:
        """A verb for a job."""
        self.do("control", rng)

    @rule(rng=chance)
    def change_the_graph(self, rng: random.Random) -> None:
        """A snapshot, a new length, a node more or less."""
        self.do("graph", rng)

    @rule(rng=chance)
    def restart(self, rng: random.Random) -> None:
        """End and start again on the same images."""
        self.do("restart", rng)

    @rule()
    def look(self) -> None:
        """All queries and hashes."""
        self.do("look", random.Random(0))

    def teardown(self) -> None:
        """Look at everything once more, unless a difference was found."""
        try:
            if self.duel.player.machine is not None and not self.duel.failed:
                self.duel.finish()
        finally:
            self.duel.close()


def test_hypothesis_finds_no_difference(installation: Installation) -> None:
    run_state_machine_as_test(
        type("Differential", (Differential,), {"installation": installation}),
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "graph"])  # those of a graph need a quiet machine
def test_seeded_draws_find_no_difference(installation: Installation, kind: str) -> None:
    """Longer examples than Hypothesis would draw: each of these seeds was equal once."""
    for seed in range(ROUNDS):
        random_example(installation, seed, *KINDS[kind])


def test_a_difference_is_noticed(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself works: an emulator with another opinion of one reply is caught."""
    duel = Duel(installation)
    try:
        duel.play(world(random.Random(0)))
        monkeypatch.setattr(type(duel.player), "_qmp", _lie)
        monkeypatch.setitem(scenario_player._STEPS, "qmp", _lie)
        with pytest.raises(DifferenceError, match="query-jobs"):
            duel.play([{"qmp": {"execute": "query-jobs"}}])
    finally:
        duel.close()


def test_the_nearest_profile_stands_for_a_version(installation: Installation) -> None:
    other = object.__new__(Installation)
    names = {}
    for version in ((2, 1, 0), (2, 12, 0), (7, 1, 0), (7, 2, 22), (9, 2, 1), (10, 0, 13), (10, 1, 0), (11, 1, 3)):
        other.version = version
        names[version[:2]] = profile_for(other)
    assert names == {
        (2, 1): "2.5",
        (2, 12): "2.5",
        (7, 1): "7.2",
        (7, 2): "7.2",
        (9, 2): "10.0",
        (10, 0): "10.0",
        (10, 1): "10.0",
        (11, 1): "11.1",
    }


def _lie(player: Any, step: Any) -> None:
    player.records.append({"step": 0, "type": "reply", "reply": {"return": "a lie about " + str(step)}})
