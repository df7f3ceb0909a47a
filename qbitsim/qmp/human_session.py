"""One human monitor without I/O: bytes in, bytes out, as :class:`.Session` for those who type (monitor/hmp.c).

It speaks to the machine as a client of ``human-monitor-command`` does. There is no negotiation and there are no events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.qmp.readline import PROMPT, ReadLine
from qbitsim.qmp.session import Session

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.qmp.journal import Journal
    from qbitsim.qmp.session import Backend


_MANY_BYTES = 1 << 16
_AT_ONCE = 256  # bytes, after each of which the whole line may be shown anew


def banner(profile: Profile) -> str:
    """What a human monitor says first."""
    version = ".".join(map(str, profile.version))
    return f"QEMU {version} monitor - type 'help' for more information\r\n"


class HumanSession:
    """One person's conversation with a machine."""

    def __init__(self, backend: Backend, *, journal: Journal | None = None, name: str = "monitor") -> None:
        self._backend = backend
        self._session = Session(backend, journal=journal, name=name, negotiated=True)
        self._line: str | None = None
        self._readline = ReadLine(kills=backend.profile.hmp_line_can_be_killed)
        self._received = bytearray()

    @property
    def cursor(self) -> int:
        """The first event that this session may still read: it reads none."""
        return self._backend.events.end

    @property
    def pending(self) -> int:
        """How many received bytes wait."""
        return len(self._received)

    @property
    def ready(self) -> bool:
        """Whether :meth:`answer` has something to do now."""
        return bool(self._received) or self._line is not None

    @property
    def ended(self) -> bool:
        """Whether the connection is to end: the machine was started anew."""
        return self._session.ended

    @property
    def full(self) -> bool:
        """Whether so much was received that the client had better wait with sending more."""
        return len(self._received) > _MANY_BYTES

    def connect(self) -> bytes:
        """The banner and the prompt."""
        return f"{banner(self._backend.profile)}{PROMPT}".encode()

    def receive(self, data: bytes) -> None:
        """Take bytes from whoever types."""
        self._received += data

    def answer(self) -> bytes:
        """Take some bytes, up to the end of a line at most, or run that line: what is to be shown.

        A line is shown before it runs, for what it does may print elsewhere.
        """
        if self._line is not None:
            line, self._line = self._line, None
            return self._run(line).encode("latin-1", "replace")
        shown: list[str] = []
        for _ in range(min(len(self._received), _AT_ONCE)):
            out, self._line = self._readline.feed(self._received.pop(0))
            shown.append(out.replace("\n", "\r\n"))
            if self._line is not None:
                break
        return "".join(shown).encode("latin-1", "replace")

    def pump(self) -> bytes:
        """Nothing: people are told of no events."""
        return b""

    def _run(self, line: str) -> str:
        """What a line prints, and the prompt unless it was the last one."""
        text = line.encode("latin-1").decode(errors="replace")
        reply = self._session.ask({"execute": "human-monitor-command", "arguments": {"command-line": text}})
        error = reply.get("error")
        printed = f"Error: {error['desc']}\r\n" if isinstance(error, dict) else str(reply["return"])
        if self._backend.closing:
            self._received.clear()
            return printed
        return (printed + PROMPT).encode(errors="replace").decode("latin-1")
