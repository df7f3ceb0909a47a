"""Whatever a second client asks, and whenever: it gets an answer or a refusal, and the machine goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from qbitsim import Machine, QmpError

JOBS = ("backup", "incremental", "mirror", "commit", "active commit", "stream")
SNAPSHOT = {"device": "drive0", "snapshot-file": "s.qcow2"}
BACKUP = {"device": "drive0", "target": "x.qcow2", "sync": "full", "job-id": "k"}
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("blockdev-snapshot-sync", SNAPSHOT),
    ("blockdev-snapshot-internal-sync", {"device": "drive0", "name": "s"}),
    ("job-complete", {"id": "j"}),
    ("job-cancel", {"id": "j"}),
    ("job-pause", {"id": "j"}),
    ("job-finalize", {"id": "j"}),
    ("block-job-set-speed", {"device": "j", "speed": 1}),
    ("block_resize", {"device": "drive0", "size": 2 << 20}),
    ("drive-backup", BACKUP),
    ("drive-mirror", BACKUP),
    ("block-stream", {"device": "drive0", "job-id": "k"}),
    ("block-commit", {"device": "drive0", "job-id": "k"}),
    ("block-dirty-bitmap-add", {"node": "drive0", "name": "n"}),
    ("block-dirty-bitmap-clear", {"node": "node0", "name": "b0"}),
    ("block-dirty-bitmap-remove", {"node": "node0", "name": "b0"}),
    (
        "blockdev-reopen",
        {
            "options": [
                {"driver": "qcow2", "node-name": "node0", "file": {"driver": "file", "filename": "drive0.qcow2"}}
            ]
        },
    ),
    ("eject", {"device": "drive0", "force": True}),
    ("stop", {}),
    ("quit", {}),
    ("query-block", {}),
    ("query-named-block-nodes", {}),
    ("query-block-jobs", {}),
    ("human-monitor-command", {"command-line": 'qemu-io drive0 "write 0 64k"'}),
    (
        "transaction",
        {"actions": [{"type": "blockdev-snapshot-sync", "data": SNAPSHOT}, {"type": "drive-backup", "data": BACKUP}]},
    ),
    ("transaction", {"actions": [{"type": "drive-backup", "data": BACKUP}, {"type": "abort", "data": {}}]}),
]


def started(profile: str, job: str) -> Machine:
    """A machine with a job that has just begun."""
    machine = Machine(profile)
    disk = machine.add_disk("drive0", "1M", node_name="node0")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    disk.write(0, b"x" * 200_000)
    if job in ("backup", "incremental"):
        more = {"bitmap": "b0"} if job == "incremental" else {}
        sync = "full" if job == "backup" else job
        machine.qmp("drive-backup", device="drive0", sync=sync, target="t.qcow2", job_id="j", **more)
    elif job == "mirror":
        machine.qmp("drive-mirror", device="drive0", sync="full", target="t.qcow2", job_id="j")
    else:
        for number in range(3):
            overlay = f"o{number}"
            machine.qmp(
                "blockdev-snapshot-sync",
                device="drive0",
                snapshot_file=f"{overlay}.qcow2",
                snapshot_node_name=overlay,
            )
            machine.drive("drive0").write(number * 65536, b"y" * 65536)
        layers = {"top_node": "o1", "base_node": "node0"} if job == "commit" else {}
        command = "block-stream" if job == "stream" else "block-commit"
        machine.qmp(command, device="drive0", job_id="j", **layers)
    return machine


def moments(profile: str, job: str) -> Iterator[Machine]:
    """The machine before each step of the job, and when all is done."""
    machine = started(profile, job)
    keeper = machine.snapshot()
    while True:
        yield machine
        machine.restore(keeper)
        if not machine.step():
            return
        keeper = machine.snapshot()


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
@pytest.mark.parametrize("job", JOBS)
def test_it_is_answered_or_refused_and_all_comes_to_an_end(profile: str, job: str) -> None:
    for machine in moments(profile, job):
        keeper = machine.snapshot()
        for name, arguments in COMMANDS:
            with suppress(QmpError):
                machine.execute(name, arguments)
            machine.run_until_idle()
            machine.advance(1)
            assert machine.state()["run-state"] in ("running", "paused")
            machine.restore(keeper)


@pytest.mark.parametrize("profile", ["7.2", "10.0"])
def test_a_snapshot_of_a_node_that_goes_with_its_job_is_refused_where_qemu_dies(profile: str) -> None:
    machine = started(profile, "backup")
    text = r"^Node '#block\d+' is gone, with the job that has just ended: QEMU may die of this$"
    with pytest.raises(QmpError, match=text):
        machine.execute("blockdev-snapshot-sync", SNAPSHOT)
    assert machine.jobs.jobs == []
    assert "s.qcow2" not in machine.images
    assert machine.execute("blockdev-snapshot-sync", SNAPSHOT) == {}
