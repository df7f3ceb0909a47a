"""What people see: replies, events, pictures and complaints, on a terminal or on anything else.

On a terminal a reply is coloured JSON, the reply of a query a table if it is a list of objects, and an event a line of
``key=value``. Elsewhere each reply and event is one line of JSON, complete, for other programs. Without colours
nothing is lost but the colours; without rich, which comes with the extra, a reply is plain JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

from qbitsim.jsontypes import Json
from qbitsim.terminal.picture import Row, Style, draw
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

    def remark(self, text: str) -> None:
        """Show what is good to know, beside what programs read."""
        if self.terminal:
            self.say(text, "dim")
        else:
            sys.stderr.write(f"qbitsim: {text}\n")

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
        elif name == "human-monitor-command" and isinstance(message.get("return"), str):
            self.write(message["return"].replace("\r\n", "\n"))
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
        """A reply as a table or as JSON, of which a very long one is cut; without rich as plain JSON."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        if find_spec("rich") is None:
            return _cut(f"{text}\n")
        from qbitsim.shell import rendering  # noqa: PLC0415 - the extra is there

        if name.startswith(("query-", "x-qbitsim-query-")):
            table = rendering.table(value, self.style)
            if table is not None:
                return _cut(table)
        return rendering.colored(value, self.style) if text.count("\n") < _MOST_LINES else _cut(f"{text}\n")

    @contextmanager
    def progress(self) -> Iterator[Callable[[Iterable[Json]], None]]:
        """A bar for each job while something runs, below what is shown meanwhile, if this is a terminal.

        What it yields is given the jobs: ``id``, ``current-progress`` and ``total-progress``.
        """
        if not self.terminal or self._environment.get("TERM") == "dumb" or find_spec("rich") is None:
            yield lambda _: None
            return
        from qbitsim.shell import rendering  # noqa: PLC0415 - the extra is there

        with rendering.bars(self._stream, self.style) as (out, update):
            before, self.out = self.out, out
            try:
                yield update
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


def _word(value: object) -> str:
    return value if isinstance(value, str) and value and not set(value) & set(' "{[') else json.dumps(value)
