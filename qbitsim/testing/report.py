"""What a failed test shows of the machines that it used: the end of the conversation, the bitmaps and the jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.jsontypes import Json
from qbitsim.machine.state import describe
from qbitsim.qmp.journal import Journal

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.serving.threads import ThreadServer

_RANGES = 16
"""So many dirty ranges of a bitmap are shown."""
_LONGEST_NAME = 150


class ReportedMachine:
    """A machine that a test uses.

    :param page: the file for a page of all that happened, if one is wanted.
    :ivar server: which serves it, if one does.
    """

    def __init__(self, name: str, machine: Machine, page: Path | None) -> None:
        self.name = name
        self.machine = machine
        self.server: ThreadServer[Machine] | None = None
        self._page = page
        self.journal = machine.watch() if page is not None else Journal()
        machine.journal = self.journal

    def sections(self) -> Iterator[tuple[str, str]]:
        """Title and text of what the report gets."""
        for title, lines in (("said to", self._conversation), ("state of", state_lines)):
            yield f"{title} {self.name}", self._text(lines)
        if self._page is not None:
            yield f"picture of {self.name}", self._text(self._draw)

    def _draw(self, machine: Machine) -> list[str]:
        assert self._page is not None
        self._page.parent.mkdir(parents=True, exist_ok=True)
        machine.report(self._page.stem).save(self._page)
        return [str(self._page)]

    def _conversation(self, machine: Machine) -> list[str]:
        return self.journal.lines(machine.events) or ["nothing"]

    def _text(self, lines: Callable[[Machine], list[str]]) -> str:
        """The lines, or why there are none: a machine with a bug may not be fit to be looked at."""
        look = partial(self.server.look, lines) if self.server is not None else partial(lines, self.machine)
        shown = pytest.CallInfo.from_call(look, when="teardown")
        return "\n".join(shown.result) if shown.excinfo is None else f"cannot be shown: {shown.excinfo.exconly()}"


class Reporter:
    """The plugin that adds to reports; registered when the first machine is made."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to the report of a failure, once for each test."""
        report = yield
        if report.failed and _REPORTED in item.stash:
            report.sections += [section for each in item.stash[_REPORTED] for section in each.sections()]
            del item.stash[_REPORTED]
        return report


_REPORTED = pytest.StashKey[list[ReportedMachine]]()


def watch(request: pytest.FixtureRequest, name: str, machine: Machine) -> ReportedMachine:
    """Let the report of the test show this machine, if the test fails."""
    plugins = request.config.pluginmanager
    if not plugins.has_plugin("qbitsim-report"):
        plugins.register(Reporter(), "qbitsim-report")
    reported = ReportedMachine(name, machine, _page_for(request, name))
    request.node.stash.setdefault(_REPORTED, []).append(reported)
    return reported


def _page_for(request: pytest.FixtureRequest, name: str) -> Path | None:
    folder = request.config.getoption("--qbitsim-report") or request.config.getini("qbitsim_report")
    if not folder:
        return None
    test = re.sub(r"[^\w.-]+", "-", request.node.nodeid).strip("-")
    return Path(folder).absolute() / f"{test[-_LONGEST_NAME:]}-{name}.html"


def state_lines(machine: Machine) -> list[str]:
    """The bitmaps and the jobs of a machine, as people read them."""
    state = describe(machine)
    lines = [f"QEMU {state['profile']} after {state['now'] / NANOSECONDS:.6f} s, {state['run-state']}"]
    drives: dict[str, str] = {drive["node"]: f"drive {name}, " for name, drive in state["drives"].items()}
    for name, node in state["nodes"].items():
        if node["bitmaps"] or name in drives:
            lines.append(f"{drives.get(name, '')}node {name} ({node['driver']}, {node['length']} bytes)")
            lines += [line for bitmap in node["bitmaps"] for line in _bitmap(bitmap, "  ")]
    lines += [_job(job) for job in state["jobs"]] or ["no jobs"]
    return lines


def _bitmap(bitmap: Json, indent: str) -> Iterator[str]:
    name = f"bitmap {bitmap['name']}" if bitmap["name"] else "bitmap without a name"
    flags = "".join(f", {flag}" for flag in bitmap["flags"])
    yield f"{indent}{name}, granularity {bitmap['granularity']}{flags}: {_ranges(bitmap['dirty'])}"
    if bitmap["successor"] is not None:
        yield f"{indent}  meanwhile: {_ranges(bitmap['successor']['dirty'])}"


def _ranges(dirty: list[tuple[int, int]]) -> str:
    shown = " ".join(f"{offset:#x}+{length:#x}" for offset, length in dirty[:_RANGES])
    more = f" and {len(dirty) - _RANGES} more" if len(dirty) > _RANGES else ""
    return f"dirty {shown}{more}" if dirty else "clean"


def _job(job: Json) -> str:
    done, total = job["progress"]
    error = f", error: {job['error']}" if job["error"] else ""
    return f"job {job['id']} ({job['type']}) is {job['status']}, {done} of {total} bytes{error}"
