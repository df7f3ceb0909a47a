"""Requests of guests that nobody waits for wait for limits (block/throttle-groups.c, QEMU 10.0; measured with it)."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine

CLUSTER = 65536


def made(**limits):
    """A machine with a limited drive and a bitmap on it."""
    machine = Machine()
    machine.add_disk("drive0", 16 * CLUSTER)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0")
    limit(machine, **limits)
    return machine


def limit(machine, **limits):
    rates = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0) | limits
    machine.execute("block_set_io_throttle", {"device": "drive0", **rates})


def ask(machine, command, disk="drive0"):
    return machine.qmp("human-monitor-command", command_line=f'qemu-io {disk} "{command}"')


def write_five(machine):
    for index in range(5):
        assert ask(machine, f"aio_write {index * 64}k 64k") == ""


def written(machine):
    """Clusters that the bitmap knows of."""
    return machine.qmp("query-block")[0]["inserted"]["dirty-bitmaps"][0]["count"] // CLUSTER


def test_each_is_made_when_its_turn_comes():
    machine = made(iops_wr=1, iops_wr_max=2)
    write_five(machine)
    assert written(machine) == 3  # as real QEMU has it: the burst is over once it is full
    machine.advance(0.9)
    assert written(machine) == 3
    machine.advance(0.1)
    assert written(machine) == 4
    machine.advance(1)
    assert written(machine) == 5
    last = machine.take_stdout().splitlines()[-2:]
    assert last == [
        "wrote 65536/65536 bytes at offset 262144",
        "64 KiB, 1 ops; 0:00:02.00 (32 KiB/sec and 0.5000 ops/sec)",
    ]


def test_reads_have_limits_of_their_own():
    machine = made(iops_rd=1, iops_wr=1)
    for command in ("aio_write 0 64k", "aio_read 0 64k", "aio_write 64k 64k", "aio_read 64k 64k"):
        ask(machine, command)
    assert machine.take_stdout().count("1 ops") == 2
    machine.advance(1)
    assert machine.take_stdout().count("1 ops; 00.90 sec") == 2


def test_a_throttle_node_holds_them_back_too():
    machine = made()
    machine.qmp("object-add", qom_type="throttle-group", id="group0", limits={"bps-write": CLUSTER})
    machine.qmp(
        "blockdev-add",
        driver="throttle",
        node_name="slow",
        throttle_group="group0",
        file=str(machine.drive("drive0").node.name),
    )
    slow = machine.add_drive("drive1", machine.graph.nodes["slow"])
    for offset in (0, 64):
        ask(machine, f"aio_write {offset}k 64k", slow.id)
    assert written(machine) == 1
    machine.advance(1)
    assert written(machine) == 2


def test_a_request_that_somebody_waits_for_takes_no_time():
    machine = made(iops=1)
    write_five(machine)
    ask(machine, "write 512k 64k")
    machine.drive("drive0").write(10 * CLUSTER, b"x" * CLUSTER)
    assert written(machine) == 3


def test_what_is_out_of_range_is_told_when_its_turn_comes():
    machine = made(iops=1)
    ask(machine, "aio_write 0 64k")
    ask(machine, "aio_write 1M 64k")
    machine.take_stdout()
    machine.advance(1)
    assert machine.take_stdout() == "aio_write failed: Input/output error\n"


@pytest.mark.parametrize(
    "drain",
    [
        lambda machine: ask(machine, "aio_flush"),
        lambda machine: machine.qmp("blockdev-add", driver="raw", node_name="n", file={"driver": "null-co"}),
        limit,
        lambda machine: machine.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file="top"),
    ],
    ids=["aio_flush", "blockdev-add", "no limits", "snapshot"],
)
def test_a_drained_section_waits_for_them(drain):
    machine = made(iops=1)
    top = machine.drive("drive0").node
    write_five(machine)
    drain(machine)
    assert top.bitmaps[0].count == 5 * CLUSTER
    assert machine.clock() == 0
    assert machine.graph.watchers == 0


def test_they_are_made_before_the_disk_is_let_go():
    machine = made(iops=1)
    image = machine.drive("drive0").node.image
    write_five(machine)
    machine.close()
    assert image.content.read(4 * CLUSTER, 1) == b"\xcd"


def test_aio_flush_lets_jobs_pause():
    """As measured with real QEMU 10.0."""
    machine = made()
    machine.add_disk("target", 16 * CLUSTER)
    machine.drive("drive0").write(0, b"x" * 16 * CLUSTER)
    machine.qmp("blockdev-backup", job_id="j", device="drive0", target="target", sync="full", speed=CLUSTER)
    cursor = machine.events.end
    ask(machine, "aio_flush")
    seen = [event["data"].get("status") for event in machine.events.read(cursor)]
    assert seen[:2] == ["paused", "running"]


def test_other_limits_are_waited_for_anew():
    machine = made(iops=1)
    write_five(machine)
    machine.advance(0.5)
    limit(machine, iops=100, iops_max=100)
    machine.run_until_idle()
    assert written(machine) == 5


def test_a_snapshot_has_those_that_wait(tree):
    if tree == "files":
        pytest.skip("a machine on files of the host has no snapshots")
    machine = made(iops=1)
    write_five(machine)
    kept = machine.snapshot()
    for _ in range(2):
        assert written(machine) == 1
        machine.advance(2)
        assert written(machine) == 3
        machine.restore(kept)


def test_a_guest_is_held_back():
    machine = made(iops=1)
    guest = machine.guest_writes("drive0", [(index * CLUSTER, CLUSTER) for index in range(5)])
    machine.run_until_idle()
    assert guest.done == 1
    machine.advance(2)
    assert guest.done == 3
    guest.stop()
    machine.advance(10)
    assert (guest.done, written(machine)) == (3, 3)
