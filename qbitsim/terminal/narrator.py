"""Narrating in a terminal: headings, paragraphs, and one line for each thing that happened.

A line ``->`` is a QMP command, ``<-`` what the machine says, ``$`` a command on image files, ``..`` what the guest
does. Events are shortened to ``NAME key=value …``; the many changes of a job's status take one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from qbitsim.jsontypes import Json
from qbitsim.terminal.picture import Style


class Narrator:
    """Writes what happens, line by line.

    :param write: is given each line, or several of them.
    """

    def __init__(self, style: Style, write: Callable[[str], None]) -> None:
        self.style = style
        self._write = write
        self._gap = False

    def heading(self, title: str) -> None:
        """A title with a rule beside it."""
        rule = "─" if self.style.unicode else "-"
        heading = self.style.wrap(f"{rule * 2} {title}", rest="   ")
        room = self.style.width - len(heading.rpartition("\n")[2]) - 1
        self.block(self.style.paint(f"{heading} {rule * room}".rstrip(), "bold"))

    def say(self, text: str, colour: str | None = None) -> None:
        """A paragraph."""
        self.block("\n".join(self._painted(self.style.wrap(text).splitlines(), colour)))

    def line(self, mark: str, text: str, colour: str | None = None) -> None:
        """One thing that happened."""
        self.lines(self._painted(self.style.wrap(text, f"  {mark} ", "       ").splitlines(), colour))

    def lines(self, lines: Iterable[str]) -> None:
        """Lines as they are, behind what was written before."""
        if self._gap:
            self._write("")
            self._gap = False
        for line in lines:
            self._write(line)

    def _painted(self, lines: Iterable[str], colour: str | None) -> list[str]:
        return [self.style.paint(line, colour) if colour else line for line in lines]

    def blank(self) -> None:
        """An empty line, and none after it."""
        self._write("")
        self._gap = False

    def gap(self) -> None:
        """Let there be an empty line before what comes next."""
        self._gap = True

    def block(self, text: str) -> None:
        """Lines with an empty one before and after them."""
        self._write("")
        self._write(text)
        self._gap = True

    def events(self, events: Sequence[Json]) -> None:
        """A line for each event, or run of equal ones; failures stand out, the steps on the way to an end do not."""
        for text, run in groupby(_shortened(events)):
            times = sum(1 for _ in run)
            self.line("<-", f"{text} ({times} times)" if times > 1 else text, _colour_of(text))


def members(value: Json) -> str:
    """``key=value key="a value"``."""
    return " ".join(f'{key}="{item}"' if " " in str(item) else f"{key}={item}" for key, item in value.items())


def _colour_of(text: str) -> str | None:
    if text.startswith("JOB_STATUS_CHANGE"):
        return "dim"
    if "error=" in text or text.startswith("BLOCK_JOB_ERROR"):
        return "red"
    return "green" if text.startswith("BLOCK_JOB_COMPLETED") else None


def _shortened(events: Sequence[Json]) -> Iterator[str]:
    """One text for each event, but for the status of a job one for each run of changes."""
    for about, run in groupby(events, _status_of):
        if about is None:
            for event in run:
                yield f"{event['event']} {members(event.get('data', {}))}".rstrip()
        else:
            yield f"JOB_STATUS_CHANGE {about}: {', '.join(event['data']['status'] for event in run)}"


def _status_of(event: Json) -> str | None:
    """The job whose status the event is about, None for other events."""
    return event["data"]["id"] if event["event"] == "JOB_STATUS_CHANGE" else None
