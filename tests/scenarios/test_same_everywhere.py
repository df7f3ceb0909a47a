"""The same scenario gives the same trace wherever it is played, and the order of what is due changes nothing but order.

The scenario is a list of commands, some of them qbitsim's own (``x-qbitsim-...``), so that it can be played without
Python, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from client import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import actions, ends, incremental

from qbitsim import Machine, QmpError
from qbitsim.engine.policies import Drawn, Recorded, Replay, Seeded
from qbitsim.engine.scheduler import Policy, first_in_first_out

CLUSTER = 65536
SIZE = 16 * CLUSTER
WITH_CHUNKS = {"x-perf": {"max-workers": 3, "max-chunk": CLUSTER}}

Trace = list[dict[str, Any]]


def disk(number: int) -> list[tuple[str, dict[str, Any]]]:
    """A disk with a bitmap that says that its first half is dirty."""
    return [
        ("x-qbitsim-add-disk", {"id": f"drive{number}", "size": SIZE, "node-name": f"node{number}"}),
        ("block-dirty-bitmap-add", {"node": f"node{number}", "name": "b0"}),
        ("x-qbitsim-write", {"drive": f"drive{number}", "offset": 0, "length": SIZE // 2, "pattern": 65}),
    ]


BOTH = actions(("drive-backup", incremental(0) | WITH_CHUNKS), ("drive-backup", incremental(1) | WITH_CHUNKS))
GROUPED = {"actions": BOTH, "properties": {"completion-mode": "grouped"}}
SCENARIO = [
    ("x-qbitsim-set-order", {"seed": 5}),
    *disk(0),
    *disk(1),
    ("x-qbitsim-limit-capacity", {"file": "inc1.qcow2", "capacity": 5 * CLUSTER}),
    ("transaction", GROUPED),
    ("x-qbitsim-guest-writes", {"drive": "drive0", "count": 9, "seed": 3}),
    ("x-qbitsim-step", {"count": 4}),
    ("block-dirty-bitmap-clear", {"node": "node0", "name": "b0"}),
    ("query-jobs", {}),
    ("x-qbitsim-until", {"event": "BLOCK_JOB_COMPLETED"}),
    ("x-qbitsim-limit-capacity", {"file": "inc1.qcow2"}),
    ("query-block", {}),
    ("transaction", {"actions": BOTH}),
    ("block-job-set-speed", {"device": "inc0", "speed": CLUSTER // 8}),
    ("x-qbitsim-advance", {"seconds": 2.5}),
    ("block-job-cancel", {"device": "inc0"}),
    ("x-qbitsim-run-until-idle", {}),
    ("query-named-block-nodes", {}),
    ("x-qbitsim-state", {}),
]


def in_process(version: str) -> Trace:
    """Events and replies, in their order."""
    machine, trace, seen = Machine(version, control=True), [], 0
    for command, arguments in SCENARIO:
        try:
            reply = {"return": machine.execute(command, arguments)}
        except QmpError as error:
            reply = {"error": error.to_json()}
        trace += [*machine.events.read(seen), reply]
        seen = machine.events.end
    return trace


def over_a_socket(path: str) -> Trace:
    """The same, as a client reads them."""
    trace = []
    with Client(path) as client:
        for command, arguments in SCENARIO:
            client.send(command, **arguments)
            trace.append(json.loads(client.line()))
            while "event" in trace[-1]:
                trace.append(json.loads(client.line()))
    return trace


def in_a_thread(version: str) -> Trace:
    """The same, from a machine that a thread serves."""
    with Machine(version, control=True).serve(pacing="manual") as server:
        return over_a_socket(server.path)


def in_another_process(version: str, path: str) -> Trace:
    """The same, from a process of its own."""
    options = ["--qmp", f"unix:{path}", "--profile", version, "--pacing", "manual", "--control"]
    command = [sys.executable, "-m", "qbitsim", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline()
            return over_a_socket(path)
        finally:
            process.terminate()


def comparable(trace: Trace) -> Any:
    """Without the time of the day, which is real in another process, and the log of events, which is trimmed there."""
    started = next(each["timestamp"]["seconds"] for each in trace if "event" in each)

    def plain(each: dict[str, Any]) -> dict[str, Any]:
        if each.keys() == {"seconds", "microseconds"}:
            return each | {"seconds": each["seconds"] - started}
        return {key: value for key, value in each.items() if key != "events"}

    return json.loads(json.dumps(trace), object_hook=plain)


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_the_same_scenario_gives_the_same_trace_in_process_in_a_thread_and_in_another_process(version, tmp_path):
    trace = in_process(version)
    assert [len([each for each in trace if key in each]) for key in ("return", "error")] == [22, 1]
    for again in (in_process(version), in_process(version), in_a_thread(version), in_a_thread(version)):
        assert again == trace
    elsewhere = in_another_process(version, str(tmp_path / "qmp"))
    assert comparable(elsewhere) == comparable(trace)


# -- orders


def two_backups(policy: Policy, mode: str = "individual") -> Machine:
    """Two incremental backups have begun, or none, and the guest is about to write to both disks."""
    machine = Machine(policy=policy, control=True)
    for command, arguments in (*disk(0), *disk(1)):
        machine.execute(command, arguments)
    if mode != "none":
        machine.execute("transaction", {"actions": BOTH, "properties": {"completion-mode": mode}})
    for number in (0, 1):
        machine.guest_writes(f"drive{number}", count=6, seed=number)
    return machine


def bitmaps_of(machine: Machine) -> list[list[tuple[int, int]]]:
    """What the two bitmaps say is dirty when all is over."""
    machine.run_until_idle()
    return [machine.graph.find_bitmap(f"node{number}", "b0").dirty_ranges for number in (0, 1)]


def contents_of(machine: Machine) -> list[bytes]:
    """The disks and the increments when all is over."""
    machine.run_until_idle()
    names = ("drive0.qcow2", "drive1.qcow2", "inc0.qcow2", "inc1.qcow2")
    return [machine.images.read_chain(name, 0, SIZE) for name in names]


def drawn_from(data: st.DataObject) -> Policy:
    """An order that Hypothesis draws, and shrinks towards first in, first out."""
    return Drawn(lambda count, _: data.draw(st.integers(0, count - 1)))


@settings(max_examples=50)
@given(st.data(), st.sampled_from(["individual", "grouped"]))
def test_the_backups_and_the_bitmaps_do_not_depend_on_the_order_of_what_is_due(data, mode):
    usual, other = two_backups(first_in_first_out, mode), two_backups(drawn_from(data), mode)
    assert contents_of(other) == contents_of(usual)
    assert contents_of(other)[2:] == [b"A" * (SIZE // 2) + bytes(SIZE // 2)] * 2
    assert bitmaps_of(other) == bitmaps_of(usual)
    assert sorted(ends(other)) == [("BLOCK_JOB_COMPLETED", job, None) for job in ("inc0", "inc1")]


@settings(max_examples=50)
@given(st.data(), st.integers(0, 8))
def test_cancelling_keeps_all_bits_in_whatever_order_things_have_happened(data, steps):
    machine = two_backups(drawn_from(data))
    machine.scheduler.run_until_idle(steps)
    for job in machine.qmp("query-jobs"):
        machine.qmp("block-job-cancel", device=job["id"])
    kept, all_that_was_written = bitmaps_of(machine), bitmaps_of(two_backups(first_in_first_out, "none"))
    cancelled = [int(job.removeprefix("inc")) for event, job, _ in ends(machine) if event == "BLOCK_JOB_CANCELLED"]
    assert [kept[number] for number in cancelled] == [all_that_was_written[number] for number in cancelled]
    assert cancelled or steps


def order_of_ends(policy: Policy) -> tuple[str, ...]:
    """Which of two individual jobs ended first."""
    machine = two_backups(policy)
    machine.run_until_idle()
    events = machine.events.read(0)
    return tuple(event["data"]["device"] for event in events if event["event"] == "BLOCK_JOB_COMPLETED")


def offset_when_cancelled(policy: Policy) -> int:
    """How far a job had come when it was cancelled after six steps."""
    machine = two_backups(policy)
    machine.scheduler.run_until_idle(6)
    machine.qmp("block-job-cancel", device="inc0")
    cancelled: int = machine.until("BLOCK_JOB_CANCELLED", device="inc0")["data"]["offset"]
    return cancelled


@pytest.mark.parametrize(
    ("look", "possible"),
    [
        (order_of_ends, {("inc0", "inc1"), ("inc1", "inc0")}),
        (offset_when_cancelled, {count * CLUSTER for count in range(4, 9)}),
    ],
)
def test_what_qemu_does_not_promise_depends_on_the_order_which_can_be_recorded_and_replayed(look, possible):
    orders: dict[Any, Recorded] = {}
    for seed in range(40):
        order = Seeded(seed)
        orders.setdefault(look(order), order)
    assert set(orders) == possible
    assert {look(Replay(order.choices)) for order in orders.values()} == possible
