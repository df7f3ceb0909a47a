"""A message in the text of a log."""

from __future__ import annotations

import json

from qbitsim.jsontypes import Json

_DECODER = json.JSONDecoder()


def message_in(text: str, place: int) -> Json | None:
    """The JSON object that begins at a place of a text, whatever comes behind it; None if it is none, or cut off."""
    try:
        value, _ = _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
