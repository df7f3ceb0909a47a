"""What stays in a file when a write fails because the rest of its clusters cannot be read.

Measured on QEMU 7.2, 10.0 and 11.1, which say the same: the new L2 table.
"""

from __future__ import annotations

import pytest

from qbitsim import Machine

MIB = 1 << 20
CLUSTER = 1 << 16
END_OF_SNAPSHOT_LIST = 8 * CLUSTER + 512
TABLES, COPIED_TABLE = 5 * CLUSTER, 10 * CLUSTER


@pytest.fixture
def machine() -> Machine:
    """An empty disk, and a ``snapshot-access`` node that has nothing to read from."""
    made = Machine()
    made.images.create("t.raw", "raw", MIB)
    made.images.create("disk.qcow2", "qcow2", MIB)
    made.add_node({"driver": "raw", "node-name": "plain", "file": {"driver": "file", "filename": "t.raw"}})
    made.add_node({"driver": "snapshot-access", "node-name": "old", "file": "plain"})
    file = {"driver": "file", "filename": "disk.qcow2", "node-name": "file"}
    made.add_drive("drive0", made.add_node({"driver": "qcow2", "node-name": "disk", "file": file, "backing": None}))
    return made


def request(machine: Machine, line: str) -> None:
    machine.qmp("human-monitor-command", command_line=f'qemu-io drive0 "{line}"')


def put_over_what_cannot_be_read(machine: Machine) -> None:
    disk = {"driver": "qcow2", "node-name": "disk", "file": "file", "backing": "old"}
    machine.qmp("blockdev-reopen", options=[disk])


@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
@pytest.mark.parametrize("failing", ["write 329k 1k", "write 329k 192k", "write -z 321k 64k"])
def test_only_a_new_table_makes_the_file_longer(machine: Machine, failing: str, watched: bool) -> None:
    file = machine.graph.nodes["file"]
    if watched:
        machine.qmp("block-dirty-bitmap-add", node="file", name="b0")
    put_over_what_cannot_be_read(machine)
    request(machine, failing)
    assert file.length == TABLES
    request(machine, failing)
    assert file.length == TABLES


@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
def test_behind_a_snapshot_the_copied_table_is_new(machine: Machine, watched: bool) -> None:
    file = machine.graph.nodes["file"]
    request(machine, "write 0 128k")
    machine.qmp("blockdev-snapshot-internal-sync", device="drive0", name="s")
    assert file.length == END_OF_SNAPSHOT_LIST
    put_over_what_cannot_be_read(machine)
    if watched:
        machine.qmp("block-dirty-bitmap-add", node="file", name="b0")
    request(machine, "write 329k 192k")
    assert file.length == COPIED_TABLE


def test_nothing_of_the_request_is_there_and_its_places_are_free(machine: Machine) -> None:
    put_over_what_cannot_be_read(machine)
    request(machine, "write -P 1 329k 192k")
    machine.qmp("blockdev-reopen", options=[{"driver": "qcow2", "node-name": "disk", "file": "file", "backing": None}])
    assert not any(machine.drive("drive0").read(329 << 10, 192 << 10))
    request(machine, "write 128k 64k")
    assert machine.graph.nodes["file"].length == TABLES + CLUSTER
