"""The program from its first to its last moment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qbitsim.programs.complaints import EndError, StartError
from qbitsim.programs.process import flush_output, timestamp, write_output
from qbitsim.programs.qemu_system.command_line import line, read_words
from qbitsim.programs.qemu_system.plan import Plan
from qbitsim.programs.table import load

if TYPE_CHECKING:
    from qbitsim.profiles import Profile


def main(argv: list[str], profile: Profile) -> int:
    """Run the program, and return its exit status.

    :param argv: without the name of the program.
    """
    program = _Program(profile)
    try:
        return program.run(argv)
    except EndError:
        return 0
    except StartError as error:
        flush_output()
        if error.text:
            program.complain(line(error.text, error.words))
        return error.status
    finally:
        flush_output()


class _Program:
    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._timestamps = False

    def complain(self, text: str) -> None:
        """Write on standard error."""
        sys.stderr.write(f"{timestamp()} {text}" if self._timestamps else text)
        sys.stderr.flush()

    def print(self, text: str) -> None:
        """Write on standard output."""
        write_output(text)

    def run(self, argv: list[str]) -> int:
        given = read_words(argv, self._profile)
        plan = Plan(self._profile, self.print, self.complain)
        plan.read(given)
        self._timestamps = plan.timestamps
        if plan.nographic and plan.daemonize and plan.defaults:
            raise StartError("-nographic cannot be used with -daemonize")
        running = load("qemu_system.running")  # nobody who asks for help waits for it
        status: int = running.Running(plan, self.print, self.complain).run()
        return status
