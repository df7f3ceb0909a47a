"""An incremental backup of 1 % scattered dirty granules, from start to completion."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.harness import GRANULE, TMPFS, Row, Run, beside_qemu, main, median_time, processor_time
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
    needed = median_time(lambda _: _finish(machine), lambda: _refill(machine.qmp), run.few_repeats)
    yield Row(name=name, unit="ms", measured=needed, beside=beside_qemu(qemu), aim=0.5)


def with_content(run: Run) -> Iterator[Row]:
    """From one qcow2 disk to a fresh one: qbitsim in memory, QEMU in files on a tmpfs."""
    small = replace(run, disk=run.disk >> 5)
    places = [granule * GRANULE for granule in small.scattered(1)]
    name = f"backup of {len(places):,} granules, qcow2 with content"
    measured, theirs = _content_in_memory(small, places), _content_on_qemu(small, places) if run.qemu else None
    yield Row(name=name, unit="ms", measured=measured, beside=beside_qemu(theirs, "QEMU on a tmpfs"), aim=0.5)


def _content_in_memory(run: Run, places: list[int]) -> float:
    machine = Machine()
    machine.add_disk("drive0", run.disk, node_name="source")
    for name in ("work", "keep"):
        machine.qmp("block-dirty-bitmap-add", node="source", name=name, granularity=GRANULE)
    data = b"A" * GRANULE
    for offset in places:
        machine.drive("drive0").write(offset, data)

    def prepare() -> None:
        if "target" in machine.graph.nodes:
            machine.qmp("blockdev-del", node_name="target")
            machine.images.remove("target.qcow2")
        machine.images.create("target.qcow2", "qcow2", run.disk)
        machine.qmp("blockdev-add", **_file_node("target", "target.qcow2"))
        _refill(machine.qmp)

    return median_time(lambda _: _finish(machine), prepare, run.few_repeats)


def _content_on_qemu(run: Run, places: list[int]) -> float:
    """The same in files."""
    assert run.qemu is not None
    with tempfile.TemporaryDirectory(dir=TMPFS) as directory, running(run.qemu) as qemu:
        files = {name: os.path.join(directory, name) for name in ("source", "target")}

        def add(name: str) -> None:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files[name], str(run.disk)], check=True)
            qemu.call("blockdev-add", **_file_node(name, files[name]))

        add("source")
        for name in ("work", "keep"):
            qemu.call("block-dirty-bitmap-add", node="source", name=name, granularity=GRANULE)
        for offset in places:
            qemu.call("human-monitor-command", command_line=f'qemu-io source "write -P 65 {offset} {GRANULE}"')

        def prepare() -> None:
            if os.path.exists(files["target"]):
                qemu.call("blockdev-del", node_name="target")
                os.remove(files["target"])
            add("target")
            _refill(qemu.call)

        return median_time(lambda _: _finish_qemu(qemu), prepare, run.few_repeats, processor_time(qemu.pid))


def _file_node(name: str, path: str) -> dict[str, Any]:
    return {"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": path}}


def _dirty(machine: Machine, run: Run) -> None:
    """Put a bitmap ``keep`` with scattered bits and an empty one, ``work``, on the source."""
    node = machine.graph.lookup(None, "source")
    for name in ("keep", "work"):
        machine.qmp("block-dirty-bitmap-add", node="source", name=name, granularity=GRANULE, disabled=name == "keep")
    keep = node.find_bitmap("keep")
    assert keep is not None
    for granule in run.scattered(1):
        keep.mark(granule * GRANULE, GRANULE)


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
            clock = processor_time(qemu.pid)
            return median_time(lambda _: _finish_qemu(qemu), lambda: _refill(qemu.call), run.few_repeats, clock)


def _finish_qemu(qemu: Qemu) -> None:
    qemu.call("blockdev-backup", **_BACKUP)
    data = qemu.client.wait_for("BLOCK_JOB_COMPLETED")
    assert "error" not in data, data


BENCHMARKS = (null_nodes, with_content)

if __name__ == "__main__":
    main(*BENCHMARKS)
