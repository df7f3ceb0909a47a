"""What every benchmark uses: how big the work is, how it is timed, and how a result is shown.

A benchmark is a function that takes a :class:`Run` and yields :class:`Row`. Times are medians in seconds. Where a real
QEMU is on the PATH the same work runs on it in the same run, and the row says how much longer that took.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

GRANULE = 65536
"""Bytes per bit of the bitmaps that are measured."""

_UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6, "KiB": 2**-10, "MiB": 2**-20, "": 1.0}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How big the work is.

    :ivar qemu: the program of a real QEMU, None to do without.
    :ivar disk: bytes of the disk whose bitmaps are measured.
    :ivar giant: bytes of the disk that is too big for anybody.
    :ivar processes: how many fresh processes are started for one median.
    :ivar machines: how many machines are made in one process.
    :ivar repeats: how often short work is done for one median; long work is done less often.
    """

    qemu: str | None = None
    disk: int = 1 << 40
    giant: int = 1 << 50
    processes: int = 25
    machines: int = 10_000
    repeats: int = 40

    @property
    def granules(self) -> int:
        """Bits of a bitmap of the disk."""
        return self.disk // GRANULE

    @property
    def few_repeats(self) -> int:
        """How often work is done that takes long, or a fresh QEMU."""
        return max(1, self.repeats // 8)

    def scattered(self, seed: int) -> list[int]:
        """1 % of the granules, chosen by ``seed``, ascending."""
        return sorted(Random(seed).sample(range(self.granules), self.granules // 100))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    :ivar name: what was done.
    :ivar unit: one of ``s``, ``ms``, ``µs``, ``KiB``, ``MiB`` or nothing; the numbers are in seconds, bytes or pieces.
    :ivar measured: what qbitsim needed.
    :ivar aim: the most that it should need; None if there is no aim, or none without QEMU.
    :ivar qemu: what QEMU needed for the same work; None if it was not measured.
    :ivar note: why there is nothing to compare, or how the comparison was made.
    """

    name: str
    unit: str
    measured: float
    aim: float | None = None
    qemu: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as much as qbitsim QEMU needed."""
        return self.qemu / self.measured if self.qemu is not None and self.measured else None

    @property
    def missed(self) -> bool:
        """Whether the aim was not reached."""
        return self.aim is not None and self.measured > self.aim

    def cells(self, *, has_qemu: bool) -> tuple[str, ...]:
        """The texts of the columns."""
        ratio = self.ratio
        nothing = "-" if has_qemu else "no QEMU found"
        return (
            self.name,
            self._show(self.aim) if self.aim is not None else "-",
            self._show(self.measured),
            "missed" if self.missed else "",
            self._show(self.qemu) if self.qemu is not None else nothing,
            f"{ratio:.3g} x" if ratio is not None else "",
            self.note,
        )

    def _show(self, value: float) -> str:
        shown = value * _UNITS[self.unit]
        digits = 0 if shown >= 100 or shown == int(shown) else 1 if shown >= 10 else 2
        return f"{shown:,.{digits}f} {self.unit}".rstrip()


HEADINGS = ("", "aim", "measured", "", "QEMU", "ratio", "")


def table(rows: Sequence[Row], *, has_qemu: bool) -> str:
    """The rows as text, under headings."""
    lines = [HEADINGS, *(row.cells(has_qemu=has_qemu) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 1 <= column <= 5 and column != 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(rows: Sequence[Row], *, has_qemu: bool) -> str:
    """The rows as a table for ``qbitsim/docs/speed.md``; a pipe in a name would break it, and there is none."""
    headings = ("work", "aim", "measured", "", "real QEMU", "QEMU / qbitsim", "remark")
    lines = [headings, tuple("---" for _ in headings), *(row.cells(has_qemu=has_qemu) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replaced(document: str, markdown: str) -> str:
    """``document`` with ``markdown`` between its markers.

    :raises ValueError: it has no markers.
    """
    begin, end = "<!-- benchmarks:begin -->\n", "<!-- benchmarks:end -->"
    if begin not in document or end not in document:
        raise ValueError("the document has no markers for the benchmarks")
    head, rest = document.split(begin, 1)
    return f"{head}{begin}{markdown}\n{end}{rest.split(end, 1)[1]}"


def as_json(rows: Iterable[Row]) -> str:
    """The rows as a JSON array, in seconds, bytes and pieces."""
    return json.dumps([{**asdict(row), "ratio": row.ratio, "missed": row.missed} for row in rows], indent=1)


# -- timing


def median_time(action: Callable[[T], object], prepare: Callable[[], T], repeats: int) -> float:
    """The median of the seconds that ``action`` takes; ``prepare`` makes its argument and is not timed."""
    times = []
    for _ in range(repeats):
        argument = prepare()
        start = time.perf_counter()
        action(argument)
        times.append(time.perf_counter() - start)
        del argument
    return statistics.median(times)


def median_of_each(action: Callable[[int], object], repeats: int, count: int) -> float:
    """The median over ``repeats`` rounds of the seconds for one of ``count`` calls; each gets its number."""
    times = []
    for round_ in range(repeats):
        numbers = range(round_ * count, (round_ + 1) * count)
        start = time.perf_counter()
        for number in numbers:
            action(number)
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times)


# -- the command line


def find_qemu() -> str | None:
    """The program of a real QEMU on the PATH, None if there is none."""
    return shutil.which(f"qemu-system-{os.uname().machine}") or shutil.which("qemu-system-x86_64")


def run_from(arguments: argparse.Namespace) -> Run:
    """The size of the work that the command line asks for."""
    qemu = None if arguments.no_qemu else find_qemu()
    if arguments.quick:
        return Run(qemu=qemu, disk=1 << 34, processes=2, machines=50, repeats=3)
    return Run(qemu=qemu)


def main(*benchmarks: Callable[[Run], Iterator[Row]], argv: Sequence[str] | None = None) -> None:
    """Run benchmarks as the command line says and print their table."""
    parser = argparse.ArgumentParser(description="Measure qbitsim, and real QEMU beside it.")
    parser.add_argument("--quick", action="store_true", help="little work: shows that everything runs, not how fast")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--update", metavar="FILE", type=Path, help="put the Markdown table between FILE's markers")
    parser.add_argument("--no-qemu", action="store_true", help="do without real QEMU even if there is one")
    arguments = parser.parse_args(argv)
    run = run_from(arguments)
    rows: list[Row] = []
    for benchmark in benchmarks:
        rows.extend(benchmark(run))
        gc.collect()
    has_qemu = run.qemu is not None
    if arguments.update is not None:
        document = replaced(arguments.update.read_text(), as_markdown(rows, has_qemu=has_qemu))
        arguments.update.write_text(document)
    if arguments.json:
        print(as_json(rows))
    elif arguments.markdown:
        print(as_markdown(rows, has_qemu=has_qemu))
    else:
        print(table(rows, has_qemu=has_qemu))
