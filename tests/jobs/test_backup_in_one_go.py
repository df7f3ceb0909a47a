"""A backup that runs to its end in one go leaves exactly what one that goes step by step leaves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim import Machine
from qbitsim.images.content import Kind

MIB = 1 << 20
SIZE = 8 * MIB

WRITES = st.lists(
    st.tuples(
        st.sampled_from(["write", "zero", "discard"]),
        st.integers(0, SIZE // 4096 - 1),
        st.integers(1, 40),
    ),
    max_size=12,
)
FORMATS = st.sampled_from(["qcow2", "raw"])


def machine_with_backup(source, target, writes, later, sync):
    machine = Machine()
    drive = machine.add_disk("drive0", SIZE, format=source, node_name="node0", discard=True)
    apply(drive, writes)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", granularity=4096)
    apply(drive, later)
    machine.images.create("target", target, SIZE)
    machine.add_node({"driver": target, "node-name": "t0", "file": {"driver": "file", "filename": "target"}})
    options = {"bitmap": "b0"} if sync == "incremental" else {}
    machine.qmp("blockdev-backup", device="drive0", target="t0", sync=sync, **options)
    return machine


def apply(drive, writes):
    for operation, page, pages in writes:
        offset = page * 4096
        length = min(pages * 4096, SIZE - offset)
        if operation == "write":
            drive.write(offset, bytes([page % 251 + 1]) * length)
        elif operation == "zero":
            drive.write_zeroes(offset, length)
        else:
            drive.discard(offset, length)


def outcome(machine):
    image = machine.images.lookup("target")
    target = machine.graph.nodes["t0"]
    return {
        "events": machine.events.read(0),
        "kinds": {kind: list(image.content.ranges(kind)) for kind in Kind},
        "bytes": image.content.read(0, SIZE),
        "file": image.file_length,
        "bitmaps": machine.qmp("query-block"),
        "in memory": not target.zeroing_waits_for_io(0, SIZE),
    }


@settings(deadline=None, max_examples=60)
@given(FORMATS, FORMATS, WRITES, WRITES, st.sampled_from(["full", "incremental"]))
def test_a_backup_in_one_go_is_the_same_as_one_step_by_step(source, target, writes, later, sync):
    in_one_go = machine_with_backup(source, target, writes, later, sync)
    in_one_go.run_until_idle()
    step_by_step = machine_with_backup(source, target, writes, later, sync)
    while step_by_step.step():
        pass
    assert outcome(in_one_go) == outcome(step_by_step)


@pytest.mark.parametrize("tree", ["memory"], indirect=True)  # in files clusters are copied one by one
def test_a_backup_in_one_go_takes_far_fewer_steps_than_chunks():
    machine = Machine()
    drive = machine.add_disk("drive0", "1G", node_name="node0")
    for cluster in range(0, 16384, 2):
        drive.write(cluster << 16, b"x" * 65536)
    machine.images.create("target", "qcow2", 1 << 30)
    machine.add_node({"driver": "qcow2", "node-name": "t0", "file": {"driver": "file", "filename": "target"}})
    machine.qmp("blockdev-backup", device="drive0", target="t0", sync="full")
    assert machine.run_until_idle() < 100
    assert machine.images.compare("drive0.qcow2", "target") is None
