"""What can go wrong between an NBD server and a client, because a test wants it.

A fault names an export and a command, or stands for all of them, and strikes when the answer to such a request is
ready: the request itself has been carried out. :class:`SlowReads` strike before, as they make reads take their time;
a :class:`RefusedOption` strikes in the handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qbitsim.countdown import Countdown
from qbitsim.engine.scheduler import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.engine.scheduler import Scheduler

COMMANDS = ("read", "write", "flush", "trim", "cache", "write-zeroes", "block-status")
"""The commands whose answers can suffer."""

OPTIONS = (
    *("list", "starttls", "info", "go", "structured-reply"),
    *("list-meta-context", "set-meta-context", "extended-headers"),
)
"""The options that can be refused: those with an answer that says so."""


class Client(Protocol):
    """Who suffers; see :class:`qbitsim.nbd.session.Session`."""

    def send(self, *parts: bytes) -> None:
        """Tell the client something, unless it has gone."""

    def hang_up(self) -> None:
        """End the connection behind what was sent."""


class NbdFault(Countdown):
    """The common part: which answers suffer.

    :ivar export: the name of the export; None for any.
    :ivar command: of :data:`COMMANDS`; None for any.
    """

    __slots__ = ("command", "export")

    def __init__(self, export: str | None, command: str | None, *, times: int | None = 1, after: int = 0) -> None:
        super().__init__(times, after)
        self.export = export
        self.command = command

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.text}>"

    @property
    def text(self) -> str:
        """In plain words: ``NBD client of backup: it is hung up on instead of an answer to read, once``."""
        who = "NBD clients" if self.export is None else f"NBD clients of {self.export!r}"
        return f"{who}: {self._effect.format('requests' if self.command is None else self.command)}{self.often}"

    @property
    def _effect(self) -> str:
        """What becomes of answers, with ``{}`` for the command."""
        raise NotImplementedError

    def strikes(self, export: str, command: str) -> bool:
        """Whether this answer suffers; it is counted."""
        return self.export in (None, export) and self.command in (None, command) and self._count()

    def strike(self, client: Client, parts: list[bytes]) -> None:
        """Do what is to be done instead of sending the answer."""
        raise NotImplementedError


class DroppedClient(NbdFault):
    """Hangs up instead of answering."""

    __slots__ = ()

    @property
    def _effect(self) -> str:
        return "the server hangs up instead of answering {}"

    def strike(self, client: Client, parts: list[bytes]) -> None:
        """Send nothing."""
        del parts
        client.hang_up()


class HalfAnswer(NbdFault):
    """Sends the first half of an answer, and then hangs up."""

    __slots__ = ()

    @property
    def _effect(self) -> str:
        return "the server hangs up in the middle of the answer to {}"

    def strike(self, client: Client, parts: list[bytes]) -> None:
        """Send half of it."""
        answer = b"".join(parts)
        client.send(answer[: len(answer) // 2])
        client.hang_up()


class WrongMagic(NbdFault):
    """Begins an answer with a number that is none of the protocol's."""

    __slots__ = ()

    @property
    def _effect(self) -> str:
        return "the answer to {} begins with a wrong magic number"

    def strike(self, client: Client, parts: list[bytes]) -> None:
        """Turn the bits of the number round."""
        first, *others = parts
        client.send(bytes(byte ^ 0xFF for byte in first[:4]) + first[4:], *others)


class HeldAnswer(NbdFault):
    """Holds answers back, for a time or until :meth:`release`; answers to other requests overtake them.

    :param scheduler: the machine's.
    :ivar nanoseconds: of virtual time; None: until it is released.
    """

    __slots__ = ("_held", "_scheduler", "nanoseconds")

    def __init__(
        self,
        export: str | None,
        command: str | None,
        scheduler: Scheduler,
        nanoseconds: int | None,
        *,
        times: int | None = 1,
        after: int = 0,
    ) -> None:
        super().__init__(export, command, times=times, after=after)
        self.nanoseconds = nanoseconds
        self._scheduler = scheduler
        self._held: list[Callable[[], None]] = []

    @property
    def _effect(self) -> str:
        if self.nanoseconds is None:
            return "the answer to {} is held back"
        return f"the answer to {{}} comes {self.nanoseconds / NANOSECONDS:g} s later"

    @property
    def waiting(self) -> int:
        """How many answers are held back until they are released."""
        return len(self._held)

    def strike(self, client: Client, parts: list[bytes]) -> None:
        """Keep it."""
        answer = _Held(client, parts)
        if self.nanoseconds is not None:
            self._scheduler.after(self.nanoseconds, answer.go_on, "an answer to an NBD client goes out")
        else:
            self._held.append(answer.go_on)

    def release(self) -> None:
        """Let what is held back go out, and hold nothing more."""
        self.lift()
        held, self._held = self._held, []
        for go_on in held:
            go_on()


class _Held:
    """An answer on its way."""

    __slots__ = ("client", "parts")

    def __init__(self, client: Client, parts: list[bytes]) -> None:
        self.client = client
        self.parts = parts

    def go_on(self) -> None:
        self.client.send(*self.parts)


class SlowReads(NbdFault):
    """Makes reads take their time.

    :ivar nanoseconds: of virtual time, for each.
    """

    __slots__ = ("nanoseconds",)

    def __init__(self, export: str | None, nanoseconds: int, *, times: int | None = None) -> None:
        super().__init__(export, "read", times=times)
        self.nanoseconds = nanoseconds

    @property
    def _effect(self) -> str:
        return f"a {{}} takes {self.nanoseconds / NANOSECONDS:g} s"


class RefusedOption(Countdown):
    """Refuses an option of the handshake.

    :ivar option: of :data:`OPTIONS`.
    :ivar message: what the client is told.
    """

    __slots__ = ("message", "option")

    def __init__(self, option: str, message: str, times: int | None) -> None:
        super().__init__(times)
        self.option = option
        self.message = message

    def __repr__(self) -> str:
        return f"<RefusedOption: {self.text}>"

    @property
    def text(self) -> str:
        """In plain words: ``NBD clients that ask for go are refused, once: no``."""
        return f"NBD clients that ask for {self.option} are refused{self.often}: {self.message}"

    def strikes(self, option: str) -> bool:
        """Whether this option is refused; it is counted.

        :param option: as messages call it.
        """
        return option.replace(" ", "-") == self.option and self._count()
