"""What is certain about the machine of a conversation, and when a difference says nothing.

Names are those of nodes, drives, devices, bitmaps, jobs and exports, whatever each is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from errno import errorcode
from typing import Any

from qbitsim.jsontypes import Json
from qbitsim.logs.exchange import Exchange

NBD_SERVER = "the NBD server"
"""Stands for it among the names."""

_NAMING = frozenset(
    (
        *("node", "name", "device", "job-id", "id", "target", "node-name", "file", "bitmap", "bitmaps", "export"),
        *("filename", "top-node", "base-node", "overlay", "backing"),
    )
)
"""The members of requests that are names."""

_HOST = re.compile(
    "|".join(map(re.escape, sorted(map(os.strerror, errorcode))))
    + r"|\block\b|Could not (?:open|create|read)|Failed to (?:connect|bind|get|unlink)|corrupt|[Tt]imed out"
)
"""Texts of refusals that the host may be the cause of."""

_ABSENT = re.compile("not found|[Cc]annot find|Failed to find|[Nn]o such|does not exist|not running|[Uu]nknown")
"""Texts of refusals because something is not there."""

_PRESENT = re.compile(r"already|in use|busy|exist|[Dd]uplicate|[Cc]onflict|blocked|\block\b|cannot accept")
"""Texts of refusals because of something that is there, or goes on."""


class Trust:
    """What is certain.

    :param known: names of what there is at the beginning.
    :param suspect: names of what may be otherwise on the machine of the conversation.
    :param assumed: names of what is on files that are guesses; more may come.
    """

    def __init__(self, known: Iterable[str], suspect: Iterable[str], assumed: set[str]) -> None:
        self._known = set(known)
        self._made: set[str] = set()  # since the beginning; such things have no users that are not known
        self._suspect = {*suspect, NBD_SERVER}
        self._assumed = assumed

    @property
    def certain(self) -> set[str]:
        """Names of what is known and the same on both machines."""
        return self._known - self._suspect

    def learn(self, exchange: Exchange, names: set[str], mine: Json) -> None:
        """Take up that a command has succeeded there, and what became of it here."""
        if exchange.command == "nbd-server-stop" or (exchange.command == "nbd-server-start" and "return" in mine):
            self._suspect.discard(NBD_SERVER)
        elif "error" in mine:
            self._suspect |= names
        elif exchange.command in ("blockdev-del", "job-dismiss"):
            self._suspect -= names
        self._made |= names - self._known
        self._known |= names

    def distrust(self, names: Iterable[str]) -> None:
        """Take up that things went another way there."""
        self._suspect.update(names)

    def doubt(self, exchange: Exchange, names: set[str], mine: Json) -> str | None:
        """Why it says nothing that the two machines answer differently, or None."""
        texts = [_text_of(each) for each in (exchange.reply, mine) if "error" in each]
        if "" in texts:
            return "as it is not emulated"
        if any(map(_HOST.search, texts)):
            return "that the host's files may have caused"
        if names & self._suspect:
            return "about what went another way before"
        if names & self._assumed and texts:
            return "about files that are not known"
        absent = any(map(_ABSENT.search, texts)) and not names <= self._known
        present = "error" in exchange.reply and _PRESENT.search(texts[0]) and not names <= self._made
        if absent or present:
            return "about what may have been there before"
        return None


def names_in(exchange: Exchange, arguments: Json) -> set[str]:
    """The names that a request has.

    :param arguments: as they are here.
    """
    names = set(_names(arguments, ""))
    about_nbd = exchange.command == "block-export-add" and arguments.get("type") == "nbd"
    return names | {NBD_SERVER} if about_nbd or exchange.command.startswith("nbd-server-") else names


def _names(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _names(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _names(each, key)
    elif isinstance(value, str) and key in _NAMING:
        yield value


def _text_of(reply: Json) -> str:
    """The text of a refusal; none if it is not QEMU's."""
    error = reply["error"]
    return str(error.get("desc")) if isinstance(error, dict) and error.get("class") else ""
