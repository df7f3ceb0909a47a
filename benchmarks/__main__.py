"""Everything: ``python -m benchmarks [--quick] [--json | --markdown] [--update qbitsim/docs/speed.md] [--no-qemu]``."""

from __future__ import annotations

from benchmarks import backups, bitmaps, commands, nbd, report, sockets, startup, stateful, vector, writes
from benchmarks.harness import main

BENCHMARKS = (
    *startup.BENCHMARKS,
    *sockets.BENCHMARKS,
    *commands.BENCHMARKS,
    *writes.BENCHMARKS,
    *bitmaps.BENCHMARKS,
    *nbd.BENCHMARKS,
    *backups.BENCHMARKS,
    *stateful.BENCHMARKS,
    *vector.BENCHMARKS,
    *report.BENCHMARKS,
)
"""Every benchmark, in the order of the table."""

if __name__ == "__main__":
    main(*BENCHMARKS)
