"""What happens to a machine, sent to any number of readers as it happens.

Rules:

1. Nothing is kept for a reader but its place in the history, so that a slow one costs nothing: what it has not read is
   where it was.
2. A place is a *cursor*, a text that names the server, how often its history began anew, and how many lanes and
   moments the reader has. A reader that comes back with a cursor gets what came since.
3. The history has a greatest length. If it grows longer it begins anew, and readers must reload it.

The messages are those of server-sent events (``text/event-stream``): ``news``, new lanes and moments; ``reload``;
``end``, the machine has ended and nothing more comes. A line with a colon keeps an idle connection alive.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from qbitsim.history.history import History

LONGEST = 20_000
"""Moments after which a history begins anew."""
NOTE = "The beginning is forgotten, for it was long. Serve with --history FILE to keep all of it."
BATCH = 2_000
"""Moments in one message at most."""
PAUSE = 0.1
"""Seconds between two messages to a reader that has got everything."""
IDLE = 15.0
"""Seconds after which an idle connection is used."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader is."""

    generation: int
    lanes: int
    moments: int


class Feed:
    """The readers of one history.

    :param longest: moments after which the history begins anew; None keeps all of them.
    """

    def __init__(self, history: History, longest: int | None = LONGEST) -> None:
        self._history = history
        self._longest = longest
        self._name = secrets.token_hex(4)
        self._news = asyncio.Event()
        self._over = False
        history.listener = self._heard

    @property
    def cursor(self) -> str:
        """The cursor of a reader that has everything."""
        return self._cursor(self._end)

    def end(self) -> None:
        """Let the readers know that nothing more comes."""
        self._over = True
        self._news.set()

    async def follow(self, cursor: str) -> AsyncIterator[str]:
        """The messages for a reader with that cursor, until it must reload or the end."""
        place = self._place(cursor)
        while place is not None and place.generation == self._history.generation:
            if place != self._end:
                message, place = self._batch(place)
                yield message
                if place.moments == len(self._history.moments):
                    await asyncio.sleep(PAUSE)
            elif self._over:
                yield _message("end", self._cursor(place), "{}")
                return
            elif not await self._wait():
                yield ":\n\n"
        yield _message("reload", self.cursor, "{}")

    def _heard(self) -> None:
        if self._longest is not None and len(self._history.moments) > self._longest:
            self._history.restart()
            self._history.notes[:] = [NOTE]
        self._news.set()

    async def _wait(self) -> bool:
        """Wait for news; False if there were none for some time."""
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), IDLE)
        except TimeoutError:
            return False
        return True

    def _batch(self, place: Place) -> tuple[str, Place]:
        """The next lanes and moments as a message, and the place behind them."""
        moments = self._history.moments[place.moments : place.moments + BATCH]
        lanes = self._history.lanes[place.lanes :]
        behind = replace(place, lanes=place.lanes + len(lanes), moments=place.moments + len(moments))
        return _message("news", self._cursor(behind), json.dumps({"lanes": lanes, "moments": moments})), behind

    @property
    def _end(self) -> Place:
        return Place(self._history.generation, len(self._history.lanes), len(self._history.moments))

    def _cursor(self, place: Place) -> str:
        return f"{self._name}.{place.generation}.{place.lanes}.{place.moments}"

    def _place(self, cursor: str) -> Place | None:
        """The place that a cursor names; None if it is not one of this server's."""
        name, *numbers = cursor.split(".")
        if name != self._name or len(numbers) != 3 or not all(each.isascii() and each.isdecimal() for each in numbers):
            return None
        place = Place(*(int(each) for each in numbers))
        end = self._end
        return place if place.lanes <= end.lanes and place.moments <= end.moments else None


def _message(name: str, cursor: str, data: str) -> str:
    return f"event: {name}\nid: {cursor}\ndata: {data}\n\n"
