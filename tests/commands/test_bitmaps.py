"""The commands on bitmaps: their checks, in order, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe

BUSY = "Bitmap 'busy' is currently in use by another operation and cannot be used"


@pytest.fixture
def machine() -> Machine:
    """``a`` and ``off`` (disabled) on node0, ``busy`` used by a backup, ``c`` on node1."""
    machine = Machine()
    for number in "01":
        machine.add_disk(f"drive{number}", "1M", node_name=f"node{number}")
    for node, name in (("node0", "a"), ("node0", "off"), ("node0", "busy"), ("node1", "c")):
        machine.qmp("block-dirty-bitmap-add", node=node, name=name, disabled=name == "off")
    machine.drive("drive0").write(0, b"x")
    backup = {"sync": "bitmap", "bitmap": "busy", "bitmap_mode": "never", "auto_finalize": False}
    machine.qmp("drive-backup", device="drive0", target="t", job_id="j", **backup)
    machine.run_until_idle()
    machine.drive("drive1").write(65536, b"x")
    return machine


def refusal(machine: Machine, command: str, **arguments: Any) -> str:
    before = describe(machine)
    with pytest.raises(QmpError) as error:
        machine.qmp(command, **arguments)
    assert describe(machine) == before
    return error.value.desc


def shown(machine: Machine, node: str, name: str) -> dict[str, Any]:
    """The recording, busy and count of a bitmap."""
    for entry in machine.qmp("query-named-block-nodes"):
        if entry["node-name"] == node:
            (found,) = [each for each in entry["dirty-bitmaps"] if each.get("name") == name]
            return {key: found[key] for key in ("recording", "busy", "count")}
    raise AssertionError(node)


def test_a_bitmap_is_added_empty_recording_and_in_front(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-add", node="node1", name="n", granularity=4096)
    entry = next(each for each in machine.qmp("query-named-block-nodes") if each["node-name"] == "node1")
    new = {"name": "n", "recording": True, "busy": False, "persistent": False, "granularity": 4096, "count": 0}
    assert entry["dirty-bitmaps"][0] == new
    assert entry["dirty-bitmaps"][1]["name"] == "c"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"node": "nope", "name": ""}, "Bitmap name cannot be empty"),
        ({"node": "nope", "name": "n", "granularity": 5}, "Cannot find device='nope' nor node-name='nope'"),
        ({"node": "node0", "name": "a", "granularity": 5}, "Granularity must be power of 2 and at least 512"),
        ({"node": "node0", "name": "a"}, "Bitmap already exists: a"),
        ({"node": "node0", "name": "busy"}, "Bitmap already exists: busy"),
    ],
)
def test_adding_is_checked_name_node_granularity_duplicate(
    machine: Machine, arguments: dict[str, Any], text: str
) -> None:
    assert refusal(machine, "block-dirty-bitmap-add", **arguments) == text


def test_bitmaps_of_different_nodes_can_share_a_name(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-add", node="node1", name="a")
    machine.qmp("block-dirty-bitmap-clear", node="node1", name="a")
    assert shown(machine, "node0", "a")["count"] == 65536


@pytest.mark.parametrize("verb", ["remove", "clear", "enable", "disable"])
def test_what_is_not_there_and_what_is_busy_is_refused(machine: Machine, verb: str) -> None:
    command = f"block-dirty-bitmap-{verb}"
    assert refusal(machine, command, node="nope", name="a") == "Node 'nope' not found"
    assert refusal(machine, command, node="node0", name="nope") == "Dirty bitmap 'nope' not found"
    assert refusal(machine, command, node="node1", name="a") == "Dirty bitmap 'a' not found"
    assert refusal(machine, command, node="node0", name="busy") == BUSY


def test_a_removed_bitmap_is_gone_and_the_others_stay(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-remove", node="node0", name="a")
    assert refusal(machine, "block-dirty-bitmap-remove", node="node0", name="a") == "Dirty bitmap 'a' not found"
    assert shown(machine, "node0", "off") == {"recording": False, "busy": False, "count": 0}


def test_clearing_works_on_a_disabled_bitmap_too(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="off", bitmaps=["a"])
    assert shown(machine, "node0", "off")["count"] == 65536
    machine.qmp("block-dirty-bitmap-clear", node="node0", name="off")
    assert shown(machine, "node0", "off") == {"recording": False, "busy": False, "count": 0}


def test_only_an_enabled_bitmap_records_and_both_commands_can_be_repeated(machine: Machine) -> None:
    for verb, count in (("disable", 0), ("disable", 0), ("enable", 65536), ("enable", 65536)):
        machine.qmp(f"block-dirty-bitmap-{verb}", node="node1", name="c")
        machine.qmp("block-dirty-bitmap-clear", node="node1", name="c")
        machine.drive("drive1").write(0, b"x")
        assert shown(machine, "node1", "c") == {"recording": verb == "enable", "busy": False, "count": count}


def test_merging_takes_bitmaps_of_this_and_of_other_nodes(machine: Machine) -> None:
    sources = ["a", "a", {"node": "node1", "name": "c"}]
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="off", bitmaps=sources)
    assert shown(machine, "node0", "off")["count"] == 2 * 65536
    assert shown(machine, "node1", "c")["count"] == 65536


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("nope", "Dirty bitmap 'nope' not found"),
        ({"node": "nope", "name": "c"}, "Node 'nope' not found"),
        ({"node": "node1", "name": "a"}, "Dirty bitmap 'a' not found"),
        ("busy", BUSY),
    ],
)
def test_a_source_that_fails_undoes_the_merges_before_it(machine: Machine, bad: Any, text: str) -> None:
    arguments = {"node": "node0", "target": "off", "bitmaps": ["a", bad]}
    assert refusal(machine, "block-dirty-bitmap-merge", **arguments) == text


def test_merging_nothing_changes_nothing(machine: Machine) -> None:
    before = describe(machine)
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="a", bitmaps=[])
    assert describe(machine) == before


def test_merging_into_itself_changes_nothing(machine: Machine) -> None:
    before = describe(machine)
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="a", bitmaps=["a"])
    assert describe(machine) == before


def test_the_hash_of_an_empty_bitmap_is_qemus_and_no_state_refuses_it(machine: Machine) -> None:
    empty = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"
    command = "x-debug-block-dirty-bitmap-sha256"
    assert machine.qmp(command, node="node0", name="off") == {"sha256": empty}
    assert machine.qmp(command, node="node0", name="busy")["sha256"] != empty
