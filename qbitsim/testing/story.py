"""What has happened to a machine, as lines that a person reads when a law is broken.

A line must cost next to nothing, because nearly every story is thrown away: it is stored as a format and its values
and put into words only when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine

_SHOWN = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR", "BLOCK_IO_ERROR")
"""The events of a story; what else happens to a job can be guessed from them."""


class Story:
    """Collects lines."""

    __slots__ = ("_cursor", "_lines", "_machine")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lines: list[tuple[Any, ...]] = []
        self._cursor = machine.events.end

    def tell(self, text: str, *values: object) -> None:
        """A line; ``text`` is a format with ``%s``. The values must not change any more."""
        self._lines.append((text, *values))

    def events(self) -> None:
        """The events since the last call."""
        end = self._machine.events.end
        if end != self._cursor:
            self._lines.append((None, self._cursor, end))
            self._cursor = end

    def lines(self) -> list[str]:
        """The story so far."""
        lines: list[str] = []
        for text, *values in self._lines:
            if text is not None:
                lines.append(text % tuple(map(_words, values)) if values else text)
                continue
            for place in range(*values):
                event = self._machine.events.at(place)
                if event["event"] in _SHOWN:
                    lines.append(f"  event {event['event']} {_words(event['data'])}")
        return lines


def _source(bitmap: object) -> object:
    """What is merged into another bitmap, as ``node/name`` if it is told with its node."""
    return f"{bitmap.get('node')}/{bitmap.get('name')}" if isinstance(bitmap, dict) else bitmap


_DETAILS = ("id", "job-id", "device", "node", "node-name", "name", "sync", "bitmap", "target", "error")


def _words(value: object) -> object:
    """Arguments in a few words: ``[blockdev-backup job0 drive0 full, ...]``."""
    if isinstance(value, dict):
        if "actions" in value:
            grouped = ", grouped" if value.get("properties", {}).get("completion-mode") == "grouped" else ""
            actions = ", ".join(f"{each['type']} {_words(each['data'])}" for each in value["actions"])
            return f"[{actions}]{grouped}"
        said = " ".join(str(value[key]) for key in _DETAILS if isinstance(value.get(key), str))
        sources = value.get("bitmaps")
        return f"{said} <- {_words([*map(_source, sources)])}" if isinstance(sources, list) else said
    if isinstance(value, list | tuple):
        return ", ".join(str(_words(each)) for each in value)
    return value
