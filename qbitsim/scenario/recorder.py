"""Makes a scenario out of a conversation between a client and a QMP server that somebody else carries.

Theory of operation: a :class:`Recorder` is given what bytes went which way, and when. It changes nothing and answers
nothing. What the client sent becomes steps that :class:`.Player` and :class:`.Replayer` understand; what the server
sent becomes records, in the form in which real QEMU was recorded.

* A message that is one JSON object becomes a ``qmp`` step, anything else a ``raw`` one with the bytes as they were.
* If events came between a reply and what the client sent next, it may have waited for the last of them: a
  ``wait_event`` step. A pause becomes a ``sleep`` step.
* A step that was sent before the replies to earlier ones had come is marked ``ahead``.
* Steps and records of the second and later connections carry ``monitor``, a number from 1.
* The end of a connection is a record ``closed``; a connection without it was cut off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from qbitsim.history.normal import normal
from qbitsim.jsontypes import Json
from qbitsim.qmp.parser import JsonStream
from qbitsim.scenario.messages import loads, raw_step, without_time

FORMAT = 1
"""The version of the format of recorded scenarios; files without a version are of the first one."""

PAUSE = 0.02
"""Seconds of silence of a client that are worth a step."""


class Recorder:
    """Any number of connections to one server.

    :param name: of the scenario.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Json] = []
        self.records: list[Json] = []
        self._conversations: list[Conversation] = []

    def open(self, when: float) -> Conversation:
        """A client has connected, at that many seconds on any clock."""
        conversation = Conversation(self, len(self._conversations), when)
        self._conversations.append(conversation)
        return conversation

    def close(self) -> None:
        """The recording ends: connections that are still open end with it."""
        for conversation in self._conversations:
            conversation.closed("client")

    def scenario(self) -> Json:
        """The scenario up to now."""
        greetings = (record["greeting"] for record in self.records if record["type"] == "greeting")
        greeting = next(greetings, None)
        return {
            "format": FORMAT,
            "name": self.name,
            "group": "recorded",
            "description": "Recorded by qbitsim. The disks are not known; they may be added to the step 'start'.",
            "qemu": _version(greeting),
            "steps": self.steps,
            "records": self.records,
        }


class Conversation:
    """One connection."""

    def __init__(self, recorder: Recorder, number: int, when: float) -> None:
        self._recorder = recorder
        self._mark = {"monitor": number} if number else {}
        self._stream = JsonStream()
        self._asked: list[bytes] = []  # since the last message
        self._answered: list[bytes] = []  # since the last line
        self._pending: deque[list[int]] = deque()  # of (step, replies that are still to come, all)
        self._last_event: Json | None = None
        self._busy_at = when
        self._open = True
        first: Json = {"reconnect": True, "negotiate": False} if number else {"start": {"negotiate": False}}
        self._start = self._step(**first)

    # -- what the client sends

    def sent(self, data: bytes, when: float) -> None:
        """The client has sent bytes."""
        begun = 0
        for end in range(1, len(data) + 1):  # byte by byte, so that a step ends where its message does
            values = self._stream.feed(data[end - 1 : end])
            if values:
                self._asked.append(data[begun:end])
                begun = end
                self._ask(values, when)
        self._asked.append(data[begun:])
        self._busy_at = when

    def _ask(self, values: Sequence[object], when: float) -> None:
        """The client has sent messages, of which one is usual."""
        self._explain_pause(when)
        asked = b"".join(self._asked)
        self._asked.clear()
        ahead = {"ahead": True} if self._pending else {}
        if len(values) == 1 and isinstance(values[0], dict):
            index = self._step(qmp=values[0], **ahead)
        else:
            index = self._step(**raw_step(asked), **ahead)
        self._pending.append([index, len(values), len(values)])

    def _explain_pause(self, when: float) -> None:
        if self._pending:
            return
        if self._last_event is not None:
            self._step(wait_event=self._last_event["event"], data=self._last_event.get("data", {}))
            self._last_event = None
        if when - self._busy_at >= PAUSE:
            self._step(sleep=round(when - self._busy_at, 3))
        self._busy_at = when

    # -- what the server sends

    def received(self, data: bytes, when: float) -> None:
        """The server has sent bytes."""
        self._busy_at = when
        first, *others = data.split(b"\n")
        self._answered.append(first)
        for begun in others:
            line = b"".join(self._answered)
            self._answered = [begun]
            self._read(line.rstrip(b"\r"))

    def _read(self, line: bytes) -> None:
        message = loads(line)
        if "event" in message:
            event = without_time(message)
            self._record(type="event", **event)
            self._last_event = event
        elif "QMP" in message:
            self._record(step=self._start, type="greeting", greeting=message)
        else:
            self._reply(message, line)

    def _reply(self, message: Json, line: bytes) -> None:
        self._last_event = None
        waiting = self._step_of_reply(message)
        if waiting is None:
            self._record(type="unexpected", reply=message)
            return
        index = waiting[0]
        waiting[1] -= 1
        is_raw = "qmp" not in self._recorder.steps[index]
        text = {"text": line.decode("utf-8", "replace")} if is_raw else {}
        self._record(step=index, type="reply", reply=message, **text)
        if waiting[1] == 0:
            self._pending.remove(waiting)
            if is_raw:
                self._record(step=index, type="raw-end", replies=waiting[2])

    def _step_of_reply(self, message: Json) -> list[int] | None:
        """The step that a reply answers: by its id, which may have overtaken others, or else the oldest."""
        for waiting in self._pending if "id" in message else ():
            asked = self._recorder.steps[waiting[0]].get("qmp", {})
            if "id" in asked and asked["id"] == message["id"]:
                return waiting
        return self._pending[0] if self._pending else None

    # -- the end

    def closed(self, by: str) -> None:
        """The connection has ended; only the first call counts.

        :param by: ``"client"`` or ``"server"``.
        """
        if not self._open:
            return
        self._open = False
        asked = b"".join(self._asked)
        if asked.strip():
            self._step(**raw_step(asked))
        self._explain_pause(self._busy_at)
        self._step(note=f"the {by} hangs up", hangs_up=by)
        if answered := b"".join(self._answered):
            self._record(type="half-line", text=answered.decode("utf-8", "replace"))
        self._record(type="closed", by=by)

    def _step(self, **members: object) -> int:
        self._recorder.steps.append({**members, **self._mark})
        return len(self._recorder.steps) - 1

    def _record(self, **members: object) -> None:
        self._recorder.records.append(normal({**members, **self._mark}))


def _version(greeting: Json | None) -> str | None:
    try:
        version = greeting["QMP"]["version"]["qemu"] if greeting is not None else None
        return None if version is None else f"{version['major']}.{version['minor']}.{version['micro']}"
    except (KeyError, TypeError):
        return None
