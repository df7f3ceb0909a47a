"""A qcow2 overlay that grows over a longer backing file: what is new is zero, or nothing changes."""

from __future__ import annotations

from errno import EIO

import pytest

from qbitsim import Machine, QmpError


def test_a_backing_file_that_cannot_be_read_leaves_the_length_as_it_was() -> None:
    machine = Machine()
    machine.add_disk("drive0", "512K", node_name="base").write(0, b"1" * (512 << 10))
    machine.qmp(
        "blockdev-snapshot-sync", device="drive0", snapshot_file="top", snapshot_node_name="top", format="qcow2"
    )
    machine.qmp("block_resize", node_name="top", size=262656)
    machine.inject_error("base", "read", EIO, once=True)
    before = machine.state()["nodes"]["top"]
    with pytest.raises(QmpError, match=r"^Failed to zero out the new area: Input/output error$"):
        machine.qmp("block_resize", node_name="top", size=263168)
    assert machine.state()["nodes"]["top"] == before
    machine.qmp("block_resize", node_name="top", size=263168)
    assert machine.drive("drive0").read(262144, 1024) == b"1" * 512 + bytes(512)
