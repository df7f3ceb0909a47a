"""The benchmarks run; how fast they are is not tested."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]


def has_libnbd() -> bool:
    """As the benchmarks find out; they are no part of the package, so that tests start them and import nothing."""
    asked = [sys.executable, "-c", "import sys; from benchmarks.nbd import has_libnbd; sys.exit(not has_libnbd())"]
    return subprocess.run(asked, cwd=TOP, check=False).returncode == 0


BEFORE_NBD = [
    "a bare interpreter's start",
    "import qbitsim",
    "from qbitsim import Machine",
    "import asyncio",
    "... and asyncio with it",
    "each of 50 machines in a process",
    "Machine() with a disk and a bitmap",
    "... and QEMU's start",
    "each of 50 machines with a socket",
    "... to connect, run a command and hang up",
    "block-dirty-bitmap-clear, 1 TiB, in process",
    "query-status, over the socket",
    "block-dirty-bitmap-clear, 1 TiB, over the socket",
    "guest write of 64 KiB by qemu-io, over the socket",
    "add, 10 writes, backup, dismiss, remove over the socket",
    "guest write of 64 KiB, one bitmap",
    "... of a granule that is dirty already",
    "1,000 guest writes of 64 KiB, one bitmap",
    "set all of a bitmap, merging a coarse one",
    "clear a scattered bitmap",
    "merge a scattered bitmap into another",
    "... and ask for its count",
    "visit a scattered dirty granule",
    "... as a run of granules",
    "add a bitmap to a disk of 1 PiB",
    "... its memory, with 100 scattered writes",
]
AFTER_NBD = [
    "backup of 2,621 granules, null-co",
    "backup of 81 granules, qcow2 with content",
    "64 KiB guest write to a file",
    "backup of 16 MiB to a file",
    "memory for writes and backup of 16 MiB",
    "a step of the Hypothesis state machine",
    "write a report of 750 events",
    "... its weight",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
BROWSER = ["... opened in a browser"] if CHROMIUM and find_spec("playwright") else []


def names() -> list[str]:
    """The rows that there are, on this machine."""
    nbd = [
        *(["nbdcopy reads 16 MiB"] if shutil.which("nbdcopy") else []),
        *(["block status of a scattered bitmap"] if has_libnbd() else []),
    ]
    return [*BEFORE_NBD, *nbd, *AFTER_NBD, *BROWSER]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments, "--quick", "--no-qemu"]
    done = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True, timeout=180)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """What all benchmarks print."""
    found: list[dict[str, Any]] = json.loads(run("benchmarks", "--json"))
    return found


def test_every_benchmark_prints_its_row(rows: list[dict[str, Any]]) -> None:
    plain = [row["name"] for row in rows if not row["name"].startswith(("vector: ", "growth: "))]
    assert plain == names()
    assert len(rows) > len(plain)
    for row in rows:
        beside = row["beside"] or {"name": "nothing", "measured": None}
        assert (row["ratio"] is None) == (beside["measured"] is None), row
        assert (beside["measured"] is None) == (beside["name"] not in {"a turn", "the start"}), row
        assert row["aim"] is not None or row["met"] is None, row
    # a row may be the difference of two measurements, which noise can turn negative
    assert all(math.isfinite(row["measured"]) for row in rows)


def test_the_growth_of_each_work_is_a_row(rows: list[dict[str, Any]]) -> None:
    growth = [row for row in rows if row["name"].startswith("growth: ")]
    assert len(growth) == 6
    assert all(row["aim"] < 1.5 for row in growth)


def test_an_area_runs_alone_and_says_that_there_is_no_qemu() -> None:
    lines = run("benchmarks.writes").splitlines()
    first = BEFORE_NBD.index("guest write of 64 KiB, one bitmap")
    assert [line[:33].rstrip() for line in lines[1:]] == [name[:33] for name in BEFORE_NBD[first : first + 3]]
    assert ["no qemu-io on a tmpfs found" in line for line in lines[1:]] == [False, False, True]


ROWS = """
from benchmarks.harness import Beside, Row, beside_qemu
for beside, aim in ((Beside("a turn", 2e-6), 4), (beside_qemu(8e-6), 0.25), (beside_qemu(None), 0.5), (None, 3e-6)):
    print(*Row(name="work", unit="µs", measured=4e-6, beside=beside, aim=aim).cells(), sep="|")
"""


def test_a_row_says_what_it_is_compared_with_and_whether_the_aim_is_met() -> None:
    done = subprocess.run([sys.executable, "-c", ROWS], cwd=TOP, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "work|4 µs|2 µs, a turn|2|4|yes|",
        "work|4 µs|8 µs, QEMU|0.5|0.25|no|",
        "work|4 µs|no QEMU found||0.5||",
        "work|4 µs|||3 µs|no|",
    ]
