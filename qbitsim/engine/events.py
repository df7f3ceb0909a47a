"""The log of events that the machine has emitted.

A listener has a cursor into the log: a count of events since the machine was
made. Nobody is called back, so the core never depends on who listens. Entries that no listener can
ask for any more may be trimmed; cursors keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterator

from qbitsim.jsontypes import Json


class EventLog:
    """An append-only sequence of events as QMP delivers them.

    An event is ``{"timestamp": {"seconds": int, "microseconds": int}, "event": NAME}`` with ``"data"``
    only if the event has data.

    :ivar waited: the places of the events for which somebody has waited, as far as they are still there.
    :ivar resumed_at: in a log that was put back, the cursor with which those go on who have read the one before.
    """

    __slots__ = ("_entries", "_trimmed", "resumed_at", "waited")

    def __init__(self) -> None:
        self._entries: list[Json] = []
        self._trimmed = 0
        self.resumed_at = 0
        self.waited: set[int] = set()

    @property
    def start(self) -> int:
        """The cursor of the oldest event that is still there."""
        return self._trimmed

    @property
    def end(self) -> int:
        """The cursor behind the newest event; what is appended from now on is read from here."""
        return self._trimmed + len(self._entries)

    def __iter__(self) -> Iterator[Json]:
        """The events that are still there, oldest first."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many are still there."""
        return len(self._entries)

    def append(self, event: Json) -> None:
        """Add an event. It must not be changed afterwards."""
        self._entries.append(event)

    def read(self, cursor: int) -> list[Json]:
        """The events from `cursor` to the end, oldest first. The cursor must not lie in the trimmed part."""
        assert self._trimmed <= cursor <= self.end
        return self._entries[cursor - self._trimmed :]

    def at(self, place: int) -> Json:
        """The event at one place between :attr:`start` and :attr:`end`."""
        return self._entries[place - self._trimmed]

    def trim(self, cursor: int) -> None:
        """Forget the events before `cursor`, which must be the lowest one still in use."""
        assert cursor <= self.end
        if cursor > self._trimmed:
            del self._entries[: cursor - self._trimmed]
            self._trimmed = cursor
            self.waited = {place for place in self.waited if place >= cursor}
