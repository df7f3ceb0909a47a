"""Messages and what the guest does, each in one line for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qbitsim.block.drive import Drive
from qbitsim.jsontypes import Json

_LONGEST = 200


def plain(message: Any) -> Any:
    """A message as JSON can hold it: what is no JSON becomes a text."""
    try:
        return json.loads(json.dumps(message, default=repr), parse_constant=str)
    except (RecursionError, ValueError):
        return "(nested too deep to be shown)"


def request_words(request: object) -> str:
    """``block-dirty-bitmap-add node=drive0 name=b0``; a text that stands for a request is left as it is."""
    if not isinstance(request, dict):
        return shortened(str(request))
    name = request.get("execute", request.get("exec-oob"))
    if not isinstance(name, str):
        return shortened(json.dumps(request, default=repr))
    return shortened(f"{name} {arguments_words(request.get('arguments', {}))}".strip())


def arguments_words(arguments: object) -> str:
    """``node=drive0 name=b0``; the actions of a transaction stand one after the other."""
    if not isinstance(arguments, dict):
        return json.dumps(arguments, default=repr)
    words = []
    for name, value in arguments.items():
        if name == "actions" and isinstance(value, list):
            words.append(f"[{'; '.join(map(_action_words, value))}]")
        else:
            words.append(f"{name}={value if isinstance(value, str) else json.dumps(value, default=repr)}")
    return " ".join(words)


def _action_words(action: object) -> str:
    if not isinstance(action, dict) or not isinstance(action.get("type"), str):
        return json.dumps(action, default=repr)
    return f"{action['type']} {arguments_words(action.get('data', {}))}".strip()


def reply_words(reply: object) -> str:
    """``return {}``, or the text of the error."""
    if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
        return shortened(str(reply["error"].get("desc", reply["error"])))
    if isinstance(reply, dict) and "return" in reply:
        return shortened(f"return {json.dumps(reply['return'], default=repr)}")
    return shortened(str(reply))


def end_of_job(event: Json) -> str | None:
    """``completed`` or ``cancelled`` if an event is the end of a job, None for other events."""
    return {"BLOCK_JOB_COMPLETED": "completed", "BLOCK_JOB_CANCELLED": "cancelled"}.get(event["event"])


def guest_words(operation: str, drive: Drive, offset: int, length: int, error: OSError | None) -> str:
    """``the guest writes 65536 bytes at 0 of drive0``."""
    verb = {"write": "writes", "write-zeroes": "zeroes", "discard": "discards"}[operation]
    end = f": {error.strerror}" if error is not None else ""
    return f"{drive.who} {verb} {length} bytes at {offset} of {drive.id or drive.node.name}{end}"


def shortened(text: str) -> str:
    """At most so many characters as a line takes."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def actions_of(command: object, arguments: object) -> Iterator[tuple[str, Json]]:
    """A command as (name, arguments), or the actions of a transaction."""
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return
    if command != "transaction":
        yield command, arguments
        return
    actions = arguments.get("actions")
    for action in actions if isinstance(actions, list) else []:
        if isinstance(action, dict) and isinstance(action.get("data"), dict):
            yield str(action.get("type")), action["data"]
