"""The types of JSON values as the rest of qbitsim sees them.

A number remembers what it was on the wire: an integer within int64 or uint64 is a Python
``int``, everything else with digits is a ``float``. ``bool`` is never a number.
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union

JsonValue: TypeAlias = Union[bool, int, float, str, list["JsonValue"], dict[str, "JsonValue"], None]  # noqa: UP007
"""Anything that one JSON text can hold."""

JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object: a command, its arguments, a reply, an event."""

Json: TypeAlias = dict[str, Any]
"""A JSON object whose members a type checker does not follow: one under construction, or one that came from outside."""
