"""The machine of the demo: each action is done on it and narrated in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.programs.shell import Shell
from qbitsim.terminal.narrator import Narrator, members
from qbitsim.terminal.picture import Style, draw, human, row_of_file, rows_of_drive

MIB = 1 << 20


class DemoMachine(Narrator):
    """A machine, and a narrator of what happens on it.

    :param write: is given each line.
    """

    def __init__(self, machine: Machine, style: Style, write: Callable[[str], None]) -> None:
        super().__init__(style, write)
        self.machine = machine
        self._shell = Shell(machine.images, machine.profile)
        self._cursor = machine.events.end
        self._chapters = 0

    # -- narrating

    def chapter(self, title: str, text: str) -> None:
        """Begin a chapter; a minute passes."""
        self._chapters += 1
        self.machine.advance(60)
        self.heading(f"{self._chapters}. {title}")
        self.say(text)

    def picture(self, *drives: str, files: Sequence[str] = ()) -> None:
        """The bitmaps of these drives, and these image files below them."""
        rows = [row for drive in drives for row in rows_of_drive(self.machine, drive, self.style)]
        rows += [row_of_file(self.machine.images.lookup(name), self.style) for name in files]
        self.block("\n".join(draw(rows, self.style)))

    # -- acting

    def qmp(self, name: str, arguments: Json) -> None:
        """Run a command and narrate what it is answered and what events came before."""
        actions = arguments.get("actions")
        if actions is None:
            self.line("->", f"{name} {members(arguments)}")
        else:
            mode = arguments.get("properties", {})
            self.line("->", f"{name} {members(mode)}".rstrip())
            for action in actions:
                self.line("  ", f" {action['type']} {members(action['data'])}")
        try:
            self.machine.execute(name, arguments)
            answer, colour = "return {}", None
        except QmpError as error:
            answer, colour = f"error: {error.desc}", "red"
        self._narrate_events()
        self.line("<-", answer, colour)

    def work(self) -> None:
        """Let the jobs go on until nothing is left to do."""
        self.machine.run_until_idle()
        self._narrate_events()

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
        listed = ", ".join(f"{human(length * MIB)} at {human(offset * MIB)}" for offset, length in places)
        self.line("..", f"the guest writes {letter} to {drive}: {listed}")

    def remember(self, drive: str, moment: str) -> None:
        """Copy what the disk is now to a file of that name, for the proof at the end."""
        self.machine.images.copy(f"{drive}.qcow2", moment)

    def _narrate_events(self) -> None:
        events = self.machine.events.read(self._cursor)
        self._cursor = self.machine.events.end
        self.events(events)
