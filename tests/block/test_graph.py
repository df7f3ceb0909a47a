"""Names, look-up, filters and what holds what."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    return machine


def test_a_drive_is_found_by_its_id_and_a_node_by_its_name(machine: Machine) -> None:
    node = machine.graph.nodes["node0"]
    assert machine.graph.lookup("drive0", "drive0") is node
    assert machine.graph.lookup("node0", "node0") is node


def test_what_is_not_there_is_refused_with_both_names(machine: Machine) -> None:
    with pytest.raises(QmpError, match=r"^Cannot find device='x' nor node-name='x'$"):
        machine.graph.lookup("x", "x")
    with pytest.raises(QmpError, match=r"^Cannot find device='' nor node-name='x'$"):
        machine.graph.lookup(None, "x")


def test_a_drive_without_medium_has_no_node(machine: Machine) -> None:
    machine.add_drive("cd0", None)
    with pytest.raises(QmpError, match=r"^Device 'cd0' has no medium$"):
        machine.graph.lookup("cd0", "cd0")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1n", "Invalid node-name: '1n'"),
        ("", "Invalid node-name: ''"),
        ("a b", "Invalid node-name: 'a b'"),
        ("node0", "Duplicate nodes with node-name='node0'"),
        ("drive0", "node-name=drive0 is conflicting with a device id"),
        ("n" * 32, "Node name too long"),
    ],
)
def test_a_node_name_is_well_formed_free_and_short(machine: Machine, name: str, text: str) -> None:
    before = set(machine.graph.nodes)
    with pytest.raises(QmpError, match=f"^{text}$"):
        machine.add_node({"driver": "null-co", "node-name": name})
    assert set(machine.graph.nodes) == before


def test_a_node_name_has_up_to_31_characters(machine: Machine) -> None:
    machine.add_node({"driver": "null-co", "node-name": "n" * 31})


def test_two_drives_cannot_have_one_id(machine: Machine) -> None:
    with pytest.raises(QmpError, match="drive0"):
        machine.add_disk("drive0", "1M", file="other.qcow2")
    assert list(machine.graph.drives) == ["drive0"]


def test_while_a_backup_runs_the_drive_shows_the_filter_and_the_node_keeps_its_bitmaps(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.qmp("drive-backup", device="drive0", target="t", sync="none", filter_node_name="above")
    assert machine.graph.lookup("drive0", "drive0") is machine.graph.nodes["above"]
    with pytest.raises(QmpError, match=r"^Dirty bitmap 'b' not found$"):
        machine.qmp("block-dirty-bitmap-clear", node="drive0", name="b")
    machine.qmp("block-dirty-bitmap-clear", node="node0", name="b")
    machine.qmp("job-cancel", id="drive0")
    machine.run_until_idle()
    assert machine.graph.lookup("drive0", "drive0") is machine.graph.nodes["node0"]
    assert "above" not in machine.graph.nodes


def test_a_bitmap_added_by_device_during_a_backup_dies_with_the_filter(machine: Machine) -> None:
    machine.qmp("drive-backup", device="drive0", target="t", sync="none")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.qmp("job-cancel", id="drive0")
    machine.run_until_idle()
    assert machine.graph.nodes["node0"].bitmaps == []


def test_a_node_that_the_monitor_made_stays_until_it_is_deleted(machine: Machine) -> None:
    machine.add_node({"driver": "null-co", "node-name": "n", "size": 1048576})
    drive = machine.anonymous_drive()
    drive.insert(machine.graph.nodes["n"])
    drive.eject()
    assert "n" in machine.graph.nodes
    machine.qmp("blockdev-del", node_name="n")
    assert "n" not in machine.graph.nodes
