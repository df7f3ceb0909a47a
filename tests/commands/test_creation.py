"""blockdev-create and x-blockdev-amend: what the recorded scenarios do not reach."""

from __future__ import annotations

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
