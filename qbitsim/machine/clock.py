"""The time of a machine, and letting it go on: nothing happens and no time passes unless somebody says so here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qbitsim.commands.conditions import event_condition, run_until, status_condition
from qbitsim.engine.durations import nanoseconds
from qbitsim.engine.scheduler import NANOSECONDS

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine


class Clock:
    """Virtual time; calling it tells the nanoseconds since the machine was made.

    :param epoch: seconds since 1970 at which the machine was made.
    """

    __slots__ = ("_epoch", "_machine")

    def __init__(self, machine: Machine, epoch: int) -> None:
        self._machine = machine
        self._epoch = epoch * NANOSECONDS

    def __call__(self) -> int:
        """Nanoseconds of virtual time since the machine was made."""
        return self._machine.scheduler.now

    def __repr__(self) -> str:
        return f"<Clock at {self()} ns>"

    def time_of_day(self) -> int:
        """Nanoseconds since 1970."""
        return self._epoch + self()

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds: when the next thing is due that waits for time to pass, or None."""
        return self._machine.scheduler.next_deadline

    def step(self) -> bool:
        """Let one thing happen that is due; False if nothing is."""
        return self._machine.scheduler.step()

    def run_until_idle(self, limit: int | None = None) -> int:
        """Let everything happen that is due, without moving time.

        :param limit: so many steps at most.
        :return: how many steps it were.
        """
        return self._machine.scheduler.run_until_idle(limit)

    def settle(self) -> None:
        """Let everything that has been started come to its end, whatever time it takes."""
        self.run_until_idle()
        while (deadline := self.next_deadline) is not None:
            self.advance_to(deadline)

    def advance(self, seconds: float) -> None:
        """Move time, and let happen what is due on the way.

        :raises ValueError: time does not go back.
        """
        if not seconds >= 0:
            raise ValueError(f"advance({seconds!r}): time does not go back; give seconds, 0 or more")
        self.advance_to(self() + nanoseconds(seconds, "advance"))

    def advance_to(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, and let happen what is due on the way.

        :raises ValueError: time does not go back.
        """
        if when < self():
            raise ValueError(f"advance_to({when!r}): it is {self()} ns already, and time does not go back")
        self._machine.scheduler.advance_to(when)

    def move_clock(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, not past :attr:`next_deadline`; nothing happens yet."""
        self._machine.scheduler.move_clock(when)

    def until(
        self,
        /,
        condition: str | Callable[[Machine], Any] | None = None,
        *,
        job: str | None = None,
        status: str | None = None,
        within: float = 1e6,
        **data: Any,
    ) -> Any:
        """Let things happen, and time pass where nothing else is due, until something is so.

        :param condition: the name of an event, or a function of the machine that tells.
        :param job: the id of a job that is to be in ``status``; ``"null"`` means that it is gone.
        :param within: seconds of virtual time at most.
        :param data: members that the event's data must have, with these values.
        :return: the event, or what the function returned, or True. It looks back: an event that has come already is
            returned at once. Each is returned once: the next call looks behind it.
        :raises NeverError: nothing is due any more, or not within that time.
        :raises TypeError: it does not say until what.
        :raises ValueError: the release has no event of that name, or there is no such status.
        """
        if isinstance(condition, str):
            named = {"job": job, "status": status}
            data |= {name: value for name, value in named.items() if value is not None}
            return run_until(self._machine, event_condition(self._machine, condition, data), within)
        if job is not None and status is not None:
            return run_until(self._machine, status_condition(job, status), within)
        if condition is None:
            raise TypeError("until what? Name an event, a job with its status, or give a function")
        return run_until(self._machine, condition, within)
