"""The entry point: chooses the subcommand and turns what ends it into a line on stderr and an exit status."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from qbitsim.cli.arguments import parse
from qbitsim.cli.errors import FAILED, CliError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``qbitsim`` with these arguments (the process's own if None) and return its exit status."""
    try:
        status = _run(argv)
        sys.stdout.flush()
    except CliError as error:
        return _end(error.text, error.status)
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # What is still buffered cannot be written at exit either; let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _end("standard output was closed", FAILED)
    return status


def _run(argv: Sequence[str] | None) -> int:
    """Each subcommand is a module of its own, imported only if it is wanted: asyncio is for ``serve`` alone."""
    arguments = parse(argv)
    run: Callable[[Namespace], int] = import_module(f"qbitsim.cli.{arguments.command}").run
    return run(arguments)


def _end(text: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print(f"qbitsim: {text}", file=sys.stderr)
    return status
