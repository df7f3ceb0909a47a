"""What it costs to have a machine: the import, the time to make one, and the memory of many."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Beside, Row, Run, beside_qemu, main, median_of_each, median_time
from benchmarks.qemu import null_node, running
from benchmarks.yardsticks import children_time, run_python, start
from qbitsim import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def imports(run: Run) -> Iterator[Row]:
    """What imports cost fresh processes beside one that imports nothing, by turns."""
    statements = {"pass": 0.0, "import qbitsim": 0.2, "from qbitsim import Machine": 1.6, "import asyncio": None}
    with tempfile.TemporaryDirectory() as cache:
        seen = run_python("import sys; from qbitsim import Machine; print('asyncio' in sys.modules)", cache)
        times: dict[str, list[float]] = {statement: [] for statement in statements}
        for _ in range(run.processes):
            for statement, needed in times.items():
                needed.append(start(statement, cache))
        bare, *costs = map(statistics.median, times.values())
        yield Row(name="a bare interpreter's start", unit="ms", measured=bare, note="a yardstick")
        beside = Beside("the start", bare)
        for cost, (statement, aim) in zip(costs, [*statements.items()][1:], strict=True):
            note = "none of ours, for comparison" if aim is None else ""
            yield Row(name=statement, unit="ms", measured=cost - bare, beside=beside, aim=aim, note=note)
        yield Row(name="... and asyncio with it", unit="", measured=seen.strip() == "True", aim=0)
        program = f"from benchmarks.startup import population; print(population({run.machines}))"
        memory = float(run_python(program, cache))
    name = f"each of {run.machines:,} machines in a process"
    theirs = beside_qemu(_qemu_memory(run))
    yield Row(name=name, unit="KiB", measured=memory, beside=theirs, aim=0.001, note="resident memory")


def machines(run: Run) -> Iterator[Row]:
    """A machine with a disk and a bitmap, ready for use."""
    needed = median_of_each(lambda _: ready_machine(), run.repeats, 10)
    yield Row(name="Machine() with a disk and a bitmap", unit="µs", measured=needed, beside=run.turns, aim=1_400)
    qemu = median_time(_ready_qemu, lambda: run, run.few_repeats, children_time) if run.qemu else None
    yield Row(name="... and QEMU's start", unit="µs", measured=needed, beside=beside_qemu(qemu), aim=0.01)


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
