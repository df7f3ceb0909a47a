"""What Python's ``qemu.qmp`` logs, and with it each program that uses it, such as ``qmpbackup --debug``.

At the level DEBUG each message is there behind ``-->`` or ``<--``, as JSON over several lines that ends with a ``}`` at
the beginning of one (AsyncProtocol._cb_outbound and _cb_inbound, Message.__str__, qemu.qmp 0.0.6). What stands before
it is as the program wants it: a time of day without a time zone, usually, and the name of the logger, which ends with
the name of the client if that has one. A greeting begins a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from qbitsim.jsontypes import Json
from qbitsim.logs.conversation import Conversation, Kind, Log, Said, named
from qbitsim.logs.messages import message_in
from qbitsim.logs.stamps import stamp_of

_MESSAGE = re.compile(r"(?:^|[\s:>|\]])(-->|<--) (?=\{)")
_LOGGER = re.compile(r"qemu\.qmp\.(?:protocol|qmp_client|legacy)\.([^\s:\]|]+)")
_LEVEL = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SEARCHED = 400
_QUARTER = 900 * 1_000_000_000
"""Nanoseconds: time zones differ by quarters of an hour."""


def is_qemu_qmp(text: str) -> bool:
    """Whether it is a log with messages as ``qemu.qmp`` writes them."""
    return re.search(r"^.{0,400}?(?:^|[\s:>|\]])(?:-->|<--) \{", text, re.MULTILINE) is not None


def is_deaf_qmpbackup(text: str) -> bool:
    """Whether it is a log of qmpbackup, be it one without messages."""
    beginning = _COLOURS.sub("", text[:4000])
    return re.search(r"^\[[-\d:, ]+\] +[A-Z]+ - \w+:? ", beginning, re.MULTILINE) is not None


def read_qemu_qmp(text: str) -> Log:
    """What the log has, whatever else is in it."""
    reader = _Reader()
    for line, rest in _entries(text):
        reader.read(line, rest)
    return reader.log()


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Each line that begins something, and the rest of the message if it does."""
    lines = iter(_COLOURS.sub("", text).replace("\r\n", "\n").split("\n"))
    line = next(lines, None)
    while line is not None:
        rest: list[str] = []
        following = next(lines, None)
        if _MESSAGE.search(line, 0, _SEARCHED) is not None and line.endswith("{"):
            while following is not None and following.startswith((" ", "}", "\t")):
                rest.append(following)
                ended = following.startswith("}")
                following = next(lines, None)
                if ended:
                    break
        yield line, "\n".join(rest)
        line = following


class _Reader:
    """Sorts the messages of a log by client."""

    def __init__(self) -> None:
        self._conversations: list[Conversation] = []
        self._current: dict[str, Conversation] = {}  # by the name of the logger
        self._last: Conversation | None = None
        self._place = 0
        self._cut = 0
        self._zone: int | None = None  # nanoseconds by which the clock of the log is ahead of UTC

    def log(self) -> Log:
        """What was read, with all times in UTC if that is known."""
        for conversation in self._conversations:
            _name_domain(conversation)
            if self._zone:
                conversation.said[:] = [_moved(each, self._zone) for each in conversation.said]
        named(self._conversations)
        log = Log("qemu.qmp", self._conversations)
        log.note_damage(self._cut)
        return log

    def read(self, line: str, rest: str) -> None:
        """Take up one line, with what belongs to it."""
        self._place += 1
        found = _MESSAGE.search(line, 0, _SEARCHED)
        if found is None:
            if self._last is not None and _LEVEL.search(line, 0, _SEARCHED) is not None:
                self._last.said.append(Said(self._place, _time(line), "remark", _words(line)))
            return
        message = message_in(f"{line}\n{rest}", found.end())
        self._cut += message is None
        conversation = self._conversation(line, message)
        at = _time(line)
        if self._zone is None and at is not None and message is not None:
            self._zone = _offset(line, at, message)
        whole = message or f"{line[found.end() :]}{rest[:_SEARCHED]}"
        conversation.said.append(Said(self._place, at, _kind(found[1], message), whole))
        self._last = conversation

    def _conversation(self, line: str, message: Json | None) -> Conversation:
        logger = _LOGGER.search(line, 0, _SEARCHED)
        client = logger[1] if logger is not None else ""
        conversation = self._current.get(client)
        if conversation is None or (message is not None and "QMP" in message):
            conversation = self._current[client] = Conversation(client or "client", client)
            self._conversations.append(conversation)
        return conversation


def _kind(arrow: str, message: Json | None) -> Kind:
    if arrow == "-->":
        return "request"
    if message is not None and "QMP" in message:
        return "greeting"
    return "event" if message is not None and "event" in message else "reply"


def _name_domain(conversation: Conversation) -> None:
    """Name the domain as ``query-name`` does."""
    asked = object()
    for each in conversation.said:
        message = each.message if isinstance(each.message, dict) else {}
        if message.get("execute") == "query-name":
            asked = message.get("id")
        elif each.kind == "reply" and message.get("id") == asked:
            value = message.get("return")
            name = value.get("name") if isinstance(value, dict) else None
            conversation.domain = name if isinstance(name, str) else conversation.domain
            return


def _time(line: str) -> int | None:
    stamp = stamp_of(line)
    return stamp[0] if stamp is not None else None


def _offset(line: str, at: int, message: Json) -> int | None:
    """By how much the clock of a log is ahead of UTC, as an event tells that has its own time; None if it has none."""
    stamp = stamp_of(line)
    if stamp is not None and stamp[1]:
        return 0
    when = message.get("timestamp")
    seconds = when.get("seconds") if isinstance(when, dict) else None
    if not isinstance(seconds, int):
        return None
    return round((at - seconds * 1_000_000_000) / _QUARTER) * _QUARTER


def _moved(said: Said, ahead: int) -> Said:
    return replace(said, at=said.at - ahead) if said.at is not None else said


def _words(line: str) -> str:
    """A line without its time of day."""
    return re.sub(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+(?: ?(?:Z|[+-]\d\d:?\d\d))?\]?\s*", "", line)
