"""Compressed writes go where the drivers on the way pass them on; as measured on QEMU 7.2 and 10.0."""

from __future__ import annotations

import errno

import pytest

from qbitsim import Machine, QmpError

CLUSTER = 65536
BACKUP = {"device": "source", "sync": "full", "compress": True, "job-id": "j"}


@pytest.fixture
def machine() -> Machine:
    """Throttled nodes over qcow2 and over null-co."""
    made = Machine()
    made.images.create("a.qcow2", "qcow2", 1 << 20)
    made.execute("object-add", {"qom-type": "throttle-group", "id": "g"})
    file = {"driver": "file", "filename": "a.qcow2"}
    for name, below in (("good", {"driver": "qcow2", "file": file}), ("bad", {"driver": "null-co", "size": 1 << 20})):
        made.add_node({"driver": "throttle", "node-name": name, "throttle-group": "g", "file": below})
    made.add_node({"driver": "copy-on-read", "node-name": "kept", "file": "good"})
    made.add_node({"driver": "null-co", "node-name": "source", "size": 1 << 20})
    return made


@pytest.mark.parametrize("name", ["good", "kept"])
def test_throttle_and_copy_on_read_pass_them_on(machine: Machine, name: str) -> None:
    machine.add_drive("d", machine.graph.nodes[name]).write(0, b"x" * CLUSTER, compressed=True)
    assert machine.images.lookup("a.qcow2").content.read(0, 1) == b"x"
    machine.execute("blockdev-backup", {**BACKUP, "target": name})


def test_a_driver_below_that_cannot_compress_refuses_them(machine: Machine) -> None:
    machine.execute("block-dirty-bitmap-add", {"node": "bad", "name": "b"})
    drive = machine.add_drive("d", machine.graph.nodes["bad"])
    with pytest.raises(OSError, match="Operation not supported") as caught:
        drive.write(0, bytes(CLUSTER), compressed=True)
    assert caught.value.errno == errno.ENOTSUP
    assert drive.node.bitmaps[0].count == CLUSTER  # the write came as far as the node
    with pytest.raises(QmpError, match=r"^Compression is not supported for this drive d$"):
        machine.execute("blockdev-backup", {**BACKUP, "target": "bad"})


def test_one_of_nothing_is_refused_too(machine: Machine) -> None:
    drive = machine.add_drive("d", machine.graph.nodes["source"])
    with pytest.raises(OSError, match="Operation not supported"):
        drive.write(0, b"", compressed=True)
