"""drive-mirror and blockdev-mirror; as measured on QEMU 10.0 and 7.2."""

from __future__ import annotations

import copy
from itertools import combinations, compress, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jobs.mirror_dirty import MirrorDirty
from qbitsim.jobs.mirror_target import MirrorTarget
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER


def made(profile="10.0", *, written=()):
    machine = Machine(profile)
    drive = machine.add_disk("drive0", SIZE, node_name="node0")
    for cluster in written:
        drive.write(cluster * CLUSTER, b"s" * CLUSTER)
    machine.images.create("t.qcow2", "qcow2", SIZE)
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t.qcow2"}})
    return machine


def start(machine, **more):
    machine.qmp("blockdev-mirror", **{"device": "drive0", "target": "t", "sync": "full", "job_id": "m", **more})
    machine.run_until_idle()


def job(machine):
    return machine.qmp("query-block-jobs")[0]


def test_a_mirror_becomes_ready_follows_writes_and_pivots():
    machine = made(written=(0, 2))
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b")
    machine.qmp("block-dirty-bitmap-add", node="t", name="tb")
    start(machine)
    assert (job(machine)["status"], job(machine)["len"]) == ("ready", SIZE)
    machine.drive("drive0").write(5 * CLUSTER, b"g" * CLUSTER)
    machine.run_until_idle()
    assert (job(machine)["len"], job(machine)["offset"]) == (SIZE + CLUSTER, SIZE + CLUSTER)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    inserted = machine.qmp("query-block")[0]["inserted"]
    assert inserted["node-name"] == "t"
    assert [bitmap["name"] for bitmap in inserted["dirty-bitmaps"]] == ["tb"]
    assert machine.images.compare("drive0.qcow2", "t.qcow2") is None
    assert "node0" not in machine.graph.nodes


def test_a_created_target_gets_only_what_is_allocated():
    machine = made(written=(3,))
    machine.qmp("drive-mirror", device="drive0", target="new.qcow2", sync="full")
    machine.run_until_idle()
    assert (job(machine)["len"], job(machine)["offset"]) == (CLUSTER, CLUSTER)
    assert machine.images.compare("drive0.qcow2", "new.qcow2") is None


def test_a_pause_of_a_ready_mirror_is_standby_and_it_can_be_completed_there():
    machine = made()
    start(machine)
    machine.qmp("job-pause", id="m")
    assert job(machine)["status"] == "standby"
    machine.qmp("job-complete", id="m")
    assert job(machine)["status"] == "standby"
    machine.qmp("job-resume", id="m")
    machine.run_until_idle()
    assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "t"


@pytest.mark.parametrize("forced", [False, True])
def test_cancelling_a_ready_mirror_keeps_the_source(forced):
    machine = made(written=(1,))
    start(machine)
    machine.qmp("block-job-cancel", device="m", force=forced)
    machine.run_until_idle()
    last = [event["event"] for event in machine.events.read(0) if event["event"].startswith("BLOCK_JOB")][-1]
    assert last == ("BLOCK_JOB_CANCELLED" if forced else "BLOCK_JOB_COMPLETED")
    assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "node0"


def test_write_blocking_copies_at_once():
    machine = made()
    start(machine)
    assert job(machine)["actively-synced"] is False
    machine.qmp("block-job-change", id="m", type="mirror", copy_mode="write-blocking")
    machine.run_until_idle()
    assert job(machine)["actively-synced"] is True
    machine.drive("drive0").write(0, b"g" * CLUSTER)
    assert machine.images.compare("drive0.qcow2", "t.qcow2") is None
    with pytest.raises(QmpError, match="Change to copy mode 'background' is not implemented"):
        machine.qmp("block-job-change", id="m", type="mirror", copy_mode="background")


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
@pytest.mark.parametrize(
    ("policy", "status", "offset", "synced"),
    [("ignore", "ready", CLUSTER, True), ("stop", "standby", 0, False), ("report", None, None, None)],
)
def test_a_write_that_does_not_get_to_the_target_is_copied_later_unless_that_ends_the_job(
    profile, policy, status, offset, synced
):
    machine = made(profile)
    start(machine, sync="none", copy_mode="write-blocking", on_source_error="enospc", on_target_error=policy)
    machine.inject_error("t", "write", 28, once=True)
    machine.drive("drive0").write(0, b"g" * CLUSTER)
    assert (job(machine)["len"], job(machine)["offset"]) == (CLUSTER, 0)
    machine.run_until_idle()
    (error,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
    assert error == {"device": "m", "operation": "write", "action": policy}
    shown = [(each["status"], each["offset"]) for each in machine.qmp("query-block-jobs")]
    assert shown == ([(status, offset)] if status else [])
    assert [each.get("actively-synced") for each in machine.qmp("query-block-jobs")] == (
        [synced if profile == "10.0" else None] if status else []
    )
    assert machine.graph.nodes["t"].read(0, CLUSTER) == (b"g" if offset else b"\0") * CLUSTER


@pytest.mark.parametrize(("profile", "clusters"), [("7.2", 2), ("10.0", 1)])
def test_a_pause_while_something_is_in_flight_lets_one_more_piece_through_before_8_0(profile, clusters):
    machine = made(profile, written=range(16))
    options = {"sync": "full", "speed": 1, "buf_size": CLUSTER, "granularity": CLUSTER}
    machine.qmp("blockdev-mirror", device="drive0", target="t", job_id="m", **options)
    assert in_flight(machine) == [f"m: copy 0+{CLUSTER}"]
    machine.qmp("job-pause", id="m")
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["offset"]) == ("paused", CLUSTER)
    machine.qmp("job-resume", id="m")
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["offset"]) == ("running", clusters * CLUSTER)


@pytest.mark.parametrize("kind", ["write", "write_zeroes"])
def test_write_blocking_completes_what_is_in_flight_of_the_same_place_first(kind):
    machine = made(written=range(16))
    options = {"sync": "full", "copy_mode": "write-blocking", "buf_size": 4 * CLUSTER}
    machine.qmp("blockdev-mirror", device="drive0", target="t", job_id="m", **options)
    while not (ready := machine.scheduler.ready()) or "copy" not in ready[-1].label:
        assert machine.step()
    before = job(machine)["offset"]
    if kind == "write":
        machine.drive("drive0").write(CLUSTER, b"g" * CLUSTER)
    else:
        machine.drive("drive0").write_zeroes(CLUSTER, CLUSTER)
    assert job(machine)["offset"] - before == 5 * CLUSTER
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("ready", *[SIZE + CLUSTER] * 2)
    assert machine.images.compare("drive0.qcow2", "t.qcow2") is None


def test_a_flush_that_fails_stops_the_mirror_until_it_is_resumed_or_ends_it():
    for on_error, expected in (("stop", ["paused"]), ("report", [])):
        machine = made(written=(1,))
        machine.inject_error("t.qcow2", "flush", 28, once=True)
        start(machine, on_target_error=on_error)
        assert [each["status"] for each in machine.qmp("query-jobs")] == expected
        errors = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
        assert errors == [{"device": "m", "operation": "write", "action": on_error}]
        if expected:
            machine.qmp("job-resume", id="m")
            machine.run_until_idle()
            assert (job(machine)["status"], job(machine)["io-status"]) == ("ready", "ok")


@pytest.mark.parametrize("last", [512, CLUSTER - 512])
def test_the_last_chunk_may_be_cut_short_by_the_end_of_the_disk(last):
    machine = Machine()
    size = 3 * CLUSTER + last
    drive = machine.add_disk("drive0", size)
    drive.write(2 * CLUSTER, b"s" * (CLUSTER + last))
    machine.qmp("drive-mirror", device="drive0", target="t", sync="full", job_id="m")
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["offset"]) == ("ready", CLUSTER + last)
    drive.write(size - 1, b"e")
    machine.run_until_idle()
    assert (job(machine)["len"], job(machine)["offset"]) == (CLUSTER + 2 * last, CLUSTER + 2 * last)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert machine.drive("drive0").read(2 * CLUSTER, CLUSTER + last) == b"s" * (CLUSTER + last - 1) + b"e"


@pytest.mark.parametrize(("sync", "backing"), [("top", "base"), ("none", "s"), ("full", None)])
def test_a_new_target_ends_on_what_was_not_copied(sync, backing):
    machine = Machine()
    machine.images.create("base", "qcow2", SIZE).write(0, b"b" * SIZE)
    machine.images.create("s", "qcow2", SIZE, backing="base", backing_format="qcow2").write(CLUSTER, b"top" * CLUSTER)
    machine.add_drive("drive0", machine.open_file("s", {"node-name": "s", "backing": {"node-name": "base"}}))
    before = machine.drive("drive0").read(0, SIZE)
    with machine.graph.kept(machine.graph.nodes["s"]):
        machine.qmp("drive-mirror", device="drive0", target="new", node_name="t", sync=sync, job_id="m")
        machine.run_until_idle()
        assert machine.graph.nodes["t"].backing is None
        machine.qmp("job-complete", id="m")
        machine.run_until_idle()
        assert machine.drive("drive0").node.name == "t"
        below = machine.graph.nodes["t"].backing
        assert (below and below.name) == backing
        assert machine.drive("drive0").read(0, SIZE) == before


@pytest.mark.parametrize("source_is_read_only", [True, False])
def test_a_node_that_takes_the_place_of_another_can_be_written_if_that_could(source_is_read_only):
    machine = Machine()
    for name, read_only in (("s", source_is_read_only), ("t", False)):
        machine.images.create(name, "qcow2", SIZE)
        file = {"driver": "file", "filename": name}
        machine.add_node({"driver": "qcow2", "node-name": name, "read-only": read_only, "file": file})
    machine.add_drive("drive0", machine.graph.nodes["s"])
    start(machine)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert machine.drive("drive0").node.name == "t"
    assert machine.graph.nodes["t"].read_only is source_is_read_only


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
@pytest.mark.parametrize("end", ["job-complete", "job-cancel"])
def test_a_mirror_that_is_over_leaves_no_bitmap(profile, end):
    machine = made(profile, written=(1,))
    start(machine)
    source, target = machine.graph.nodes["node0"], machine.graph.nodes["t"]
    machine.qmp(end, id="m")
    machine.run_until_idle()
    assert (machine.qmp("query-jobs"), source.bitmaps, target.bitmaps) == ([], [], [])


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_a_disk_without_a_byte_is_mirrored(profile):
    machine = Machine(profile)
    for name in ("s", "t"):
        machine.add_node({"driver": "null-co", "node-name": name, "size": 0})
    machine.qmp("blockdev-mirror", device="s", target="t", sync="full", job_id="m")
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("ready", 0, 0)
    ready = [each["event"] for each in machine.events.read(0)].count("BLOCK_JOB_READY")
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert (ready, machine.qmp("query-jobs")) == (1, [])


def test_the_internal_bitmap_is_at_the_filter_or_at_the_source():
    for profile, where in (("10.0", "mirror_top"), ("7.2", "qcow2")):
        machine = made(profile)
        start(machine)
        nodes = machine.qmp("query-named-block-nodes")
        assert [info["drv"] for info in nodes if "dirty-bitmaps" in info] == [where]


def test_different_sizes_fail_the_job_with_a_text():
    machine = made()
    machine.add_node({"driver": "null-co", "node-name": "small", "size": CLUSTER})
    start(machine, target="small")
    completed = machine.events.read(0)[-3]["data"]
    assert completed["error"] == "Source and target image have different sizes"
    assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "node0"


def test_refusals():
    machine = made()
    before = machine.qmp("query-named-block-nodes")

    def refusal(**arguments):
        with pytest.raises(QmpError) as caught:
            start(machine, **arguments)
        assert machine.qmp("query-named-block-nodes") == before
        assert machine.qmp("query-jobs") == []
        return caught.value.desc

    assert refusal(target="node0") == "Can't mirror node into itself"
    assert refusal(sync="incremental") == "Sync mode 'incremental' not supported"
    assert refusal(granularity=100) == "Parameter 'granularity' expects a value in range [512B, 64MB]"
    assert refusal(granularity=1000) == "Parameter 'granularity' expects a power of 2"
    assert refusal(buf_size=-1) == "Invalid parameter 'buf-size'"
    assert refusal(filter_node_name="t") == "Duplicate nodes with node-name='t'"
    assert refusal(replaces="zz") == "Failed to find node with node-name='zz'"
    assert refusal(replaces="t").startswith("Cannot replace 't' by a node mirrored from 'node0'")


def test_two_writes_of_a_guest_wake_a_ready_mirror_once():
    machine = made()
    start(machine)
    for cluster in (3, 8):
        machine.drive("drive0").write(cluster * CLUSTER, b"g")
    assert [task.label for task in machine.scheduler.ready()] == ["m: guest write"]


def in_flight(machine):
    """What the mirror copies at the first moment at which it does."""
    while not (found := [task.label for task in machine.scheduler.ready() if "copy" in task.label]):
        assert machine.step()
    return found


def test_zeroes_need_nothing_of_a_full_buffer():
    machine = made(written=(0, 2, 4))
    for cluster in (1, 3):
        machine.drive("drive0").write_zeroes(cluster * CLUSTER, CLUSTER)
    options = {"sync": "full", "buf_size": 2 * CLUSTER, "granularity": CLUSTER}
    machine.qmp("blockdev-mirror", device="drive0", target="t", job_id="m", **options)
    assert in_flight(machine) == [f"m: copy {cluster * CLUSTER}+{CLUSTER}" for cluster in range(3)]
    assert job(machine)["offset"] == CLUSTER  # the zeroes behind them, whose place in the table is known by now


def test_nothing_is_begun_while_the_buffer_is_full():
    machine = made(written=(0, 1))
    machine.drive("drive0").write_zeroes(2 * CLUSTER, 2 * CLUSTER)
    options = {"sync": "full", "buf_size": 2 * CLUSTER, "granularity": CLUSTER}
    machine.qmp("blockdev-mirror", device="drive0", target="t", job_id="m", **options)
    assert in_flight(machine) == [f"m: copy 0+{2 * CLUSTER}"]


def test_a_write_of_zeroes_that_waits_at_a_breakpoint_is_made_again():
    machine = Machine()
    machine.add_disk("drive0", SIZE + 512)
    machine.images.create("t.qcow2", "qcow2", SIZE + 512).write(SIZE, b"o" * 512)
    file = {"driver": "blkdebug", "image": {"driver": "file", "filename": "t.qcow2"}}
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": file})
    machine.qmp("human-monitor-command", command_line='qemu-io t "break write_aio A"')
    start(machine)
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("running", SIZE + 512, SIZE)
    machine.jobs.jobs[0].stall.release()
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("ready", *[SIZE + 512] * 2)
    assert machine.graph.nodes["t"].read(SIZE, 512) == bytes(512)


def test_data_is_copied_by_the_mebibyte_and_zeroes_all_at_once():
    machine = Machine()
    machine.add_disk("drive0", 4 << 20).write(0, b"s" * (2 << 20))
    machine.drive("drive0").write_zeroes(2 << 20, 2 << 20)
    machine.qmp("drive-mirror", device="drive0", target="t", job_id="m", sync="full")
    assert in_flight(machine) == [f"m: copy {place}" for place in ("0+1048576", "1048576+1048576", "2097152+2097152")]


def test_ten_mebibytes_are_in_flight_at_once_if_nobody_asks_for_more_or_less():
    machine = Machine()
    machine.add_disk("drive0", 12 << 20).write(0, b"s" * (12 << 20))
    machine.qmp("drive-mirror", device="drive0", target="t", job_id="m", sync="full")
    assert in_flight(machine) == [f"m: copy {place << 20}+{1 << 20}" for place in range(10)]


def test_what_the_source_cannot_tell_is_copied(monkeypatch):
    def fail(_node, _offset, _length):
        raise OSError(5, "cannot tell")

    nodes = made(written=(1,)).graph.nodes
    dirty = MirrorDirty(nodes["node0"], nodes["node0"], CLUSTER, SIZE)
    monkeypatch.setattr(type(nodes["node0"]), "_status", fail)
    assert dirty.first_piece(0, SIZE, MirrorTarget(nodes["t"], unmap=True)) == (SIZE, "copy")


def test_what_a_write_brings_to_the_target_at_once_is_what_the_job_has_not_to_copy_anyway():
    """A model of take_write: bytes that were dirty stay so, or lie in chunks that are written whole."""
    machine = Machine()
    machine.add_disk("drive0", 4 * CLUSTER, node_name="node0")
    dirty, quarter = (
        MirrorDirty(machine.graph.nodes["node0"], machine.graph.nodes["node0"], CLUSTER, SIZE),
        CLUSTER // 4,
    )
    for marked in product((False, True), repeat=4):
        for first, last in combinations(range(17), 2):
            dirty.bitmap.bits.clear_all()
            for chunk in compress(range(4), marked):
                dirty.mark(chunk * CLUSTER, 1)
            offset, length = dirty.take_write(first * quarter, (last - first) * quarter)
            whole = range(-(-first // 4), last // 4)
            brought = [place for place in range(first, last) if not marked[place // 4] or place // 4 in whole]
            assert list(range(offset // quarter, (offset + length) // quarter)) == brought
            left = [chunk for chunk in compress(range(4), marked) if chunk not in whole]
            assert list(dirty.bitmap.bits.indices()) == left


def test_the_next_piece_is_in_flight_as_soon_as_one_of_those_before_is_done():
    machine = Machine()
    machine.add_disk("drive0", 12 << 20).write(0, b"s" * (12 << 20))
    machine.qmp("drive-mirror", device="drive0", target="t", job_id="m", sync="full")
    flying = [f"m: copy {place << 20}+{1 << 20}" for place in range(12)]
    for done in range(3):
        assert in_flight(machine) == flying[done : done + 10]
        machine.step()


def test_a_pause_that_is_over_before_all_in_flight_is_done_waits_for_it_all_the_same():
    machine = Machine()
    machine.add_disk("drive0", 12 << 20).write(0, b"s" * (12 << 20))
    machine.qmp("drive-mirror", device="drive0", target="t", job_id="m", sync="full")
    flying = in_flight(machine)
    machine.qmp("job-pause", id="m")
    machine.step()  # it was waiting for one of them, and now comes to a pause point
    machine.qmp("job-resume", id="m")
    for done in range(1, 10):
        assert in_flight(machine) == flying[done:]
        machine.step()
    assert in_flight(machine) == ["m: copy 10485760+1048576", "m: copy 11534336+1048576"]


def test_the_speed_limit_holds_for_a_ready_mirror_once_it_is_told_to_complete():
    machine = made()
    start(machine)
    machine.qmp("block-job-set-speed", device="m", speed=CLUSTER)
    for cluster in (1, 3):
        machine.drive("drive0").write(cluster * CLUSTER, b"g" * CLUSTER)
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["offset"]) == ("ready", SIZE + 2 * CLUSTER)
    machine.advance(10)
    for cluster in (1, 3):
        machine.drive("drive0").write(cluster * CLUSTER, b"h" * CLUSTER)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["offset"]) == ("ready", SIZE + 3 * CLUSTER)
    machine.advance(5)
    assert machine.qmp("query-jobs") == []


def test_a_target_error_stops_the_mirror_until_it_is_resumed():
    machine = made(written=(1,))
    machine.inject_error("t.qcow2", "write", 28, once=True)
    start(machine, on_target_error="enospc")
    seen = job(machine)
    assert (seen["status"], seen["io-status"], seen["offset"]) == ("paused", "nospace", SIZE - CLUSTER)
    machine.qmp("job-resume", id="m")
    machine.run_until_idle()
    assert job(machine)["status"] == "ready"
    assert machine.images.compare("drive0.qcow2", "t.qcow2") is None


@pytest.mark.parametrize("zeroes", [True, False])
@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_a_mirror_between_nodes_that_need_no_io_is_ready_before_the_reply(profile, zeroes):
    machine = Machine(profile)
    for name in ("source", "target"):
        machine.add_node({"driver": "null-co", "node-name": name, "size": SIZE, "read-zeroes": zeroes})
    machine.qmp("blockdev-mirror", device="source", target="target", sync="full", job_id="m")
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("ready", SIZE, SIZE)


def test_the_next_run_begins_where_something_was_dirty_when_the_mirror_came_by():
    machine = made("7.2", written=(8,))
    machine.qmp("drive-mirror", device="drive0", target="new.qcow2", sync="top", job_id="m", speed=1)
    machine.run_until_idle()
    assert job(machine)["offset"] == CLUSTER
    machine.drive("drive0").write(10 * CLUSTER, b"g" * CLUSTER)
    machine.drive("drive0").write(0, b"g" * (3 * CLUSTER))
    machine.qmp("job-pause", id="m")
    machine.qmp("job-resume", id="m")
    machine.run_until_idle()
    assert (job(machine)["offset"], job(machine)["len"]) == (4 * CLUSTER, 5 * CLUSTER)


def test_a_machine_with_a_ready_mirror_can_be_copied(tree):
    machine = made(written=(1,))
    start(machine)
    if tree == "files":
        with pytest.raises(UnsupportedError, match=r"a snapshot of a machine whose images are files of the host$"):
            copy.deepcopy(machine)
        return
    twin = copy.deepcopy(machine)
    twin.qmp("job-complete", id="m")
    twin.run_until_idle()
    assert twin.qmp("query-jobs") == []
    assert job(machine)["status"] == "ready"


@given(
    st.sets(st.integers(0, 15)),
    st.lists(st.tuples(st.integers(0, SIZE - 512), st.integers(512, 3 * CLUSTER), st.booleans()), max_size=8),
    st.sampled_from(["background", "write-blocking"]),
    st.sampled_from([0, 512, 4096, 1 << 20]),
)
def test_a_completed_mirror_reads_like_the_source_did(written, writes, copy_mode, granularity):
    machine = made(written=written)
    drive = machine.drive("drive0")
    machine.qmp(
        "blockdev-mirror",
        device="drive0",
        target="t",
        sync="full",
        job_id="m",
        copy_mode=copy_mode,
        granularity=granularity,
    )
    for offset, length, zero in writes:
        machine.step()
        length = min(length, SIZE - offset)  # noqa: PLW2901
        if zero:
            drive.write_zeroes(offset, length)
        else:
            drive.write(offset, b"g" * length)
    machine.run_until_idle()
    expected = drive.read(0, SIZE)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "t"
    assert drive.read(0, SIZE) == expected


def test_a_target_may_have_a_name_with_a_protocol():
    machine = Machine()
    machine.add_disk("d", 1 << 20)
    machine.images.create("t", "qcow2", 1 << 20)
    machine.qmp("drive-mirror", device="d", target="blkdebug::t", sync="full", mode="existing")
    machine.run_until_idle()
    [job] = machine.qmp("query-block-jobs")
    assert job["ready"]
    target = next(node for node in machine.graph.nodes.values() if node.driver == "blkdebug")
    assert [edge.parent.driver for edge in target.parents] == ["qcow2"]


def test_a_target_that_cannot_fill_up_clusters_yet_gets_whole_ones():
    machine = made(written=(3,))
    machine.qmp("drive-mirror", device="drive0", job_id="m", sync="none", granularity=4096, target="new.qcow2")
    machine.drive("drive0").write(3 * CLUSTER + 8192, b"g" * 8192)
    machine.run_until_idle()
    assert (job(machine)["len"], job(machine)["offset"]) == (CLUSTER, CLUSTER)
    machine.drive("drive0").write(3 * CLUSTER, b"h" * 4096)
    machine.run_until_idle()
    assert (job(machine)["len"], job(machine)["offset"]) == (CLUSTER + 4096, CLUSTER + 4096)
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    expected = b"h" * 4096 + b"s" * 4096 + b"g" * 8192 + b"s" * (CLUSTER - 16384)
    assert machine.drive("drive0").read(3 * CLUSTER, CLUSTER) == expected


def test_write_blocking_leaves_the_dirty_parts_of_chunks_to_the_job():
    machine = made(written=(0, 1, 2, 3))
    options = {"sync": "full", "speed": 1, "copy_mode": "write-blocking", "buf_size": CLUSTER}
    machine.qmp("blockdev-mirror", device="drive0", target="t", job_id="m", **options)
    before = job(machine)["len"], job(machine)["offset"]
    machine.drive("drive0").write(2 * CLUSTER - 512, b"g" * 1024)
    assert (job(machine)["len"], job(machine)["offset"]) == before
    machine.drive("drive0").write(2 * CLUSTER - 512, b"h" * (CLUSTER + 1024))
    assert job(machine)["offset"] == before[1] + CLUSTER
    machine.qmp("block-job-set-speed", device="m", speed=0)
    machine.run_until_idle()
    assert (job(machine)["status"], job(machine)["len"], job(machine)["offset"]) == ("ready", SIZE, SIZE)
    assert machine.graph.nodes["t"].read(0, SIZE) == machine.graph.nodes["node0"].read(0, SIZE)


@pytest.mark.parametrize("discard", ["unmap", "ignore"])
def test_a_new_target_passes_discards_on_if_the_source_does(discard):
    machine = Machine("10.0")
    machine.images.create("s.qcow2", "qcow2", SIZE)
    file = {"driver": "file", "filename": "s.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "s", "discard": discard, "file": file})
    machine.qmp("drive-mirror", device="s", job_id="m", sync="full", target="new.raw", format="raw", node_name="t")
    assert machine.graph.nodes["t"].unmap is (discard == "unmap")


@pytest.mark.parametrize("sync", ["full", "top", "none"])
@pytest.mark.parametrize("completed", [True, False])
def test_an_existing_target_ends_on_the_backing_file_that_its_header_names(sync, completed):
    machine = made(written=(3,))
    machine.images.create("below.qcow2", "qcow2", SIZE)
    machine.images.create("to.qcow2", "qcow2", SIZE, backing="below.qcow2", backing_format="qcow2")
    machine.qmp("drive-mirror", device="drive0", job_id="m", sync=sync, mode="existing", target="to.qcow2")
    machine.run_until_idle()
    target = next(node for node in machine.graph.nodes.values() if node.filename == "to.qcow2" and node.is_format)
    assert target.backing is None
    with machine.graph.kept(target):
        if completed:
            machine.qmp("job-complete", id="m")
        else:
            machine.qmp("block-job-cancel", device="m")
        machine.run_until_idle()
        assert machine.qmp("query-jobs") == []
        assert target.backing.filename == "below.qcow2"
        inserted = machine.qmp("query-block")[0]["inserted"]
        assert inserted["file"] == ("to.qcow2" if completed else "drive0.qcow2")
        assert inserted["backing_file_depth"] == int(completed)


def test_an_existing_target_without_its_backing_file_is_used_all_the_same():
    machine = made(written=(3,))
    machine.images.create("below.qcow2", "qcow2", SIZE)
    machine.images.create("to.qcow2", "qcow2", SIZE, backing="below.qcow2", backing_format="qcow2")
    machine.qmp("drive-mirror", device="drive0", job_id="m", sync="full", mode="existing", target="to.qcow2")
    machine.run_until_idle()
    machine.images.rename("below.qcow2", "away.qcow2")
    complaints = []
    machine.graph.complain = complaints.append
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    [ended] = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert ended["error"] == "Invalid argument"
    assert complaints == ["Could not open backing file: Could not open 'below.qcow2': No such file or directory"]
    assert '"filename": "to.qcow2"' in machine.qmp("query-block")[0]["inserted"]["file"]


def test_a_child_of_a_quorum_that_others_began_to_use_is_not_replaced():
    machine = made()
    for name in ("a", "b"):
        machine.images.create(f"{name}.qcow2", "qcow2", SIZE)
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file})
    machine.add_node({"driver": "quorum", "node-name": "q", "vote-threshold": 1, "children": ["a", "b"]})
    machine.qmp("blockdev-mirror", device="q", target="t", sync="full", job_id="m", replaces="a")
    machine.add_node({"driver": "raw", "node-name": "other", "file": "a", "read-only": True})
    machine.run_until_idle()
    complaints = []
    machine.graph.complain = complaints.append
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    [ended] = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert ended["error"] == "Operation not permitted"
    assert [each.startswith("Can no longer replace 'a' by 't', because it can no") for each in complaints] == [True]


def test_a_child_of_a_quorum_that_others_use_is_not_replaced():
    machine = made()
    for name in ("a", "b"):
        machine.images.create(f"{name}.qcow2", "qcow2", SIZE)
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file})
    machine.add_node({"driver": "quorum", "node-name": "q", "vote-threshold": 1, "children": ["a", "b"]})
    machine.add_node({"driver": "raw", "node-name": "other", "file": "a", "read-only": True})
    arguments = {"device": "q", "target": "t", "sync": "full", "job_id": "m"}
    with pytest.raises(QmpError, match="Cannot replace 'a' by a node mirrored from 'q', because it cannot be guarant"):
        machine.qmp("blockdev-mirror", replaces="a", **arguments)
    machine.qmp("blockdev-mirror", replaces="b", **arguments)
    machine.run_until_idle()
    machine.qmp("job-complete", id="m")
    machine.run_until_idle()
    assert [edge.node.name for edge in machine.graph.nodes["q"].children] == ["a", "t"]


def test_in_7_2_the_source_notes_what_is_written_below_the_filter():
    """Later the filter has the bitmap, and does not see it."""
    for profile, copied in (("7.2", SIZE + CLUSTER), ("10.0", SIZE)):
        machine = made(profile)
        start(machine)
        machine.add_node({"driver": "raw", "node-name": "beside", "file": "node0"})
        said = machine.qmp("human-monitor-command", command_line=f'qemu-io beside "write -q {CLUSTER} {CLUSTER}"')
        machine.run_until_idle()
        assert (said, job(machine)["len"], job(machine)["offset"]) == ("", copied, copied)
        assert [bitmap.count for bitmap in machine.graph.nodes["node0"].bitmaps] == [0] * (profile == "7.2")
        assert (machine.images.compare("drive0.qcow2", "t.qcow2") is None) == (profile == "7.2")


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
def test_what_needs_no_reading_has_its_place_in_the_target_first(profile):
    """The end of the source is a part of a cluster, so that its zeroes are written, before the data in front of it."""
    machine, size = Machine(profile), SIZE - 512
    machine.add_disk("drive0", size, node_name="node0").write(0, b"s" * CLUSTER)
    machine.images.create("t.qcow2", "qcow2", size)
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t.qcow2"}})
    start(machine)
    layout = machine.images.lookup("t.qcow2").layout
    assert [layout.host_offset(place) for place in (0, 15 * CLUSTER)] == [6 * CLUSTER, 5 * CLUSTER]


def is_told_to_complete(machine):
    start(machine)
    machine.qmp("block-job-complete", device="m")


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_what_a_guest_writes_after_it_was_told_to_complete_is_copied(profile):
    machine = made(profile, written=(0,))
    is_told_to_complete(machine)
    machine.drive("drive0").write(5 * CLUSTER + 512, b"g" * 512)
    machine.run_until_idle()
    assert machine.drive("drive0").node.name == "t"
    assert machine.drive("drive0").read(5 * CLUSTER + 512, 512) == b"g" * 512


def test_a_pause_that_comes_when_all_is_done_cannot_be_taken_back():
    machine = made(written=(0,))
    start(machine, auto_finalize=False)
    machine.qmp("block-job-complete", device="m")
    machine.qmp("job-pause", id="m")
    machine.run_until_idle()
    assert machine.qmp("query-jobs")[0]["status"] == "pending"
    with pytest.raises(QmpError, match=r"^Job 'm' in state 'pending' cannot accept command verb 'resume'$"):
        machine.qmp("job-resume", id="m")
    machine.qmp("job-finalize", id="m")
    assert (machine.qmp("query-jobs"), machine.drive("drive0").node.name) == ([], "t")


def test_a_drained_section_waits_for_what_is_copied_because_a_guest_wrote_at_the_end():
    machine = made(written=(0,))
    is_told_to_complete(machine)
    machine.drive("drive0").write(5 * CLUSTER, b"g" * CLUSTER)
    machine.step()
    assert machine.graph.nodes["t"].read(5 * CLUSTER, CLUSTER) == bytes(CLUSTER)
    machine.qmp("transaction", actions=[])
    assert machine.graph.nodes["t"].read(5 * CLUSTER, CLUSTER) == b"g" * CLUSTER
    machine.run_until_idle()
    assert machine.drive("drive0").node.name == "t"


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_what_an_nbd_client_has_in_flight_then_is_copied_too(profile):
    machine = made(profile, written=(0,))
    start(machine)
    machine.export_nbd("drive0", writable=True)
    with machine.connect_nbd("drive0") as client:
        machine.qmp("block-job-complete", device="m")
        client.write(5 * CLUSTER, b"g" * CLUSTER)
    machine.run_until_idle()
    assert machine.drive("drive0").node.name == "t"
    assert machine.drive("drive0").read(5 * CLUSTER, CLUSTER) == b"g" * CLUSTER


def test_a_stop_ends_when_the_flush_of_a_mirror_does():
    machine = made("7.2", written=(0,))
    start(machine, speed=1, sync="top")
    machine.advance(1)
    seen = len(machine.events)
    machine.qmp("stop")
    told = [(event["event"], event.get("data", {}).get("status")) for event in list(machine.events)[seen:]]
    assert told == [
        ("STOP", None),
        ("JOB_STATUS_CHANGE", "paused"),
        ("JOB_STATUS_CHANGE", "running"),
        ("JOB_STATUS_CHANGE", "ready"),
        ("BLOCK_JOB_READY", None),
    ]


@pytest.mark.parametrize("flags", ["", "-u "])
def test_zeroes_of_a_guest_free_no_clusters_of_the_target(flags):
    machine = made("7.2", written=(3,))
    start(machine, copy_mode="write-blocking")
    target = machine.images.lookup("t.qcow2")
    place = target.host_offset(3 * CLUSTER)
    line = f'qemu-io drive0 "write -q -z {flags}{2 * CLUSTER} {4 * CLUSTER}"'
    machine.qmp("human-monitor-command", command_line=line)
    machine.qmp("job-cancel", id="m")
    machine.run_until_idle()
    assert machine.images.compare("drive0.qcow2", "t.qcow2") is None
    assert target.host_offset(3 * CLUSTER) == place
