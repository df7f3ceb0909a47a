"""How somebody's backup client is plugged into a machine, so that a test decides what happens between its commands.

Theory of operation: an action of a client, such as a full backup, is a *conversation*: a generator that yields requests
and is sent the answers::

    def full(self):
        yield execute("transaction", actions=[...])    # is sent the reply's ``return``; a refusal is raised here
        event = yield NEXT_EVENT                        # is sent the next event, when there is one
        yield Sleep(0.5)                                # goes on when so much virtual time has passed

Between two requests anything may happen: steps of jobs, guest writes, faults, as the caller decides.
:class:`Dialogue` does one request at a time. :class:`Plain` makes conversations of a client that was written with
plain calls (``monitor.qmp("transaction", ...)``): it runs in a thread of its own, which stands still except while the
dialogue waits for its next request, so that nothing ever runs at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.records import record

if TYPE_CHECKING:
    from queue import SimpleQueue

    from qbitsim.jsontypes import JsonObject
    from qbitsim.machine.machine import Machine

C = TypeVar("C", bound="BackupClient")


@record
class Execute:
    """A command, with arguments as they are on the wire; answered by what the reply's ``return`` holds."""

    name: str
    arguments: Json


def execute(name: str, /, **arguments: Any) -> Execute:
    """A command; an underscore in an argument's name stands for a hyphen."""
    return Execute(name, {key.replace("_", "-"): value for key, value in arguments.items()})


@record
class NextEvent:
    """The oldest event that this client has not had yet; answered when there is one.

    :ivar seconds: of virtual time after which it is answered by None if there was none; None: it waits for ever.
    """

    seconds: float | None = None


NEXT_EVENT = NextEvent()
"""The one that waits for ever."""


@record
class Sleep:
    """Nothing, for so many seconds of virtual time; answered by None."""

    seconds: float


Request = Execute | NextEvent | Sleep
"""What a conversation yields."""

Conversation = Generator[Request, Any, Any]
"""An action of a client."""


@record
class Chain:
    """What a client holds for good: a backup that can be restored, and what records the changes since.

    :ivar drive: the id of the drive.
    :ivar files: names of the images, oldest first: a full backup and the incremental ones to be laid over it.
    :ivar bitmap: the name of the bitmap, on the drive's node, that holds what was written since the last of them;
        several names if it takes several bitmaps together; None if nothing holds it. Where snapshots were taken,
        bitmaps of the same name on the backing files count too.
    :ivar began: the target of the job that began at the moment which the last of the files shows, if that is not the
        file itself, as in pull mode.
    """

    drive: str
    files: tuple[str, ...]
    bitmap: str | tuple[str, ...] | None = None
    began: str | None = None

    @property
    def bitmaps(self) -> tuple[str, ...]:
        """The names of its bitmaps."""
        return (self.bitmap,) if isinstance(self.bitmap, str) else self.bitmap or ()


class BackupClient(Protocol):
    """What a client must have. Its actions are methods of any name without arguments: conversations, or plain ones."""

    def chains(self) -> Iterable[Chain]:
        """The chains that it would restore from now. A backup that is going on is not among them."""
        ...


def check_client(client: BackupClient, actions: Iterable[str]) -> None:
    """See whether a client has what it must have.

    :raises TypeError: it lacks ``chains``, or one of its actions.
    """
    own = client.client if isinstance(client, Plain) else client
    for name in ("chains", *actions):
        if not callable(getattr(own, name, None)):
            known = [each for each in dir(own) if not each.startswith("_") and callable(getattr(own, each))]
            raise TypeError(f"{type(own).__name__} has no method {name!r}{nearest(name, known)}")


class Dialogue:
    """One conversation with a machine, moved on by one request at a time.

    :raises TypeError: what an action returned is none.
    :ivar conversation: what the client says.
    :ivar waiting: the request that is made but not answered; None when the conversation is over.
    :ivar seen: the cursor into the machine's events behind the last one that the client had.
    """

    __slots__ = ("_execute", "_machine", "_wakes", "conversation", "seen", "waiting")

    def __init__(
        self,
        machine: Machine,
        conversation: Conversation,
        *,
        seen: int,
        execute: Callable[[str, Json], Any] | None = None,
    ) -> None:
        self._machine = machine
        if not hasattr(conversation, "throw"):
            raise TypeError(
                f"an action returned {conversation!r}, which is no conversation: yield requests in it, "
                "or put a client with plain calls into qbitsim.testing.clients.Plain"
            )
        self._execute = execute if execute is not None else machine.execute
        self._wakes = 0
        self.conversation = conversation
        self.seen = seen
        self.waiting: Request | None = None

    def begin(self) -> None:
        """Let the client say its first request."""
        self._resume(self.conversation.send, None)

    @property
    def over(self) -> bool:
        """Whether the client has nothing more to say."""
        return self.waiting is None

    @property
    def can_go_on(self) -> bool:
        """Whether the request that waits can be answered now."""
        match self.waiting:
            case None:
                return False
            case NextEvent(seconds=seconds):
                come = self._machine.events.end > self.seen
                return come or (seconds is not None and self._machine.clock() >= self._wakes)
            case Sleep():
                return self._machine.clock() >= self._wakes
        return True

    @property
    def wakes(self) -> int | None:
        """Nanoseconds of virtual time at which a client that sleeps wants to go on."""
        match self.waiting:
            case Sleep():
                return self._wakes
            case NextEvent(seconds=seconds) if seconds is not None:
                return self._wakes
        return None

    def go_on(self) -> Request | None:
        """Answer the request that waits, which must be possible; return it.

        :raises Exception: whatever the client raises; it is over then.
        """
        request = self.waiting
        assert self.can_go_on
        answer: object = None
        if isinstance(request, NextEvent) and self._machine.events.end > self.seen:
            self.seen += 1
            answer = self._machine.events.at(self.seen - 1)
        elif isinstance(request, Execute):
            try:
                answer = self._execute(request.name, request.arguments)
            except QmpError as error:
                self._resume(self.conversation.throw, error)
                return request
        self._resume(self.conversation.send, answer)
        return request

    def lose(self, seen: int) -> None:
        """The connection is lost, whatever the client waits for; it hears no event before the cursor ``seen``.

        :raises Exception: whatever the client raises.
        """
        self.seen = seen
        self._resume(self.conversation.throw, ConnectionResetError("QEMU has ended"))

    def close(self) -> None:
        """End the conversation where it is."""
        self.waiting = None
        self.conversation.close()

    def _resume(self, give: Callable[[Any], Request], what: object) -> None:
        """Give the client an answer, or throw a refusal, and take its next request."""
        self.waiting = None
        try:
            request = give(what)
        except StopIteration:
            return
        if isinstance(request, (Sleep, NextEvent)):  # a union of the two would be made anew each time
            self._wakes = self._machine.clock() + round((request.seconds or 0) * NANOSECONDS)
        elif not isinstance(request, Execute):
            raise TypeError(f"a client yields execute(...), NEXT_EVENT or Sleep(...), not {request!r}")
        self.waiting = request


def run(machine: Machine, conversation: Conversation) -> None:
    """Have a whole conversation with a machine; where the client waits, things go on and time passes.

    :raises Exception: whatever the client raises.
    :raises NeverError: it waits for an event that will never come.
    """
    dialogue = Dialogue(machine, conversation, seen=machine.events.end)
    dialogue.begin()
    while not dialogue.over:
        if not dialogue.can_go_on:
            if dialogue.wakes is not None:
                machine.advance_to(dialogue.wakes)
            else:
                machine.until(lambda _: dialogue.can_go_on)
        dialogue.go_on()


# -- clients that are written with plain calls


class _ClosedError(BaseException):
    """Ends the thread of a client whose conversation is closed; no client catches it by accident."""


class _Done(NamedTuple):
    """What a thread asks last: nothing, and how it ended."""

    error: BaseException | None


class Monitor:
    """What a plain client talks to, instead of a machine or a QMP library.

    Its methods may be called in actions only, that is while a conversation of :class:`Plain` goes on.
    """

    def __init__(self) -> None:
        from queue import SimpleQueue  # noqa: PLC0415 - most clients need no thread

        self._asked: SimpleQueue[Request | _Done] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._closed = False

    def qmp(self, name: str, /, **arguments: Any) -> Any:
        """Run a command; an underscore in an argument's name stands for a hyphen. Return the reply's ``return``.

        :raises QmpError: it was refused.
        """
        return self._ask(execute(name, **arguments))

    def execute(self, name: str, arguments: JsonObject) -> Any:
        """Run a command with arguments as they are on the wire; return the reply's ``return``.

        :raises QmpError: it was refused.
        """
        return self._ask(Execute(name, arguments))

    def next_event(self) -> Json:
        """The oldest event that the client has not had yet; waits until there is one."""
        event: Json = self._ask(NEXT_EVENT)
        return event

    def sleep(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        self._ask(Sleep(seconds))

    def _ask(self, request: Request) -> Any:
        if self._closed:
            raise _ClosedError
        self._asked.put(request)
        answer = self._answers.get()
        if isinstance(answer, QmpError | ConnectionError | _ClosedError):
            raise answer
        return answer

    def conversation(self, action: Callable[[], object]) -> Conversation:
        """What ``action`` says, as a conversation."""
        from threading import Thread  # noqa: PLC0415 - most clients need no thread

        self._closed = False
        thread = Thread(target=self._run, args=(action,), daemon=True)
        thread.start()
        try:
            while not isinstance(request := self._asked.get(), _Done):
                try:
                    answer = yield request
                except (QmpError, ConnectionError) as error:
                    answer = error
                self._answers.put(answer)
        except GeneratorExit:
            self._closed = True
            self._answers.put(_ClosedError())
            raise
        finally:
            thread.join()
        if request.error is not None:
            raise request.error

    def _run(self, action: Callable[[], object]) -> None:
        ended = None
        try:
            action()
        except _ClosedError:
            return
        except BaseException as error:
            ended = error  # it is raised again where the conversation is read
        self._asked.put(_Done(ended))


class Plain(Generic[C]):
    """A client with plain methods, as one whose methods are conversations.

    :param make: is given a :class:`Monitor` and makes the client.
    :ivar client: the client itself.
    """

    def __init__(self, make: Callable[[Monitor], C]) -> None:
        self._monitor = Monitor()
        self.client = make(self._monitor)

    def chains(self) -> Iterable[Chain]:
        """The client's own."""
        return self.client.chains()

    def __getattr__(self, name: str) -> Callable[[], Conversation]:
        action = getattr(self.client, name)
        if not callable(action):
            raise AttributeError(f"{type(self.client).__name__}.{name} is no action")
        return lambda: self._monitor.conversation(action)
