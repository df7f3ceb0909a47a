"""Messages in the form in which steps and records of scenarios hold them."""

from __future__ import annotations

import json

from qbitsim.history.normal import normal
from qbitsim.jsontypes import Json


def loads(line: bytes) -> Json:
    """One message; what is no JSON, or too deep for the recorder, stays a text."""
    try:
        message = _DECODER.decode(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return {"__not_json__": line.decode("utf-8", "replace")}
    except RecursionError:
        message = None
    if message is None or line.count(b"[") > 400:
        return {"__deep_json__": line.decode("utf-8", "replace")}
    return message if isinstance(message, dict) else {"__not_json__": line.decode("utf-8", "replace")}


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def without_time(event: Json) -> Json:
    """An event without what differs from run to run."""
    plain: Json = normal({key: value for key, value in event.items() if key != "timestamp"})
    return plain


def raw_bytes(step: Json) -> bytes:
    """The bytes of a ``raw`` or ``raw_hex`` step, once."""
    if "raw_hex" in step:
        return bytes.fromhex(step["raw_hex"])
    raw: str = step["raw"]
    return raw.encode("utf-8", "surrogateescape")


def raw_step(data: bytes) -> Json:
    """The step that sends these bytes."""
    try:
        return {"raw": data.decode()}
    except UnicodeDecodeError:
        return {"raw_hex": data.hex()}
