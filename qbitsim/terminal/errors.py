"""What ends a command with one line on stderr instead of a traceback."""

from __future__ import annotations

USAGE = 2
"""Exit status: the command line, or a file that it names, is at fault."""

FAILED = 1
"""Exit status: what was asked for was done and went wrong."""


class CliError(Exception):
    """The command cannot go on.

    :param text: one line, without the program's name; empty if there is nothing to say.
    :ivar status: the exit status, :data:`USAGE` or :data:`FAILED`.
    """

    def __init__(self, text: str, status: int = USAGE) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
