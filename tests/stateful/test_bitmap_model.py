"""Hypothesis plays with bitmaps, guests, backups, faults and time, and a naive model says what must come of it.

``HYPOTHESIS_PROFILE=long`` plays for many minutes.
"""

from __future__ import annotations

import errno
import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from world import CLUSTER, BackupPlan, World

SIZE = 20 * CLUSTER + 3584
DISKS = st.integers(0, 1)
NAMES = st.sampled_from(["a", "b", "c"])
GRANULARITIES = st.sampled_from([512, 4096, 32768, 65536, 131072, 1 << 20, 1 << 31])
OFFSETS = st.one_of(st.integers(0, SIZE), st.integers(0, 20).map(lambda number: number * CLUSTER))
LENGTHS = st.one_of(st.integers(0, 3 * CLUSTER), st.sampled_from([1, 512, CLUSTER, 5 * CLUSTER, SIZE]))
SPEEDS = st.sampled_from([0, 0, 0, 1, 1 << 20, 1 << 24])
ON_ERROR = st.sampled_from(["report", "report", "stop", "enospc", "auto", "ignore"])
SYNCS = st.sampled_from(
    [
        ("full", None),
        ("top", None),
        ("none", None),
        ("full", "on-success"),
        ("full", "always"),
        ("top", "on-success"),
        ("top", "always"),
        ("incremental", None),
        ("incremental", "on-success"),
        ("bitmap", "on-success"),
        ("bitmap", "never"),
        ("bitmap", "always"),
    ]
)


@st.composite
def plans(draw: st.DrawFn, disk: int | None = None) -> BackupPlan:
    sync, mode = draw(SYNCS)
    return BackupPlan(
        disk=draw(DISKS) if disk is None else disk,
        sync=sync,
        bitmap=draw(NAMES) if mode or sync == "incremental" else None,
        mode=mode,
        cluster=draw(st.sampled_from([CLUSTER, CLUSTER, 2 * CLUSTER])),
        speed=draw(SPEEDS),
        max_workers=draw(st.sampled_from([1, 2, 64])),
        on_source_error=draw(ON_ERROR),
        on_target_error=draw(ON_ERROR),
        auto_finalize=draw(st.booleans()),
        auto_dismiss=draw(st.booleans()),
        by_drive=draw(st.booleans()),
    )


@st.composite
def bitmap_commands(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    verb = draw(st.sampled_from(["add", "add", "remove", "clear", "enable", "disable", "merge"]))
    data: dict[str, Any] = {"node": f"node{draw(DISKS)}"}
    if verb == "merge":
        source = st.one_of(NAMES, st.builds(lambda node, name: {"node": f"node{node}", "name": name}, DISKS, NAMES))
        return verb, {**data, "target": draw(NAMES), "bitmaps": draw(st.lists(source, max_size=3))}
    data["name"] = draw(NAMES)
    if verb == "add":
        data |= draw(st.fixed_dictionaries({}, optional={"granularity": GRANULARITIES, "disabled": st.booleans()}))
    return verb, data


class BitmapMachine(RuleBasedStateMachine):
    """The rules; all comparing is done by the world after each."""

    world: World

    @initialize(
        profile=st.sampled_from(["10.0", "10.0", "7.2"]),
        seed=st.one_of(st.none(), st.integers(0, 99)),
        granularity=GRANULARITIES,
    )
    def begin(self, profile: str, seed: int | None, granularity: int) -> None:
        """With two bitmaps for each disk, without which most backups would be refused."""
        self.world = World(profile) if seed is None else World(profile, seeded(seed))
        for node in ("node0", "node1"):
            self.world.plain("add", node=node, name="a")
            self.world.plain("add", node=node, name="b", granularity=granularity)

    @rule(command=bitmap_commands())
    def bitmap_command(self, command: tuple[str, dict[str, Any]]) -> None:
        self.world.plain(command[0], **command[1])

    @rule(disk=DISKS, offset=OFFSETS, length=LENGTHS, pattern=st.integers(0, 255))
    def write(self, disk: int, offset: int, length: int, pattern: int) -> None:
        self.world.write(disk, offset, min(length, SIZE - offset), pattern)

    @rule(disk=DISKS, offset=OFFSETS, length=LENGTHS, unmap=st.booleans())
    def write_zeroes(self, disk: int, offset: int, length: int, unmap: bool) -> None:
        self.world.write_zeroes(disk, offset, min(length, SIZE - offset), unmap)

    @rule(disk=DISKS, offset=OFFSETS, length=LENGTHS)
    def discard(self, disk: int, offset: int, length: int) -> None:
        self.world.discard(disk, offset, min(length, SIZE - offset))

    def _allowed(self, plan: BackupPlan) -> bool:
        return not (self.world.always_failing and "ignore" in (plan.on_source_error, plan.on_target_error))

    @rule(plan=plans())
    def backup(self, plan: BackupPlan) -> None:
        if self._allowed(plan):
            self.world.transaction([("backup", plan)])

    @rule(plan=plans(), before=st.integers(0, 6), offset=OFFSETS, length=LENGTHS, cancelled=st.booleans())
    def backup_while_the_guest_writes(
        self, plan: BackupPlan, before: int, offset: int, length: int, cancelled: bool
    ) -> None:
        """What the guest writes during a backup is in the bitmap at its end, however it ends."""
        if not self._allowed(plan):
            return
        self.world.transaction([("backup", plan)])
        self.world.steps(before)
        self.world.write(plan.disk, offset, min(length, SIZE - offset), 0xB7)
        if cancelled and self.world.jobs:
            self.world.verb("job-cancel", self.world.jobs[-1])
        self.world.run()

    @rule(plan=plans(disk=0), name=NAMES)
    def new_chain(self, plan: BackupPlan, name: str) -> None:
        """A bitmap and a full backup at the same moment, as one must do it."""
        if self._allowed(plan):
            full = BackupPlan(disk=0, sync="full", speed=plan.speed, max_workers=plan.max_workers)
            verb = "clear" if self.world.disks[0].find(name) else "add"
            self.world.transaction([(verb, {"node": "node0", "name": name}), ("backup", full)])

    @rule(
        commands=st.lists(bitmap_commands(), max_size=4),
        backups=st.lists(plans(), max_size=2),
        abort=st.sampled_from([True, False, False]),
    )
    def transaction(self, commands: list[Any], backups: list[BackupPlan], abort: bool) -> None:
        if all(self._allowed(plan) for plan in backups) and len({plan.disk for plan in backups}) == len(backups):
            steps = [*commands, *(("backup", plan) for plan in backups)]
            self.world.transaction([*steps, ("abort", {})] if abort else steps)

    @rule(first=plans(disk=0), second=plans(disk=1))
    def grouped(self, first: BackupPlan, second: BackupPlan) -> None:
        if self._allowed(first) and self._allowed(second):
            self.world.transaction([("backup", first), ("backup", second)], grouped=True)

    @precondition(lambda self: self.world.jobs)
    @rule(
        verb=st.sampled_from(["cancel", "pause", "resume", "resume", "finalize", "finalize", "dismiss", "set-speed"]),
        data=st.data(),
        speed=SPEEDS,
    )
    def job_command(self, verb: str, data: st.DataObject, speed: int) -> None:
        job = self.world.jobs[data.draw(st.integers(0, len(self.world.jobs) - 1), label="job")]
        if verb == "set-speed":
            self.world.verb("block-job-set-speed", job, speed=speed)
        else:
            self.world.verb(f"job-{verb}", job)

    @precondition(lambda self: self.world.jobs)
    @rule(count=st.integers(1, 12))
    def steps(self, count: int) -> None:
        self.world.steps(count)

    @precondition(lambda self: self.world.jobs)
    @rule()
    def run_until_idle(self) -> None:
        self.world.run()

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 30.0]))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(
        disk=DISKS,
        offset=OFFSETS,
        length=st.sampled_from([1, CLUSTER, SIZE]),
        once=st.booleans(),
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
    )
    def fail_source(self, disk: int, offset: int, length: int, once: bool, number: int) -> None:
        self.world.fail(self.world.disks[disk].file, "read", number, min(offset, SIZE - 1), length, once=once)

    @precondition(lambda self: self.world.jobs)
    @rule(
        data=st.data(),
        operation=st.sampled_from(["write", "write-zeroes"]),
        offset=OFFSETS,
        length=st.sampled_from([1, CLUSTER, SIZE]),
        once=st.booleans(),
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
    )
    def fail_target(  # noqa: PLR0917 - drawn by name
        self, data: st.DataObject, operation: str, offset: int, length: int, once: bool, number: int
    ) -> None:
        job = data.draw(st.sampled_from(self.world.jobs), label="job")
        self.world.fail(job.target, operation, number, min(offset, SIZE - 1), length, once=once)

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data(), clusters=st.integers(0, 4))
    def limit_target(self, data: st.DataObject, clusters: int) -> None:
        self.world.limit(data.draw(st.sampled_from(self.world.jobs), label="job").target, clusters * CLUSTER)

    @rule()
    def heal(self) -> None:
        self.world.heal()


def seeded(seed: int) -> Any:
    """A policy that chooses among the due tasks by a seed."""
    return Dice(seed).choose


class Dice:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def choose(self, ready: Any) -> int:
        return self.random.randrange(len(ready))


TestBitmapMachine = BitmapMachine.TestCase
TestBitmapMachine.settings = settings(
    max_examples=settings().max_examples // 2, stateful_step_count=40, report_multiple_bugs=False
)
