"""Lines that people paste: from a terminal with a prompt, from a document with arrows, or what a server has said."""

from __future__ import annotations

import json
import re

_PROMPT = re.compile(r"\s*(?:(?:\([Qq](?:EMU|emu)\)|->|<-|qbitsim [\d.]+(?: \[[^\]]*\])*>(?= ))\s*)+")
_SAID = frozenset(("return", "error", "event", "QMP"))
_ASKED = frozenset(("execute", "exec-oob"))


def without_prompt(line: str) -> str:
    """A line without what a prompt or an arrow has put before it; blanks in its place, so that columns stay."""
    prompt = _PROMPT.match(line)
    return line if prompt is None else " " * prompt.end() + line[prompt.end() :]


def is_said(value: object) -> bool:
    """Whether a JSON value is what a server says: a reply, an event or a greeting."""
    return isinstance(value, dict) and bool(_SAID & value.keys()) and not _ASKED & value.keys()


def is_said_line(line: str) -> bool:
    """Whether a line is a whole message of a server."""
    if not line.lstrip().startswith("{"):
        return False
    try:
        return is_said(json.loads(line))
    except (ValueError, RecursionError):
        return False


def is_list_of_commands(value: object) -> bool:
    """Whether a JSON value is a list of requests."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and _ASKED & each.keys() for each in value)
    )
