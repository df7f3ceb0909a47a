"""Lines for the shell that nobody types: from a file, a pipe or the command line.

The first command that is refused ends it, unless the line begins with a hyphen, as in a makefile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qbitsim.cli.errors import CliError

if TYPE_CHECKING:
    from qbitsim.shell.shell import Shell


def play(shell: Shell, lines: Iterable[str], name: str) -> int:
    """Run lines until one fails; the exit status.

    :param name: of the file, for messages.
    """
    for number, text in _commands(shell, lines):
        tolerant = text.startswith("-")
        status = shell.run(text.removeprefix("-"))
        if shell.over:
            return status
        if status and not tolerant:
            shell.screen.complain(f"{name}:{number}: stopped here")
            return status
    return 0


def play_file(shell: Shell, file: str) -> int:
    """Run the lines of a file.

    :raises CliError: it cannot be read.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            lines = opened.readlines()
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CliError(f"{file}: it is not UTF-8") from None
    return play(shell, lines, file)


def _commands(shell: Shell, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The commands, each with the number of its first line; one goes on until it is complete."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate(lines, start=1):
        if not begun:
            first = number
        begun.append(line.rstrip("\n"))
        if shell.is_complete("\n".join(begun).removeprefix("-")):
            yield first, "\n".join(begun)
            begun.clear()
    if begun:
        yield first, "\n".join(begun)
