"""Where a chapter happens: a live machine, what is done on it, and its narration.

Jobs go on only when a step says so. A machine that has crashed or ended is followed by another one on the same files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.profiles import profile as profile_called
from qbitsim.programs.shell import Shell
from qbitsim.qmp.session import Session
from qbitsim.terminal.hints import hint
from qbitsim.terminal.narrator import Narrator
from qbitsim.terminal.picture import Style, human
from qbitsim.tour.drawing import Drawing
from qbitsim.tour.lesson import CELL, CELLS, Place, Qmp
from qbitsim.tour.pretty import pretty
from qbitsim.tour.view import View

MOST_CHARACTERS = 1500
"""How much of a reply to a reader's own command is shown."""

MOST_STEPS = 1000
"""How far jobs are let go on in what a reader tries; a job may try for ever to write to a full disk."""


class Scene(View):
    """A machine with disks of 16 cells, and a narrator of what happens on it.

    :param disks: the ids of its drives: ``drive0`` is on a node called ``disk0``.
    :param write: is given each line, or several of them.
    :ivar last_picture: the lines of the picture that was drawn last.
    """

    def __init__(self, profile: str, disks: Sequence[str], style: Style, write: Callable[[str], None]) -> None:
        super().__init__(Machine(profile_called(profile)))
        self.narrator = Narrator(style, write)
        self._disks = disks
        self._drawing = Drawing(style)
        self.last_picture = ""
        self._cursor = 0
        self._plug_in()

    def _plug_in(self) -> None:
        for disk in self._disks:
            self.machine.add_disk(disk, CELL * CELLS, node_name=disk.replace("drive", "disk"))
        self.begin_step()

    def begin_step(self) -> None:
        """Forget what was seen in the step before."""
        self.reply, self.refusal, self.output, self.failed_writes = None, None, "", 0
        self._began = self._cursor = self.machine.events.end

    # -- acts

    def execute(self, command: Qmp) -> None:
        """Run a command; narrate the events before its reply, and the reply."""
        try:
            self.reply = self.machine.execute(command.name, command.arguments)
        except QmpError as error:
            self.refusal = error.desc
            self._narrate_reply({"error": {**error.to_json()}})
        else:
            part = command.part(self.reply) if command.part is not None else self.reply
            self._narrate_reply({"return": part} if command.part is None else part, command.about)

    def _narrate_reply(self, reply: object, about: str = "") -> None:
        self._narrate_events()
        colour = "red" if isinstance(reply, dict) and "error" in reply else None
        flat = json.dumps(reply)
        if len(flat) + 5 <= self.narrator.style.width or colour:
            self.narrator.line("<-", flat, colour)
        else:
            self.narrator.line("<-", f'{{"return": ...}}, of which {about}:' if about else "")
            self.show_json(reply)

    def show_json(self, value: object) -> None:
        """A JSON value in full."""
        indent = "     " if self.narrator.style.beside else "  "
        text = pretty(value, self.narrator.style.width - len(indent))
        self.narrator.lines([indent + line for line in text.splitlines()])

    def guest_writes(self, letter: str, places: Sequence[Place], drive: str) -> None:
        """The guest fills places of a disk with a letter; what fails is narrated."""
        disk, written = self.machine.drive(drive), []
        for offset, length in places:
            try:
                disk.write(offset, letter.encode() * length)
                written.append((offset, length))
            except OSError as error:
                self.failed_writes += 1
                reason = os.strerror(errno_of(error))
                self.narrator.line("..", f"the guest's write to {_places([(offset, length)])} FAILS: {reason}", "red")
        if written:
            self.narrator.line("..", f"the guest writes {letter} to {drive}: {_places(written)}")
        self._narrate_events()

    def go(self, job: str, cells: int) -> None:
        """Step the machine until the job has copied so many cells, or is gone."""
        while (copied := self.copied(job)) is not None and copied < cells and self.machine.step():
            pass
        done = "has ended" if copied is None else f"has copied {copied} cell{'s' * (copied > 1)}"
        self.narrator.line("..", f"job {job} {done}")
        self._narrate_events()

    def finish(self) -> None:
        """Let the jobs go on to their end, whatever time they take."""
        self.machine.settle()
        self._narrate_events()

    def client_asks(self, export: str, context: str) -> None:
        """An NBD client asks what is dirty, or where data is."""
        dirty = "dirty" in context
        with self.machine.connect_nbd(export, [context]) as client:
            extents = client.extents(context)
        ranges = [(place, length) for place, length, flags in extents if (flags == 1 if dirty else not flags & 1)]
        self.heard = [cell for place, length in ranges for cell in range(place // CELL, -(-(place + length) // CELL))]
        cells = ", ".join(map(str, self.heard))
        self.narrator.line("..", f"the client asks for {context}: {'dirty' if dirty else 'data'} in cells {cells}")
        self._narrate_events()

    def client_reads(self, export: str, cells: Sequence[int]) -> None:
        """An NBD client reads cells and keeps them."""
        with self.machine.connect_nbd(export) as client:
            for cell in cells:
                self.fetched[cell] = client.read(cell * CELL, CELL)[:1].decode()
        letters = "".join(self.fetched[cell] for cell in cells)
        self.narrator.line("..", f"the client reads {_places([(cell * CELL, CELL) for cell in cells])}: {letters}")
        self._narrate_events()

    def shell(self, command: str) -> None:
        """Run a command on image files."""
        self.narrator.line("$", command)
        status, self.output = Shell(self.machine.images, self.machine.profile).run(command.split())
        if status or not command.startswith("qemu-img create"):  # whose success is worth no lines
            for line in self.output.splitlines():
                self.narrator.line(" ", line, "red" if status else None)

    def arrange(self, text: str, do: Callable[[Machine], object]) -> None:
        """Do something behind the scenes."""
        do(self.machine)
        self.narrator.line("**", text)
        self._narrate_events()

    def crash(self) -> None:
        """Kill QEMU."""
        self.machine.crash()
        self.narrator.line("**", "kill -9: QEMU is gone, without a goodbye", "red")

    def start(self) -> None:
        """Start QEMU on the files that are there; what happened before is still part of this step."""
        self.machine = Machine(self.machine.profile, images=self.machine.images)
        self._plug_in()
        self.narrator.line("**", "QEMU is started again on the same image files")

    # -- what the reader tries

    def attempt(self, text: str) -> bool:
        """Send a text to the machine as a client would; whether there was an answer."""
        monitor = Session(self.machine)
        monitor.connect()
        monitor.feed(b'{"execute": "qmp_capabilities"}')
        lines = monitor.feed(text.encode(errors="surrogateescape") + b"\n").decode().splitlines()
        self._narrate_events()
        replies = [line for line in lines if not line.startswith('{"timestamp"')]
        for line in replies:
            if len(line) > MOST_CHARACTERS:
                self.narrator.line("<-", f"{line[:MOST_CHARACTERS]} ... ({len(line)} characters in all)")
            else:
                self._narrate_reply(json.loads(line))
                self._hint(json.loads(line))
        return bool(replies)

    def _hint(self, reply: object) -> None:
        """Say what may help a reader whose command was refused."""
        if isinstance(reply, dict) and isinstance(reply.get("error"), dict) and not self.machine.closing:
            due = len(self.machine.scheduler.ready())
            text = hint(reply["error"]["desc"], lambda: self.machine.qmp("query-named-block-nodes"), due)
            if text is not None:
                self.narrator.line("**", text)

    def go_on(self) -> None:
        """Let the jobs go on, and time pass, for as long as is sensible."""
        steps = 0
        while steps < MOST_STEPS and self._one_step():
            steps += 1
        self._narrate_events()
        if steps == MOST_STEPS:
            self.narrator.line("**", f"after {steps} steps there is still work to do")

    def _one_step(self) -> bool:
        machine = self.machine
        if not machine.step():
            if machine.next_deadline is None:
                return False
            machine.move_clock(machine.next_deadline)
        return True

    def save_point(self) -> Callable[[], None]:
        """Remember the machine and its last picture; what is returned puts both back."""
        snapshot, before, last = self.machine.snapshot(), self._drawing.before, self.last_picture

        def put_back() -> None:
            self.machine.restore(snapshot)
            self._cursor = self.machine.events.end
            self._drawing.before, self.last_picture = before, last

        return put_back

    # -- looking

    def picture(self, drives: Sequence[str] | None, files: Sequence[str]) -> None:
        """Draw these drives (None: all), their bitmaps, the jobs and these files."""
        self.last_picture = "\n".join(self._drawing.lines(self, self._disks if drives is None else drives, files))
        self.narrator.block(self.last_picture)

    def _narrate_events(self) -> None:
        events = self.machine.events.read(self._cursor)
        self._cursor = self.machine.events.end
        self.narrator.events(events)


def _places(places: Sequence[Place]) -> str:
    """Places in words: ``cells 3, 5, 6``, ``1 B at 5 * 64 KiB``."""
    if all(offset % CELL == 0 and length == CELL for offset, length in places):
        numbers = [offset // CELL for offset, _ in places]
        if numbers == [*range(numbers[0], numbers[-1] + 1)] and len(numbers) > 2:
            return f"cells {numbers[0]} to {numbers[-1]}"
        return f"cell{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    return ", ".join(f"{human(length)} at {_offset(offset)}" for offset, length in places)


def _offset(offset: int) -> str:
    cell, rest = divmod(offset + CELL // 2, CELL)
    rest -= CELL // 2
    return f"{cell} * 64 KiB" + (f" {'+' if rest > 0 else '-'} {abs(rest)}" if rest else "")
