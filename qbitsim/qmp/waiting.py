"""A request of a client that waits for what another monitor says.

It is made as soon as it can be, in the order in which the requests of all clients came, even if its client has gone
meanwhile. It is on its way to a client, so it is no part of a machine that is copied or put back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from qbitsim.engine.events import EventLog
from qbitsim.errors import WouldWaitError
from qbitsim.jsontypes import JsonObject


class Waited(Protocol):
    """What a request that waits must know of a machine."""

    @property
    def events(self) -> EventLog:
        """Every event since the machine was made; another log in a machine that was put back."""

    @property
    def closing(self) -> bool:
        """True once `quit` was executed."""


class WaitingRequest:
    """One request that waits.

    :param run: makes it and returns the reply, or raises WouldWaitError once more.
    :ivar reply: None as long as it waits, and for ever if the machine has ended or was put back meanwhile.
    """

    __slots__ = ("_backend", "_log", "_lost", "_run", "reply")

    def __init__(self, backend: Waited, run: Callable[[], JsonObject], error: WouldWaitError) -> None:
        self._backend = backend
        self._run = run
        self._log = backend.events
        self._lost = False
        self.reply: JsonObject | None = None
        error.when_over(self.go_on)

    def __deepcopy__(self, memo: dict[int, Any]) -> WaitingRequest:
        """One that nobody waits for."""
        copy = object.__new__(WaitingRequest)
        copy._backend, copy._run, copy._log = self._backend, self._run, self._log
        copy._lost, copy.reply = True, None
        return copy

    @property
    def over(self) -> bool:
        """Whether it waits no more."""
        return self.reply is not None or self._lost or self.undone

    @property
    def undone(self) -> bool:
        """Whether the machine was put back to a time that knows nothing of it."""
        return self._backend.events is not self._log

    def go_on(self) -> None:
        """Make the request, unless the machine has ended."""
        if self._lost or self._backend.closing:
            self._lost = True
            return
        try:
            self.reply = self._run()
        except WouldWaitError as error:
            error.when_over(self.go_on)
