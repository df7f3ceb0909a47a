"""Files that are named on the command line; ``-`` is standard input, or standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from qbitsim.terminal.errors import CliError
from qbitsim.terminal.output import show


def read(name: str) -> bytes:
    """All of a file.

    :raises CliError: it cannot be read.
    """
    if name == "-":
        if sys.stdin is None:
            raise CliError("there is no standard input")
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}") from None


def write(name: str, text: str) -> None:
    """Put a text, which ends with a line's end, into a file.

    :raises CliError: it cannot be written.
    """
    if name == "-":
        show(text.rstrip("\n"))
        return
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}") from None
