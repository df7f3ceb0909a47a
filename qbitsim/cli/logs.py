"""Logs of clients on the command line: which conversations of them are wanted."""

from __future__ import annotations

import argparse

from qbitsim.logs import reading
from qbitsim.logs.conversation import Conversation, Log
from qbitsim.terminal.errors import CliError


def read_log(name: str, text: str) -> Log | None:
    """The log that a file is, or None if it is none.

    :raises CliError: it is one that has no messages.
    """
    try:
        return reading.read_log(text)
    except reading.DeafLogError as error:
        raise CliError(f"{name}: {error}") from None


def chosen(name: str, log: Log, arguments: argparse.Namespace) -> list[Conversation]:
    """The conversations that ``--conversation`` names, or all that are worth it.

    :raises CliError: there is none of such a name.
    """
    try:
        return log.chosen(arguments.conversations)
    except KeyError as error:
        known = ", ".join(each.name for each in log.conversations)
        raise CliError(f"{name}: there is no conversation {error.args[0]!r} in it: it has {known}") from None
