"""NBD clients that nobody wrote for it: nbdcopy reads 1 GiB, libnbd asks for a scattered bitmap of 1 TiB.

qbitsim is served in a thread of this process, the client is a process of its own; real QEMU has both in processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Clock, Row, Run, beside_qemu, main, median_time, processor_time
from benchmarks.qemu import running, store_bitmap, stored_node
from qbitsim import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSTEM_PYTHON = shutil.which("python3", path=os.defpath) or "python3"
_CONTEXT = "qemu:dirty-bitmap:b"
_ASK = """
import sys, time, nbd
handle = nbd.NBD()
handle.add_meta_context(sys.argv[2])
handle.connect_uri(sys.argv[1])
size, place, extents = handle.get_size(), 0, 0
spent = time.process_time()
while place < size:
    got = []
    length = min(size - place, (1 << 32) - 65536)
    handle.block_status(length, place, lambda name, offset, entries, error: got.extend(entries))
    extents += len(got) // 2
    place += sum(got[::2])
print(time.process_time() - spent)
"""


def reading(run: Run) -> Iterator[Row]:
    """Read a 1,024th of the disk that is measured: 1 GiB."""
    if shutil.which("nbdcopy") is None:
        return
    length = run.disk >> 10
    blocks = [Random(seed).randbytes(GRANULE) for seed in range(16)]
    machine = Machine()
    disk = machine.add_disk("drive0", length)
    for number in range(length // GRANULE):
        disk.write(number * GRANULE, blocks[number % len(blocks)])
    with machine.serve(nbd=True) as server:
        ours = median_time(_copy, lambda: server.nbd_uri("drive0"), run.few_repeats)
    theirs = _reading_from_qemu(blocks, length, run) if run.qemu and shutil.which("qemu-nbd") else None
    name = f"nbdcopy reads {length >> 20:,} MiB"
    yield Row(name=name, unit="s", measured=ours, beside=beside_qemu(theirs), aim=4)


def _reading_from_qemu(blocks: list[bytes], length: int, run: Run) -> float:
    with tempfile.TemporaryDirectory() as directory:
        path, sock = os.path.join(directory, "disk.raw"), os.path.join(directory, "nbd.sock")
        with open(path, "wb") as file:
            for number in range(length // GRANULE):
                file.write(blocks[number % len(blocks)])
        command = ["qemu-nbd", "-r", "-t", "-f", "raw", "-e", "8", "-x", "", "-k", sock, path]
        server = subprocess.Popen(command)
        try:
            while not os.path.exists(sock):
                time.sleep(0.01)
            clock = processor_time(server.pid)
            return median_time(_copy, lambda: f"nbd+unix:///?socket={sock}", run.few_repeats, clock)
        finally:
            server.kill()
            server.wait()


def _copy(uri: str) -> None:
    subprocess.run(["nbdcopy", uri, "null:"], check=True)


def asking(run: Run) -> Iterator[Row]:
    """Ask for all extents of a bitmap with 1 % dirty granules, scattered."""
    if not has_libnbd():
        return
    bits = run.scattered(1)
    machine = Machine()
    machine.qmp("blockdev-add", driver="null-co", node_name="disk", size=run.disk)
    machine.qmp("block-dirty-bitmap-add", node="disk", name="b", granularity=GRANULE, disabled=True)
    bitmap = machine.graph.find_bitmap("disk", "b")
    for bit in bits:
        bitmap.mark(bit * GRANULE, GRANULE)
    with machine.serve(nbd=True) as server:
        server.run(lambda machine: machine.export_nbd("disk", bitmaps=["b"]))
        times = [_ask(server.nbd_uri("disk"), time.process_time) for _ in range(run.few_repeats)]
    theirs = _asking_qemu(run, bits) if run.qemu else None
    ours, of_client = map(statistics.median, zip(*times, strict=True))
    note = f"libnbd in Python works for {of_client * 1e3:.3g} ms beside it"
    yield Row(
        name="block status of a scattered bitmap",
        unit="ms",
        measured=ours,
        beside=beside_qemu(theirs),
        aim=1,
        note=note,
    )


def _asking_qemu(run: Run, bits: list[int]) -> float:
    assert run.qemu is not None
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        path, sock = os.path.join(directory, "disk.qcow2"), os.path.join(directory, "nbd.sock")
        store_bitmap(path, run.disk, bits)
        qemu = stack.enter_context(running(run.qemu, stored_node("disk", path)))
        qemu.call("nbd-server-start", addr={"type": "unix", "data": {"path": sock}})
        qemu.call("block-export-add", type="nbd", id="e", **{"node-name": "disk"}, bitmaps=["b"])
        clock = processor_time(qemu.pid)
        return statistics.median(_ask(f"nbd+unix:///disk?socket={sock}", clock)[0] for _ in range(run.few_repeats))


def _ask(uri: str, clock: Clock) -> tuple[float, float]:
    """How long the server worked, by its clock, and how long the client did."""
    before = clock()
    asked = subprocess.run([_SYSTEM_PYTHON, "-c", _ASK, uri, _CONTEXT], check=True, capture_output=True, text=True)
    return clock() - before, float(asked.stdout)


def has_libnbd() -> bool:
    """Whether the system's Python has libnbd."""
    with contextlib.suppress(OSError):
        return subprocess.run([_SYSTEM_PYTHON, "-c", "import nbd"], check=False, capture_output=True).returncode == 0
    return False


BENCHMARKS = (reading, asking)

if __name__ == "__main__":
    main(*BENCHMARKS)
