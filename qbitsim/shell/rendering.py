"""What a terminal shows with rich, which comes with the extra: coloured JSON, tables, and bars of progress."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.json import JSON
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from qbitsim.jsontypes import Json
from qbitsim.shell.table import table_of
from qbitsim.terminal.picture import Style, human


def colored(value: object, style: Style) -> str:
    """A value as JSON, with colours if the terminal has them."""
    return _rendered(JSON(json.dumps(value, indent=2, ensure_ascii=False)), style)


def table(value: object, style: Style) -> str | None:
    """The reply of a query as a table; None if it is none."""
    found = table_of(value, style.width)
    return _rendered(found, style) if found is not None else None


def _rendered(what: object, style: Style) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=style.width,
        force_terminal=style.colour,
        color_system="standard" if style.colour else None,
        no_color=not style.colour,
        legacy_windows=False,
        safe_box=True,
    )
    console.print(what, soft_wrap=True)
    return out.getvalue()


@contextmanager
def bars(stream: TextIO, style: Style) -> Iterator[tuple[TextIO, Callable[[Iterable[Json]], None]]]:
    """A bar for each job, below what is shown meanwhile: where that is written to, and what is given the jobs."""
    console = Console(file=stream, width=style.width, no_color=not style.colour, legacy_windows=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield cast(TextIO, FileProxy(console, stream)), _Bars(progress).update


class _Bars:
    """The bars of jobs, by id."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def update(self, jobs: Iterable[Json]) -> None:
        """Draw the jobs as they are now."""
        for job in jobs:
            done, total = job["current-progress"], job["total-progress"]
            note = f"{human(done)} of {human(total)}"
            if job["id"] not in self._tasks:
                self._tasks[job["id"]] = self._progress.add_task(job["id"], total=total, note=note)
            self._progress.update(self._tasks[job["id"]], completed=done, total=total, note=note)
