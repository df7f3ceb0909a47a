"""Where the demo's story is acted: each action is done on a live machine and told in a few lines.

A line ``->`` is a QMP command, ``<-`` what the machine says, ``$`` a command on image files, ``..`` what the guest
does. Commands and events are shortened to ``NAME key=value …``; the many changes of a job's status take one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from qbitsim.cli.picture import Style, draw, human, row_of_file, rows_of_drive
from qbitsim.errors import QmpError
from qbitsim.machine import Machine
from qbitsim.testing.shell import Shell

MIB = 1 << 20
Json = dict[str, Any]


class Stage:
    """A machine, and somebody who tells what happens on it.

    :param tell: is given each line.
    """

    def __init__(self, machine: Machine, style: Style, tell: Callable[[str], None]) -> None:
        self.machine = machine
        self.style = style
        self._tell = tell
        self._shell = Shell(machine.images, machine.profile)
        self._cursor = machine.events.end
        self._chapters = 0
        self._gap = False

    # -- telling

    def chapter(self, title: str, text: str) -> None:
        """Begin a chapter; a minute passes."""
        self._chapters += 1
        self.machine.advance(60)
        rule = "─" if self.style.unicode else "-"
        heading = self.style.wrap(f"{rule * 2} {self._chapters}. {title}", rest="   ")
        room = self.style.width - len(heading.rpartition("\n")[2]) - 1
        self._block(self.style.paint(f"{heading} {rule * room}".rstrip(), "bold"))
        self.say(text)

    def say(self, text: str) -> None:
        """A paragraph."""
        self._block(self.style.wrap(text))

    def line(self, mark: str, text: str, colour: str | None = None) -> None:
        """One thing that happened."""
        if self._gap:
            self._tell("")
            self._gap = False
        for line in self.style.wrap(text, f"  {mark} ", "       ").splitlines():
            self._tell(self.style.paint(line, colour) if colour else line)

    def picture(self, *drives: str, files: Sequence[str] = ()) -> None:
        """The bitmaps of these drives, and these image files below them."""
        rows = [row for drive in drives for row in rows_of_drive(self.machine, drive, self.style)]
        rows += [row_of_file(self.machine.images.lookup(name), self.style) for name in files]
        self._block("\n".join(draw(rows, self.style)))

    def _block(self, text: str) -> None:
        """Lines with an empty one before and after them."""
        self._tell("")
        self._tell(text)
        self._gap = True

    # -- acting

    def qmp(self, name: str, arguments: Json) -> None:
        """Run a command and tell what it is answered and what events came before."""
        actions = arguments.get("actions")
        if actions is None:
            self.line("->", f"{name} {_members(arguments)}")
        else:
            mode = arguments.get("properties", {})
            self.line("->", f"{name} {_members(mode)}".rstrip())
            for action in actions:
                self.line("  ", f" {action['type']} {_members(action['data'])}")
        try:
            self.machine.execute(name, arguments)
            answer, colour = "return {}", None
        except QmpError as error:
            answer, colour = f"error: {error.desc}", "red"
        self._events()
        self.line("<-", answer, colour)

    def work(self) -> None:
        """Let the jobs go on until nothing is left to do."""
        self.machine.run_until_idle()
        self._events()

    def shell(self, command: str) -> bool:
        """Run a command on image files; whether it succeeded. Only what fails or compares is worth its output."""
        self.line("$", command)
        status, output = self._shell.run(command.split())
        if status or command.startswith("qemu-img compare"):
            for line in output.splitlines():
                self.line(" ", line, "red" if status else "green")
        return not status

    def guest(self, drive: str, letter: str, *places: tuple[int, int]) -> None:
        """The guest fills places of a disk, (MiB, length in MiB), with a letter."""
        disk = self.machine.drive(drive)
        for offset, length in places:
            disk.write(offset * MIB, letter.encode() * (length * MIB))
        told = ", ".join(f"{human(length * MIB)} at {human(offset * MIB)}" for offset, length in places)
        self.line("..", f"the guest writes {letter} to {drive}: {told}")

    def remember(self, drive: str, moment: str) -> None:
        """Keep what the disk is now in a file of that name, for the proof at the end."""
        self.machine.images.copy(f"{drive}.qcow2", moment)

    def _events(self) -> None:
        events = self.machine.events.read(self._cursor)
        self._cursor = self.machine.events.end
        for text in _shortened(events):
            self.line("<-", text, _colour_of(text))


def _colour_of(text: str) -> str | None:
    """Failures stand out, the steps on the way to an end do not."""
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
                yield f"{event['event']} {_members(event.get('data', {}))}".rstrip()
        else:
            yield f"JOB_STATUS_CHANGE {about}: {', '.join(event['data']['status'] for event in run)}"


def _status_of(event: Json) -> str | None:
    """The job whose status the event tells, None for other events."""
    return event["data"]["id"] if event["event"] == "JOB_STATUS_CHANGE" else None


def _members(value: Json) -> str:
    return " ".join(f'{key}="{item}"' if " " in str(item) else f"{key}={item}" for key, item in value.items())
