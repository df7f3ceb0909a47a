"""A monitor that is slow, or that goes away: what can be done to the replies to commands of one name.

Theory of operation: the faults belong to the machine and strike on every monitor; a :class:`.Session` asks
:func:`fault_for` at each command. The command itself always runs, unless the monitor is to go before it: what
suffers is the news of it.

* A :class:`HeldReply` goes out later, and so do the replies to all that the same client asks after it, because a
  monitor answers in order. Its events go on coming meanwhile, as they do while a command of QEMU takes its time, or
  they wait too, as in a pipe that is stuck: those that come before the reply are let through then, and the others come
  behind it. Other monitors are not concerned.
* After a :class:`HalfReply` the connection ends in the middle of a line.
* A :class:`DroppedMonitor` ends it at the end of a line: behind the reply, or with only the events that come before the
  reply, or before the command runs at all. The client cannot tell the last two apart, which is the point.

A reply that is on hold is on its way to a client, so it is no part of a machine that is copied or put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.countdown import Countdown
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.engine.scheduler import Scheduler


@record
class AlteredReply:
    """What becomes of a reply.

    :ivar sent: the bytes that go out at once.
    :ivar hold: what the reply waits for; None if it goes out now or never.
    :ivar ends: whether the connection ends behind these bytes.
    """

    sent: bytes
    hold: Hold | None = None
    ends: bool = False


class MonitorFault(Countdown):
    """The common part: which replies suffer.

    :ivar command: the name of the command.
    """

    __slots__ = ("command",)

    def __init__(self, command: str, *, times: int | None = 1, after: int = 0) -> None:
        super().__init__(times, after)
        self.command = command

    def __repr__(self) -> str:
        often = "" if self.times is None else f", {self.times} more {'time' if self.times == 1 else 'times'}"
        return f"<{type(self).__name__} of {self.command}{often}>"

    @property
    def before_command(self) -> bool:
        """Whether the monitor ends before the command runs."""
        return False

    @property
    def text(self) -> str:
        """In plain words: ``the reply to stop is held back, once``."""
        return f"{self._effect}{self.often}"

    @property
    def _effect(self) -> str:
        """What becomes of replies."""
        raise NotImplementedError

    def release_held(self) -> None:
        """Let what is on hold go out; what it waited for will not come."""

    def applies_to(self, command: str) -> bool:
        """Whether this command's reply suffers; it is counted."""
        return command == self.command and self._count()

    def alter(self, events: bytes, reply: bytes) -> AlteredReply:
        """What comes instead of the events before a reply, and the reply."""
        raise NotImplementedError


class Hold:
    """One reply that is on hold.

    :ivar events: whether events go on meanwhile.
    :ivar over: whether it may go out.
    """

    __slots__ = ("events", "over")

    def __init__(self, *, events: bool) -> None:
        self.events = events
        self.over = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Hold:
        """The hold itself: the client waits for this one, whatever becomes of the machine."""
        return self

    def release(self) -> None:
        """Let the reply go out."""
        self.over = True


class HeldReply(MonitorFault):
    """Holds replies back, for a time or until :meth:`release`.

    :param scheduler: the machine's.
    :ivar nanoseconds: of virtual time; None: until it is released.
    :ivar events: whether events go on meanwhile.
    """

    __slots__ = ("_holds", "_scheduler", "events", "nanoseconds")

    def __init__(
        self,
        command: str,
        scheduler: Scheduler,
        nanoseconds: int | None,
        *,
        events: bool = True,
        times: int | None = 1,
        after: int = 0,
    ) -> None:
        super().__init__(command, times=times, after=after)
        self.nanoseconds = nanoseconds
        self.events = events
        self._scheduler = scheduler
        self._holds: list[Hold] = []

    @property
    def _effect(self) -> str:
        reply = f"the reply to {self.command}"
        if self.nanoseconds is None:
            return f"{reply} is held back"
        return f"{reply} comes {self.nanoseconds / NANOSECONDS:g} s later"

    def alter(self, events: bytes, reply: bytes) -> AlteredReply:
        """Only the events go out now."""
        return AlteredReply(events, self._hold())

    @property
    def waiting(self) -> int:
        """How many replies are on hold."""
        return sum(not hold.over for hold in self._holds)

    def _hold(self) -> Hold:
        """Put one reply on hold."""
        self._holds = [hold for hold in self._holds if not hold.over]
        hold = Hold(events=self.events)
        self._holds.append(hold)
        if self.nanoseconds is not None:
            self._scheduler.after(self.nanoseconds, hold.release, f"the reply to {self.command} goes out")
        return hold

    def release_held(self) -> None:
        """Let what is on hold go out."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()

    def release(self) -> None:
        """Let what is on hold go out, and hold nothing more."""
        self.lift()
        self.release_held()


class HalfReply(MonitorFault):
    """Sends the first half of a reply, and then ends the connection."""

    __slots__ = ()

    @property
    def _effect(self) -> str:
        return f"the monitor hangs up in the middle of the reply to {self.command}"

    def alter(self, events: bytes, reply: bytes) -> AlteredReply:
        """Half of the reply goes out."""
        return AlteredReply(events + reply[: len(reply) // 2], ends=True)


class DroppedMonitor(MonitorFault):
    """Ends the connection.

    :ivar before_command: before the command runs; :ivar before_reply: when it has run, without the reply.
    """

    __slots__ = ("_before_command", "before_reply")

    def __init__(
        self, command: str, *, before_command: bool, before_reply: bool, times: int | None = 1, after: int = 0
    ) -> None:
        super().__init__(command, times=times, after=after)
        self._before_command = before_command
        self.before_reply = before_reply

    @property
    def _effect(self) -> str:
        when = "before" if self.before_command or self.before_reply else "behind"
        return f"the monitor hangs up {when} {'' if self.before_command else 'the reply to '}{self.command}"

    @property
    def before_command(self) -> bool:
        """Whether the monitor ends before the command runs."""
        return self._before_command

    def alter(self, events: bytes, reply: bytes) -> AlteredReply:
        """The events go out, and perhaps the reply."""
        return AlteredReply(events if self.before_reply else events + reply, ends=True)


def fault_for(faults: Iterable[MonitorFault], command: str) -> MonitorFault | None:
    """The fault that strikes this command, or None; the first that does is the only one that is counted."""
    return next((fault for fault in faults if fault.applies_to(command)), None)
