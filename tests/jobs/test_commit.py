"""block-commit of layers and of the active one; as measured on QEMU 10.0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim import HostImageStore
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER


def chain(profile="10.0", *, base=(), middle=(), top=()):
    """base <- mid <- top, with clusters written in each."""
    machine = Machine(profile)
    machine.images.create("base.qcow2", "qcow2", SIZE)
    below = None
    for name, clusters in (("base", base), ("mid", middle), ("top", top)):
        if below:
            machine.images.create(f"{name}.qcow2", "qcow2", SIZE, backing=f"{below}.qcow2", backing_format="qcow2")
        for cluster in clusters:
            machine.images.lookup(f"{name}.qcow2").write(cluster * CLUSTER, name[:1].encode() * CLUSTER)
        below = name
    backing = {"node-name": "mid", "backing": {"node-name": "base"}}
    machine.add_drive("drive0", machine.open_file("top.qcow2", {"node-name": "node0", "backing": backing}))
    return machine


def counts(machine, name):
    for info in machine.qmp("query-named-block-nodes"):
        if info["node-name"] == name:
            return [bitmap["count"] for bitmap in info.get("dirty-bitmaps", []) if "name" in bitmap]
    return None


def test_a_layer_is_written_into_the_base_and_marks_its_bitmap():
    machine = chain(base=(0,), middle=(1, 2), top=(2,))
    expected = machine.images.read_chain("top.qcow2", 0, SIZE)
    machine.qmp("block-dirty-bitmap-add", node="base", name="b")
    machine.qmp("block-commit", device="drive0", top_node="mid", base_node="base", job_id="c")
    machine.run_until_idle()
    assert machine.images.lookup("top.qcow2").backing == "base.qcow2"
    assert machine.images.read_chain("top.qcow2", 0, SIZE) == expected
    assert counts(machine, "base") == [2 * CLUSTER]
    assert "mid" not in machine.graph.nodes
    assert machine.graph.nodes["base"].read_only


@pytest.mark.parametrize("profile", ["10.0", "11.1"])
def test_an_active_commit_leaves_the_base_what_it_has_and_zeroes_what_is_zero_above(profile):
    machine = chain(profile, base=(4, 5))
    machine.images.lookup("mid.qcow2").write_zeroes(5 * CLUSTER, CLUSTER)
    machine.qmp("block-commit", device="drive0", job_id="c")
    machine.run_until_idle()
    machine.qmp("job-complete", id="c")
    machine.run_until_idle()
    assert machine.drive("drive0").read(4 * CLUSTER, 2 * CLUSTER) == b"b" * CLUSTER + bytes(CLUSTER)


def test_an_active_commit_leaves_the_base_without_the_backing_file_that_its_header_names():
    machine = Machine()
    for name, below in (("bottom", None), ("base", "bottom"), ("top", "base")):
        machine.images.create(name, "qcow2", SIZE, backing=below, backing_format=below and "qcow2")
    machine.images.lookup("bottom").write(0, b"b" * SIZE)
    backing = {"driver": "qcow2", "node-name": "base", "backing": None, "file": {"driver": "file", "filename": "base"}}
    machine.add_drive("drive0", machine.open_file("top", {"node-name": "top", "backing": backing}))
    machine.qmp("block-commit", device="drive0", job_id="c")
    machine.run_until_idle()
    machine.qmp("job-complete", id="c")
    machine.run_until_idle()
    (inserted,) = [drive["inserted"] for drive in machine.qmp("query-block")]
    assert (inserted["node-name"], inserted["backing_file_depth"]) == ("base", 0)
    assert machine.drive("drive0").read(0, SIZE) == bytes(SIZE)


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_an_active_commit_frees_what_is_zero_above(profile):
    machine = chain(profile, base=(4, 5))
    base = machine.images.lookup("base.qcow2")
    machine.images.lookup("mid.qcow2").write_zeroes(5 * CLUSTER, CLUSTER)
    machine.qmp("block-commit", device="drive0", job_id="c")
    machine.run_until_idle()
    assert [base.host_offset(cluster * CLUSTER) is None for cluster in (4, 5)] == [False, True]


@pytest.mark.parametrize(("profile", "frees"), [("7.2", False), ("10.0", True), ("11.1", True)])
def test_a_commit_frees_what_is_zero_above_since_10_0(profile, frees):
    machine = chain(profile, base=(4, 5))
    base = machine.images.lookup("base.qcow2")
    places = [base.host_offset(cluster * CLUSTER) for cluster in (4, 5)]
    machine.images.lookup("mid.qcow2").write_zeroes(5 * CLUSTER, CLUSTER)
    machine.qmp("block-commit", device="drive0", top_node="mid", base_node="base", job_id="c")
    machine.run_until_idle()
    assert machine.drive("drive0").read(4 * CLUSTER, 2 * CLUSTER) == b"b" * CLUSTER + bytes(CLUSTER)
    assert [base.host_offset(cluster * CLUSTER) for cluster in (4, 5)] == [places[0], None if frees else places[1]]


def test_an_active_commit_is_ready_until_it_is_completed():
    machine = chain(middle=(1,), top=(2,))
    expected = bytearray(machine.images.read_chain("top.qcow2", 0, SIZE))
    machine.qmp("block-commit", device="drive0", job_id="c")
    machine.run_until_idle()
    job = machine.qmp("query-block-jobs")[0]
    assert (job["type"], job["status"], job["len"], job["offset"]) == ("commit", "ready", 2 * CLUSTER, 2 * CLUSTER)
    machine.drive("drive0").write(3 * CLUSTER, b"g" * CLUSTER)
    expected[3 * CLUSTER : 4 * CLUSTER] = b"g" * CLUSTER
    machine.run_until_idle()
    machine.qmp("job-complete", id="c")
    machine.run_until_idle()
    assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "base"
    assert machine.drive("drive0").read(0, SIZE) == bytes(expected)
    assert not machine.graph.nodes["base"].read_only


def test_a_soft_cancel_keeps_the_chain_and_a_forced_one_too():
    for forced in (False, True):
        machine = chain(middle=(1,), top=(2,))
        machine.qmp("block-commit", device="drive0", job_id="c")
        machine.run_until_idle()
        machine.qmp("block-job-cancel", device="c", force=forced)
        machine.run_until_idle()
        last = [event["event"] for event in machine.events.read(0) if event["event"].startswith("BLOCK_JOB")][-1]
        assert last == ("BLOCK_JOB_CANCELLED" if forced else "BLOCK_JOB_COMPLETED")
        assert machine.qmp("query-block")[0]["inserted"]["node-name"] == "node0"
        assert machine.graph.nodes["base"].read_only is forced


def test_refusals():
    machine = chain()
    before = machine.qmp("query-named-block-nodes")

    def refusal(**arguments):
        with pytest.raises(QmpError) as caught:
            machine.qmp("block-commit", **{"device": "drive0", **arguments})
        assert machine.qmp("query-named-block-nodes") == before
        assert machine.qmp("query-jobs") == []
        return caught.value.error_class, caught.value.desc

    generic = "GenericError"
    assert refusal(device="zz") == ("DeviceNotFound", "Device 'zz' not found")
    assert refusal(device="mid") == (generic, "Need a root block node")
    assert refusal(top="x", top_node="mid") == (generic, "'top-node' and 'top' are mutually exclusive")
    assert refusal(top="x") == (generic, "Top image file x not found")
    assert refusal(base="x") == (generic, "Can't find 'x' in the backing chain")
    assert refusal(base_node="node0") == (generic, "cannot commit an image into itself")
    assert refusal(backing_file="x") == (generic, "'backing-file' specified, but 'top' is the active layer")
    assert refusal(speed=-1) == (generic, "Parameter 'speed' expects a non-negative value")
    assert refusal(top_node="mid", filter_node_name="mid") == (generic, "Duplicate nodes with node-name='mid'")


@pytest.mark.parametrize(("profile", "read_only"), [("7.2", False), ("10.0", True)])
def test_a_cancelled_commit_of_the_active_layer_leaves_the_base_as_it_was_since_9_1(profile, read_only):
    machine = chain(profile, top=(1,))
    machine.qmp("block-commit", device="drive0", job_id="c")
    machine.run_until_idle()
    machine.qmp("block-job-cancel", device="c", force=True)
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    assert [node["ro"] for node in machine.qmp("query-named-block-nodes") if node["node-name"] == "base"] == [read_only]


@given(st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)), st.booleans())
def test_committing_never_changes_what_the_disk_reads_as(middle, top, writes, active):
    machine = chain(middle=middle, top=top)
    drive = machine.drive("drive0")
    expected = bytearray(machine.images.read_chain("top.qcow2", 0, SIZE))
    machine.qmp("block-commit", device="drive0", job_id="c", **({} if active else {"top_node": "mid"}))
    for cluster in sorted(writes):
        machine.step()
        drive.write(cluster * CLUSTER, b"g" * CLUSTER)
        expected[cluster * CLUSTER : (cluster + 1) * CLUSTER] = b"g" * CLUSTER
    machine.run_until_idle()
    if active:
        machine.qmp("job-complete", id="c")
        machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    assert drive.read(0, SIZE) == bytes(expected)


def test_a_base_is_made_writable_with_all_that_is_below_it():
    machine = Machine()
    machine.images.create("base.raw", "raw", 1 << 20)
    machine.images.create("mid.qcow2", "qcow2", 1 << 20).write(0, b"m" * 65536)
    machine.images.create("top.qcow2", "qcow2", 1 << 20)
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g"})
    file = {"driver": "throttle", "throttle-group": "g", "file": {"driver": "file", "filename": "base.raw"}}
    base = {"driver": "raw", "node-name": "base", "file": file}
    middle = {"driver": "qcow2", "node-name": "mid", "file": {"driver": "file", "filename": "mid.qcow2"}}
    top = {"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": "top.qcow2"}}
    machine.add_node({**top, "backing": {**middle, "backing": base}})
    machine.qmp("block-commit", device="top", top_node="mid", base_node="base", job_id="c")
    machine.run_until_idle()
    assert machine.graph.nodes["base"].read(0, 65537) == b"m" * 65536 + b"\0"
    assert machine.graph.nodes["base"].read_only


@pytest.mark.parametrize(("profile", "length"), [("7.2", 6 * CLUSTER), ("10.0", 5 * CLUSTER), ("11.1", 5 * CLUSTER)])
def test_a_commit_keeps_zeroes_as_zeroes_since_10_0(profile, length):
    machine = chain(profile)
    machine.images.lookup("mid.qcow2").write_zeroes(CLUSTER, CLUSTER)
    machine.qmp("block-commit", device="drive0", top_node="mid", base_node="base", job_id="c")
    machine.run_until_idle()
    assert machine.graph.nodes["base"].children[0].node.length == length
    assert machine.drive("drive0").read(CLUSTER, CLUSTER) == bytes(CLUSTER)


@pytest.mark.parametrize(("file", "operation"), [("mid.qcow2", "read"), ("base.qcow2", "write")])
def test_a_commit_that_fails_says_how_far_it_was_and_one_that_stops_goes_on_from_there(file, operation):
    machine = chain(middle=range(16))
    machine.inject_error(file, operation, 28, offset=9 * CLUSTER, times=2)
    for on_error, status in (("enospc", "paused"), ("report", None)):
        machine.qmp("block-commit", device="drive0", top_node="mid", job_id="j", on_error=on_error)
        machine.run_until_idle()
        assert [job["status"] for job in machine.qmp("query-jobs")] == [status] * (status is not None)
        if status is not None:
            assert machine.qmp("query-jobs")[0]["current-progress"] == 8 * CLUSTER
            machine.qmp("job-cancel", id="j")
            machine.run_until_idle()
    ends = [each["data"] for each in machine.events.read(0) if each["event"].startswith("BLOCK_JOB_C")]
    common = {"device": "j", "len": SIZE, "offset": 8 * CLUSTER, "speed": 0, "type": "commit"}
    assert ends == [common, {**common, "error": "No space left on device"}]
    errors = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
    assert errors == [{"device": "j", "operation": operation, "action": action} for action in ("stop", "report")]
    assert machine.graph.nodes["node0"].backing.name == "mid"
    machine.qmp("block-commit", device="drive0", top_node="mid", job_id="j", on_error="stop")
    machine.run_until_idle()
    assert machine.graph.nodes["node0"].backing.name == "base"


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
@pytest.mark.parametrize(("top", "length"), [({"top_node": "mid"}, SIZE), ({}, 0)])
def test_a_base_that_cannot_grow_fails_the_job(profile, top, length):
    machine = Machine(profile)
    machine.add_node({"driver": "null-co", "node-name": "base", "size": SIZE // 2, "read-zeroes": True})
    for name, below in (("mid", "base"), ("top", "mid")):
        machine.images.create(name, "qcow2", SIZE)
        file = {"driver": "file", "filename": name}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file, "backing": below})
    machine.qmp("block-commit", device="top", job_id="c", **top)
    machine.run_until_idle()
    (end,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    progress = {"len": length, "offset": 0, "speed": 0}
    assert end == {"device": "c", "type": "commit", "error": "Operation not supported", **progress}
    assert machine.qmp("query-jobs") == []


@pytest.mark.parametrize("top", [{"top_node": "mid"}, {}])
def test_a_layer_without_a_byte_is_committed(top):
    machine = Machine()
    below = {}
    for name in ("base", "mid", "top"):
        machine.images.create(name, "qcow2", 0)
        file = {"driver": "file", "filename": name}
        machine.add_node({"driver": "qcow2", "node-name": name, "file": file, **below})
        below = {"backing": name}
    machine.qmp("block-commit", device="top", job_id="c", **top)
    machine.run_until_idle()
    if not top:
        machine.qmp("job-complete", id="c")
        machine.run_until_idle()
    ends = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert ends == [{"device": "c", "len": 0, "offset": 0, "speed": 0, "type": "commit"}]


def test_all_layers_of_a_commit_are_in_use_until_it_is_over():
    machine, below, names = Machine(), None, ("base", "one", "two", "top")
    for name in names:
        machine.images.create(name, "qcow2", SIZE, backing=below, backing_format=below and "qcow2")
        machine.images.lookup(name).write(0, name.encode() * CLUSTER)
        below = name
    backing = {"node-name": "two", "backing": {"node-name": "one", "backing": {"node-name": "base"}}}
    machine.add_drive("drive0", machine.open_file("top", {"node-name": "top", "backing": backing}))
    machine.qmp("block-commit", device="drive0", top_node="two", job_id="j", auto_finalize=False)
    in_use = ["block device is in use by block job: commit"]
    assert [machine.graph.nodes[name].blockers for name in names] == [in_use] * 4
    assert [machine.graph.nodes[name].read_only for name in names] == [False, True, True, False]
    machine.run_until_idle()
    machine.qmp("job-finalize", id="j")
    assert machine.qmp("query-jobs") == []
    assert [name in machine.graph.nodes for name in names] == [True, False, False, True]
    assert [machine.graph.nodes[name].blockers for name in ("base", "top")] == [[], []]
    assert machine.graph.nodes["base"].read_only


def test_a_commit_whose_request_is_suspended_has_done_nothing_until_it_is_resumed():
    machine, below = Machine(), None
    for name in ("base", "mid", "top"):
        machine.images.create(name, "qcow2", SIZE, backing=below, backing_format=below and "qcow2")
        machine.images.lookup(name).write(0, name.encode() * CLUSTER)
        below = name
    file = {"driver": "blkdebug", "image": {"driver": "file", "filename": "mid"}}
    machine.add_node({"driver": "qcow2", "node-name": "mid", "file": file, "read-only": True})
    machine.add_drive("drive0", machine.open_file("top", {"node-name": "top", "backing": "mid"}))
    machine.graph.nodes["mid"].breakpoints.set("read_aio", "A")
    machine.qmp("block-commit", device="drive0", top_node="mid", job_id="j")
    machine.run_until_idle()
    (job,) = machine.qmp("query-jobs")
    assert (job["status"], job["current-progress"]) == ("running", 0)
    machine.graph.nodes["mid"].breakpoints.remove("A")
    machine.run_until_idle()
    assert (machine.qmp("query-jobs"), machine.graph.nodes["top"].backing.filename) == ([], "base")


def test_a_piece_of_a_layer_takes_its_time_and_one_that_copies_nothing_does_not():
    machine = chain(middle=(0,))
    machine.qmp("block-commit", device="drive0", top_node="mid", base_node="base", job_id="c")
    job = machine.jobs.find("c")
    machine.step()
    assert (job.busy, job.offset) == (True, 0)
    machine.step()
    assert (job.busy, job.offset) == (False, CLUSTER)
    machine.step()
    assert (job.busy, job.offset) == (False, 9 * CLUSTER)


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_what_a_commit_wrote_is_in_the_file_of_the_base_when_it_is_over(profile, tmp_path):
    machine = Machine(profile, images=HostImageStore(tmp_path))
    for name, backing in (("base", None), ("mid", "base"), ("top", "mid")):
        machine.images.create(name, "qcow2", 1 << 20, backing=backing, backing_format=backing and "qcow2")
    for name, cluster in (("base", 0), ("mid", 1)):
        machine.add_node({"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": name}})
        command = f'qemu-io {name} "write -q -P 7 {cluster * CLUSTER} {CLUSTER}"'
        machine.qmp("human-monitor-command", command_line=command)
        machine.qmp("blockdev-del", node_name=name)
    machine.add_disk("drive0", file="top")
    machine.qmp("block-commit", device="drive0", top="mid", base="base")
    machine.run_until_idle()
    found = HostImageStore(tmp_path).read_chain("base", 0, 3 * CLUSTER)
    assert found == b"\7" * 2 * CLUSTER + bytes(CLUSTER)


def test_a_piece_waits_for_a_limit_on_the_base():
    machine = Machine()
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"bps-write": 1 << 20}})
    for name, backing in (("base", None), ("mid", "base"), ("top", "mid")):
        machine.images.create(name, "qcow2", 4 * SIZE, backing=backing, backing_format=backing and "qcow2")
    machine.images.lookup("mid").write(0, b"m" * 4 * SIZE)
    file = {"driver": "throttle", "throttle-group": "g", "file": {"driver": "file", "filename": "base"}}
    machine.add_node({"driver": "qcow2", "node-name": "base", "file": file})
    backing = {"driver": "qcow2", "node-name": "mid", "file": {"driver": "file", "filename": "mid"}, "backing": "base"}
    machine.add_drive("drive0", machine.open_file("top", {"node-name": "top", "backing": backing}))
    machine.qmp("block-commit", device="drive0", top_node="mid", job_id="j")
    machine.until("BLOCK_JOB_COMPLETED")
    # Each MiB but the last is waited for, less the tenth of a second for which a throttle group is never strict.
    assert machine.scheduler.now == 2_900_000_000
