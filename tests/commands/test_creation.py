"""blockdev-create and x-blockdev-amend: what the recorded scenarios do not reach."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine


def test_a_created_image_can_be_opened() -> None:
    machine = Machine()
    machine.qmp("blockdev-create", job_id="c", options={"driver": "file", "filename": "new.raw", "size": 0})
    machine.settle()
    assert [job["status"] for job in machine.qmp("query-jobs")] == ["concluded"]
    machine.qmp("job-dismiss", id="c")
    machine.qmp("blockdev-add", driver="file", node_name="f", filename="new.raw")
    machine.qmp("blockdev-create", job_id="c", options={"driver": "qcow2", "file": "f", "size": 1 << 20})
    machine.settle()
    (job,) = machine.qmp("query-jobs")
    assert (job["status"], job.get("error")) == ("concluded", None)
    machine.qmp("blockdev-add", driver="qcow2", node_name="q", file="f")
    node = next(info for info in machine.qmp("query-named-block-nodes") if info["node-name"] == "q")
    assert node["image"]["virtual-size"] == 1 << 20


def test_its_jobs_are_no_block_jobs() -> None:
    machine = Machine()
    machine.qmp("blockdev-create", job_id="c", options={"driver": "file", "filename": "new.raw", "size": 512})
    machine.settle()
    assert machine.qmp("query-block-jobs") == []
    assert [job["type"] for job in machine.qmp("query-jobs")] == ["create"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (0, ["created", "running", "SHUTDOWN", "aborting", "concluded", "null"]),
        (1, ["created", "running", "waiting", "pending", "concluded", "SHUTDOWN", "null"]),
    ],
)
def test_a_machine_that_ends_waits_for_what_is_created(steps: int, said: list[str]) -> None:
    machine = Machine()
    machine.qmp("blockdev-create", job_id="c", options={"driver": "file", "filename": "new.raw", "size": 512})
    for _ in range(steps):
        assert machine.step()
    (job,) = machine.qmp("query-jobs")
    assert (job["current-progress"], job["total-progress"]) == (steps, 1)
    machine.qmp("quit")
    assert [each["data"].get("status", each["event"]) for each in machine.events.read(0)] == said
    assert machine.images.lookup("new.raw").size == 512
