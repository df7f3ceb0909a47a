"""Requests that wait at a place where a block driver calls ``blkdebug``: ``break`` of qemu-io (block/blkdebug.c, 10.0).

A breakpoint stops the first request that comes to its event, and is gone then. Here a request that is stopped has
changed nothing, and is made again, as a whole, when it is resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from qbitsim.errors import UnsupportedError
from qbitsim.files.faults import Stall, StalledError


class SuspendedRequest(Stall):
    """What a request waits for that was stopped at a breakpoint.

    :ivar tag: by which it is resumed.
    """

    __slots__ = ("tag",)

    def __init__(self, tag: str) -> None:
        super().__init__(frozenset())
        self.tag = tag

    def __repr__(self) -> str:
        return f"<breakpoint {self.tag!r}>"


class Breakpoints:
    """Those of one node, and the requests that were stopped there; both newest first.

    :param events: those that QEMU has; :param emulated: those that come here.
    :param announce: called with what QEMU prints when a request is stopped or resumed.
    """

    __slots__ = ("_announce", "_emulated", "_events", "_set", "_suspended")

    def __init__(self, events: Collection[str], emulated: Collection[str], announce: Callable[[str], None]) -> None:
        self._events = events
        self._emulated = emulated
        self._announce = announce
        self._set: list[tuple[str, str]] = []
        self._suspended: list[SuspendedRequest] = []

    def set(self, event: str, tag: str) -> bool:
        """Let the next request that comes to ``event`` wait until ``tag`` is resumed; whether there is that event.

        :raises UnsupportedError: it never comes here.
        """
        if event not in self._events:
            return False
        if event not in self._emulated:
            raise UnsupportedError(f"the event '{event}' of blkdebug")
        self._set.insert(0, (event, tag))
        return True

    def reach(self, event: str) -> None:
        """A request has come to ``event``.

        :raises StalledError: there is a breakpoint, at which it waits.
        """
        for place in self._set:
            if place[0] == event:
                self._set.remove(place)
                request = SuspendedRequest(place[1])
                self._suspended.insert(0, request)
                self._announce(f"blkdebug: Suspended request '{request.tag}'\n")
                raise StalledError(request)

    def holds(self, tag: str) -> bool:
        """Whether a request waits for ``tag``."""
        return any(request.tag == tag for request in self._suspended)

    def resume(self, tag: str) -> bool:
        """Let the newest request of that tag go on; whether there was one."""
        for request in self._suspended:
            if request.tag == tag:
                self._suspended.remove(request)
                self._announce(f"blkdebug: Resuming request '{tag}'\n")
                request.release()
                return True
        return False

    def remove(self, tag: str) -> bool:
        """Remove the breakpoints of that tag, and let all its requests go on; whether there was either."""
        kept = [place for place in self._set if place[1] != tag]
        found = len(kept) < len(self._set)
        self._set = kept
        while self.resume(tag):
            found = True
        return found
