"""The history that a log tells, with what a faithful machine would have answered where that is otherwise."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from qbitsim.history.messages import MessageHistory
from qbitsim.history.words import request_words, shortened
from qbitsim.jsontypes import Json
from qbitsim.logs.conversation import Conversation, Log, Said
from qbitsim.logs.judge import judged

_SMALL_TALK = ("qom-get", "qom-list", "qom-list-types", "qom-list-properties", "device-list-properties")
"""Questions about objects of the machine. Libvirt asks hundreds of them when a domain starts."""

_NO_BITS = "The machine is not known, only what was said: there are no bits to show."


def history_of_log(log: Log, chosen: Sequence[Conversation], title: str) -> Json:
    """What was said in these conversations of a log, by time.

    Names of what belongs to one domain stand behind the name of that domain if there are several.
    """
    judgements = {each.name: judged(each) for each in chosen}
    profiles = {judgement.profile.name for judgement in judgements.values()}
    history = MessageHistory(title, profiles.pop() if len(profiles) == 1 else "")
    folded = {each.name: _small_talk(each) for each in chosen}
    several = len({each.domain or each.name for each in chosen}) > 1
    for conversation, number, said in _by_time(chosen):
        count = folded[conversation.name].get(number)
        if count is None:
            _tell(history, conversation, said, judgements[conversation.name].expected.get(number), several=several)
        elif count:
            words = f"{count} question{'s' * (count > 1)} about objects of the machine: {request_words(said.message)}"
            history.remark("look", f"{words}{', ...' if count > 1 else ''}", conversation.name)
    history.notes += [*_about(log, chosen), *log.notes, _NO_BITS]
    for conversation in chosen:
        history.notes += judgements[conversation.name].notes(conversation.name if len(chosen) > 1 else "")
    return history.to_json()


def _by_time(chosen: Sequence[Conversation]) -> Iterator[tuple[Conversation, int, Said]]:
    """What was said in all of them, in the order of the log, with its number in its conversation."""
    streams = [[(each.place, place, number) for number, each in enumerate(c.said)] for place, c in enumerate(chosen)]
    for _, place, number in heapq.merge(*streams):
        yield chosen[place], number, chosen[place].said[number]


def _small_talk(conversation: Conversation) -> dict[int, int]:
    """The messages that are only counted: of the first of each row how many requests it has, of the others 0."""
    folded: dict[int, int] = {}
    first, ids = -1, set()
    for number, said in enumerate(conversation.said):
        message = said.message if isinstance(said.message, dict) else {}
        if said.kind == "request" and message.get("execute") in _SMALL_TALK:
            ids.add(repr(message.get("id")))
            first = first if first >= 0 else number
            folded[number] = 0
            folded[first] += 1
        elif said.kind == "reply" and first >= 0 and repr(message.get("id")) in ids:
            folded[number] = 0
        else:
            first = -1
    return folded


def _tell(
    history: MessageHistory, conversation: Conversation, said: Said, expected: Json | None, *, several: bool
) -> None:
    """Add what was said to the history."""
    who, machine = conversation.name, (conversation.domain or conversation.name) if several else ""
    message, kind = said.message, said.kind
    if said.at is not None:
        history.move_clock(said.at)
    if kind == "greeting":
        history.remark("start", "QEMU greets the client", who)
    elif kind == "remark":
        history.remark("look", shortened(str(message)), who, failed=True)
    elif isinstance(message, str):
        history.remark("look", shortened(f"cut off in the log: {message}"), who)
    elif kind == "request":
        history.request(message, who, machine=machine)
    elif kind == "event":
        history.event(message, machine=machine)
    else:
        history.reply(message, who, machine=machine, expected=expected)


def _about(log: Log, chosen: Sequence[Conversation]) -> Iterator[str]:
    """What is shown of the log, if it has more."""
    left = [each.name for each in log.conversations if each not in chosen]
    if left:
        shown = ", ".join(each.name for each in chosen)
        yield f"The log has {len(log.conversations)} conversations. Shown: {shown}. Not shown: {', '.join(left)}."
