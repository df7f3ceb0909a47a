"""Plays the client's side of a recorded scenario on a QMP server that runs, and says where it answers otherwise.

Theory of operation: each step is sent as it was recorded; the next one follows when its replies are there, unless it
was sent ahead of them, and when the event has come that the client may have waited for. A greeting is waited for when
something is to be said on its connection, as it comes only when the client before has left the monitor. What comes back
is recorded as :mod:`qbitsim.scenario.recorder` did it, and :func:`first_difference` compares.

Compared by step, it does not matter where between two replies an event comes, nor how often QEMU pauses and resumes a
job by itself, nor what the server calls itself in its greeting; compared record by record, all of it does. What depends
on time, such as the progress that a job shows while it runs, differs in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from qbitsim.history.normal import normal
from qbitsim.jsontypes import Json
from qbitsim.scenario.difference import difference_lines
from qbitsim.scenario.messages import loads, raw_bytes, without_time
from qbitsim.scenario.player import ScenarioError
from qbitsim.scenario.recorder import FORMAT
from qbitsim.scenario.reductions import by_step, reduce_reply

PATIENCE = 10.0
"""Seconds to wait for a reply or an event that was recorded."""

_KINDS = ("start", "reconnect", "qmp", "raw", "raw_hex", "wait_event", "sleep", "note")
_TOLERANT = ("greeting",)


class Channel(Protocol):
    """A connection to the server."""

    def send(self, data: bytes) -> None:
        """Send all of it.

        :raises OSError: the server has hung up.
        """

    def receive(self, seconds: float) -> bytes:
        """Some bytes; none if the server has hung up.

        :raises TimeoutError: nothing came.
        """

    def close(self) -> None:
        """Hang up."""


class Clock(Protocol):
    """What real time is; Python's module ``time`` is such a clock."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class EndedError(Exception):
    """The server has hung up, or does not say what was recorded; a record says so."""


class Line:
    """One connection that is replayed.

    :param record: is given what comes back.
    """

    def __init__(self, channel: Channel, record: Callable[..., None], clock: Clock, patience: float) -> None:
        self.channel = channel
        self.expected: list[tuple[int, int, Json]] = []  # (step, replies that are to come, the step itself)
        self.record = record
        self.greeted_at: int | None = None  # the step, of a greeting that is still to be read
        self._clock = clock
        self._patience = patience
        self._rest = b""
        self._lines: list[bytes] = []
        self._events: list[Json] = []  # that no step has waited for

    def next_line(self) -> bytes | None:
        """The next line that the server sends; None if it has hung up.

        :raises TimeoutError: nothing came.
        """
        deadline = self._clock.monotonic() + self._patience
        while not self._lines:
            data = self.channel.receive(max(0.001, deadline - self._clock.monotonic()))
            if not data:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.rstrip(b"\r") for line in lines]
        return self._lines.pop(0)

    def next_message(self) -> tuple[Json, str]:
        """The next message that is no event, and its text.

        :raises EndedError: the server has hung up.
        :raises TimeoutError: nothing came.
        """
        while (line := self.next_line()) is not None:
            message = loads(line)
            if "event" not in message:
                return message, line.decode("utf-8", "replace")
            self._note(message)
        if self._rest:
            self.record(type="half-line", text=self._rest.decode("utf-8", "replace"))
        self.record(type="closed", by="server")
        raise EndedError

    def reply(self, index: int) -> tuple[Json, str]:
        """The next message for a step that waits for one, and its text.

        :raises EndedError: it does not come.
        """
        try:
            return self.next_message()
        except TimeoutError:
            self.record(step=index, type="silence")
            raise EndedError from None

    def read_greeting(self) -> None:
        """Read the greeting, if one was recorded and has not been read.

        :raises EndedError: it does not come.
        """
        index, self.greeted_at = self.greeted_at, None
        if index is not None:
            self.record(step=index, type="greeting", greeting=self.reply(index)[0])

    def _note(self, message: Json) -> None:
        event = without_time(message)
        self.record(type="event", **event)
        self._events.append(event)

    def wait_event(self, name: str, data: Json) -> bool:
        """Wait for an event; False if it does not come, or the server hangs up."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return True
            try:
                line = self.next_line()
            except TimeoutError:
                return False
            if line is None:
                return False
            self._note(loads(line))


class Replayer:
    """One replay.

    :param connect: makes a connection to the server.
    :param clock: what waiting is measured by.
    :param patience: seconds to wait for what was recorded.
    :ivar records: what came back, oldest first.
    """

    def __init__(self, connect: Callable[[], Channel], clock: Clock, patience: float = PATIENCE) -> None:
        self.records: list[Json] = []
        self._connect = connect
        self._clock = clock
        self._patience = patience
        self._lines: dict[int, Line] = {}

    def replay(self, scenario: Json) -> list[Json]:
        """Play all steps, or up to the one at which the server falls silent, and return the records.

        :raises ScenarioError: the scenario cannot be replayed; nothing has been sent then.
        :raises OSError: the server cannot be reached.
        """
        check(scenario)
        ended: set[int] = set()
        try:
            for index, step in enumerate(scenario["steps"]):
                number = step.get("monitor", 0)
                if number not in ended:
                    try:
                        self._play(index, number, step, scenario)
                    except EndedError:
                        ended.add(number)
            self._read_last_greetings()
        finally:
            for line in self._lines.values():
                line.channel.close()
        return self.records

    def _play(self, index: int, number: int, step: Json, scenario: Json) -> None:
        kind = next(kind for kind in _KINDS if kind in step)
        if kind in ("start", "reconnect"):
            self._open(index, number, scenario)
            return
        line = self._lines[number]
        line.read_greeting()
        if kind == "sleep":
            self._clock.sleep(step["sleep"])
        elif kind == "wait_event":
            if not line.wait_event(step["wait_event"], step.get("data", {})):
                line.record(step=index, type="missing-event", event=step["wait_event"])
                raise EndedError
        elif kind == "note":
            _hang_up(line, step)
        else:
            _send(line, index, number, step, scenario)

    def _open(self, index: int, number: int, scenario: Json) -> None:
        if number in self._lines:
            self._lines[number].channel.close()
        record = partial(self._record, {"monitor": number} if number else {})
        line = self._lines[number] = Line(self._connect(), record, self._clock, self._patience)
        if any(each.get("step") == index for each in scenario["records"]):
            line.greeted_at = index

    def _read_last_greetings(self) -> None:
        """Read those of connections on which nothing was said."""
        for line in self._lines.values():
            with suppress(EndedError):  # a record says so
                line.read_greeting()

    def _record(self, mark: Json, **members: object) -> None:
        self.records.append(normal({**members, **mark}))


def _send(line: Line, index: int, number: int, step: Json, scenario: Json) -> None:
    replies = sum(each["type"] == "reply" and each.get("step") == index for each in scenario["records"])
    if "qmp" in step:
        data = json.dumps(step["qmp"]).encode() + b"\n"
        if {"type": "closed", "by": "server"}.items() <= _last_of(scenario["records"], number).items():
            replies = 1  # or the end of the connection in its place
    else:
        data = raw_bytes(step)
    try:
        line.channel.send(data)
    except OSError:
        replies = 1  # the server has hung up, as reading will show
    line.expected.append((index, replies, step))
    if not _is_overtaken(scenario["steps"][index + 1 :], number):
        _read_replies(line)


def _read_replies(line: Line) -> None:
    expected, line.expected = line.expected, []
    for index, replies, step in expected:
        for _ in range(replies):
            message, text = line.reply(index)
            more = {"text": text} if "qmp" not in step else {}
            line.record(step=index, type="reply", reply=reduce_reply(message, step.get("pick")), **more)
        if "qmp" not in step and replies:
            line.record(step=index, type="raw-end", replies=replies)


def _hang_up(line: Line, step: Json) -> None:
    if step.get("hangs_up") == "client":
        line.channel.close()
        line.record(type="closed", by="client")
    elif step.get("hangs_up") == "server":
        try:
            message, _ = line.next_message()
        except TimeoutError:
            line.record(type="silence")
        else:
            line.record(type="unexpected", reply=message)
        raise EndedError


def _is_overtaken(following: list[Json], number: int) -> bool:
    """Whether the next step on that connection was sent before the replies to the ones before it."""
    return next((bool(each.get("ahead")) for each in following if each.get("monitor", 0) == number), False)


def _last_of(records: list[Json], number: int) -> Json:
    """The last record of a connection: how it ended."""
    return next(each for each in reversed(records) if each.get("monitor", 0) == number)


def check(scenario: object) -> None:
    """Refuse what cannot be replayed.

    :raises ScenarioError: it is of a newer format, was not recorded, was cut off, or has a step that needs a machine of
        its own.
    """
    if not isinstance(scenario, dict) or not isinstance(scenario.get("steps"), list):
        raise ScenarioError("it is no recorded scenario: it has no steps")
    version = scenario.get("format", FORMAT)
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise ScenarioError(f"it has format {version!r}, and this qbitsim knows formats up to {FORMAT}")
    records = scenario.get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) and "type" in each for each in records):
        raise ScenarioError("it has no records to compare with; 'qbitsim record' writes them")
    opened: set[int] = set()
    for index, step in enumerate(scenario["steps"]):
        if not isinstance(step, dict) or not any(kind in step for kind in _KINDS):
            kinds = ", ".join(step) if isinstance(step, dict) else repr(step)
            raise ScenarioError(f"step {index} ({kinds}) cannot be replayed on a server that runs")
        if "start" in step or "reconnect" in step:
            opened.add(step.get("monitor", 0))
        elif step.get("monitor", 0) not in opened:
            raise ScenarioError(f"step {index} is on a monitor that was not opened")
    closed = {record.get("monitor", 0) for record in records if record["type"] == "closed"}
    if not opened or opened - closed:
        count = len(scenario["steps"])
        raise ScenarioError(f"it ends in the middle, after {count} steps: the end of the connection is missing")


def first_difference(scenario: Json, records: list[Json], *, strict: bool = False) -> str | None:
    """Where a replay differs first from what was recorded, in lines for people; None if nowhere.

    :param strict: compare record by record.
    """
    numbers = sorted({record.get("monitor", 0) for record in [*scenario["records"], *records]})
    for number in numbers:
        was, now = (_of_monitor(each, number, strict=strict) for each in (scenario["records"], records))
        for place in range(max(len(was), len(now))):
            one, other = (each[place] if place < len(each) else None for each in (was, now))
            if one != other:
                return _difference_text(scenario, number, one, other)
    return None


def _of_monitor(records: list[Json], number: int, *, strict: bool) -> list[Json]:
    own = [record for record in records if record.get("monitor", 0) == number]
    return own if strict else [each for each in by_step(own) if each.get("type") not in _TOLERANT]


def _difference_text(scenario: Json, number: int, was: Json | None, now: Json | None) -> str:
    index = next((each["step"] for each in (was, now) if each is not None and "step" in each), None)
    asked = "" if index is None else f", step {index}: {json.dumps(_request(scenario['steps'][index]))}"
    if was is not None and now is not None and was.get("events") != now.get("events"):
        was, now = _narrowed(was, now)
    return f"monitor {number}{asked}\n{difference_lines(was, now)}"


def _request(step: Json) -> object:
    return step.get("qmp", step.get("raw", step))


def _narrowed(was: Json, now: Json) -> tuple[Json | None, Json | None]:
    """The first events that differ, if the rest is the same."""
    if {**was, "events": 0} != {**now, "events": 0}:
        return was, now
    one, other = was["events"], now["events"]
    places = range(max(len(one), len(other)))
    place = next(place for place in places if one[place : place + 1] != other[place : place + 1])
    return (one[place] if place < len(one) else None), (other[place] if place < len(other) else None)
