"""Histories from recorded conversations: scenarios and transcripts, as :mod:`.scenario.player` describes them."""

from __future__ import annotations

import json
from typing import Any

from qbitsim.history.told import Told
from qbitsim.jsontypes import Json


def history_of_records(value: Json, title: str) -> Json:
    """What the records of a scenario tell, with the requests of its steps if it has them."""
    version = value.get("qemu")
    told = Told(title, version if isinstance(version, str) else "")
    steps = value.get("steps")
    steps = steps if isinstance(steps, list) else []
    asked: set[tuple[int, str]] = set()
    for record in value["records"]:
        if isinstance(record, dict):
            _tell(told, record, steps, asked)
    return told.to_json()


def _tell(told: Told, record: Json, steps: list[Any], asked: set[tuple[int, str]]) -> None:
    """Add one record, and before it the step that it is of."""
    index, monitor = record.get("step"), record.get("monitor", 0)
    who = f"monitor {monitor}" if monitor else "client"
    if isinstance(index, int) and 0 <= index < len(steps) and (index, who) not in asked:
        asked.add((index, who))
        _ask(told, steps[index], who)
    kind = record.get("type")
    if kind == "event":
        told.event({name: value for name, value in record.items() if name not in ("type", "step", "monitor")})
    elif kind == "reply" and "reply" in record:
        told.reply(record["reply"], who)
    elif kind not in ("greeting", "raw-end", "settled"):
        told.remark("look", _words(record))


def _ask(told: Told, step: object, who: str) -> None:
    if not isinstance(step, dict):
        return
    if "qmp" in step:
        told.request(step["qmp"], who)
    elif "raw" in step or "raw_hex" in step:
        told.request(str(step.get("raw", step.get("raw_hex"))), who)


def _words(record: Json) -> str:
    """A record that is no message, such as ``shell`` or ``exit``."""
    rest = {name: value for name, value in record.items() if name not in ("type", "step", "monitor")}
    argv = rest.get("argv")
    if isinstance(argv, list):
        return f"$ {' '.join(map(str, argv))}"
    return f"{record.get('type')} {json.dumps(rest)}"
