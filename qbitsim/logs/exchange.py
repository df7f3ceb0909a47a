"""Requests of a conversation with their replies, and the events around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qbitsim.jsontypes import Json
from qbitsim.logs.conversation import Conversation, Said

_QUESTIONS = ("query-", "qom-list", "qom-get", "device-list-", "qmp_capabilities", "migrate-set-", "x-query-")
"""How the names of commands begin that change no disk."""

_EXECUTED = re.compile(r'"execute": ?"([\w-]+)"')


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was answered.

    :ivar asked: the place of the request in the conversation; :ivar answered: that of the reply.
    :ivar command: its name; none if the request is malformed.
    :ivar before: the events since the reply before, until the request.
    :ivar between: those between the request and the reply.
    :ivar gap: whether it may be that commands were carried out before it that the log does not have whole.
    """

    asked: int
    answered: int
    command: str
    arguments: Json
    reply: Json
    before: list[Json]
    between: list[Json]
    gap: bool

    @property
    def succeeded(self) -> bool:
        """Whether it was not refused."""
        return "return" in self.reply


def is_question(command: str) -> bool:
    """Whether a command changes no disk, by its name."""
    return command.startswith(_QUESTIONS)


def exchanges(conversation: Conversation) -> Iterator[Exchange]:
    """All that were answered, in the order of the replies."""
    waiting: dict[str, tuple[int, Json, int]] = {}
    events: list[Json] = []
    gap = False
    for place, said in enumerate(conversation.said):
        message = said.message
        if isinstance(message, str):
            gap = gap or _may_change(said, waiting)
        elif said.kind == "event":
            events.append(message)
        elif said.kind == "request":
            waiting[repr(message.get("id"))] = (place, message, len(events))
        elif said.kind == "reply" and (asked := waiting.pop(repr(message.get("id")), None)) is not None:
            earlier, events = events, []
            yield _exchange(asked, place, message, earlier, gap=gap)


def _exchange(asked: tuple[int, Json, int], place: int, reply: Json, events: list[Json], *, gap: bool) -> Exchange:
    when, request, before = asked
    command, arguments = request.get("execute"), request.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        command, arguments = "", {}
    return Exchange(when, place, command, arguments, reply, events[:before], events[before:], gap)


def _may_change(said: Said, waiting: dict[str, tuple[int, Json, int]]) -> bool:
    """Whether a message that is cut off may be of a command that changes something."""
    if said.kind == "request":
        executed = _EXECUTED.search(str(said.message))
        return executed is None or not is_question(executed[1])
    commands = [str(request.get("execute")) for _, request, _ in waiting.values()]
    waiting.clear()
    return said.kind in ("reply", "event") and not all(map(is_question, commands))
