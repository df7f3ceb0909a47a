"""The stream job; orders, offsets and texts as measured on QEMU 10.0 and 7.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.errors import QmpError
from qbitsim.jobs.loop import set_writable
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER


def chain(profile="10.0", *, base=(), middle=()):
    """base <- mid <- top, with clusters written in base and mid."""
    machine = Machine(profile)
    machine.images.create("base.qcow2", "qcow2", SIZE)
    below = None
    for name, clusters in (("base", base), ("mid", middle), ("top", ())):
        if below:
            machine.images.create(f"{name}.qcow2", "qcow2", SIZE, backing=f"{below}.qcow2", backing_format="qcow2")
        for cluster in clusters:
            machine.images.lookup(f"{name}.qcow2").write(cluster * CLUSTER, name[:1].encode() * CLUSTER)
        below = name
    top = machine.open_file("top.qcow2", {"node-name": "node0", "backing": {"node-name": "mid"}})
    machine.add_drive("drive0", top)
    return machine


def events(machine):
    return [(event["event"], event["data"].get("status")) for event in machine.events.read(0)]


def test_the_whole_chain_is_copied_and_given_up():
    machine = chain(base=(0, 5), middle=(1,))
    expected = machine.images.read_chain("top.qcow2", 0, SIZE)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.qmp("block-stream", device="drive0", job_id="s0")
    assert events(machine) == [("JOB_STATUS_CHANGE", "created"), ("JOB_STATUS_CHANGE", "running")]
    machine.run_until_idle()
    assert events(machine)[2:] == [
        ("JOB_STATUS_CHANGE", "waiting"),
        ("JOB_STATUS_CHANGE", "pending"),
        ("BLOCK_JOB_COMPLETED", None),
        ("JOB_STATUS_CHANGE", "concluded"),
        ("JOB_STATUS_CHANGE", "null"),
    ]
    assert machine.drive("drive0").read(0, SIZE) == expected
    assert machine.images.lookup("top.qcow2").backing is None
    inserted = machine.qmp("query-block")[0]["inserted"]
    assert [bitmap["count"] for bitmap in inserted["dirty-bitmaps"]] == [0]
    assert set(machine.graph.nodes) & {"mid", "node0"} == {"node0"}


def test_a_base_stays_and_is_named_in_the_header():
    machine = chain(base=(0,), middle=(1,))
    machine.qmp("block-stream", device="drive0", base="base.qcow2", backing_file="./base.qcow2")
    machine.run_until_idle()
    image = machine.images.lookup("top.qcow2")
    assert image.backing == "./base.qcow2"
    assert [image.host_offset(cluster * CLUSTER) is not None for cluster in (0, 1)] == [False, True]


def test_streaming_what_is_directly_below_ends_before_the_reply():
    machine = chain()
    machine.qmp("block-stream", device="drive0", base_node="mid", job_id="s0")
    assert machine.qmp("query-jobs") == []
    completed = next(event for event in machine.events.read(0) if event["event"] == "BLOCK_JOB_COMPLETED")
    assert (completed["data"]["len"], completed["data"]["offset"]) == (0, 0)


def test_refusals():
    machine = chain()

    def refusal(**arguments):
        with pytest.raises(QmpError) as caught:
            machine.qmp("block-stream", **{"device": "drive0", **arguments})
        assert machine.qmp("query-jobs") == []
        return caught.value.desc

    assert refusal(device="zz") == "Cannot find device='zz' nor node-name='zz'"
    assert refusal(base="zz") == "Can't find 'zz' in the backing chain"
    assert refusal(base_node="node0") == "Node 'node0' is not a backing image of 'drive0'"
    assert refusal(base="x", base_node="mid") == "'base' and 'base-node' cannot be specified at the same time"
    assert refusal(bottom="mid", base_node="mid") == "'bottom' and 'base-node' cannot be specified at the same time"
    assert refusal(backing_file="x") == "backing file specified, but streaming the entire chain"
    assert refusal(device="mid") == "Invalid job ID ''"
    assert refusal(filter_node_name="mid") == "Could not create node: Duplicate nodes with node-name='mid'"
    assert refusal(speed=-1) == "Parameter 'speed' expects a non-negative value"


@pytest.mark.parametrize(("profile", "offset"), [("10.0", 8), ("7.2", 16)])
def test_a_pause_lets_one_more_piece_through_before_8_0(profile, offset):
    machine = chain(profile, base=range(16))
    machine.qmp("block-stream", device="drive0", job_id="s0", speed=1)
    machine.run_until_idle()
    assert machine.qmp("query-block-jobs")[0]["offset"] == 8 * CLUSTER
    machine.qmp("job-pause", id="s0")
    machine.qmp("job-resume", id="s0")
    machine.run_until_idle()
    jobs = machine.qmp("query-block-jobs")
    assert (jobs[0]["offset"] if jobs else 16 * CLUSTER) == offset * CLUSTER


@pytest.mark.parametrize(("base", "first"), [((), "waiting"), ((0,), "ready")])
def test_a_stream_that_copies_nothing_comes_before_io_that_is_in_flight(base, first):
    """The stream begins when a mirror is flushing its target; as measured on QEMU 7.2."""
    machine = chain("7.2", base=base)
    for cluster in (0, 2):
        machine.drive("drive0").write(cluster * CLUSTER, b"t" * CLUSTER)
    machine.images.create("target", "qcow2", SIZE)
    machine.add_node({"driver": "qcow2", "node-name": "target", "file": {"driver": "file", "filename": "target"}})
    machine.qmp("blockdev-mirror", device="drive0", target="target", sync="top", speed=1)
    machine.run_until_idle()
    machine.qmp("block-stream", device="mid", job_id="s0")
    told = [status for _, status in events(machine)]
    machine.run_until_idle()
    later = [status for _, status in events(machine)[len(told) :]]
    assert next(status for status in later if status in {"waiting", "ready"}) == first


def test_a_job_above_a_layer_that_becomes_writable_pauses_as_often_as_one_elsewhere():
    machine = chain()
    machine.add_disk("drive1", SIZE, node_name="node1")
    for name in ("t0", "t1"):
        machine.images.create(name, "qcow2", SIZE)
        machine.add_node({"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": name}})
    machine.qmp("blockdev-mirror", device="drive0", target="t0", sync="none", job_id="above")
    machine.qmp("blockdev-mirror", device="drive1", target="t1", sync="none", job_id="elsewhere")
    machine.run_until_idle()
    seen = len(machine.events.read(0))
    with pytest.raises(QmpError, match=r"^Could not create node: Duplicate nodes with node-name='node1'$"):
        machine.qmp("block-stream", device="mid", filter_node_name="node1")
    pauses = [each["data"]["id"] for each in machine.events.read(0)[seen:] if each["data"]["status"] == "standby"]
    assert (pauses.count("above"), pauses.count("elsewhere")) == (3, 3)


@given(st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)), st.booleans())
def test_streaming_never_changes_what_the_disk_reads_as(base, middle, writes, to_base):
    machine = chain(base=base, middle=middle)
    drive = machine.drive("drive0")
    expected = bytearray(machine.images.read_chain("top.qcow2", 0, SIZE))
    machine.qmp("block-stream", device="drive0", job_id="s0", **({"base": "base.qcow2"} if to_base else {}))
    for cluster in sorted(writes):
        machine.step()
        drive.write(cluster * CLUSTER, b"g" * CLUSTER)
        expected[cluster * CLUSTER : (cluster + 1) * CLUSTER] = b"g" * CLUSTER
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    assert drive.read(0, SIZE) == bytes(expected)
    assert machine.images.read_chain("top.qcow2", 0, SIZE) == bytes(expected)


def test_a_layer_that_is_reopened_lets_those_below_inherit_that_they_cannot_be_written():
    """The base was made writable by an active commit that was cancelled, and reopened without a word of it since."""
    machine = chain("7.2")
    base = machine.graph.nodes["mid"].backing
    assert base is not None
    set_writable(machine.graph, base, writable=True)
    del base.options["read-only"]
    machine.graph.nodes["mid"].options = {**machine.graph.nodes["mid"].options, "backing": {}}
    with pytest.raises(QmpError, match=r"^Could not create node: Duplicate nodes with node-name='node0'$"):
        machine.qmp("block-stream", device="mid", job_id="j2", filter_node_name="node0")
    assert base.read_only


def long_chain():
    """l0 <- l1 <- l2 <- l3 <- l4, all nodes; l0 is full, l1 and l3 have a cluster each."""
    machine = Machine()
    options = None
    for number in range(5):
        name = f"l{number}"
        below = {"backing": f"l{number - 1}", "backing_format": "qcow2"} if number else {}
        image = machine.images.create(name, "qcow2", SIZE, **below)
        if number == 0:
            image.write(0, b"0" * SIZE)
        elif number % 2:
            image.write(number * CLUSTER, b"%d" % number * CLUSTER)
        options = {"node-name": name, **({"backing": options} if options else {})}
    machine.add_drive("drive0", machine.open_file("l4", options))
    return machine


def own_clusters(machine, name):
    image = machine.images.lookup(name)
    return [cluster for cluster in range(16) if image.host_offset(cluster * CLUSTER) is not None]


def test_a_stream_above_another_one_copies_nothing_below_its_base():
    machine = long_chain()
    for node, bottom in (("l2", "l1"), ("l4", "l3")):
        machine.qmp("block-stream", device=node, job_id=f"s-{node}", bottom=bottom, speed=1)
    for job in ("s-l4", "s-l2"):
        machine.qmp("block-job-set-speed", device=job, speed=0)
    machine.settle()
    assert machine.qmp("query-jobs") == []
    assert [own_clusters(machine, name) for name in ("l1", "l2", "l3", "l4")] == [[1], [1], [3], [3]]


def test_the_header_names_the_format_of_a_base_that_another_stream_filters():
    machine = long_chain()
    machine.qmp("block-stream", device="l2", job_id="below", bottom="l1", speed=1)
    machine.qmp("block-stream", device="l4", job_id="above", bottom="l3")
    machine.run_until_idle()
    image = machine.images.lookup("l4")
    assert (image.backing, image.backing_format) == ("l2", "qcow2")


def test_a_stream_does_not_rely_on_a_filter_that_a_commit_takes_out():
    machine = long_chain()
    machine.qmp("block-commit", device="drive0", top_node="l1", base_node="l0", filter_node_name="f", speed=1)
    with pytest.raises(QmpError, match=r"^Cannot freeze 'backing' link to 'f'$"):
        machine.qmp("block-stream", device="l3", base_node="l1", job_id="s")
    machine.qmp("block-stream", device="l3", base_node="f", job_id="s", speed=1)


def test_a_commit_below_a_stream_is_refused_because_of_the_layer_whose_header_would_change():
    machine = long_chain()
    machine.qmp("block-stream", device="l3", job_id="s", base_node="l1", speed=1)
    with pytest.raises(QmpError, match=r"^Node 'l2' is busy: block device is in use by block job: stream$"):
        machine.qmp("block-commit", device="drive0", top_node="l1", base_node="l0", job_id="c")


def test_a_node_whose_file_is_to_be_read_only_cannot_be_streamed():
    machine = chain(middle=(1,))
    machine.images.create("ro.qcow2", "qcow2", SIZE)
    file = {"driver": "file", "filename": "ro.qcow2", "read-only": True}
    machine.add_node({"driver": "qcow2", "node-name": "ro", "read-only": True, "file": file, "backing": "mid"})
    with pytest.raises(QmpError, match=r"^Block node is read-only$"):
        machine.qmp("block-stream", device="ro", job_id="s")
    assert machine.graph.nodes["ro"].read_only


def test_reading_through_the_filter_copies_what_is_below_and_no_more():
    machine = chain(base=(5,))
    machine.qmp("block-stream", device="drive0", job_id="s", speed=1)
    machine.run_until_idle()
    machine.drive("drive0").read(4 * CLUSTER, 4 * CLUSTER)
    node = machine.graph.nodes["node0"]
    assert [node.layer_status(at * CLUSTER, CLUSTER).allocated for at in (4, 5, 6)] == [False, True, False]


def test_reading_through_the_filter_of_a_stream_of_nothing_copies_from_all_layers_below():
    machine = chain(base=(0,), middle=(1,))
    machine.qmp("block-stream", device="drive0", job_id="s0", base_node="mid", auto_finalize=False)
    machine.run_until_idle()
    assert machine.qmp("query-block-jobs")[0]["len"] == 0
    assert machine.drive("drive0").read(0, 2 * CLUSTER) == b"b" * CLUSTER + b"m" * CLUSTER
    node = machine.graph.nodes["node0"]
    assert [node.layer_status(at * CLUSTER, CLUSTER).allocated for at in (0, 1, 2)] == [True, True, False]


@pytest.mark.parametrize(("exported", "offset"), [(False, 6), (True, 9)])
def test_before_8_0_a_stream_goes_on_while_exports_go_at_the_end(exported, offset):
    """Each pause lets a piece through, and the turn of the main loop in which the export goes one more."""
    machine = chain("7.2", middle=(4, 5))
    for cluster in (6, 8, 11):
        machine.drive("drive0").write(cluster * CLUSTER, b"t" * CLUSTER)
    machine.qmp("block-stream", device="drive0", speed=1)
    machine.run_until_idle()
    if exported:
        machine.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
        machine.qmp("block-export-add", type="nbd", id="e", node_name="node0")
    machine.qmp("quit")
    ends = [event["data"] for event in machine.events.read(0) if event["event"] == "BLOCK_JOB_CANCELLED"]
    assert ends == [{"device": "drive0", "len": SIZE, "offset": offset * CLUSTER, "speed": 1, "type": "stream"}]


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
def test_a_backing_file_with_a_bitmap_that_cannot_be_stored_is_in_the_way_of_a_reopen(profile):
    machine = chain(profile)
    base = machine.graph.nodes["mid"].backing.name
    machine.qmp("block-dirty-bitmap-add", node=base, name="b", persistent=True)
    with pytest.raises(QmpError, match=r"^No write access$"):
        machine.qmp("block-stream", device="mid", job_id="s0")
    assert machine.graph.nodes["mid"].read_only
    assert machine.qmp("query-jobs") == []


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_holes_of_a_plain_file_are_copied_like_its_data(profile):
    machine = Machine(profile)
    machine.images.create("base.raw", "raw", SIZE)
    machine.images.lookup("base.raw").write(0, b"b" * 4096)
    machine.images.create("top.qcow2", "qcow2", SIZE, backing="base.raw", backing_format="raw")
    machine.add_drive("drive0", machine.open_file("top.qcow2", {"node-name": "node0"}))
    machine.qmp("block-stream", device="drive0", job_id="s", speed=1)
    machine.advance(0.001)
    assert machine.qmp("query-block-jobs")[0]["offset"] == 512 * 1024


@pytest.mark.parametrize(("on_error", "offset"), [("report", 8 * CLUSTER), ("ignore", SIZE), ("stop", 8 * CLUSTER)])
def test_a_stream_that_cannot_read_ends_goes_on_or_stops_and_its_result_is_a_failure(on_error, offset):
    machine = chain(base=range(16))
    machine.inject_error("base.qcow2", "read", 28, offset=9 * CLUSTER)
    machine.qmp("block-stream", device="drive0", job_id="j", on_error=on_error)
    machine.run_until_idle()
    errors = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
    assert errors == [{"device": "j", "operation": "read", "action": on_error}]
    common = {"device": "j", "len": SIZE, "offset": offset, "speed": 0, "type": "stream"}
    ends = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    if on_error == "stop":
        (job,) = machine.qmp("query-block-jobs")
        assert (job["status"], job["io-status"], job["offset"]) == ("paused", "nospace", offset)
        assert ends == []
    else:
        assert ends == [{**common, "error": "No space left on device"}]
    assert machine.graph.nodes["node0"].backing.name == "mid"


def test_a_stream_ends_where_the_disk_does_and_not_where_its_backing_file_or_a_piece_ends():
    machine = Machine()
    machine.images.create("base.qcow2", "qcow2", 9 * CLUSTER).write(0, b"b" * 9 * CLUSTER)
    machine.images.create("top.qcow2", "qcow2", 9 * CLUSTER + 512, backing="base.qcow2", backing_format="qcow2")
    machine.add_drive("drive0", machine.open_file("top.qcow2", {"node-name": "node0"}))
    machine.qmp("block-stream", device="drive0", job_id="j")
    (end,) = [machine.until("BLOCK_JOB_COMPLETED")["data"]]
    length = 9 * CLUSTER + 512
    assert end == {"device": "j", "len": length, "offset": length, "speed": 0, "type": "stream"}
    assert machine.drive("drive0").read(0, length) == b"b" * 9 * CLUSTER + bytes(512)


def test_what_could_not_be_read_counts_for_the_speed_limit():
    machine = chain(base=range(16))
    machine.inject_error("base.qcow2", "read", 5, offset=CLUSTER)
    machine.qmp("block-stream", device="drive0", job_id="j", on_error="ignore", speed=1)
    machine.run_until_idle()
    assert machine.qmp("query-block-jobs")[0]["offset"] == 8 * CLUSTER


def test_a_piece_takes_its_time_and_the_job_pauses_only_after_it():
    machine = chain(base=(0,))
    machine.qmp("block-stream", device="drive0", job_id="s0")
    machine.step()
    job = machine.jobs.find("s0")
    assert (job.busy, job.offset) == (True, 0)
    machine.qmp("job-pause", id="s0")
    assert str(job.status) == "running"
    machine.step()
    assert (str(job.status), job.offset) == ("paused", CLUSTER)


def test_a_backup_reads_through_the_filter_of_a_stream_that_came_later():
    machine = chain(base=(0, 5))
    machine.images.create("target.qcow2", "qcow2", SIZE)
    machine.open_file("target.qcow2", {"node-name": "target"})
    machine.qmp("blockdev-backup", device="drive0", target="target", sync="full", speed=1, job_id="b0")
    machine.qmp("block-stream", device="node0", speed=1, job_id="s0")
    machine.run_until_idle()
    assert not machine.graph.nodes["node0"].status(5 * CLUSTER, CLUSTER).allocated
    machine.qmp("block-job-set-speed", device="b0", speed=0)
    machine.run_until_idle()
    assert machine.graph.nodes["node0"].status(5 * CLUSTER, CLUSTER).data


@pytest.mark.parametrize(("speed", "left"), [(1, [("j", 8 * CLUSTER)]), (2, [])])
def test_before_8_0_a_stream_goes_on_at_once_if_it_gets_another_speed_but_not_if_it_gets_its_own(speed, left):
    machine = chain("7.2", base=range(16))
    machine.qmp("block-stream", device="drive0", job_id="j", speed=1)
    machine.run_until_idle()
    machine.qmp("block-job-set-speed", device="j", speed=speed)
    machine.run_until_idle()
    assert [(job["device"], job["offset"]) for job in machine.qmp("query-block-jobs")] == left


def test_a_piece_waits_for_a_limit_on_what_it_is_written_to():
    machine = Machine()
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"bps-write": 1 << 20}})
    machine.images.create("base", "qcow2", 4 * SIZE).write(0, b"b" * 4 * SIZE)
    machine.images.create("top", "qcow2", 4 * SIZE, backing="base", backing_format="qcow2")
    file = {"driver": "throttle", "throttle-group": "g", "file": {"driver": "file", "filename": "top"}}
    machine.add_node({"driver": "qcow2", "node-name": "top", "file": file})
    machine.qmp("block-stream", device="top", job_id="j")
    machine.until("BLOCK_JOB_COMPLETED")
    # Each MiB but the last is waited for, less the tenth of a second for which a throttle group is never strict.
    assert machine.scheduler.now == 2_900_000_000
