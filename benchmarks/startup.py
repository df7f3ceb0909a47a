"""What it costs to have a machine: the import, the time to make one, and the memory of many."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Row, Run, main, median_of_each, median_time
from benchmarks.qemu import null_node, running
from qbitsim import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parent.parent
_PAGE = os.sysconf("SC_PAGE_SIZE")


def ready_machine() -> Machine:
    """A machine with a disk of 1 TiB and a bitmap on it."""
    machine = Machine()
    machine.add_disk("drive0", 1 << 40)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0")
    return machine


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def population(count: int) -> float:
    """Bytes of resident memory for each of ``count`` machines in this process."""
    ready_machine()
    before = resident()
    machines = [ready_machine() for _ in range(count)]
    return (resident() - before) / len(machines)


def _python(code: str, cache: str) -> str:
    """Run ``code`` in a fresh interpreter that keeps compiled modules in ``cache``; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=cache, check=True, capture_output=True, text=True
    )
    return done.stdout


def imports(run: Run) -> Iterator[Row]:
    """``from qbitsim import Machine`` in fresh processes, each beside one that imports nothing."""
    with tempfile.TemporaryDirectory() as cache:
        seen = _python("import sys; from qbitsim import Machine; print('asyncio' in sys.modules)", cache)
        asyncio = seen.strip() == "True"
        bare: list[float] = []
        full: list[float] = []
        for _ in range(run.processes):
            for code, times in (("pass", bare), ("from qbitsim import Machine", full)):
                start = time.perf_counter()
                _python(code, cache)
                times.append(time.perf_counter() - start)
        cost = statistics.median(full) - statistics.median(bare)
        note = f"a bare interpreter takes {statistics.median(bare) * 1e3:.1f} ms"
        yield Row(name="import qbitsim", unit="ms", measured=cost, aim=0.040, note=note)
        yield Row(name="... and asyncio with it", unit="", measured=asyncio, aim=0)
        memory = float(_python(f"from benchmarks.startup import population; print(population({run.machines}))", cache))
    name = f"each of {run.machines:,} machines in a process"
    yield Row(name=name, unit="KiB", measured=memory, aim=30 * 1024, qemu=_qemu_memory(run), note="resident memory")


def machines(run: Run) -> Iterator[Row]:
    """A machine with a disk and a bitmap, ready for use."""
    needed = median_of_each(lambda _: ready_machine(), run.repeats, 10)
    qemu = median_time(_ready_qemu, lambda: run, run.few_repeats) if run.qemu else None
    yield Row(name="Machine() with a disk and a bitmap", unit="µs", measured=needed, aim=100e-6, qemu=qemu)


def _ready_qemu(run: Run) -> None:
    assert run.qemu is not None
    with running(run.qemu, null_node("n0", 1 << 40)) as qemu:
        qemu.call("block-dirty-bitmap-add", node="n0", name="bitmap0")


def _qemu_memory(run: Run) -> float | None:
    if run.qemu is None:
        return None
    with running(run.qemu, null_node("n0", 1 << 40)) as qemu:
        qemu.call("block-dirty-bitmap-add", node="n0", name="bitmap0")
        return resident(qemu.pid)


BENCHMARKS = (imports, machines)

if __name__ == "__main__":
    main(*BENCHMARKS)
