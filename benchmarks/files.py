"""Disks in files of the host, beside real QEMU on files of the same file system: guest writes, and a backup."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Clock, Row, Run, beside_qemu, main, median_time
from benchmarks.qemu import running
from qbitsim import HostImageStore, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKUP = {"job-id": "job0", "device": "source", "target": "target", "sync": "full"}
_DATA = b"A" * GRANULE


def writes(run: Run) -> Iterator[Row]:
    """Guest writes of 64 KiB to clusters that were never written, each a place and an entry of a table."""
    length = _length(run)
    with tempfile.TemporaryDirectory() as folder:
        needed = median_time(
            lambda machine: _write_all(machine, length),
            lambda: _with_disks(folder, length),
            run.few_repeats,
            time.perf_counter,
        )
        count = length // GRANULE
        theirs = time_of_qemu_io(Path(folder), length, count, run) / count if has_qemu_io(run) else None
    beside = beside_qemu(theirs, "qemu-io")
    yield Row(name="64 KiB guest write to a file", unit="µs", measured=needed / count, beside=beside, aim=3)


def backup(run: Run) -> Iterator[Row]:
    """A full backup of a disk that is full, to another file."""
    length = _length(run)
    with tempfile.TemporaryDirectory() as folder:
        _write_all(_with_disks(folder, length), length)
        needed = median_time(
            _back_up, lambda: _with_disks(folder, length, fresh="target"), run.few_repeats, time.perf_counter
        )
        theirs = _qemu_backup(Path(folder), length, run) if run.qemu else None
    name = f"backup of {length >> 20:,} MiB to a file"
    yield Row(name=name, unit="s", measured=needed, beside=beside_qemu(theirs), aim=1.5)


def memory(run: Run) -> Iterator[Row]:
    """How much memory writes and backup need at most, in a process of their own."""
    length = _length(run)
    with tempfile.TemporaryDirectory() as folder:
        program = f"from benchmarks.files import print_memory; print_memory({folder!r}, {length})"
        root = Path(__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    name = f"memory for writes and backup of {length >> 20:,} MiB"
    yield Row(name=name, unit="MiB", measured=float(done.stdout), aim=64 << 20)


def print_memory(folder: str, length: int) -> None:
    """Write and back up a disk, and print how many bytes more than at first were needed at once."""
    machine = _with_disks(folder, length)
    before = _status("VmRSS")
    _write_all(machine, length)
    _back_up(_with_disks(folder, length, fresh="target"))
    print(_status("VmHWM") - before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _length(run: Run) -> int:
    """Bytes of content: a 1,024th of the disk that is measured elsewhere, 1 GiB."""
    return run.disk >> 10


def _with_disks(folder: str, length: int, fresh: str | None = None) -> Machine:
    """A machine with two disks on files.

    :param fresh: only this one is made anew.
    """
    images = HostImageStore(folder)
    machine = Machine(images=images)
    for name in ("source", "target"):
        if fresh in {None, name}:
            images.create(name, "qcow2", length)
        machine.qmp("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": name})
    return machine


def _write_all(machine: Machine, length: int) -> None:
    node = machine.graph.lookup(None, "source")
    for offset in range(0, length, GRANULE):
        node.write(offset, _DATA)
    machine.execute("quit", {})


def _back_up(machine: Machine) -> None:
    start = machine.events.end
    machine.execute("blockdev-backup", _BACKUP)
    machine.run_until_idle()
    ended = [event for event in machine.events.read(start) if event["event"] == "BLOCK_JOB_COMPLETED"]
    assert ended, "the backup has not ended"
    assert "error" not in ended[0]["data"], ended
    machine.execute("quit", {})


# -- QEMU


def _create(path: Path, length: int) -> None:
    path.unlink(missing_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(length)], check=True)


def has_qemu_io(run: Run) -> bool:
    """Whether QEMU's own program for reads and writes is there, and wanted."""
    return run.qemu is not None and shutil.which("qemu-io") is not None


def time_of_qemu_io(
    folder: Path, size: int, count: int, run: Run, *, bitmap: bool = False, clock: Clock = time.perf_counter
) -> float:
    """Seconds that qemu-io needs for so many writes, one behind the other, without those for its start and end.

    :param bitmap: whether a bitmap in the file records them.
    """
    path = folder / "written"
    commands = [word for number in range(count) for word in ("-c", f"write -q {number * GRANULE} {GRANULE}")]

    def prepare() -> None:
        _create(path, size)
        if bitmap:
            subprocess.run(["qemu-img", "bitmap", "--add", "-g", str(GRANULE), path, "b"], check=True)

    def start(words: list[str]) -> float:
        prepare()
        begun = clock()
        subprocess.run(["qemu-io", *words, path], check=True, stdout=subprocess.DEVNULL)
        return clock() - begun

    pairs = [(start(commands), start(["-c", "length"])) for _ in range(run.few_repeats)]
    return statistics.median(full for full, _ in pairs) - statistics.median(bare for _, bare in pairs)


def _qemu_backup(folder: Path, length: int, run: Run) -> float:
    assert run.qemu is not None
    times = []
    for _ in range(run.few_repeats):
        _create(folder / "target", length)
        names = ("source", "target")
        nodes = (f"qcow2,node-name={name},file.driver=file,file.filename={folder / name}" for name in names)
        with running(run.qemu, *nodes) as qemu:
            begun = time.perf_counter()
            qemu.call("blockdev-backup", **_BACKUP)
            data = qemu.client.wait_for("BLOCK_JOB_COMPLETED")
            times.append(time.perf_counter() - begun)
            assert "error" not in data, data
    return statistics.median(times)


BENCHMARKS = (writes, backup, memory)

if __name__ == "__main__":
    main(*BENCHMARKS)
