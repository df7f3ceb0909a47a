"""What people see: replies, events, pictures and complaints, on a terminal or on anything else.

On a terminal a reply is coloured JSON, the reply of a query a table if it is a list of objects, and an event a line of
``key=value``. Elsewhere each reply and event is one line of JSON, complete, for other programs. Without colours
nothing is lost but the colours.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.json import JSON
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from qbitsim.jsontypes import Json
from qbitsim.shell.table import table_of
from qbitsim.terminal.picture import Row, Style, draw, human
from qbitsim.terminal.streams import lost

_MOST_LINES = 200
_LINES_OF_A_LONG_REPLY = 60


class Screen:
    """Where everything is shown.

    :param stream: standard output.
    :param environment: see :meth:`.Style.of`.
    :ivar out: where things are written to; another one than the stream while a line is edited.
    :ivar raw: whether replies and events are shown as they are on the wire.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self.out = self._stream = stream
        self._environment = environment
        self.terminal = stream.isatty()
        self.raw = not self.terminal

    @property
    def style(self) -> Style:
        """What the terminal can show, as wide as it is now."""
        return Style.of(self._stream, self._environment)

    def write(self, text: str) -> None:
        """Show a text as it is.

        :raises CliError: nobody can read it.
        """
        try:
            self.out.write(text)
            self.out.flush()
        except OSError as error:
            raise lost(error) from None

    def say(self, text: str, colour: str | None = None) -> None:
        """Show a line."""
        self.write((self.style.paint(text, colour) if colour else text) + "\n")

    def complain(self, text: str) -> None:
        """Show what is wrong with what somebody typed, or with the server."""
        if self.terminal:
            self.say(text, "red")
        else:
            sys.stderr.write(f"qbitsim: {text}\n")

    def message(self, message: Json) -> None:
        """Show a message of the server as it is on the wire, all of it."""
        self.write(json.dumps(message) + "\n")

    def reply(self, name: str, message: Json) -> None:
        """Show the reply to a command."""
        if self.raw:
            self.message(message)
        elif "error" in message:
            error = message["error"]
            self.say(f"{error.get('class')}: {error.get('desc')}", "red")
        else:
            self.write(self._pretty(name, message.get("return")))

    def late(self, name: str, message: Json) -> None:
        """Show a reply that nobody waits for any more."""
        if not self.raw:
            self.say(f"late reply to {name}:", "yellow")
        self.reply(name, message)

    def event(self, event: Json) -> None:
        """Show an event."""
        if self.raw:
            self.message(event)
            return
        data = " ".join(f"{key}={_word(value)}" for key, value in event.get("data", {}).items())
        head, *rest = self.style.wrap(f"{event['event']} {data}", "event ", "      ").split("\n")
        name = event["event"]
        head = head.replace(name, self.style.paint(name, "yellow"), 1)
        self.write("".join(f"{line}\n" for line in (head, *rest)))

    def picture(self, rows: Iterable[Row]) -> None:
        """Show rows of cells."""
        self.write("".join(f"{line.rstrip()}\n" for line in draw(rows, self.style) if line.strip()))

    def wrapped(self, text: str, indent: int) -> None:
        """Show lines, cut where the terminal ends; what goes on is indented."""
        style = self.style
        for line in text.split("\n"):
            self.write(style.wrap(line, "", " " * min(indent, style.width // 2)) + "\n")

    def _pretty(self, name: str, value: object) -> str:
        """A reply as a table or as JSON, of which a very long one is cut."""
        table = table_of(value, self.style.width) if name.startswith(("query-", "x-qbitsim-query-")) else None
        if table is not None:
            return _cut(self._rendered(table))
        text = json.dumps(value, indent=2, ensure_ascii=False)
        return self._rendered(JSON(text)) if text.count("\n") < _MOST_LINES else _cut(f"{text}\n")

    def _rendered(self, what: object) -> str:
        style = self.style
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
    def progress(self) -> Iterator[Callable[[Iterable[Json]], None]]:
        """A bar for each job while something runs, below what is shown meanwhile, if this is a terminal.

        What it yields is given the jobs: ``id``, ``current-progress`` and ``total-progress``.
        """
        style = self.style
        if not self.terminal or self._environment.get("TERM") == "dumb":
            yield lambda _: None
            return
        console = Console(file=self._stream, width=style.width, no_color=not style.colour, legacy_windows=False)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=console, transient=True) as bars:
            before, self.out = self.out, cast(TextIO, FileProxy(console, self._stream))
            try:
                yield _Bars(bars).update
            finally:
                self.out = before


def _cut(text: str) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) <= _MOST_LINES:
        return text
    return (
        "".join(lines[:_LINES_OF_A_LONG_REPLY])
        + f"... {len(lines) - _LINES_OF_A_LONG_REPLY} more lines; ':json' shows all on one line\n"
    )


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


def _word(value: object) -> str:
    return value if isinstance(value, str) and value and not set(value) & set(' "{[') else json.dumps(value)
