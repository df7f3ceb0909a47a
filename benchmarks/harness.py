"""What every benchmark uses: how big the work is, how it is timed, and how a result is shown.

A benchmark is a function that takes a :class:`Run` and yields :class:`Row`. Each result is compared with something that
was measured in the same run: with real QEMU's same work where there is a QEMU, or with a yardstick (see
:mod:`benchmarks.yardsticks`). Times are medians in seconds: of the processor, for the process that does the work, or of
the clock on the wall where files of the host are written.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import shutil
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from benchmarks import yardsticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

GRANULE = 65536
"""Bytes per bit of the bitmaps that are measured."""

TMPFS = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory for files that QEMU works on; None for where temporary files are otherwise."""

_UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9, "KiB": 2**-10, "MiB": 2**-20, "": 1.0}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How big the work is.

    :ivar qemu: the program of a real QEMU, None to do without.
    :ivar disk: bytes of the disk whose bitmaps are measured.
    :ivar giant: bytes of the disk that is too big for anybody.
    :ivar processes: how many fresh processes are started for one median.
    :ivar machines: how many machines are made in one process.
    :ivar repeats: how often short work is done for one median; long work is done less often.
    :ivar turn: seconds for a turn of the fixed loop, measured just before.
    """

    qemu: str | None = None
    disk: int = 1 << 40
    giant: int = 1 << 50
    processes: int = 25
    machines: int = 10_000
    repeats: int = 40
    turn: float = 0.0

    @property
    def turns(self) -> Beside:
        """The yardstick for work in Python."""
        return Beside("a turn", self.turn)

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


@dataclass(frozen=True)
class Beside:
    """What a result is compared with.

    :ivar name: what it is.
    :ivar measured: what that needed; None if it could not be measured.
    """

    name: str
    measured: float | None


def beside_qemu(measured: float | None, name: str = "QEMU") -> Beside:
    """Real QEMU's same work, None if there is no QEMU."""
    return Beside(name, measured)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    :ivar name: what was done.
    :ivar unit: one of ``s``, ``ms``, ``µs``, ``ns``, ``KiB``, ``MiB`` or nothing; the numbers are in seconds, bytes or
        pieces.
    :ivar measured: what qbitsim needed.
    :ivar beside: what it is compared with; None if there is nothing.
    :ivar aim: the most that it should need, as a multiple of what it is compared with or, without that, as it is.
    :ivar note: what else there is to say.
    """

    name: str
    unit: str
    measured: float
    beside: Beside | None = None
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as much as the other qbitsim needed."""
        return self.measured / self.beside.measured if self.beside is not None and self.beside.measured else None

    @property
    def met(self) -> bool | None:
        """Whether the aim was reached; None if there is none, or nothing to compare with."""
        result = self.measured if self.beside is None else self.ratio
        return None if self.aim is None or result is None else result <= self.aim

    def cells(self) -> tuple[str, ...]:
        """The texts of the columns."""
        ratio = self.ratio
        return (
            self.name,
            self._show(self.measured),
            self._show_beside(),
            _plain(ratio) if ratio is not None else "",
            self._show_aim(),
            {True: "yes", False: "no", None: ""}[self.met],
            self.note,
        )

    def _show_beside(self) -> str:
        if self.beside is None:
            return ""
        if self.beside.measured is None:
            return f"no {self.beside.name} found"
        unit = "ns" if self.beside.measured < 1e-6 else self.unit
        return f"{_shown(self.beside.measured, unit)}, {self.beside.name}"

    def _show_aim(self) -> str:
        if self.aim is None:
            return ""
        return self._show(self.aim) if self.beside is None else _plain(self.aim)

    def _show(self, value: float) -> str:
        return _shown(value, self.unit)


def _shown(value: float, unit: str) -> str:
    return f"{_plain(value * _UNITS[unit])} {unit}".rstrip()


def _plain(number: float) -> str:
    """A number with three digits that count, and without an exponent."""
    if number == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


HEADINGS = ("work", "qbitsim", "beside it", "ratio", "at most", "met", "remark")


def table(rows: Sequence[Row]) -> str:
    """The rows as text, under headings."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 1 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for ``qbitsim/docs/speed.md``; a pipe in a name would break it, and there is none."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in rows)]
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
    return json.dumps([{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows], indent=1)


# -- timing


Clock: TypeAlias = "Callable[[], float]"
"""Tells seconds."""


def processor_time(pid: int) -> Clock:
    """A clock of the processor time of another process and all its threads (clock_getcpuclockid(3) on Linux)."""
    return lambda: time.clock_gettime(~pid << 3 | 2)


def median_time(
    action: Callable[[T], object], prepare: Callable[[], T], repeats: int, clock: Clock = time.process_time
) -> float:
    """The median of the seconds that ``action`` takes; ``prepare`` makes its argument and is not timed.

    :param clock: that of the processor, of this process, unless another is given.
    """
    times = []
    for _ in range(repeats):
        argument = prepare()
        start = clock()
        action(argument)
        times.append(clock() - start)
        del argument
    return statistics.median(times)


class Work(NamedTuple):
    """Something that is done by a process which is measured.

    :ivar action: does it, and waits for its end.
    :ivar clock: the processor time of that process.
    """

    action: Callable[[], object]
    clock: Clock


class Needed(NamedTuple):
    """Seconds that work needed: of the processor, and until it was done."""

    processor: float
    wall: float


def medians_by_turns(works: Sequence[Work], repeats: int, count: int = 1) -> list[Needed]:
    """For each work the medians of what it needed.

    Each is done ``count`` times, then the next, and so on ``repeats`` times, so that all see the same weather.
    """
    times: list[list[Needed]] = [[] for _ in works]
    for _ in range(repeats):
        for work, needed in zip(works, times, strict=True):
            before, start = work.clock(), time.perf_counter()
            for _ in range(count):
                work.action()
            needed.append(Needed((work.clock() - before) / count, (time.perf_counter() - start) / count))
    return [Needed(*map(statistics.median, zip(*needed, strict=True))) for needed in times]


def median_of_each(action: Callable[[int], object], repeats: int, count: int) -> float:
    """The median over ``repeats`` rounds of the seconds of processor for one of ``count`` calls, each with a number."""
    times = []
    for round_ in range(repeats):
        numbers = range(round_ * count, (round_ + 1) * count)
        start = time.process_time()
        for number in numbers:
            action(number)
        times.append((time.process_time() - start) / count)
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
        rows.extend(benchmark(replace(run, turn=yardsticks.turn())))
        gc.collect()
    if arguments.update is not None:
        document = replaced(arguments.update.read_text(), as_markdown(rows))
        arguments.update.write_text(document)
    if arguments.json:
        print(as_json(rows))
    elif arguments.markdown:
        print(as_markdown(rows))
    else:
        print(table(rows))
