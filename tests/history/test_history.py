"""A history tells, for every moment, what the machine was then; and it changes nothing."""

from __future__ import annotations

import errno
import random

import pytest
from deeds import act, make
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Replay, truth

from qbitsim import Machine, QmpError
from qbitsim.history.history import History

KIB = 1024


@settings(max_examples=60, deadline=None)
@given(dice=st.randoms(use_true_random=False), seed=st.integers(0, 9))
def test_the_state_after_every_moment_is_what_the_machine_had_then(dice: random.Random, seed: int) -> None:
    machine = make(seed)
    history = machine.watch()
    replay = Replay(history.lanes)
    for moment in history.moments:
        replay.apply(moment)

    def compare() -> None:
        moment = history.moments[-1]
        replay.apply(moment)
        if moment["kind"] != "step" or "changes" in moment:  # else it is a step that has only begun
            assert replay.shown() == truth(machine)

    history.listener = compare
    for _ in range(40):
        act(machine, dice)
    history.look()
    assert replay.shown() == truth(machine)


@settings(max_examples=40, deadline=None)
@given(rolls=st.integers(0, 1 << 32), seed=st.integers(0, 9))
def test_a_machine_that_is_watched_does_what_it_does_otherwise(rolls: int, seed: int) -> None:
    watched, other = make(seed), make(seed)
    watched.watch()
    one, two = random.Random(rolls), random.Random(rolls)
    for _ in range(40):
        act(watched, one)
        act(other, two)
        assert watched.state() == other.state()


def test_moments_are_told_in_the_order_in_which_they_happened() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    history = machine.watch("a backup")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").write(65536, b"x" * 65536)
    machine.qmp("blockdev-add", driver="null-co", node_name="target", size=1 << 20)
    machine.qmp("blockdev-backup", device="drive0", target="target", sync="incremental", bitmap="b0", job_id="j")
    machine.run_until_idle()
    with pytest.raises(QmpError):
        machine.qmp("block-dirty-bitmap-remove", node="node0", name="nope")
    told = history.to_json()
    assert [(moment["kind"], moment["text"]) for moment in told["moments"]] == [
        ("start", "QEMU 10.0 with drive0"),
        ("request", "block-dirty-bitmap-add node=node0 name=b0"),
        ("reply", "return {}"),
        ("write", "the guest writes 65536 bytes at 65536 of drive0"),
        ("request", "blockdev-add driver=null-co node-name=target size=1048576"),
        ("reply", "return {}"),
        ("request", "blockdev-backup device=drive0 target=target sync=incremental bitmap=b0 job-id=j"),
        *[("event", "JOB_STATUS_CHANGE")] * 4,
        ("reply", "return {}"),
        ("step", "j: copy 65536+65536"),
        *[("event", "JOB_STATUS_CHANGE")] * 2,
        ("event", "BLOCK_JOB_COMPLETED"),
        *[("event", "JOB_STATUS_CHANGE")] * 2,
        ("step", "j: copy 65536+65536: done"),
        ("request", "block-dirty-bitmap-remove node=node0 name=nope"),
        ("error", "Dirty bitmap 'nope' not found"),
    ]
    assert told["moments"][-1]["of"] == len(told["moments"]) - 2
    assert [(lane["kind"], lane["name"]) for lane in told["lanes"] if not lane.get("internal")] == [
        ("disk", "drive0"),
        ("bitmap", "b0"),
        ("successor", "b0"),
        ("job", "j"),
    ]
    assert (told["title"], told["profile"], told["bits"], told["notes"]) == ("a backup", "10.0", True, [])


def test_a_guests_write_that_fails_is_marked() -> None:
    machine = Machine()
    disk = machine.add_disk("drive0", "1M")
    history = machine.watch()
    machine.inject_error("drive0", "write", errno.EIO, 0, 65536)
    with pytest.raises(OSError, match="Input/output error"):
        disk.write(0, b"x")
    fault, write = history.moments[-2:]
    assert (fault["kind"], fault["text"]) == ("fault", "Fault EIO of write/write-zeroes at 0+65536 in drive0")
    assert write == {
        "at": 0,
        "kind": "write",
        "text": "the guest writes 1 bytes at 0 of drive0: Input/output error",
        "data": {"operation": "write", "drive": "drive0", "offset": 0, "length": 1},
        "failed": True,
    }


def test_a_write_through_a_node_is_one_to_the_drive_that_shows_it() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    history = machine.watch()
    machine.qmp("human-monitor-command", command_line='qemu-io node0 "write 0 64k"')
    (write,) = [moment for moment in history.moments if moment["kind"] == "write"]
    assert write["data"] == {"operation": "write", "drive": "drive0", "offset": 0, "length": 65536}
    assert write["changes"] == {"0": {"count": 1, "+": [0, 1]}}


def test_what_the_disk_holds_at_first_is_known() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M").write(3 * 65536, b"x" * 70_000)
    history = machine.watch()
    assert history.moments[0]["changes"] == {"0": {"size": 1 << 20, "count": 2, "+": [3, 2]}}


def test_a_history_goes_on_with_the_machine_that_comes_after() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", persistent=True)
    machine.drive("drive0").write(0, b"x")
    machine.shut_down()
    second = Machine(images=machine.images)
    second.add_disk("drive0", file="drive0.qcow2", node_name="node0")
    history.watch(second)
    assert second.watch() is history
    machine.add_disk("drive1", "1M")  # nobody looks any more
    (bitmap,) = [number for number, lane in enumerate(history.lanes) if lane["kind"] == "bitmap"]
    changes = [moment["changes"] for moment in history.moments if str(bitmap) in moment.get("changes", {})]
    assert [each[str(bitmap)] for each in changes][-2:] == [
        None,
        {"flags": ["persistent"], "size": 1 << 20, "count": 1, "+": [0, 1]},
    ]
    assert [lane["name"] for lane in history.lanes if lane["kind"] == "disk"] == ["drive0"]


def test_a_restart_begins_with_the_machine_as_it_is() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0").write(0, b"x")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").write(65536, b"x")
    history.restart()
    assert history.generation == 1
    (moment,) = history.moments
    assert moment["changes"] == {
        "0": {"size": 1 << 20, "count": 2, "+": [0, 2]},
        "1": {"flags": [], "size": 1 << 20, "count": 1, "+": [1, 1]},
    }


def test_a_bitmap_with_many_runs_is_told_as_heat() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1T", node_name="node0")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", granularity=65536)
    bitmap = machine.drive("drive0").node.find_bitmap("b0")
    for cell in range(0, 1 << 17, 2):
        bitmap.bits.set(cell, cell + 1)
    history.look()
    change = history.moments[-1]["changes"]["1"]
    assert change["count"] == sum(change["heat"]) == 1 << 16
    assert change["heat"] == [8192] * 8 + [0] * 1016
    machine.drive("drive0").write(1 << 30, b"x" * 65536 * 2)
    assert history.moments[-1]["changes"]["1"] == {"count": (1 << 16) + 1, "+": [(1 << 14) + 1, 1]}


def test_many_steps_that_change_little_are_left_out_and_nothing_is_lost() -> None:
    machine = Machine()
    machine.add_disk("drive0", "8G", node_name="node0")
    history = machine.watch()
    machine.qmp("blockdev-add", driver="null-co", node_name="target", size=8 << 30)
    disk = machine.drive("drive0")
    for gibibyte in range(8):
        disk.write_zeroes(gibibyte << 30, 1 << 30)
        for place in range(1024):
            disk.write((gibibyte << 30) + (place << 20), b"x")
    machine.qmp("blockdev-backup", device="drive0", target="target", sync="full", job_id="j")
    before = len(history.moments)
    steps = machine.run_until_idle()
    job = [moment["changes"] for moment in history.moments[before:] if "changes" in moment]
    (number,) = [str(number) for number, lane in enumerate(history.lanes) if lane["kind"] == "job"]
    done = [changes[number]["done"] for changes in job if "done" in (changes.get(number) or {})]
    assert steps > 2000
    assert 256 <= len(done) <= 700
    assert done[-1] == 8 << 30
    assert done == sorted(done)


def test_what_an_nbd_client_asks_is_part_of_it_even_if_nothing_changes():
    machine = Machine()
    disk = machine.add_disk("drive0", "1M")
    disk.write(0, b"x")
    history = History()
    history.watch(machine)
    machine.export_nbd("drive0", writable=True)
    with machine.connect_nbd("drive0", ["base:allocation"]) as client:
        client.extents("base:allocation")
        client.read(0, 512)
        client.write(65536, b"y")
    told = [(moment["kind"], moment["text"]) for moment in history.to_json()["moments"][1:]]
    name = machine.drive("drive0").node.name
    assert told == [
        ("nbd", "NBD block status drive0 0+1048576"),
        ("nbd", "NBD read drive0 0+512"),
        ("nbd", "NBD write drive0 65536+1"),
        ("write", f"an NBD client writes 1 bytes at 65536 of {name}"),
    ]
