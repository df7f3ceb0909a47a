"""Histories from recorded conversations: scenarios and transcripts, as :mod:`.scenario.player` describes them."""

from __future__ import annotations

import json

from qbitsim.history.messages import MessageHistory
from qbitsim.jsontypes import Json


def history_of_records(value: Json, title: str) -> Json:
    """What the records of a scenario hold, with the requests of its steps if it has them."""
    version = value.get("qemu")
    history = MessageHistory(title, version if isinstance(version, str) else "")
    steps = value.get("steps")
    steps = steps if isinstance(steps, list) else []
    asked: set[tuple[int, str]] = set()
    for record in value["records"]:
        if isinstance(record, dict):
            _add(history, record, steps, asked)
    return history.to_json()


def _add(history: MessageHistory, record: Json, steps: list[object], asked: set[tuple[int, str]]) -> None:
    """Add one record, and before it the step that it is of."""
    index, monitor = record.get("step"), record.get("monitor", 0)
    who = f"monitor {monitor}" if monitor else "client"
    if isinstance(index, int) and 0 <= index < len(steps) and (index, who) not in asked:
        asked.add((index, who))
        _ask(history, steps[index], who)
    kind = record.get("type")
    if kind == "event":
        history.event({name: value for name, value in record.items() if name not in ("type", "step", "monitor")})
    elif kind == "reply" and "reply" in record:
        history.reply(record["reply"], who)
    elif kind not in ("greeting", "raw-end", "settled"):
        history.remark("look", _words(record))


def _ask(history: MessageHistory, step: object, who: str) -> None:
    if not isinstance(step, dict):
        return
    if "qmp" in step:
        history.request(step["qmp"], who)
    elif "raw" in step or "raw_hex" in step:
        history.request(str(step.get("raw", step.get("raw_hex"))), who)


def _words(record: Json) -> str:
    """A record that is no message, such as ``shell`` or ``exit``."""
    rest = {name: value for name, value in record.items() if name not in ("type", "step", "monitor")}
    argv = rest.get("argv")
    if isinstance(argv, list):
        return f"$ {' '.join(map(str, argv))}"
    return f"{record.get('type')} {json.dumps(rest)}"
