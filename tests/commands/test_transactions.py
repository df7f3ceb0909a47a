"""Transactions: all or nothing, individual or grouped."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe

CLUSTER = 65536


def machine_of(version: str = "10.0") -> Machine:
    """Two drives, each with a bitmap ``b`` of which clusters 0 and 1 are dirty."""
    machine = Machine(version)
    for number in "01":
        drive = machine.add_disk(f"drive{number}", "1M", node_name=f"node{number}")
        machine.qmp("block-dirty-bitmap-add", node=f"node{number}", name="b")
        drive.write(0, b"x" * (2 * CLUSTER))
    return machine


@pytest.fixture
def machine() -> Machine:
    return machine_of()


def bitmap(verb: str, **data: Any) -> dict[str, Any]:
    return {"type": f"block-dirty-bitmap-{verb}", "data": {"node": "node0", "name": "b", **data}}


def backup(number: int, **data: Any) -> dict[str, Any]:
    common = {"device": f"drive{number}", "target": f"t{number}", "sync": "incremental", "bitmap": "b"}
    return {"type": "drive-backup", "data": {**common, **data}}


ABORT = {"type": "abort", "data": {}}
ABORTED = "Transaction aborted using Abort action"


def grouped(machine: Machine, *actions: dict[str, Any]) -> None:
    machine.qmp("transaction", actions=list(actions), properties={"completion-mode": "grouped"})


def refusal(machine: Machine, *actions: dict[str, Any], **arguments: Any) -> str:
    before, events = comparable(machine), machine.events.end
    with pytest.raises(QmpError) as error:
        machine.qmp("transaction", actions=list(actions), **arguments)
    assert comparable(machine) == before
    assert {each["event"] for each in machine.events.read(events)} <= {"JOB_STATUS_CHANGE"}
    return error.value.desc


def comparable(machine: Machine) -> Any:
    """Bitmaps with their hashes, nodes and jobs; new files may stay."""
    hashes = [
        (node.name, each.name, each.bits.sha256(), each.disabled, each.busy)
        for node in machine.graph.nodes.values()
        for each in node.bitmaps
    ]
    return hashes, machine.qmp("query-block"), machine.qmp("query-jobs"), list(machine.graph.nodes)


def counts(machine: Machine) -> list[int]:
    """Dirty clusters of both bitmaps; neither may be busy."""
    found = [machine.graph.nodes[name].find_bitmap("b") for name in ("node0", "node1")]
    assert not any(each is None or each.busy for each in found)
    return [each.count // CLUSTER for each in found if each is not None]


def ends(machine: Machine) -> list[tuple[str, str, str | None]]:
    return [
        (each["event"].removeprefix("BLOCK_JOB_"), each["data"]["device"], each["data"].get("error"))
        for each in machine.events.read(0)
        if each["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")
    ]


def test_no_actions_are_fine(machine: Machine) -> None:
    assert machine.qmp("transaction", actions=[]) == {}
    grouped(machine)


@pytest.mark.parametrize(
    "action",
    [
        bitmap("add", name="n"),
        bitmap("remove"),
        bitmap("clear"),
        bitmap("disable"),
        bitmap("enable"),
        {"type": "block-dirty-bitmap-merge", "data": {"node": "node0", "target": "b", "bitmaps": []}},
        backup(0),
        backup(0, sync="full", bitmap_mode="always") | {"type": "drive-backup"},
    ],
    ids=lambda action: action["type"],
)
def test_an_abort_undoes_every_kind_of_action(machine: Machine, action: dict[str, Any]) -> None:
    action["data"].pop("bitmap_mode", None)
    if action["data"].get("sync") == "full":
        action["data"].pop("bitmap")
    assert refusal(machine, action, ABORT) == ABORTED


def test_the_effects_of_an_action_are_seen_by_the_next(machine: Machine) -> None:
    merge = {"type": "block-dirty-bitmap-merge", "data": {"node": "node0", "target": "n", "bitmaps": ["b"]}}
    machine.qmp("transaction", actions=[bitmap("add", name="n"), merge, bitmap("clear"), bitmap("disable", name="n")])
    new = machine.graph.nodes["node0"].find_bitmap("n")
    assert new is not None
    assert (new.count, new.recording) == (2 * CLUSTER, False)
    assert counts(machine) == [0, 2]


def test_several_changes_of_one_bitmap_unwind_to_the_oldest(machine: Machine) -> None:
    merge = {"type": "block-dirty-bitmap-merge", "data": {"node": "node0", "target": "b", "bitmaps": ["b"]}}
    assert refusal(machine, bitmap("clear"), merge, bitmap("clear"), bitmap("disable"), ABORT) == ABORTED


def test_a_failing_action_undoes_those_before_it_and_gives_its_own_error(machine: Machine) -> None:
    text = "Dirty bitmap 'nope' not found"
    assert refusal(machine, bitmap("clear"), backup(1), bitmap("clear", name="nope"), bitmap("remove")) == text


def test_a_removed_name_is_not_free_within_the_same_transaction(machine: Machine) -> None:
    assert refusal(machine, bitmap("remove"), bitmap("add")) == "Bitmap already exists: b"
    text = "Bitmap 'b' is currently in use by another operation and cannot be used"
    assert refusal(machine, bitmap("remove"), bitmap("clear")) == text
    assert refusal(machine, bitmap("remove"), bitmap("remove")) == text


def test_all_arguments_are_checked_before_anything_is_done(machine: Machine) -> None:
    assert refusal(machine, bitmap("clear"), bitmap("clear", x=1)) == "Parameter 'actions[1].data.x' is unexpected"


def test_a_job_undone_before_its_start_sends_no_block_job_event(machine: Machine) -> None:
    cursor = machine.events.end
    refusal(machine, backup(0), ABORT)
    statuses = [each["data"]["status"] for each in machine.events.read(cursor)]
    assert statuses == ["created", "aborting", "concluded", "null"]


def test_grouped_jobs_undone_before_their_start_are_not_waited_for(machine: Machine) -> None:
    failing = {"type": "drive-backup", "data": {"device": "nosuch", "target": "t", "sync": "full"}}
    grouped_mode = {"completion-mode": "grouped"}
    desc = "Cannot find device='nosuch' nor node-name='nosuch'"
    assert refusal(machine, backup(0), backup(1), failing, properties=grouped_mode) == desc


def test_a_new_bitmap_and_a_full_backup_at_one_moment_begin_a_chain(machine: Machine) -> None:
    full = {"type": "drive-backup", "data": {"device": "drive0", "target": "full", "sync": "full"}}
    machine.qmp("transaction", actions=[bitmap("add", name="chain"), full])
    machine.drive("drive0").write(5 * CLUSTER, b"y")
    machine.run_until_idle()
    machine.images.create("inc", "qcow2", backing="full", backing_format="qcow2")
    incremental = {"sync": "incremental", "bitmap": "chain", "mode": "existing", "format": "qcow2"}
    machine.qmp("drive-backup", device="node0", target="inc", job_id="j", **incremental)
    machine.run_until_idle()
    assert machine.images.compare("inc", "drive0.qcow2") is None


def test_individually_one_failure_leaves_the_other_alone(machine: Machine) -> None:
    machine.inject_error("node1", "read", errno.EIO, 0)
    machine.qmp("transaction", actions=[backup(0), backup(1)])
    machine.run_until_idle()
    assert sorted(ends(machine)) == [("COMPLETED", "drive0", None), ("COMPLETED", "drive1", "Input/output error")]
    assert counts(machine) == [0, 2]


def test_grouped_one_failure_cancels_the_other_and_no_bit_is_lost(machine: Machine) -> None:
    machine.inject_error("node1", "read", errno.EIO, 0)
    grouped(machine, backup(0), backup(1))
    machine.drive("drive0").write(9 * CLUSTER, b"y")
    machine.run_until_idle()
    assert sorted(ends(machine)) == [("CANCELLED", "drive0", None), ("COMPLETED", "drive1", "Input/output error")]
    assert counts(machine) == [3, 2]


def test_grouped_jobs_end_newest_first(machine: Machine) -> None:
    machine.add_disk("drive2", "1M", node_name="node2")
    common = {"sync": "full", "speed": 1 << 40}
    data = [{"device": f"drive{number}", "target": f"t{number}", **common} for number in range(3)]
    grouped(machine, *[{"type": "drive-backup", "data": each} for each in data])
    machine.run_until_idle()
    assert ends(machine) == [("COMPLETED", f"drive{number}", None) for number in (2, 1, 0)]


def test_grouped_no_job_reports_success_before_all_are_ready(machine: Machine) -> None:
    held = {"speed": 1, "x-perf": {"max-workers": 1, "max-chunk": CLUSTER}}
    grouped(machine, backup(0), backup(1, **held))
    machine.run_until_idle()
    assert ends(machine) == []
    assert {each["id"]: each["status"] for each in machine.qmp("query-jobs")} == {
        "drive0": "waiting",
        "drive1": "running",
    }
    machine.qmp("block-job-set-speed", device="drive1", speed=0)
    machine.run_until_idle()
    assert {(name, error) for name, _job, error in ends(machine)} == {("COMPLETED", None)}
    assert counts(machine) == [0, 0]


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("10.0", "Action 'block-dirty-bitmap-clear' does not support transaction property completion-mode = grouped"),
        ("7.2", "Action 'block-dirty-bitmap-clear' does not support Transaction property completion-mode = grouped"),
    ],
)
def test_a_bitmap_action_cannot_be_grouped(version: str, text: str) -> None:
    machine = machine_of(version)
    properties = {"completion-mode": "grouped"}
    assert refusal(machine, backup(0), bitmap("clear"), properties=properties) == text


def test_the_last_action_starts_first_since_8_and_the_first_one_before() -> None:
    for version, order in (("10.0", ["drive1", "drive0"]), ("7.2", ["drive0", "drive1"]), ("2.5", None)):
        machine = machine_of(version)
        machine.qmp("transaction", actions=[backup(0), backup(1)])
        running = [each["data"]["id"] for each in machine.events.read(0) if each["data"].get("status") == "running"]
        assert list(dict.fromkeys(running)) == (order or [])


def test_describing_the_machine_before_and_after_an_abort_of_bitmap_actions_gives_the_same(machine: Machine) -> None:
    before = describe(machine)
    with pytest.raises(QmpError):
        machine.qmp("transaction", actions=[bitmap("clear"), bitmap("add", name="n"), ABORT])
    assert describe(machine) == before
