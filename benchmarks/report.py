"""A report of a long run on a giant disk: how long it takes to write, how much it weighs, and how soon it can be read.

The page is opened by a headless Chromium where there is one, with Playwright; the time is that from the navigation to
the frame in which everything is drawn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Row, Run, main, median_time
from qbitsim import Machine
from qbitsim.history.history import History
from qbitsim.report.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRAWN = """qbitsim.ready.then(() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))))"""


def long_history(run: Run, events: int) -> History:
    """Scattered writes and incremental backups until there are so many events."""
    random = Random(1)
    machine = Machine()
    history = History("a long run")
    history.watch(machine)
    disk = machine.add_disk("drive0", run.disk)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0")
    while machine.events.end < events:
        for _ in range(6):
            disk.write(random.randrange(run.granules) * GRANULE, b"a")
        machine.qmp("drive-backup", device="drive0", bitmap="bitmap0", sync="incremental", target="target")
        machine.step()
        disk.write(random.randrange(run.granules) * GRANULE, b"b")
        machine.run_until_idle()
        machine.images.remove("target")
    return history


def reports(run: Run) -> Iterator[Row]:
    """The page of a long history."""
    events = 250 * run.repeats
    report = Report([long_history(run, events).to_json()])
    needed = median_time(lambda _: report.html(), lambda: None, run.few_repeats)
    html = report.html()
    yield Row(name=f"write a report of {events:,} events", unit="ms", measured=needed, beside=run.turns)
    yield Row(name="... its weight", unit="MiB", measured=len(html.encode()), aim=2 << 20)
    program = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if program is not None and find_spec("playwright") is not None:
        opened = _opened(program, html, run.few_repeats)
        yield Row(name="... opened in a browser", unit="ms", measured=opened, beside=run.turns, aim=14_000_000)


def _opened(program: str, html: str, repeats: int) -> float:
    """The median of the seconds until the page is drawn."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - which may not be installed

    with tempfile.TemporaryDirectory() as directory, sync_playwright() as driver:
        file = Path(directory, "report.html")
        file.write_text(html, encoding="utf-8")
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        times = []
        for _ in range(repeats):
            page = browser.new_page()
            page.goto(file.as_uri())
            times.append(page.evaluate(_DRAWN) / 1e3)
            page.close()
        browser.close()
    return statistics.median(times)


BENCHMARKS = (reports,)

if __name__ == "__main__":
    main(*BENCHMARKS)
