"""Who may do what to a node."""

from __future__ import annotations

import re

import pytest

from qbitsim.block.node import Child
from qbitsim.block.permissions import check_conflict, cumulative
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.permissions import names
from qbitsim.machine.machine import Machine


def test_bits_are_named_in_qemus_order() -> None:
    assert names(perms.RESIZE | perms.WRITE) == "write, resize"
    assert names(perms.ALL) == "consistent read, write, write unchanged, resize"
    assert names(0) == ""


def test_parents_together_need_the_sum_and_share_what_all_share() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    node = machine.graph.nodes["node0"]
    drive = machine.drive("drive0")
    edges = [Child(drive, "root", node, perms.WRITE, perms.ALL), Child(drive, "root", node, 1, perms.WRITE)]
    assert cumulative(edges) == (perms.WRITE | perms.CONSISTENT_READ, perms.WRITE)
    assert cumulative([]) == (0, perms.ALL)


def test_two_users_who_disagree_are_both_named() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    node = machine.graph.nodes["node0"]
    (root,) = node.parents
    root.shared = perms.ALL & ~perms.WRITE
    other = machine.anonymous_drive(perm=perms.WRITE)
    text = (
        "Permission conflict on node 'node0': permissions 'write' are both required by an unnamed block device "
        "(uses node 'node0' as 'root' child) and unshared by block device 'drive0' (uses node 'node0' as 'root' child)."
    )
    with pytest.raises(QmpError, match=f"^{re.escape(text)}$"):
        other.insert(node)
    assert node.parents == [root]
    check_conflict(node)


def test_a_read_only_node_is_not_written() -> None:
    machine = Machine()
    machine.images.create("d", "qcow2", 1 << 20)
    machine.add_disk("drive0", file="d", node_name="node0", read_only=True)
    with pytest.raises(QmpError, match=r"^Block node is read-only$"):
        machine.drive("drive0").require(perms.WRITE)
    assert machine.drive("drive0").perm == perms.CONSISTENT_READ


def test_a_refusal_leaves_the_locks_of_the_file_alone() -> None:
    """Another node has the file open, too, so that the refused user could not have its locks either."""
    machine = Machine()
    machine.images.create("d", "qcow2", 1 << 20)
    machine.add_node({"driver": "file", "node-name": "file", "filename": "d", "read-only": True})
    machine.add_node({"driver": "qcow2", "node-name": "node0", "file": "file", "read-only": True})
    machine.add_node({"driver": "file", "node-name": "again", "filename": "d", "read-only": True})
    machine.anonymous_drive(perm=perms.CONSISTENT_READ).insert(machine.graph.nodes["node0"])
    reader = machine.anonymous_drive(perm=perms.CONSISTENT_READ)
    reader.shared = perms.ALL & ~perms.RESIZE
    reader.insert(machine.graph.nodes["again"])
    user = machine.anonymous_drive(perm=perms.RESIZE)
    text = (
        "Permission conflict on node 'file': permissions 'resize' are both required by an unnamed block device (uses "
        "node 'file' as 'root' child) and unshared by node 'node0' (uses node 'file' as 'file' child)."
    )
    with pytest.raises(QmpError, match=f"^{re.escape(text)}$"):
        user.insert(machine.graph.nodes["file"])
