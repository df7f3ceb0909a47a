"""One QMP monitor without I/O: bytes in, bytes out.

A session reads messages, checks their shape, keeps the state of the negotiation, runs commands on
a :class:`Backend` and writes replies and events in the order in which a client of QEMU would see
them (monitor/qmp.c, qapi/qmp-dispatch.c). It does not know what commands do.

Three things have an order that clients can see:

* the members of a request are checked in the order of QEMU's hash table, so which of two offences is
  named does not depend on how the client wrote them;
* an event that a command causes is written before the reply of the command;
* events that happen before the negotiation is complete are not delivered to this monitor, ever.

A command that would have to wait for another one is refused, or, if the session was told to wait, gets its reply when
it need not wait any more: :mod:`qbitsim.qmp.waiting`. The monitor answers nothing else meanwhile, but sends events.

After `quit` the monitor answers nothing more; what it sends from then on is events. A test can make it slow or let it
go away: :mod:`qbitsim.qmp.monitor_faults`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from qbitsim.engine.events import EventLog
from qbitsim.errors import QmpError, SlowTextError, WouldWaitError
from qbitsim.jsontypes import JsonObject, JsonValue
from qbitsim.qmp.encoder import encode, encode_pieces, encode_pretty, member_order
from qbitsim.qmp.monitor_faults import Hold, MonitorFault, fault_for
from qbitsim.qmp.parser import JsonStream
from qbitsim.qmp.waiting import WaitingRequest

if TYPE_CHECKING:
    from qbitsim.facts import Profile
    from qbitsim.qmp.journal import Journal

_NEGOTIATE = "qmp_capabilities"
_KNOWN_CAPABILITIES = ("oob",)
_LINE_END = b"\r\n"
_PIECES = 3  # of a reply that are written at once; short ones have two
_MANY_REQUESTS, _MANY_BYTES = 1024, 1 << 18


class CommandLike(Protocol):
    """What the session must know of a command."""

    @property
    def allow_oob(self) -> bool:
        """Whether `exec-oob` may run it."""


class Lives(Protocol):
    """What the session must know of a machine that may be started anew."""

    @property
    def lives(self) -> int:
        """How often it was; monitors of an earlier life have ended."""


class Backend(Protocol):
    """What a session needs of a machine."""

    @property
    def profile(self) -> Profile:
        """The release that it is."""

    @property
    def events(self) -> EventLog:
        """Every event since the machine was made."""

    @property
    def closing(self) -> bool:
        """True once `quit` was executed."""

    @property
    def monitor_faults(self) -> list[MonitorFault]:
        """What is to happen to replies."""

    @property
    def control(self) -> Lives | None:
        """What control commands keep, if they are allowed."""

    def greeting(self) -> JsonObject:
        """``{"QMP": {"version": {...}, "capabilities": [...]}}`` as the monitor would offer it at most."""

    def take_printing(self) -> Iterator[None]:
        """Steps that print what the last command prints, if that is long; none if that is done or was asked for."""

    def find(self, name: str) -> CommandLike | None:
        """The command of this name, exactly as written; None if there is none."""

    def execute(self, name: str, arguments: JsonObject) -> JsonValue:
        """Run a command that :meth:`find` knows and return the value of its reply.

        :raises QmpError: the command was refused; its text is the reply.
        """


class Session:
    """One client's conversation with a machine."""

    __slots__ = (
        "_backend",
        "_cursor",
        "_dropped",
        "_held",
        "_journal",
        "_life",
        "_line",
        "_log",
        "_name",
        "_negotiated",
        "_offered",
        "_oob",
        "_requests",
        "_stream",
        "_waiting",
        "_waits",
        "_writing",
    )

    def __init__(
        self,
        backend: Backend,
        *,
        oob: bool = True,
        journal: Journal | None = None,
        name: str = "monitor",
        negotiated: bool = False,
        waits: bool = False,
        pretty: bool = False,
    ) -> None:
        """Make a session that has not greeted yet.

        :param oob: whether to offer out-of-band execution; QEMU's sockets can, a multiplexed one cannot.
        :param journal: keeps the end of the conversation, in which this client is called ``name``.
        :param negotiated: for callers of :meth:`ask`, who read no greeting and no events.
        :param pretty: whether to write each member on a line of its own.
        :param waits: whether commands wait for others, which other monitors give; if not, they are refused.
        """
        self._backend = backend
        self._journal = journal
        self._name = name
        self._stream = JsonStream(errors_at_once=backend.profile.json_errors_at_once)
        self._requests: deque[JsonValue | QmpError] = deque()
        self._offered = _offered(backend) if oob else []
        self._oob = False
        self._negotiated = negotiated
        self._log = backend.events
        self._cursor = 0  # in the event log; has a meaning only when negotiated
        self._life = backend.control.lives if backend.control is not None else 0
        self._held: tuple[bytes, Hold] | None = None
        self._waits = waits
        self._line = _pretty_line if pretty else _line
        self._waiting: tuple[JsonValue | QmpError, WaitingRequest, MonitorFault | None] | None = None
        self._dropped = False
        self._writing: Iterator[bytes] | None = None  # the rest of a long reply

    @property
    def cursor(self) -> int:
        """The first event that this session may still read."""
        self._follow_log()
        return self._cursor if self._negotiated else self._log.end

    @property
    def pending(self) -> int:
        """How many received messages wait to be answered, the one included that waits or whose reply is on hold.

        Bytes that were not read yet count as well.
        """
        begun = (self._held is not None) + (self._waiting is not None) + (self._writing is not None)
        return len(self._requests) + begun + self._stream.unread

    @property
    def full(self) -> bool:
        """Whether so much was received that the client had better wait with sending more."""
        return len(self._requests) > _MANY_REQUESTS or self._stream.unread > _MANY_BYTES

    @property
    def ready(self) -> bool:
        """Whether :meth:`answer` has something to do now."""
        if self._held is not None:
            return self._held[1].over
        if self._waiting is not None:
            return self._waiting[1].over
        return bool(self._requests) or self._writing is not None or self._stream.unread > 0

    @property
    def ended(self) -> bool:
        """Whether the connection is to end: a test wants it, or the machine was started anew."""
        control = self._backend.control
        return self._dropped or (control is not None and control.lives != self._life)

    def connect(self) -> bytes:
        """The greeting line, the first thing that a client reads."""
        value = self._backend.greeting()
        hello = value["QMP"]
        assert isinstance(hello, dict)
        return self._line({**value, "QMP": {**hello, "capabilities": [*self._offered]}})

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the client, none if there are none, and answer every message that can be answered now."""
        self.receive(data)
        out = []
        while self.ready:
            out.append(self.answer())
        return b"".join(out)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client and queue the messages that a first piece of them completes."""
        if not self.ended:
            begin = not self._stream.unread
            self._stream.receive(data)
            if begin:
                self._requests.extend(self._stream.read_piece())

    def answer(self) -> bytes:
        """Run the oldest queued message; the events so far and then its reply, or what can be had of it soon.

        For callers that let the machine work between two messages; :meth:`feed` does all at once. What is long is read,
        and written, in pieces by several calls.
        """
        if self._writing is not None:
            return self._write_on(self._writing)
        if self._held is not None:
            return self._release_held_reply(*self._held)
        if self._waiting is not None:
            return self._end_waiting(*self._waiting)
        if not self._requests:
            self._requests.extend(self._stream.read_piece())
            if not self._requests:
                return b""
        request = self._requests.popleft()
        if self._backend.closing or self.ended:
            return b""
        faults = self._backend.monitor_faults
        fault = fault_for(faults, _command_name(request)) if faults else None
        if fault is not None and fault.before_command:
            return self._drop(self.pump())
        return self._run_or_wait(request, fault)

    def ask(self, request: JsonValue | QmpError) -> JsonObject:
        """The reply to one request, which runs at once; no fault of monitors strikes."""
        self._note("->", request)
        try:
            reply = self._reply(request)
        except SlowTextError as refusal:
            reply = _with_id({"error": {**refusal.to_json()}}, request)
        except WouldWaitError as refusal:
            reply = _with_id({"error": {**refusal.to_json()}}, request)
        self._note("<-", reply)
        return reply

    def _run_or_wait(self, request: JsonValue | QmpError, fault: MonitorFault | None) -> bytes:
        """Run a request; the events so far and then its reply, if there is one yet."""
        if not self._waits:
            return self._deliver(self.ask(request), fault)
        self._note("->", request)
        try:
            reply = self._reply(request)
        except WouldWaitError as error:
            waiting = WaitingRequest(self._backend, partial(self._reply, request), error)
            self._waiting = request, waiting, fault
            return self.pump()
        except SlowTextError as refusal:
            if fault is None:
                return self.pump() + self._write_on(self._refuse(refusal, request))
            reply = _with_id({"error": {**refusal.to_json()}}, request)
        self._note("<-", reply)
        return self._deliver(reply, fault)

    def _end_waiting(self, request: JsonValue | QmpError, waiting: WaitingRequest, fault: MonitorFault | None) -> bytes:
        """Answer a request that waits no more; in a machine that was put back, ask anew."""
        assert waiting.over
        self._waiting = None
        if waiting.reply is not None:
            self._note("<-", waiting.reply)
            return self._deliver(waiting.reply, fault)
        return self._run_or_wait(request, fault) if waiting.undone and not self._backend.closing else b""

    def _deliver(self, reply: JsonObject, fault: MonitorFault | None) -> bytes:
        if fault is None:
            return self.pump() + self._write_on(self._pieces(reply))
        return self._apply_fault(fault, self._line(reply))

    def _pieces(self, reply: JsonObject) -> Iterator[bytes]:
        """A reply in pieces, once all is printed that its command prints."""
        for _ in self._backend.take_printing():
            yield b""
        if self._line is _line:
            yield from encode_pieces(reply)
            yield _LINE_END
        else:
            yield self._line(reply)

    def _refuse(self, refusal: SlowTextError, request: JsonValue | QmpError) -> Iterator[bytes]:
        """The reply to a request that is refused, once it is known in which words."""
        for _ in refusal.steps():
            yield b""
        reply = _with_id({"error": {**refusal.to_json()}}, request)
        self._note("<-", reply)
        yield from self._pieces(reply)

    def _write_on(self, pieces: Iterator[bytes]) -> bytes:
        """The next pieces of a reply: all if it is short."""
        out = list(islice(pieces, _PIECES))
        self._writing = pieces if len(out) == _PIECES else None
        return b"".join(out)

    def pump(self) -> bytes:
        """The events since the last call that this client may see now, after the reply that is being written."""
        self._follow_log()
        if self._writing is not None:
            if not self._backend.closing:
                return b""
            rest, self._writing = b"".join(self._writing), None
            return rest + self.pump()
        if not self._negotiated or self._cursor == self._log.end or self._dropped:
            return b""
        if self._held is not None and not self._held[1].events:
            return b""
        fresh = self._log.read(self._cursor)
        self._cursor = self._log.end
        return b"".join(map(self._line, fresh))

    def _follow_log(self) -> None:
        """Go on with the events of a machine that was put back; those that were undone are not delivered."""
        events = self._backend.events
        if events is not self._log:
            self._log, self._cursor = events, events.resumed_at

    def _apply_fault(self, fault: MonitorFault, line: bytes) -> bytes:
        """What comes instead of the events and the reply."""
        altered = fault.alter(self.pump(), line)
        if altered.hold is not None:
            self._held = line, altered.hold
        return self._drop(altered.sent) if altered.ends else altered.sent

    def _drop(self, last: bytes) -> bytes:
        self._dropped = True
        self._requests.clear()
        return last

    def _release_held_reply(self, line: bytes, hold: Hold) -> bytes:
        assert hold.over
        if hold.events:
            line = self.pump() + line
        self._held = None
        return line + self.pump()

    def _note(self, direction: str, message: JsonValue | QmpError) -> None:
        if self._journal is not None:
            noted = "something that is no JSON" if isinstance(message, QmpError) else message
            self._journal.note(self._backend.events, self._name, direction, noted)

    def _reply(self, request: JsonValue | QmpError) -> JsonObject:
        if isinstance(request, QmpError):
            return {"error": {**request.to_json()}}
        return self._dispatch(request)

    def _dispatch(self, request: JsonValue) -> JsonObject:
        reply: JsonObject
        try:
            reply = {"return": self._run(request)}
        except (WouldWaitError, SlowTextError):
            raise
        except QmpError as error:
            reply = {"error": {**error.to_json()}}
        return _with_id(reply, request)

    def _run(self, request: JsonValue) -> JsonValue:
        """Check and run one request (monitor_qmp_dispatch and qmp_dispatch)."""
        if not isinstance(request, dict):
            raise QmpError("QMP input must be a JSON object")
        key = _execute_key(request, allow_oob=self._oob)
        name, arguments = request[key], request.get("arguments", {})
        assert isinstance(name, str)
        assert isinstance(arguments, dict)
        if not self._negotiated and name != _NEGOTIATE:
            raise QmpError(f"Expecting capabilities negotiation with '{_NEGOTIATE}'", "CommandNotFound")
        command = self._backend.find(name)
        if command is None:
            raise QmpError(f"The command {name} has not been found", "CommandNotFound")
        if key == "exec-oob" and not command.allow_oob:
            raise QmpError(f"The command {name} does not support OOB")
        if name == _NEGOTIATE:
            return self._negotiate(arguments)
        return self._backend.execute(name, arguments)

    def _negotiate(self, arguments: JsonObject) -> JsonValue:
        enable = _enable_list(arguments)
        if self._negotiated:
            raise QmpError("Capabilities negotiation is already complete, command ignored", "CommandNotFound")
        unavailable = [name for name in enable if name not in self._offered]
        if unavailable:
            raise QmpError(f"Capability {', '.join(unavailable)} not available")
        self._oob = "oob" in enable
        self._negotiated = True
        self._log = self._backend.events
        self._cursor = self._log.end
        return {}


def _with_id(reply: JsonObject, request: JsonValue | QmpError) -> JsonObject:
    """The reply with the ``id`` of its request, if that has one."""
    if isinstance(request, dict) and "id" in request:
        reply["id"] = request["id"]
    return reply


def _command_name(request: JsonValue | QmpError) -> str:
    """The command that a request names, as far as it does."""
    name = request.get("execute", request.get("exec-oob")) if isinstance(request, dict) else None
    return name if isinstance(name, str) else ""


def _offered(backend: Backend) -> list[str]:
    hello = backend.greeting()["QMP"]
    assert isinstance(hello, dict)
    capabilities = hello["capabilities"]
    assert isinstance(capabilities, list)
    return [each for each in capabilities if isinstance(each, str)]


def _execute_key(request: JsonObject, *, allow_oob: bool) -> str:
    """The member of a request that names the command (qmp_dispatch_check_obj).

    :raises QmpError: the first offence in the order of the hash table.
    """
    found = None
    for key in member_order(request):
        if key == "execute" or (key == "exec-oob" and allow_oob):
            if not isinstance(request[key], str):
                raise QmpError(f"QMP input member '{key}' must be a string")
            if found is not None:
                raise QmpError(f"QMP input member '{key}' clashes with '{found}'")
            found = key
        elif key == "arguments":
            if not isinstance(request[key], dict):
                raise QmpError("QMP input member 'arguments' must be an object")
        elif key != "id":
            raise QmpError(f"QMP input member '{key}' is unexpected")
    if found is None:
        raise QmpError("QMP input lacks member 'execute'")
    return found


def _enable_list(arguments: JsonObject) -> list[str]:
    """The capabilities that the client asks for, checked as the input visitor does."""
    enable = arguments.get("enable", [])
    if not isinstance(enable, list):
        raise QmpError("Invalid parameter type for 'enable', expected: array")
    names = []
    for index, name in enumerate(enable):
        if not isinstance(name, str):
            raise QmpError(f"Invalid parameter type for 'enable[{index}]', expected: string")
        if name not in _KNOWN_CAPABILITIES:
            raise QmpError(f"Parameter 'null' does not accept value '{name}'")
        names.append(name)
    if set(arguments) - {"enable"}:
        from qbitsim.qapi.hashorder import first_unvisited  # noqa: PLC0415  (only this error needs it)

        raise QmpError(f"Parameter '{first_unvisited(list(arguments), ['enable'])}' is unexpected")
    return names


def _line(value: JsonObject) -> bytes:
    return encode(value) + _LINE_END


def _pretty_line(value: JsonObject) -> bytes:
    return encode_pretty(value).replace(b"\n", _LINE_END) + _LINE_END
