"""The end of a conversation, kept for those who must find out why a test failed.

Keeping it is cheap: a bounded queue of references to requests, replies and events, in the order in which they
happened. They become text only when somebody asks.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.engine.events import EventLog

_T = TypeVar("_T")
DEFAULT_LENGTH = 200
"""So many requests, replies and events are kept."""
_WIDTH = 240


class Journal:
    """What was said last.

    :param kept: how many requests, replies and events.
    """

    __slots__ = ("_cursor", "_entries", "_forgotten", "_log")

    def __init__(self, kept: int = DEFAULT_LENGTH) -> None:
        self._entries: deque[tuple[str, str, Any]] = deque(maxlen=kept)
        self._forgotten = 0
        self._log: EventLog | None = None
        self._cursor = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Journal:
        """The journal itself: a machine that is put back does not make undone what was said."""
        return self

    def note(self, log: EventLog, who: str, arrow: str, what: Any) -> None:
        """Add a request (``arrow`` is ``->``) or a reply (``<-``), and before it the events since the last one.

        :param log: the machine's events.
        :param who: the client.
        :param what: JSON, or a text that stands for it; it must not be changed afterwards.
        """
        self._collect(log)
        self._add(who, arrow, what)

    def exchange(self, log: EventLog, request: Any, run: Callable[[], _T]) -> _T:
        """Run a command and add it with its reply, or with what it raised instead."""
        self.note(log, "", "->", request)
        try:
            value = run()
        except QmpError as refusal:
            self.note(log, "", "<-", {"error": refusal.to_json()})
            raise
        except BaseException as bug:
            self.note(log, "", "<-", f"no reply, but {bug!r}")
            raise
        self.note(log, "", "<-", {"return": value})
        return value

    def lines(self, log: EventLog) -> list[str]:
        """The conversation as text, oldest first, with the events up to now."""
        self._collect(log)
        lines = [f"({self._forgotten} lines before)"] if self._forgotten else []
        return lines + [_line(who, arrow, what) for who, arrow, what in self._entries]

    def _collect(self, log: EventLog) -> None:
        if log is not self._log:
            if self._log is not None:  # the machine was put back: what its log holds is old
                self._cursor = log.end
            self._log = log
        if self._cursor != log.end:
            for event in log.read(max(self._cursor, log.start)):
                self._add("", "**", event)
            self._cursor = log.end

    def _add(self, who: str, arrow: str, what: Any) -> None:
        self._forgotten += len(self._entries) == self._entries.maxlen
        self._entries.append((who, arrow, what))


def _line(who: str, arrow: str, what: Any) -> str:
    if arrow == "**":
        stamp = what["timestamp"]
        data = json.dumps(what["data"]) if "data" in what else ""
        text = f"{stamp['seconds']}.{stamp['microseconds']:06} {what['event']} {data}"
    else:
        text = what if isinstance(what, str) else json.dumps(what, default=repr)
    line = f"{who} {arrow} {text}".strip()
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}... ({len(line)} characters)"
