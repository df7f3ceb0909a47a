"""Logs of clients on the command line: which conversations of them are wanted, and how they are played."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from qbitsim.cli.arguments import has_settings
from qbitsim.history.file import dumps
from qbitsim.history.words import request_words
from qbitsim.jsontypes import Json
from qbitsim.logs import reading
from qbitsim.logs.conversation import Conversation, Log
from qbitsim.logs.judge import judged
from qbitsim.logs.telling import history_of_log
from qbitsim.scenario.difference import difference_lines
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import show, write


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


def refuse_choice(name: str, arguments: argparse.Namespace) -> None:
    """Refuse ``--conversation`` for a file that is no log.

    :raises CliError: it was given.
    """
    if arguments.conversations:
        raise CliError(f"{name}: it is no log, from which --conversation could choose")


def play(name: str, log: Log, arguments: argparse.Namespace) -> int:
    """Play the conversations, show each reply that is another here, and return the exit status.

    :raises CliError: an option does not fit a log, or the history cannot be written.
    """
    if arguments.against is not None or arguments.transcript is not None or has_settings(arguments) or arguments.images:
        raise CliError(f"{name}: it is a log, which tells what disks there are, and is played on a machine of its own")
    conversations = chosen(name, log, arguments)
    failed = False
    for each in conversations:
        judgement = judged(each)
        for place, expected in judgement.expected.items():
            show(_difference(each, place, expected))
        for note in judgement.notes(each.name):
            show(note)
        failed |= bool(judgement.expected)
    if arguments.history is not None:
        write(arguments.history, dumps(history_of_log(log, conversations, Path(name).stem)))
    return FAILED if failed else 0


def _difference(conversation: Conversation, place: int, expected: Json) -> str:
    """A reply and what was expected, in lines for people."""
    said = conversation.said[place]
    assert isinstance(said.message, dict)
    number = said.message.get("id")
    asked = next(
        each.message
        for each in reversed(conversation.said[:place])
        if each.kind == "request" and isinstance(each.message, dict) and each.message.get("id") == number
    )
    when = f"{datetime.fromtimestamp(said.at / 1e9, UTC):%Y-%m-%d %H:%M:%S.%f} " if said.at is not None else ""
    told = {name: value for name, value in said.message.items() if name != "id"}
    return f"{when}{conversation.name}: {request_words(asked)}\n{difference_lines(told, expected)}"
