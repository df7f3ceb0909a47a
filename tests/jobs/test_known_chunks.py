"""Zeroes that a mirror need not write; as measured on QEMU 11.1, 10.0 and 7.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.block.chain import is_all_zeroes
from qbitsim.images.chain import MAXIMUM_CHECKED
from qbitsim.jobs.known_chunks import KnownChunks
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000), st.integers(1, 300)), max_size=6))
def test_what_is_known_are_whole_chunks_of_what_was_zeroed_and_not_written_since(steps):
    known, zero = KnownChunks(1000, 100), [False] * 10
    for learnt, offset, wanted in steps:
        end = min(offset + wanted, 1000)
        length = end - offset
        if not length:
            continue
        if learnt:
            known.learn(offset, length)
            zero = [each or (offset <= 100 * at and 100 * (at + 1) <= end) for at, each in enumerate(zero)]
        else:
            known.forget(offset, length)
            zero = [each and (100 * (at + 1) <= offset or end <= 100 * at) for at, each in enumerate(zero)]
    assert [known.holds(100 * at, 100) for at in range(10)] == zero
    assert known.holds(0, 1000) == all(zero)


def test_the_last_chunk_may_be_cut_short_by_the_end_of_the_disk():
    known = KnownChunks(250, 100)
    known.learn(200, 50)
    assert known.holds(200, 50)
    known.learn_all()
    assert known.holds(0, 250)
    known.forget(249, 1)
    assert not known.holds(200, 1)
    assert known.holds(0, 200)


def machine_with(profile, *, written=(), target=(), **options):
    machine = Machine(profile)
    drive = machine.add_disk("drive0", SIZE, node_name="node0")
    for cluster in written:
        drive.write(cluster * CLUSTER, b"s" * CLUSTER)
    machine.images.create("t.qcow2", "qcow2", SIZE)
    file = {"driver": "file", "filename": "t.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": file, **options})
    user = machine.anonymous_drive()
    user.insert(machine.graph.nodes["t"])
    for offset, data in target:
        user.write(offset, data)
    user.eject()
    return machine


def mirrored(machine, **more):
    """``len`` of the job when it is ready."""
    machine.qmp("blockdev-mirror", device="drive0", target="t", sync="full", job_id="m", **more)
    machine.run_until_idle()
    (ready,) = [event for event in machine.events.read(0) if event["event"] == "BLOCK_JOB_READY"]
    return ready["data"]["len"]


@pytest.mark.parametrize(("profile", "length"), [("11.1", 2 * CLUSTER), ("10.0", SIZE), ("7.2", SIZE)])
def test_only_what_the_source_has_is_copied_to_a_target_that_is_all_zeroes(profile, length):
    machine = machine_with(profile, written=(1, 3))
    assert mirrored(machine) == length
    node = machine.graph.nodes["t"]
    assert node.read(0, SIZE) == machine.graph.nodes["node0"].read(0, SIZE)
    assert node.status(5 * CLUSTER, CLUSTER).allocated == (profile != "11.1")


def test_a_target_that_is_not_gets_all():
    machine = machine_with("11.1", written=(1,), target=[(5 * CLUSTER, b"t" * CLUSTER)])
    assert mirrored(machine) == SIZE
    assert machine.graph.nodes["t"].read(0, SIZE) == machine.graph.nodes["node0"].read(0, SIZE)


def test_a_client_may_say_that_it_is_and_be_wrong():
    machine = machine_with("11.1", written=(1,), target=[(5 * CLUSTER, b"t" * CLUSTER)])
    assert mirrored(machine, target_is_zero=True) == CLUSTER
    assert machine.graph.nodes["t"].read(5 * CLUSTER, CLUSTER) == b"t" * CLUSTER


def test_who_wants_zeroes_to_be_unmapped_gets_all_of_them():
    machine = machine_with("11.1", written=(1,), discard="unmap", **{"detect-zeroes": "unmap"})
    assert mirrored(machine) == SIZE


@pytest.mark.parametrize(
    ("written", "zero"),
    [
        ([], True),
        ([(0, b"\0" * CLUSTER)], True),
        ([(0, b"\0" * MAXIMUM_CHECKED)], True),
        ([(0, b"\0" * (MAXIMUM_CHECKED + CLUSTER))], False),
        ([(2 * CLUSTER, b"\0" * CLUSTER)], False),
        ([(0, b"\0" * (CLUSTER - 1) + b"x")], False),
    ],
)
def test_zeroes_that_were_written_are_found_at_the_beginning_only(written, zero):
    assert is_all_zeroes(machine_with("11.1", target=written).graph.nodes["t"]) is zero


@pytest.mark.parametrize("zeroes", [True, False])
def test_null_co_is_all_zeroes_if_it_says_so(zeroes):
    machine = Machine("11.1")
    node = machine.add_node({"driver": "null-co", "node-name": "n", "size": SIZE, "read-zeroes": zeroes})
    assert is_all_zeroes(node) is zeroes


@pytest.mark.parametrize(("profile", "status"), [("10.0", "running"), ("11.1", "ready")])
def test_zeroes_that_need_not_be_written_do_not_count_for_the_speed(profile, status):
    machine = machine_with(profile)
    machine.drive("drive0").write_zeroes(CLUSTER, 2 * CLUSTER)
    machine.qmp("blockdev-mirror", device="drive0", target="t", sync="full", job_id="m", speed=1)
    machine.run_until_idle()
    assert machine.qmp("query-block-jobs")[0]["status"] == status
