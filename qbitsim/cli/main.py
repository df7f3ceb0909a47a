"""The entry point: chooses the subcommand and turns what ends it into a line on stderr and an exit status."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``qbitsim`` with these arguments (the process's own if None) and return its exit status.

    Who interrupts it while modules are loaded is answered as later; so they are loaded here.
    """
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED)


def _main(argv: Sequence[str] | None) -> int:
    from qbitsim.terminal import streams  # noqa: PLC0415 - see main()
    from qbitsim.terminal.errors import CliError  # noqa: PLC0415 - see main()

    try:
        streams.prepare()
        try:
            return _run(argv)
        finally:
            streams.finish()
    except CliError as error:
        return _end(error.text, error.status)


def _run(argv: Sequence[str] | None) -> int:
    """Each subcommand is a module of its own, imported only if it is wanted: asyncio is for ``serve`` alone."""
    from importlib import import_module  # noqa: PLC0415 - see main()

    from qbitsim.cli.arguments import parse  # noqa: PLC0415 - see main()

    arguments = parse(argv)
    run: Callable[[Namespace], int] = import_module(f"qbitsim.cli.{arguments.command}").run
    return run(arguments)


def _end(text: str, status: int) -> int:
    if text:
        print(f"qbitsim: {text}", file=sys.stderr)
    return status
