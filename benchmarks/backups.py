"""An incremental backup of 1 % scattered dirty granules, from start to completion."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Row, Run, main, median_time
from benchmarks.qemu import null_node, running, store_bitmap, stored_node
from qbitsim import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.qemu import Qemu

_BACKUP = {"job_id": "job0", "device": "source", "target": "target", "sync": "incremental", "bitmap": "work"}


def null_nodes(run: Run) -> Iterator[Row]:
    """From one null-co node to another, on both: nothing but the job itself."""
    machine = Machine()
    for name in ("source", "target"):
        machine.add_node({"driver": "null-co", "node-name": name, "size": run.disk})
    _dirty(machine, run)
    qemu = _qemu_backup(run) if run.qemu else None
    name = f"backup of {run.granules // 100:,} granules, null-co"
    yield Row(name=name, unit="ms", measured=_median_backup(machine, run), aim=0.2, qemu=qemu)


def with_content(run: Run) -> Iterator[Row]:
    """From one qcow2 disk to another, with every granule different from the target."""
    machine = Machine()
    machine.add_disk("drive0", run.disk, node_name="source")
    machine.add_disk("drive1", run.disk, node_name="target")
    drive, data = machine.drive("drive0"), b"A" * GRANULE
    for granule in run.scattered(1):
        drive.write(granule * GRANULE, data)
    _dirty(machine, run)
    needed = _median_backup(machine, run)
    name = f"backup of {run.granules // 100:,} granules, qcow2 with content"
    yield Row(name=name, unit="ms", measured=needed, aim=0.2)


def _dirty(machine: Machine, run: Run) -> None:
    """Put a bitmap ``keep`` with scattered bits and an empty one, ``work``, on the source."""
    node = machine.graph.lookup(None, "source")
    for name in ("keep", "work"):
        machine.qmp("block-dirty-bitmap-add", node="source", name=name, granularity=GRANULE, disabled=name == "keep")
    keep = node.find_bitmap("keep")
    assert keep is not None
    for granule in run.scattered(1):
        keep.mark(granule * GRANULE, GRANULE)


def _median_backup(machine: Machine, run: Run) -> float:
    return median_time(lambda _: _finish(machine), lambda: _refill(machine.qmp), run.few_repeats)


def _refill(call: Callable[..., object]) -> None:
    """Let ``work`` have the scattered bits again."""
    call("block-dirty-bitmap-clear", node="source", name="work")
    call("block-dirty-bitmap-merge", node="source", target="work", bitmaps=["keep"])


def _finish(machine: Machine) -> None:
    start = machine.events.end
    machine.qmp("blockdev-backup", **_BACKUP)
    machine.run_until_idle()
    last = [event for event in machine.events.read(start) if event["event"] == "BLOCK_JOB_COMPLETED"]
    assert last, "the backup has not ended"
    assert "error" not in last[0]["data"], last


def _qemu_backup(run: Run) -> float:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "stored.qcow2")
        store_bitmap(path, run.disk, run.scattered(1))
        nodes = (null_node("source", run.disk), null_node("target", run.disk), stored_node("stored", path))
        assert run.qemu is not None
        with running(run.qemu, *nodes) as qemu:
            for name in ("keep", "work"):
                qemu.call("block-dirty-bitmap-add", node="source", name=name, granularity=GRANULE)
            stored = {"node": "stored", "name": "b"}
            qemu.call("block-dirty-bitmap-merge", node="source", target="keep", bitmaps=[stored])
            return median_time(lambda _: _finish_qemu(qemu), lambda: _refill(qemu.call), run.few_repeats)


def _finish_qemu(qemu: Qemu) -> None:
    qemu.call("blockdev-backup", **_BACKUP)
    data = qemu.client.wait_for("BLOCK_JOB_COMPLETED")
    assert "error" not in data, data


BENCHMARKS = (null_nodes, with_content)

if __name__ == "__main__":
    main(*BENCHMARKS)
