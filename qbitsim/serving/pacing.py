"""When a served machine goes on, and how its time passes.

* **realtime**: virtual time follows the wall clock, at a factor. What was due while the server was busy is done
  late, but at its own instant of virtual time.
* **manual**: nothing happens but what commands do; whoever holds the server drives the machine.
* **immediate**: what a command has started is finished before the next command is answered. Time jumps from one
  deadline to the next, and stands still when nothing is due.

A pacing does its work in slices, so that nothing holds up the event loop for long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, get_args

_NANOSECONDS = 1_000_000_000
PacingName: TypeAlias = Literal["manual", "immediate", "realtime"]
PACINGS: tuple[PacingName, ...] = get_args(PacingName)

ServedPacing: TypeAlias = PacingName | float
"""A number is realtime so many times as fast as the wall clock; as a text 10 is ``realtime:10``."""


class PacedMachine(Protocol):
    """What a pacing needs of a machine."""

    def step(self) -> bool:
        """Do one thing that is due; False if nothing is."""

    def clock(self) -> int:
        """Virtual time in nanoseconds."""

    def move_clock(self, when: int) -> None:
        """Move virtual time to ``when``, not past the next deadline; nothing runs."""

    @property
    def next_deadline(self) -> int | None:
        """When, in virtual nanoseconds, something is due that waits for time to pass; None if nothing is."""


class Pacing:
    """The common part, and the manual pacing.

    :param machine: the machine.
    :param wall: the clock on the wall, in seconds.
    :cvar exclusive: whether nobody is answered while :meth:`work` has left something.
    """

    exclusive = False

    def __init__(self, machine: PacedMachine, wall: Callable[[], float]) -> None:
        self.machine = machine
        self.wall = wall

    def anchor(self) -> None:
        """Take note that somebody else may have moved the machine's time."""

    def catch_up(self, until: float) -> bool:
        """Do what should have happened by now, but stop at ``until`` on the wall; True if something is left."""
        return self.work(until)

    def work(self, until: float) -> bool:
        """Do what is due, but stop at ``until`` on the wall; True if something is left."""
        return False

    def wake_at(self) -> float | None:
        """When, on the wall, something will be due; None for never."""
        return None


class Immediate(Pacing):
    """Everything is done at once, whatever time it takes."""

    exclusive = True

    def work(self, until: float) -> bool:
        """Do what is due and let time pass, until nothing waits for it."""
        while True:
            if _step(self.machine, until, self.wall):
                return True
            deadline = self.machine.next_deadline
            if deadline is None:
                return False
            self.machine.move_clock(deadline)


class Realtime(Pacing):
    """Virtual time follows the wall clock.

    :param factor: seconds of virtual time in a second.
    """

    def __init__(self, machine: PacedMachine, wall: Callable[[], float], factor: float = 1.0) -> None:
        super().__init__(machine, wall)
        self.factor = factor
        self._since = wall(), machine.clock()

    def anchor(self) -> None:
        """Go on from the time that the machine has now."""
        self._since = self.wall(), self.machine.clock()

    def catch_up(self, until: float) -> bool:
        """Let time pass up to now, each thing at its own instant."""
        seconds, virtual = self._since
        now = virtual + int((self.wall() - seconds) * self.factor * _NANOSECONDS)
        if self.machine.clock() > now:  # a command has moved it
            self.anchor()
        while not (busy := self.work(until)):
            deadline = self.machine.next_deadline
            target = now if deadline is None else min(now, deadline)
            if target <= self.machine.clock():
                break
            self.machine.move_clock(target)
        return busy

    def work(self, until: float) -> bool:
        """Do what is due at this instant."""
        return _step(self.machine, until, self.wall)

    def wake_at(self) -> float | None:
        """When the next deadline is reached."""
        deadline = self.machine.next_deadline
        seconds, virtual = self._since
        return None if deadline is None else seconds + (deadline - virtual) / self.factor / _NANOSECONDS


def _step(machine: PacedMachine, until: float, wall: Callable[[], float]) -> bool:
    while machine.step():
        if wall() >= until:
            return True
    return False


SLOWEST, FASTEST = 1e-9, 1e9
"""Seconds of virtual time in one of the wall's."""


def check_pacing(pacing: str | float) -> tuple[PacingName, float]:
    """The name of a pacing and its factor, which has a meaning only in realtime.

    :param pacing: ``"manual"``, ``"immediate"``, ``"realtime"``, ``"realtime:FACTOR"`` or the factor itself.
    :raises ValueError: it is none of these; the text names the choices.
    """
    name, colon, rest = pacing.partition(":") if isinstance(pacing, str) else ("realtime", ":", str(pacing))
    for known in PACINGS:
        if name == known and not colon:
            return known, 1.0
    if name == "realtime" and re.fullmatch(r"\d+(\.\d+)?([eE][+-]?\d+)?|\.\d+", rest):
        factor = float(rest)
        if 0 < factor < SLOWEST or FASTEST < factor < math.inf:
            raise ValueError(f"pacing {pacing!r}: a factor is from {SLOWEST:g} to {FASTEST:g}")
        if 0 < factor < math.inf:
            return "realtime", factor
    raise ValueError(f"unknown pacing {pacing!r}: choose manual, immediate, realtime or realtime:FACTOR")


def read_pacing(text: str) -> ServedPacing:
    """The pacing that a text names.

    :raises ValueError: as :func:`check_pacing`.
    """
    name, factor = check_pacing(text)
    return name if factor == 1.0 else factor


def pacing_text(pacing: str | float) -> str:
    """A pacing as a text.

    :raises ValueError: as :func:`check_pacing`.
    """
    name, factor = check_pacing(pacing)
    return name if factor == 1.0 else f"{name}:{factor:g}"


def make_pacing(pacing: str | float, machine: PacedMachine, wall: Callable[[], float]) -> Pacing:
    """A pacing for a machine.

    :raises ValueError: as :func:`check_pacing`.
    """
    name, factor = check_pacing(pacing)
    if name == "realtime":
        return Realtime(machine, wall, factor)
    return Immediate(machine, wall) if name == "immediate" else Pacing(machine, wall)
