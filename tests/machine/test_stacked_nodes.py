"""Nodes that stand on each other: no client makes more of them than requests can go through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qbitsim.block.stacking import MOST_STACKED
from qbitsim.errors import UnsupportedError
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe

TOO_MANY = f"qbitsim does not emulate more than {MOST_STACKED} nodes that stand on one another"
TOO_DEEP = "qbitsim does not emulate values that are nested more than 128 deep"
KINDS: dict[str, dict[str, Any]] = {
    "raw": {"file": "NODE"},
    "throttle": {"file": "NODE", "throttle-group": "tg"},
    "blkdebug": {"image": "NODE"},
    "quorum": {"children": ["NODE"], "vote-threshold": 1},
    "copy-on-read": {"file": "NODE"},
}


def add(machine: Machine, name: str, driver: str, below: str) -> None:
    given = json.loads(json.dumps(KINDS[driver]).replace("NODE", below))
    machine.execute("blockdev-add", {"driver": driver, "node-name": name, **given})


def stack(machine: Machine, prefix: str, driver: str, count: int) -> str:
    """``count`` nodes of a driver on a new disk; the name of the topmost."""
    machine.execute("blockdev-add", {"driver": "null-co", "node-name": f"{prefix}0", "size": 1 << 20})
    for number in range(1, count + 1):
        add(machine, f"{prefix}{number}", driver, f"{prefix}{number - 1}")
    return f"{prefix}{count}"


@pytest.fixture
def machine() -> Machine:
    machine = Machine("10.0")
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "tg"})
    return machine


@pytest.mark.parametrize("driver", KINDS)
def test_requests_and_queries_go_through_as_many_nodes_as_may_stand_on_each_other(
    machine: Machine, driver: str
) -> None:
    top = stack(machine, "n", driver, MOST_STACKED)
    assert machine.execute("human-monitor-command", {"command-line": f'qemu-io {top} "write -q 0 64k"'}) == ""
    assert machine.graph.nodes[top].level == MOST_STACKED
    assert len(machine.execute("query-named-block-nodes", {})) == MOST_STACKED + 1


@pytest.mark.parametrize("driver", KINDS)
def test_one_more_is_refused(machine: Machine, driver: str) -> None:
    top = stack(machine, "n", driver, MOST_STACKED)
    before = describe(machine)
    with pytest.raises(UnsupportedError) as refusal:
        add(machine, "more", driver, top)
    assert (refusal.value.desc, describe(machine)) == (TOO_MANY, before)


def test_two_stacks_do_not_become_a_higher_one(machine: Machine) -> None:
    lower, upper = stack(machine, "a", "raw", MOST_STACKED // 2 + 1), stack(machine, "b", "raw", MOST_STACKED // 2)
    before = describe(machine)
    with pytest.raises(UnsupportedError) as refusal:
        machine.execute("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "b1", "file": lower}]})
    assert (refusal.value.desc, describe(machine)) == (TOO_MANY, before)
    machine.execute("blockdev-del", {"node-name": lower})
    lower = f"a{MOST_STACKED // 2}"
    machine.execute("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "b1", "file": lower}]})
    assert machine.graph.nodes[upper].level == MOST_STACKED


def nested(count: int) -> dict[str, Any]:
    options: dict[str, Any] = {"driver": "null-co"}
    for _ in range(count):
        options = {"driver": "raw", "file": options}
    return options


@pytest.mark.parametrize(("count", "text"), [(MOST_STACKED + 1, TOO_MANY), (900, TOO_DEEP)])
def test_options_within_options_are_no_way_around_it(machine: Machine, count: int, text: str) -> None:
    machine.add_disk("d", "1M")
    before = describe(machine)
    with pytest.raises(UnsupportedError) as refusal:
        machine.execute("blockdev-add", {**nested(count), "node-name": "n"})
    assert (refusal.value.desc, describe(machine)) == (text, before)
    target = {"target": f"json:{json.dumps(nested(count))}", "mode": "existing"}
    with pytest.raises(UnsupportedError) as refusal:
        machine.execute("drive-backup", {"device": "d", "sync": "full", **target})
    assert (refusal.value.desc, describe(machine)) == (text, before)


def test_layers_of_a_backing_chain_do_not_stand_on_each_other(machine: Machine) -> None:
    machine.add_disk("d", "1M", node_name="n")
    for number in range(2 * MOST_STACKED):
        machine.execute("blockdev-snapshot-sync", {"device": "d", "snapshot-file": f"{number}.qcow2"})
    assert machine.drive("d").node.level == 1
