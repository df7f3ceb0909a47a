"""Lines for the shell that nobody types: from a file, a pipe or the command line.

The first command that is refused ends it, unless the line begins with a hyphen, as in a makefile. So does the end of
the server, and it is a failure if lines are left; those of a pipe are not waited for then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import read

if TYPE_CHECKING:
    from qbitsim.shell.shell import Shell


class StoppedError(Exception):
    """Not all lines of a file were run; why was shown.

    :ivar status: the exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def play(shell: Shell, lines: Iterable[str], name: str, *, ended: Callable[[], object] = lambda: None) -> int:
    """Run lines until one fails; the exit status.

    :param name: of the file, for messages.
    :param ended: is called when the server has ended: what lines have not come by then are waited for no more.
    """
    found = commands(shell, lines)
    for number, text in found:
        tolerant = text.startswith("-") and not text.startswith("->")
        status = shell.run(text.removeprefix("-") if tolerant else text)
        if shell.over:
            ended()
            left = _first_to_run(found) if shell.ended else None
            if left is not None:
                shell.screen.complain(f"{name}:{left}: not run, QEMU has quit")
            return status if left is None else FAILED
        if status and not tolerant:
            shell.screen.complain(f"{name}:{number}: stopped here")
            return status
    return 0


def play_file(shell: Shell, file: str) -> None:
    """Run the lines of a file.

    :raises CliError: it cannot be read.
    :raises StoppedError: one of them has failed.
    """
    try:
        lines = [line.decode("utf-8") for line in read(file).splitlines()]
    except UnicodeDecodeError:
        raise CliError(f"{file}: it is not UTF-8") from None
    if status := play(shell, lines, file):
        raise StoppedError(status)


def _first_to_run(found: Iterator[tuple[int, str]]) -> int | None:
    """The number of the first line that is no comment."""
    return next((number for number, text in found if text.strip() and not text.lstrip().startswith("#")), None)


def commands(shell: Shell, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The commands, each with the number of its first line; one goes on until it is complete."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate(lines, start=1):
        if not begun:
            first = number
        begun.append(line.rstrip("\n"))
        if shell.is_complete(re.sub(r"\A-(?!>)", "", "\n".join(begun))):
            yield first, "\n".join(begun)
            begun.clear()
    if begun:
        yield first, "\n".join(begun)
