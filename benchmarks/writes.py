"""What a guest write costs while bitmaps record it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Row, Run, main, median_of_each
from benchmarks.startup import ready_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA = b"A" * GRANULE


def sequential(run: Run) -> Iterator[Row]:
    """Clusters that were never written, one behind the other."""
    drive = ready_machine().drive("drive0")
    needed = median_of_each(lambda i: drive.write(i * GRANULE, _DATA), run.repeats, 500)
    note = "see the write by qemu-io for QEMU"
    yield Row(name="guest write of 64 KiB, one bitmap", unit="µs", measured=needed, aim=3e-6, note=note)


def again(run: Run) -> Iterator[Row]:
    """The same clusters again and again."""
    drive = ready_machine().drive("drive0")
    needed = median_of_each(lambda i: drive.write(i % 100 * GRANULE, _DATA), run.repeats, 500)
    yield Row(name="... of a granule that is dirty already", unit="µs", measured=needed, aim=3e-6)


BENCHMARKS = (sequential, again)

if __name__ == "__main__":
    main(*BENCHMARKS)
