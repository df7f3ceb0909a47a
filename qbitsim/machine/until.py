"""Letting a machine go on until something is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from qbitsim.engine.scheduler import NANOSECONDS

if TYPE_CHECKING:
    from qbitsim.jsontypes import Json
    from qbitsim.machine.machine import Machine

Condition = Callable[["Machine"], Any]
"""Called before each step; what it returns, if true, is the answer."""


class NeverError(TimeoutError):
    """The machine is idle, or the time is over, and what was waited for is not so."""


class EventCondition:
    """An event of that name, with that data, that no earlier wait has returned.

    :param data: members that the event's data must have, with these values.
    """

    def __init__(self, name: str, data: Json) -> None:
        self.name = name
        self.data = data

    def __repr__(self) -> str:
        return f"event {self.name} {self.data or ''}".rstrip()

    def __call__(self, machine: Machine) -> Any:
        """The event, or None."""
        events = machine.events
        for place in range(max(machine.waited, events.start), events.end):
            event = events.at(place)
            if event["event"] == self.name and self.data.items() <= event.get("data", {}).items():
                machine.waited = place + 1
                return event
        return None


class StatusCondition:
    """A job that is in that status; ``"null"`` is true of a job that is gone."""

    def __init__(self, job: str, status: str) -> None:
        self.job = job
        self.status = status

    def __repr__(self) -> str:
        return f"job {self.job!r} {self.status}"

    def __call__(self, machine: Machine) -> Any:
        """Whether it is so."""
        job = machine.jobs.find(self.job)
        return self.status == ("null" if job is None else str(job.status))


def run_until(machine: Machine, condition: Condition, within: float) -> Any:
    """Let things happen, and time pass where nothing else is due, until ``condition`` is true.

    :param within: seconds of virtual time at most.
    :return: what ``condition`` returned.
    :raises NeverError: nothing is due any more, or not within that time.
    """
    limit = machine.clock() + round(within * NANOSECONDS)
    while not (found := condition(machine)):
        if machine.step():
            continue
        deadline = machine.next_deadline
        if deadline is None:
            raise NeverError(f"the machine is idle, but waits for {condition!r}")
        if deadline > limit:
            raise NeverError(f"{within} seconds have passed without {condition!r}")
        machine.move_clock(deadline)
    return found


class Waiting:
    """The part of a machine that goes on until something is so."""

    __slots__ = ()

    def until(
        self,
        condition: str | Condition | None = None,
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
        :return: the event, or what the function returned, or True. An event is returned once: the next call for
            it looks behind it.
        :raises NeverError: nothing is due any more, or not within that time.
        :raises TypeError: it does not say until what.
        """
        machine = cast("Machine", self)
        if isinstance(condition, str):
            named = {"job": job, "status": status}
            data |= {name: value for name, value in named.items() if value is not None}
            return run_until(machine, EventCondition(condition, data), within)
        if job is not None and status is not None:
            return run_until(machine, StatusCondition(job, status), within)
        if condition is None:
            raise TypeError("until what? Name an event, a job with its status, or give a function")
        return run_until(machine, condition, within)
