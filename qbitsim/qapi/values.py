"""Declared values back to plain JSON: the inverse of decoding."""

from __future__ import annotations

from typing import Any

from qbitsim.enums import StrEnum
from qbitsim.jsontypes import Json
from qbitsim.qapi.schema import QNull
from qbitsim.qapi.structs import struct_fields


def to_json(value: Any) -> Any:
    """A struct as a dictionary under the names of the wire, without the members that were not given."""
    if isinstance(value, QNull):
        return None
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if hasattr(type(value), "__qapi_fields__"):
        return _struct_to_json(value)
    return value


def _struct_to_json(value: Any) -> Json:
    members: Json = {}
    for name, (_optional, info) in struct_fields(type(value)).items():
        given = getattr(value, name)
        if given is not None:
            members[info.name or name.replace("_", "-")] = to_json(given)
    return members
