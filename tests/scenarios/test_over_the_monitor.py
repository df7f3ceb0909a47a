"""Cookbook: when events and replies come, whose they are, and what happens if they do not come."""

from __future__ import annotations

import pytest
from client import Client
from seen import counts, ends, incremental, refusal

from qbitsim import Machine

CLUSTER = 65536
STARTED = ["JOB_STATUS_CHANGE"] * 4  # created, running, paused, running

ENDED = ["JOB_STATUS_CHANGE"] * 2 + ["BLOCK_JOB_COMPLETED"] + ["JOB_STATUS_CHANGE"] * 2


def test_13_qemu_that_dies_during_a_backup_says_nothing_of_its_end(machine):
    """Source: qmpbackup #18, #29."""
    with machine.serve(pacing="manual") as server, Client(server.path) as client:
        client.ask("drive-backup", **incremental(speed=CLUSTER))
        server.run(lambda machine: machine.advance(1.5))
        server.run(Machine.crash)
        assert client.next() == "end of file"
        assert [event["event"] for event in client.events] == STARTED


def test_13_qemu_that_dies_while_it_answers_leaves_half_a_message(machine):
    """Source: qmpbackup #18, #29."""
    machine.half_reply("query-jobs", after=1)
    with machine.serve(pacing="manual") as server, Client(server.path) as client:
        assert client.ask("query-jobs") == []
        client.send("query-jobs")
        assert client.line() == b'{"return'
        assert client.next() == "end of file"


def test_14_the_end_of_a_foreign_job_is_not_the_end_of_mine(machine):
    """Source: measured (a client that took it for its own reported a success)."""
    machine.limit_capacity("inc0.qcow2", 2 * CLUSTER)
    foreign = machine.foreign_job("somebody-elses")
    machine.qmp("drive-backup", **incremental())
    foreign.finish()
    assert machine.until("BLOCK_JOB_COMPLETED")["data"]["device"] == "somebody-elses"
    assert machine.jobs.find("inc0").status == "running"

    machine.run_until_idle()
    assert ends(machine) == [
        ("BLOCK_JOB_COMPLETED", "somebody-elses", None),
        ("BLOCK_JOB_COMPLETED", "inc0", "No space left on device"),
    ]
    assert counts(machine) == {"node0/b0": 4 * CLUSTER}


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_16_a_job_that_ends_before_anybody_looks_takes_its_error_along_unless_it_is_kept(version):
    """Source: incus #3654, commit bcffa337ac; tp-qemu PR #3429."""
    machine = Machine(version, pacing="immediate")
    machine.add_disk("drive0", "64K").write(0, b"A")
    machine.limit_capacity("full.qcow2", 0)
    backup = {"device": "drive0", "job-id": "full", "sync": "full", "target": "full.qcow2"}
    assert machine.qmp("drive-backup", **backup) == {}
    assert machine.qmp("query-jobs") == machine.qmp("query-block-jobs") == []
    assert refusal(machine, "job-dismiss", id="full") == "Job not found"
    assert refusal(machine, "block-job-cancel", device="full") == "Block job 'full' not found"

    assert machine.qmp("drive-backup", **backup, auto_dismiss=False) == {}
    progress = {"current-progress": 0, "total-progress": CLUSTER}
    ended = {"id": "full", "type": "backup", "status": "concluded", "error": "No space left on device"}
    assert machine.qmp("query-jobs") == [ended | progress]
    assert machine.qmp("job-dismiss", id="full") == {}


def test_17_a_job_that_was_told_to_complete_or_to_cancel_has_not_ended_yet_when_the_command_returns(machine):
    """Source: incus PR #3188, #3201."""
    machine.images.create("copy.qcow2", "qcow2", 1 << 20)
    file = {"driver": "file", "filename": "copy.qcow2"}
    machine.qmp("blockdev-add", driver="qcow2", node_name="copy", file=file)
    for command in ("block-job-cancel", "block-job-complete"):
        machine.qmp("blockdev-mirror", job_id="copy", device="drive0", target="copy", sync="full")
        machine.until("BLOCK_JOB_READY")
        assert machine.qmp(command, device="copy") == {}
        assert [job["status"] for job in machine.qmp("query-jobs")] == ["ready"]
        ended = machine.until("BLOCK_JOB_COMPLETED", device="copy")["data"]
        assert "error" not in ended
        machine.until(job="copy", status="null")
        assert machine.qmp("query-jobs") == []


@pytest.mark.parametrize("dirty", [True, False])
def test_18_the_events_that_a_command_causes_come_before_its_reply_even_those_of_the_end(machine, dirty):
    """Source: measured; syzkaller PR #2832 (the parser broke); incus bcffa337ac (too late to listen)."""
    if not dirty:
        machine.qmp("block-dirty-bitmap-clear", node="node0", name="b0")
    with machine.serve(pacing="manual") as server, Client(server.path) as client:
        client.send("drive-backup", **incremental())
        client.send("query-jobs")
        before, after = ([], ENDED) if dirty else (ENDED, [])
        expected = [*STARTED, *before, "return", "return"]
        assert [client.next() for _ in expected] == expected
        server.run(Machine.run_until_idle)
        assert [client.next() for _ in after] == after


def test_19_a_monitor_that_is_slow_holds_up_its_client_and_nobody_else(machine):
    """Source: incus #3558, PR #3559, #3576, #3577, #3937."""
    machine.hold_reply("query-block", 30)
    stalled = machine.hold_reply("query-jobs")
    with machine.serve(pacing="manual") as server, Client(server.path) as slow, Client(server.add_monitor()) as other:
        slow.send("query-block")
        slow.send("query-version")
        other.ask("drive-backup", **incremental())
        server.run(lambda machine: machine.advance(29.9))
        assert slow.next() == "JOB_STATUS_CHANGE"
        assert [event["event"] for event in other.events] == STARTED
        server.run(lambda machine: machine.advance(0.1))
        expected = [*STARTED[1:], *ENDED, "return", "return"]  # the version had to wait, too
        assert [slow.next() for _ in expected] == expected

        slow.send("query-jobs")
        server.run(lambda machine: machine.advance(3600))
        assert stalled.waiting == 1
        server.run(lambda _: stalled.release())
        assert slow.next() == "return"


def test_29_the_vm_is_shut_down_while_a_client_pulls_over_nbd(machine):
    """Source: virtnbdbackup #145; tp-qemu ``pull_mode_vm_down``."""
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b1", persistent=True)
    machine.drive("drive0").write(9 * CLUSTER, b"B")
    machine.qmp("block-dirty-bitmap-disable", node="node0", name="b1")
    machine.qmp("blockdev-add", driver="null-co", node_name="fleece", size=1 << 20)
    machine.qmp("blockdev-backup", device="drive0", job_id="pull", sync="none", target="fleece")
    machine.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    machine.qmp("block-export-add", id="export", type="nbd", node_name="node0", bitmaps=["b1"])

    with machine.serve(pacing="manual") as server, Client(server.path) as puller, Client(server.add_monitor()) as other:
        other.send("quit")
        news = iter(puller.next, "end of file")
        assert [name for name in news if name != "JOB_STATUS_CHANGE"] == [
            "SHUTDOWN",
            "BLOCK_EXPORT_DELETED",
            "BLOCK_JOB_CANCELLED",
        ]
    again = Machine(machine.profile, images=machine.images)
    again.add_disk("drive0", node_name="node0")
    assert counts(again) == {"node0/b1": CLUSTER}
