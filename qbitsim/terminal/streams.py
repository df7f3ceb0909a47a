"""Standard input and output, and files that are named on the command line; ``-`` is one of the two."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from qbitsim.terminal.errors import FAILED, CliError


def prepare() -> None:
    """Let every text be printable, whatever the encoding.

    :raises CliError: there is no standard output.
    """
    if sys.stdout is None:
        raise CliError("there is no standard output", FAILED)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def show(line: str) -> None:
    """Print a line.

    :raises CliError: nobody can read it.
    """
    try:
        print(line)
    except OSError as error:
        raise lost(error) from None


def finish() -> None:
    """Make sure that all is written; ``serve`` may have hung up already.

    :raises CliError: it cannot be.
    """
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        raise lost(error) from None


def lost(error: OSError) -> CliError:
    """What to raise when standard output cannot be written."""
    # What is still buffered cannot be written at exit either; let it go nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return CliError("", FAILED)  # whoever has read enough, such as head, need not be told so
    return CliError(f"standard output: {error.strerror}", FAILED)


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
