"""Guests while a job that has done its work waits for ``job-finalize``; as measured on QEMU 7.2, 10.0 and 11.1."""

from __future__ import annotations

import copy

import pytest

from qbitsim.block.waiting import DrainedError
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER
RELEASES = ("7.2", "10.0", "11.1")
REFUSAL = (
    "qbitsim does not wait for ever: '{}' is drained until {} job 'j' is finalized or cancelled, "
    "and requests to it wait"
)


def qcow2(filename, node_name, backing=None):
    options = {"driver": "qcow2", "node-name": node_name, "file": {"driver": "file", "filename": filename}}
    return options if backing is None else {**options, "backing": backing}


def made(release="10.0"):
    """``drive0`` on ``top`` on ``mid`` on ``base``, and a node ``t``."""
    machine = Machine(release)
    for name in ("base", "t"):
        machine.images.create(f"{name}.qcow2", "qcow2", SIZE)
    machine.images.create("mid.qcow2", "qcow2", SIZE, backing="base.qcow2")
    machine.images.create("top.qcow2", "qcow2", SIZE, backing="mid.qcow2")
    machine.add_node(qcow2("t.qcow2", "t"))
    machine.add_node(qcow2("base.qcow2", "base"))
    machine.add_node(qcow2("mid.qcow2", "mid", "base"))
    machine.add_node(qcow2("top.qcow2", "top", "mid") | {"discard": "unmap"})
    machine.add_drive("drive0", machine.graph.nodes["top"])
    machine.drive("drive0").write(0, b"s" * CLUSTER)
    return machine


JOBS = {
    "mirror": ("blockdev-mirror", {"device": "drive0", "target": "t", "sync": "full"}),
    "active commit": ("block-commit", {"device": "drive0"}),
    "commit": ("block-commit", {"device": "drive0", "top_node": "mid", "base_node": "base"}),
    "backup": ("blockdev-backup", {"device": "drive0", "target": "t", "sync": "full"}),
    "stream": ("block-stream", {"device": "drive0"}),
}


def pending(machine, kind="mirror", *, end="job-complete"):
    """Let a job come to where it waits for ``job-finalize``."""
    command, arguments = JOBS[kind]
    machine.qmp(command, **arguments, job_id="j", auto_finalize=False)
    machine.run_until_idle()
    if kind in ("mirror", "active commit"):
        machine.qmp(end, **({"id": "j"} if end == "job-complete" else {"device": "j"}))
        machine.run_until_idle()
    assert [job["status"] for job in machine.qmp("query-jobs")] == ["pending"]
    return machine


def qemu_io(machine, device, command):
    """What qemu-io answers and prints."""
    return machine.qmp("human-monitor-command", command_line=f'qemu-io {device} "{command}"'), machine.take_stdout()


REQUESTS = {
    "read": lambda drive: drive.read(0, 512),
    "write": lambda drive: drive.write(0, b"g" * 512),
    "write zeroes": lambda drive: drive.write_zeroes(0, 512),
    "discard": lambda drive: drive.discard(0, 512),
    "flush": lambda drive: drive.flush(),
    "empty": lambda drive: drive.read(0, 0),
    "out of range": lambda drive: drive.write(SIZE, b"g"),
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_to_the_source_of_a_finished_mirror_is_refused_by_name(release, request_):
    machine = pending(made(release))
    before = machine.state()
    with pytest.raises(DrainedError) as refusal:
        request_(machine.drive("drive0"))
    assert refusal.value.desc == REFUSAL.format("drive0", "mirror")
    assert machine.state() == before


@pytest.mark.parametrize("kind", ["commit", "backup", "stream"])
@pytest.mark.parametrize("release", RELEASES)
def test_other_jobs_leave_nothing_drained(release, kind):
    machine = pending(made(release), kind)
    machine.drive("drive0").write(0, b"g" * CLUSTER)
    assert machine.drive("drive0").read(0, 1) == b"g"
    machine.drive("drive0").flush()


@pytest.mark.parametrize("node", ["drive0", "top"])
@pytest.mark.parametrize("kind", ["mirror", "active commit"])
@pytest.mark.parametrize("release", RELEASES)
def test_qemu_io_waits_on_the_source_and_on_nothing_else(release, kind, node):
    machine = pending(made(release), kind)
    with pytest.raises(DrainedError):
        qemu_io(machine, node, "read 0 64k")
    for other in ("mid", "base", "t"):
        assert qemu_io(machine, other, "read -q 0 64k") == ("", "")


def test_the_refusal_names_the_job_of_a_node_that_is_asked_for_by_name():
    machine = pending(made(), "active commit")
    with pytest.raises(DrainedError) as refusal:
        qemu_io(machine, "top", "read 0 64k")
    assert refusal.value.desc == REFUSAL.format("top", "commit")


@pytest.mark.parametrize("end", ["job-finalize", "job-cancel"])
def test_after_the_end_of_the_job_the_guest_goes_on(end):
    machine = pending(made())
    machine.qmp(end, id="j")
    machine.drive("drive0").write(0, b"g" * CLUSTER)
    assert machine.drive("drive0").read(0, 1) == b"g"


def test_a_mirror_that_was_cancelled_when_ready_keeps_its_source_drained_too():
    machine = pending(made(), end="block-job-cancel")
    with pytest.raises(DrainedError):
        machine.drive("drive0").flush()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("alloc 0 64k", ("", "65536/65536 bytes allocated at offset 0 bytes\n")),
        ("length", ("", "1 MiB\n")),
        ("aio_flush", ("", "")),
        ("write -P 300 0 64k", ("", "300 is not a valid pattern byte\n")),
    ],
)
def test_what_asks_nothing_of_the_disk_does_not_wait(command, answer):
    assert qemu_io(pending(made()), "drive0", command) == answer


@pytest.mark.parametrize("command", ["write 0 64k", "aio_write 0 64k"])
def test_a_write_that_is_not_permitted_is_refused_without_waiting(command):
    machine = made()
    machine.images.create("cd.qcow2", "qcow2", SIZE)
    machine.add_node(qcow2("cd.qcow2", "cd") | {"read-only": True})
    machine.qmp("blockdev-mirror", device="cd", target="t", sync="full", job_id="j", auto_finalize=False)
    machine.run_until_idle()
    machine.qmp("job-complete", id="j")
    machine.run_until_idle()
    assert machine.graph.nodes["cd"].quiesce
    assert qemu_io(machine, "cd", command) == ("Block node is read-only\r\n", "")


@pytest.mark.parametrize("release", RELEASES)
def test_asynchronous_requests_are_answered_at_once_and_made_in_order_at_the_end(release):
    machine = pending(made(release))
    machine.qmp("block-dirty-bitmap-add", node="t", name="b")
    for command in ("aio_write -q -P 1 0 64k", "aio_write -P 2 0 128k", "aio_read -P 2 0 64k", "aio_write -P 3 0 64k"):
        assert qemu_io(machine, "drive0", command) == ("", "")
    assert qemu_io(machine, "drive0", "aio_write 1M 64k") == ("", "")
    machine.advance(0.5)
    machine.qmp("job-finalize", id="j")
    assert machine.take_stdout() == (
        "wrote 131072/131072 bytes at offset 0\n128 KiB, 1 ops; 00.50 sec (256 KiB/sec and 2.0000 ops/sec)\n"
        "read 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.50 sec (128 KiB/sec and 2.0000 ops/sec)\n"
        "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.50 sec (128 KiB/sec and 2.0000 ops/sec)\n"
        "aio_write failed: Input/output error\n"
    )
    assert machine.drive("drive0").node.name == "t"
    assert machine.drive("drive0").read(0, 2 * CLUSTER) == b"\3" * CLUSTER + b"\2" * CLUSTER
    assert machine.graph.nodes["t"].bitmaps[0].count == 2 * CLUSTER


def test_asynchronous_requests_go_to_the_source_if_the_job_is_cancelled():
    machine = pending(made())
    qemu_io(machine, "drive0", "aio_write -P 9 0 64k")
    machine.qmp("job-cancel", id="j")
    assert machine.take_stdout().startswith("wrote 65536/65536 bytes at offset 0\n")
    assert machine.drive("drive0").node.name == "top"
    assert machine.drive("drive0").read(0, 1) == b"\x09"


def test_an_asynchronous_write_of_zeroes_reports_the_clock_itself():
    machine = pending(made())
    machine.advance(1)
    qemu_io(machine, "drive0", "aio_write -z 0 64k")
    machine.advance(1)
    machine.qmp("job-finalize", id="j")
    assert machine.take_stdout().splitlines()[1] == "64 KiB, 1 ops; 0:00:02.00 (32 KiB/sec and 0.5000 ops/sec)"


def test_an_asynchronous_request_to_a_node_by_name_finds_no_medium():
    machine = pending(made())
    assert qemu_io(machine, "top", "aio_read 0 64k") == ("", "readv failed: No medium found\n")


def test_at_quit_asynchronous_requests_find_no_medium():
    machine = pending(made())
    qemu_io(machine, "drive0", "aio_write -P 9 0 64k")
    machine.qmp("quit")
    assert machine.take_stdout() == "aio_write failed: No medium found\n"


@pytest.mark.parametrize("tree", ["memory"], indirect=True)  # a machine on files cannot be copied
def test_a_copy_of_the_machine_has_the_request_too():
    machine = pending(made())
    qemu_io(machine, "drive0", "aio_write -P 9 0 64k")
    other = copy.deepcopy(machine)
    machine.qmp("job-cancel", id="j")
    other.qmp("job-finalize", id="j")
    assert [each.drive("drive0").read(0, 1) for each in (machine, other)] == [b"\x09", b"\x09"]
    assert [each.drive("drive0").node.name for each in (machine, other)] == ["top", "t"]


def test_a_guest_that_writes_by_itself_waits_and_goes_on():
    machine = pending(made())
    guest = machine.guest_writes("drive0", [(0, CLUSTER), (CLUSTER, CLUSTER)])
    machine.run_until_idle()
    assert (guest.done, guest.failures) == (0, [])
    machine.qmp("job-finalize", id="j")
    machine.run_until_idle()
    assert (guest.done, guest.failures) == (2, [])
    assert machine.drive("drive0").read(0, 1) == b"\1"


def test_a_guest_that_is_stopped_while_it_waits_stays_so():
    machine = pending(made())
    guest = machine.guest_writes("drive0", [(0, CLUSTER)])
    machine.run_until_idle()
    guest.stop()
    machine.qmp("job-finalize", id="j")
    machine.run_until_idle()
    assert guest.done == 0


@pytest.mark.parametrize("release", RELEASES)
def test_commands_that_make_no_guest_request_go_on(release):
    machine = pending(made(release))
    for command, arguments in (
        ("stop", {}),
        ("cont", {}),
        ("query-block", {}),
        ("query-blockstats", {}),
        ("block-dirty-bitmap-add", {"node": "top", "name": "b", "persistent": True}),
        ("human-monitor-command", {"command_line": "info block"}),
    ):
        machine.qmp(command, **arguments)
    with pytest.raises(QmpError, match=r"^Node 'drive0' is busy: block device is in use by block job: mirror$"):
        machine.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file="ov.qcow2")
    machine.qmp("job-finalize", id="j")
    assert machine.qmp("query-jobs") == []
