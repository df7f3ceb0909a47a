"""How deep a client's values may be nested, for what is declared to have itself as a member is read in calls."""

from __future__ import annotations

from qbitsim.errors import UnsupportedError

DEEPEST = 128
"""QEMU reads 1,024 (MAX_NESTING, qobject/json-streamer.c, 10.0)."""


def check_nesting(value: object) -> None:
    """Refuse what is nested too deeply.

    :raises UnsupportedError: it is.
    """
    layer, depth = [value], 0
    while layer := [item for each in layer for item in _inside(each)]:
        depth += 1
        if depth > DEEPEST:
            raise UnsupportedError(f"values that are nested more than {DEEPEST} deep")


def _inside(value: object) -> list[object]:
    """What has members itself, among those of a value."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]
