"""What a guest write costs while bitmaps record it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.files import has_qemu_io, time_of_qemu_io
from benchmarks.harness import GRANULE, TMPFS, Row, Run, beside_qemu, main, median_of_each, median_time
from benchmarks.startup import ready_machine
from benchmarks.yardsticks import children_time
from qbitsim import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA = b"A" * GRANULE


def sequential(run: Run) -> Iterator[Row]:
    """Clusters that were never written, one behind the other."""
    drive = ready_machine().drive("drive0")
    needed = median_of_each(lambda i: drive.write(i * GRANULE, _DATA), run.repeats, 500)
    yield Row(name="guest write of 64 KiB, one bitmap", unit="µs", measured=needed, beside=run.turns, aim=40)


def thousand(run: Run) -> Iterator[Row]:
    """The same for a disk of 16 GiB, whose bitmap qemu-io finds in its file, on a tmpfs."""
    size = 16 << 30

    def machine() -> Machine:
        fresh = Machine()
        fresh.add_disk("drive0", size)
        fresh.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0")
        return fresh

    def write(machine: Machine) -> None:
        drive = machine.drive("drive0")
        for number in range(1000):
            drive.write(number * GRANULE, _DATA)

    needed, theirs = median_time(write, machine, run.few_repeats), None
    if has_qemu_io(run):
        with tempfile.TemporaryDirectory(dir=TMPFS) as folder:
            theirs = time_of_qemu_io(Path(folder), size, 1000, run, bitmap=True, clock=children_time)
    beside = beside_qemu(theirs, "qemu-io on a tmpfs")
    yield Row(name="1,000 guest writes of 64 KiB, one bitmap", unit="ms", measured=needed, beside=beside, aim=0.5)


def again(run: Run) -> Iterator[Row]:
    """The same clusters again and again."""
    drive = ready_machine().drive("drive0")
    needed = median_of_each(lambda i: drive.write(i % 100 * GRANULE, _DATA), run.repeats, 500)
    yield Row(name="... of a granule that is dirty already", unit="µs", measured=needed, beside=run.turns, aim=40)


BENCHMARKS = (sequential, again, thousand)

if __name__ == "__main__":
    main(*BENCHMARKS)
