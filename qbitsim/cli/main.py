"""The entry point: chooses the subcommand and turns what ends it into a line on stderr and an exit status."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from qbitsim.cli.arguments import parse
from qbitsim.terminal import streams
from qbitsim.terminal.errors import CliError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``qbitsim`` with these arguments (the process's own if None) and return its exit status."""
    try:
        streams.prepare()
        try:
            return _run(argv)
        finally:
            streams.finish()
    except CliError as error:
        return _end(error.text, error.status)
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED)


def _run(argv: Sequence[str] | None) -> int:
    """Each subcommand is a module of its own, imported only if it is wanted: asyncio is for ``serve`` alone."""
    arguments = parse(argv)
    run: Callable[[Namespace], int] = import_module(f"qbitsim.cli.{arguments.command}").run
    return run(arguments)


def _end(text: str, status: int) -> int:
    if text:
        print(f"qbitsim: {text}", file=sys.stderr)
    return status
