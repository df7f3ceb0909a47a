"""``snapshot-access``: what QEMU 7.2 and 10.0 answered to the same requests; both said the same."""

from __future__ import annotations

import pytest

from qbitsim import Machine, QmpError

MIB = 1 << 20


@pytest.fixture(params=["7.2", "10.0"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """A disk whose old data a copy-before-write filter keeps, and a node ``old`` that shows them."""
    made = Machine(request.param)
    for name in ("disk", "kept"):
        made.images.create(f"{name}.qcow2", "qcow2", MIB)
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        made.add_node({"driver": "qcow2", "node-name": name, "file": file})
    made.add_node({"driver": "copy-before-write", "node-name": "cbw", "file": "disk", "target": "kept"})
    made.add_node({"driver": "snapshot-access", "node-name": "old", "file": "cbw"})
    return made


@pytest.mark.parametrize("size", [MIB, 2 * MIB])
def test_it_cannot_be_resized(machine: Machine, size: int) -> None:
    with pytest.raises(QmpError, match=r"^Image format driver does not support resize$"):
        machine.execute("block_resize", {"node-name": "old", "size": size})
    assert machine.graph.nodes["old"].length == machine.graph.nodes["disk"].length == MIB


def test_a_discard_of_what_no_filter_keeps_does_nothing_but_mark(machine: Machine) -> None:
    """The driver below says that it cannot, and a discard is a hint."""
    node = {"driver": "snapshot-access", "node-name": "plain", "file": "kept", "discard": "unmap", "read-only": False}
    machine.add_node(node)
    machine.qmp("block-dirty-bitmap-add", node="plain", name="b0")
    said = machine.qmp("human-monitor-command", command_line='qemu-io plain "discard -q 524288 65536"')
    (bitmap,) = machine.graph.nodes["plain"].bitmaps
    assert (said, bitmap.count) == ("", 65536)
