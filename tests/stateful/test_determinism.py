"""The same choices give the same trace, and the order of what is due does not change what QEMU promises."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import CLUSTER, BackupPlan, World

from qbitsim.engine.scheduler import Policy, Task, first_in_first_out
from qbitsim.machine.machine import Machine

SIZE = 20 * CLUSTER + 3584


class Player:
    """Plays what a seed chooses."""

    def __init__(self, seed: int, policy: Policy = first_in_first_out) -> None:
        self.random = random.Random(seed)
        self.world = World(policy=policy)

    def play(self, count: int) -> World:
        for _ in range(count):
            self.random.choice((self.bitmap, self.write, self.write, self.backups, self.steps, self.jobs, self.fail))()
        self.world.heal()
        return self.world

    def bitmap(self) -> None:
        verb = self.random.choice(("add", "add", "clear", "enable", "disable", "remove"))
        self.world.plain(verb, node=f"node{self.random.randrange(2)}", name=self.random.choice("ab"))

    def write(self) -> None:
        offset = self.random.randrange(SIZE)
        length = min(self.random.randrange(3 * CLUSTER), SIZE - offset)
        self.world.write(self.random.randrange(2), offset, length, self.random.randrange(256))

    def backups(self) -> None:
        sync, bitmap = self.random.choice((("full", None), ("incremental", "a"), ("incremental", "b"), ("top", None)))
        plans = [
            ("backup", BackupPlan(disk, sync, bitmap, speed=self.random.choice((0, 0, 1)), max_workers=2))
            for disk in self.random.sample((0, 1), self.random.choice((1, 2)))
        ]
        self.world.transaction(plans, grouped=self.random.random() < 0.5)

    def steps(self) -> None:
        self.world.steps(self.random.randrange(8))

    def jobs(self) -> None:
        if self.world.jobs:
            verb = self.random.choice(("cancel", "pause", "resume"))
            self.world.verb(f"job-{verb}", self.random.choice(self.world.jobs))

    def fail(self) -> None:
        offset = self.random.randrange(SIZE)
        self.world.fail(self.random.choice(self.world.disks).file, "read", errno.EIO, offset, CLUSTER, once=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_choices_give_the_same_trace_ten_times(seed: int) -> None:
    traces = [Player(seed).play(40).trace for _ in range(10)]
    assert all(trace == traces[0] for trace in traces)
    assert traces[0]


class Seeded:
    """A policy that draws from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def choose(self, ready: Sequence[Task]) -> int:
        return self.random.randrange(len(ready))


def test_a_seeded_policy_gives_the_same_trace_ten_times_too() -> None:
    traces = [Player(1, Seeded(5).choose).play(40).trace for _ in range(10)]
    assert all(trace == traces[0] for trace in traces)


def newest_first(ready: Sequence[Task]) -> int:
    return len(ready) - 1


WRITES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, SIZE - 1), st.integers(1, 2 * CLUSTER), st.integers(0, 4)), max_size=8
)


def outcome(policy: Policy, writes: Any, sync: str, *, grouped: bool) -> Any:
    """The contents of disks and targets and the bitmaps, after two backups with guest writes between their steps."""
    machine = Machine(policy=policy)
    actions = []
    for number in range(2):
        drive = machine.add_disk(f"drive{number}", SIZE, node_name=f"node{number}")
        machine.qmp("block-dirty-bitmap-add", node=f"node{number}", name="b")
        drive.write(0, b"o" * SIZE)
        data = {"device": f"node{number}", "target": f"t{number}", "sync": sync, "job-id": f"j{number}"}
        data |= {"x-perf": {"max-workers": 3, "max-chunk": CLUSTER}}
        if sync == "incremental":
            data["bitmap"] = "b"
        actions.append({"type": "drive-backup", "data": data})
    properties = {"completion-mode": "grouped" if grouped else "individual"}
    machine.execute("transaction", {"actions": actions, "properties": properties})
    for number, offset, length, steps in writes:
        machine.drive(f"drive{number}").write(offset, b"n" * min(length, SIZE - offset))
        machine.scheduler.run_until_idle(None if steps == 4 else steps)
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    contents = [machine.images.read_chain(name, 0, SIZE) for name in ("drive0.qcow2", "drive1.qcow2", "t0", "t1")]
    bitmaps = [machine.qmp("x-debug-block-dirty-bitmap-sha256", node=f"node{number}", name="b") for number in range(2)]
    ends = sorted(
        (each["event"], each["data"]["device"], each["data"]["offset"])
        for each in machine.events.read(0)
        if each["event"] == "BLOCK_JOB_COMPLETED"
    )
    return contents, bitmaps, ends


@settings(max_examples=25)
@given(WRITES, st.sampled_from(["full", "incremental"]), st.booleans(), st.integers(0, 1000))
def test_what_is_left_in_the_end_does_not_depend_on_the_order_of_tasks(
    writes: Any, sync: str, grouped: bool, seed: int
) -> None:
    contents, bitmaps, ends = outcome(first_in_first_out, writes, sync, grouped=grouped)
    assert contents[2:] == [b"o" * SIZE] * 2
    for policy in (newest_first, Seeded(seed).choose):
        assert outcome(policy, writes, sync, grouped=grouped) == (contents, bitmaps, ends)
