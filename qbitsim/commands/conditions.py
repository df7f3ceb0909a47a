"""Letting a machine go on until something is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from qbitsim.engine.durations import nanoseconds
from qbitsim.errors import NeverError
from qbitsim.nearest import nearest
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from qbitsim.commands.parts import MachineLike
    from qbitsim.jsontypes import Json

_M = TypeVar("_M", bound="MachineLike")


class EventCondition:
    """An event of that name, with that data, that no earlier wait has returned.

    :param data: members that the event's data must have, with these values.
    """

    def __init__(self, name: str, data: Json) -> None:
        self.name = name
        self.data = data
        self._seen = 0  # events before it are none of those

    def __repr__(self) -> str:
        return f"event {self.name} {self.data or ''}".rstrip()

    def __call__(self, machine: MachineLike) -> Json | None:
        """The event, or None."""
        events = machine.events
        for place in range(max(self._seen, events.start), events.end):
            event = events.at(place)
            if event["event"] != self.name or place in events.waited:
                continue
            if self.data.items() <= event.get("data", {}).items():
                events.waited.add(place)
                return event
        self._seen = events.end
        return None


class StatusCondition:
    """A job that is in that status; ``"null"`` is true of a job that is gone."""

    def __init__(self, job: str, status: str) -> None:
        self.job = job
        self.status = status
        self._seen: int | None = None  # events before it are from before the wait
        self._passed = False

    def __repr__(self) -> str:
        passed = ", which it was for less than a step: wait for JOB_STATUS_CHANGE" if self._passed else ""
        return f"job {self.job!r} {self.status}{passed}"

    def __call__(self, machine: MachineLike) -> bool:
        """Whether it is so."""
        job, events = machine.jobs.find(self.job), machine.events
        for place in range(max(events.start, events.end if self._seen is None else self._seen), events.end):
            event = events.at(place)
            about = event["data"] if event["event"] == "JOB_STATUS_CHANGE" else {}
            self._passed |= (about.get("id"), about.get("status")) == (self.job, self.status)
        self._seen = events.end
        return self.status == ("null" if job is None else str(job.status))


def event_condition(machine: MachineLike, name: str, data: Json) -> EventCondition:
    """As :class:`EventCondition`, of an event that the machine's release has.

    :raises ValueError: it has none of that name.
    """
    known = machine.registry.events
    if name not in known:
        raise ValueError(f"QEMU {machine.profile.name} has no event {name!r}{nearest(name, known)}")
    return EventCondition(name, data)


def status_condition(job: str, status: str) -> StatusCondition:
    """As :class:`StatusCondition`.

    :raises ValueError: there is no such status.
    """
    known = [str(each) for each in JobStatus]
    if status not in known:
        raise ValueError(f"there is no job status {status!r}{nearest(status, known)}")
    return StatusCondition(job, status)


def run_until(machine: _M, condition: Callable[[_M], Any], within: float) -> Any:
    """Let things happen, and time pass where nothing else is due, until ``condition`` is true.

    :param condition: called before each step; what it returns, if true, is the answer.
    :param within: seconds of virtual time at most.
    :return: what ``condition`` returned.
    :raises ValueError: *within* is no time.
    :raises NeverError: nothing is due any more, or not within that time.
    """
    clock = machine.clock
    limit = clock() + nanoseconds(within, "within")
    while not (found := condition(machine)):
        if clock.step():
            continue
        deadline = clock.next_deadline
        if deadline is None:
            raise NeverError(f"the machine is idle, but waits for {condition!r}")
        if deadline > limit:
            raise NeverError(f"{within} seconds have passed without {condition!r}")
        clock.move_clock(deadline)
    return found
