"""Lets the jobs of a machine go on as those of another one did, by the events of that one.

An event of the log is followed when the machine has emitted the same one. It goes on step by step until then, first
with that job; where the log's job failed, a failure is injected. A job that cannot be followed is lost: nothing is said
of it any more.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from errno import EIO, errorcode
from typing import TYPE_CHECKING, TypeAlias

from qbitsim.history.words import actions_of
from qbitsim.jsontypes import Json

if TYPE_CHECKING:
    from qbitsim.argument_types import Operation
    from qbitsim.engine.scheduler import Task
    from qbitsim.logs.conversation import Conversation
    from qbitsim.machine.machine import Machine

_BY_THEMSELVES = ("created", "running", "paused", "standby")
"""What becomes of a job in passing: whoever waits for something else will see it come and go."""

_STEPS = 20_000
"""That one event may take."""

_Sign: TypeAlias = tuple[str, str, str]
"""What an event of a job is known by: its name, the job, and its status."""

_ERRNOS = {os.strerror(number): number for number in errorcode}


class OthersLast:
    """A policy: the tasks of some jobs come after all others.

    :ivar others: the ids of those jobs.
    """

    def __init__(self) -> None:
        self.others: set[str] = set()

    def __call__(self, ready: Sequence[Task]) -> int:
        """The index of the task that runs next."""
        mine = (place for place, task in enumerate(ready) if task.label.partition(":")[0] not in self.others)
        return next(mine, 0)


class Follower:
    """Follows a log with a machine.

    :param policy: that of the machine.
    :param conversation: what is to be followed.
    """

    def __init__(self, machine: Machine, policy: OthersLast, conversation: Conversation) -> None:
        self._machine = machine
        self._policy = policy
        self._errors = _errors(conversation)
        self._cursor = machine.events.end
        self._lost: set[str] = set()  # the ids of jobs that went another way
        self._ahead: list[_Sign] = []  # what the machine has emitted and the log has not told yet
        self._places: dict[str, tuple[str, str]] = {}  # where each job reads and writes

    def expect_jobs(self, command: str, arguments: Json) -> None:
        """Note where the jobs work that a command may start."""
        for name, data in actions_of(command, arguments):
            options = data.get("options")
            device, target = str(data.get("device")), str(data.get("target", data.get("device")))
            if name == "blockdev-create" and isinstance(options, dict):
                device = target = str(options.get("file"))
            identifier = data.get("job-id", data.get("device"))
            if isinstance(identifier, str):
                self._lost.discard(identifier)
                self._places[identifier] = (device, target)

    def is_ahead(self) -> bool:
        """Whether a job of the machine is further than that of the log."""
        self._listen()
        return bool(self._ahead)

    def follow(self, event: Json) -> tuple[str, ...]:
        """Go on until the machine has said that, too.

        :return: if the job is lost, its id, and the names of the nodes where it works.
        """
        sign = sign_of(event)
        if sign is None or sign[1] in self._lost or sign[2] in _BY_THEMSELVES:
            return ()
        self._listen()
        if sign in self._ahead:
            self._ahead.remove(sign)
            return ()
        name, job, status = sign
        if name == "BLOCK_JOB_ERROR" or (status == "aborting" and not self._is_ending(job)):
            self._fail(job, event["data"].get("operation"))
        if self._reach(sign) or name == "BLOCK_JOB_ERROR":
            return ()
        self._lost.add(job)
        return (job, *self._places.get(job, ()))

    def marks(self) -> tuple[int, list[_Sign]]:
        """Where it stands, for :meth:`go_back`."""
        self._listen()
        return self._cursor, list(self._ahead)

    def go_back(self, marks: tuple[int, list[_Sign]]) -> None:
        """Stand where it stood, after the machine was put back."""
        self._cursor, self._ahead = marks

    def _is_ending(self, job: str) -> bool:
        """Whether a job comes to its end by itself, as it was cancelled, for instance."""
        mine = next((each for each in self._machine.jobs.jobs if each.id == job), None)
        return mine is None or mine.cancelled or str(mine.status) != "running"

    def _fail(self, job: str, operation: object) -> None:
        """Let the job's next request fail as it did."""
        reads, writes = self._places.get(job, ("", ""))
        errors = self._errors.get(job)
        number = _ERRNOS.get(errors.popleft(), EIO) if errors else EIO
        what: Operation = "read" if operation == "read" else "write"
        with suppress(ValueError):  # there is no such node, and the job will be lost
            self._machine.inject_error(reads if what == "read" else writes, what, number, once=True)

    def _reach(self, sign: _Sign) -> bool:
        """Go on until the machine says that; False if it never does."""
        self._policy.others = {str(job.id) for job in self._machine.jobs.jobs} - {sign[1]}
        clock = self._machine.clock
        for _ in range(_STEPS):
            if not clock.step():
                deadline = clock.next_deadline
                if deadline is None:
                    break
                clock.move_clock(deadline)
            self._listen()
            if sign in self._ahead:
                self._ahead.remove(sign)
                return True
        return False

    def _listen(self) -> None:
        events = self._machine.events
        for event in events.read(self._cursor):
            sign = sign_of(event)
            if sign is not None and sign[2] not in _BY_THEMSELVES:
                self._ahead.append(sign)
        self._cursor = events.end


def _errors(conversation: Conversation) -> dict[str, deque[str]]:
    """For each job the errors with which it ended, in order."""
    errors: dict[str, deque[str]] = {}
    for said in conversation.said:
        message = said.message
        if said.kind != "event" or not isinstance(message, dict) or message.get("event") != "BLOCK_JOB_COMPLETED":
            continue
        data = message.get("data")
        if isinstance(data, dict) and isinstance(data.get("device"), str) and isinstance(data.get("error"), str):
            errors.setdefault(data["device"], deque()).append(data["error"])
    return errors


def sign_of(event: Json) -> _Sign | None:
    """What an event of a job is known by; None if it is no such event."""
    name, data = event.get("event"), event.get("data")
    if not isinstance(name, str) or not isinstance(data, dict) or not name.startswith(("JOB_", "BLOCK_JOB_")):
        return None
    job, status = data.get("id", data.get("device")), data.get("status", "")
    return (name, job, status) if isinstance(job, str) and isinstance(status, str) else None
