"""Requests that wait at breakpoints of blkdebug (break, resume and remove_break of qemu-io, QEMU 10.0)."""

from __future__ import annotations

import pytest

from qbitsim.errors import UnsupportedError
from qbitsim.files.faults import StalledError
from qbitsim.machine.machine import Machine

MEGABYTE = 1 << 20


def machine_on_blkdebug() -> Machine:
    """A qcow2 disk ``d`` over blkdebug, with data, above a raw one with data elsewhere; and an empty ``t``."""
    machine = Machine()
    machine.images.create("base", "raw", MEGABYTE).write(0, b"b" * MEGABYTE)
    machine.images.create("top", "qcow2", MEGABYTE, backing="base", backing_format="raw")
    machine.images.create("t", "qcow2", MEGABYTE)
    file = {"driver": "blkdebug", "image": {"driver": "file", "filename": "top"}}
    machine.add_node({"driver": "qcow2", "node-name": "n", "file": file, "backing": {"node-name": "b"}})
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t"}})
    machine.add_drive("d", machine.graph.nodes["n"])
    machine.drive("d").write(0, b"t" * 65536)
    return machine


def hmp(machine: Machine, command: str) -> str:
    """What is printed of a command of qemu-io on the drive."""
    machine.qmp("human-monitor-command", command_line=f'qemu-io d "{command}"')
    return machine.take_stdout()


STARTS = {
    "backup": ("blockdev-backup", {"device": "d", "target": "t", "sync": "full"}, "read_aio"),
    "mirror": ("blockdev-mirror", {"device": "d", "target": "t", "sync": "full"}, "read_aio"),
    "stream": ("block-stream", {"device": "d"}, "write_aio"),
    "commit": ("block-commit", {"device": "d"}, "read_aio"),
}

PROGRESS = {"backup": MEGABYTE - 65536, "mirror": MEGABYTE - 65536, "stream": 65536, "commit": 0}
"""Bytes of each that need no such request, or come before it."""


@pytest.mark.parametrize("kind", STARTS)
def test_a_job_waits_until_its_request_is_resumed(kind: str) -> None:
    machine = machine_on_blkdebug()
    before = machine.drive("d").read(0, MEGABYTE)
    command, arguments, event = STARTS[kind]
    assert hmp(machine, f"break {event} A") == ""
    machine.qmp(command, job_id="j", **arguments)
    machine.run_until_idle()
    assert machine.take_stdout() == "blkdebug: Suspended request 'A'\n"
    [job] = machine.qmp("query-jobs")
    assert (job["status"], job["current-progress"]) == ("running", PROGRESS[kind])
    assert hmp(machine, "resume A") == "blkdebug: Resuming request 'A'\n"
    machine.run_until_idle()
    jobs = machine.qmp("query-jobs")
    assert [each["status"] for each in jobs] == (["ready"] if kind in ("mirror", "commit") else [])
    assert machine.drive("d").read(0, MEGABYTE) == before
    assert kind not in ("backup", "mirror") or machine.graph.nodes["t"].read(0, MEGABYTE) == before


@pytest.mark.parametrize("kind", STARTS)
def test_who_would_wait_for_a_suspended_job_is_refused(kind: str) -> None:
    machine = machine_on_blkdebug()
    command, arguments, event = STARTS[kind]
    hmp(machine, f"break {event} A")
    machine.qmp(command, job_id="j", **arguments)
    machine.run_until_idle()
    before = machine.qmp("query-jobs")
    with pytest.raises(StalledError, match="breakpoint 'A'"):
        machine.qmp("blockdev-snapshot-sync", device="d", snapshot_file="s")
    with pytest.raises(StalledError, match="breakpoint 'A'"):
        machine.qmp("transaction", actions=[])
    assert machine.qmp("query-jobs") == before
    hmp(machine, "remove_break A")
    machine.run_until_idle()
    jobs = machine.qmp("query-jobs")
    assert [each["status"] for each in jobs] == (["ready"] if kind in ("mirror", "commit") else [])


def test_an_asynchronous_write_waits_and_a_plain_one_is_refused() -> None:
    machine = machine_on_blkdebug()
    hmp(machine, "break write_aio A")
    assert hmp(machine, "aio_write -P 1 0 64k") == "blkdebug: Suspended request 'A'\n"
    assert machine.drive("d").read(0, 1) == b"t"
    assert hmp(machine, "wait_break A") == ""
    assert hmp(machine, "resume A").splitlines()[1] == "wrote 65536/65536 bytes at offset 0"
    assert machine.drive("d").read(0, 1) == b"\1"
    hmp(machine, "break write_aio B")
    line = 'qemu-io d "write -P 2 0 64k"'
    text = "Error: qbitsim does not wait for ever: a request is stalled by <breakpoint 'B'>; release it first\r\n"
    assert machine.qmp("human-monitor-command", command_line=line) == text
    assert machine.drive("d").read(0, 1) == b"\1"


def test_removing_a_breakpoint_lets_all_requests_of_its_tag_go_on() -> None:
    machine = machine_on_blkdebug()
    hmp(machine, "break write_aio A")
    hmp(machine, "aio_write 0 64k")
    hmp(machine, "break write_aio A")
    assert hmp(machine, "remove_break A").startswith("blkdebug: Resuming request 'A'\nwrote ")
    assert hmp(machine, "aio_write 0 64k").startswith("wrote ")


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("break nosuch A", "Could not set breakpoint: No such file or directory\n"),
        ("resume A", "Could not resume request: No such file or directory\n"),
        ("remove_break A", "Could not remove breakpoint A: No such file or directory\n"),
    ],
)
def test_what_there_is_not_is_said(command: str, printed: str) -> None:
    assert hmp(machine_on_blkdebug(), command) == printed


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("break read_aio A", "Could not set breakpoint: Operation not supported\n"),
        ("resume A", "Could not resume request: Operation not supported\n"),
        ("remove_break A", "Could not remove breakpoint A: Operation not supported\n"),
    ],
)
def test_without_blkdebug_there_are_no_breakpoints(command: str, printed: str) -> None:
    machine = Machine()
    machine.add_disk("d", MEGABYTE)
    assert hmp(machine, command) == printed


@pytest.mark.parametrize("command", ["break l2_load A", "wait_break A"])
def test_what_would_never_come_is_refused_loudly(command: str) -> None:
    with pytest.raises(UnsupportedError):
        hmp(machine_on_blkdebug(), command)


def test_a_flush_comes_to_the_disk_only_if_something_was_written_since_the_last_one() -> None:
    machine = machine_on_blkdebug()
    machine.drive("d").flush()
    hmp(machine, "break flush_to_disk A")
    machine.drive("d").flush()
    machine.drive("d").write(0, b"new")
    with pytest.raises(StalledError, match="breakpoint 'A'"):
        machine.drive("d").flush()
