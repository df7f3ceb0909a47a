"""Failures and delays of I/O at a chosen place.

A rule says which operations on which bytes it strikes, how often, and how many it lets go on before the first time.
There are three kinds: a :class:`Fault` makes a request fail, a :class:`Delay` lets it take time, a :class:`Stall` lets
it wait until somebody releases it. The rules that a test injects into an image and those of a ``blkdebug`` node are the
same thing.

Requests of jobs can wait. A guest's request is made and answered in one call, in no time: a delay does not
touch it, and one that would have to wait for a stall raises :class:`StalledError`.
"""

from __future__ import annotations

import os

from qbitsim.countdown import Countdown
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errnos import errno_name
from qbitsim.errors import QmpError
from qbitsim.light_typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


_PLURALS = {
    frozenset(("read",)): "reads",
    frozenset(("write", "write-zeroes")): "writes",
    frozenset(("write-zeroes",)): "writes of zeroes",
    frozenset(("discard",)): "discards",
    frozenset(("flush",)): "flushes",
}
"""What a person calls the requests of these kinds; see :func:`qbitsim.drivers.failing.checked_operations`."""


class StalledError(QmpError):
    """Something would have to wait for a stalled request; real QEMU would hang there."""

    def __init__(self, stall: Stall) -> None:
        self.stall = stall
        super().__init__(f"qbitsim does not wait for ever: a request is stalled by {stall!r}; release it first")


class Rule(Countdown):
    """The common part: what a rule strikes.

    :ivar operations: of :data:`.OPERATIONS`.
    :ivar offset: first byte of the range; None for the whole disk.
    :ivar length: bytes of the range.
    :ivar probability: of a strike, each time; drawn from ``seed``.
    :ivar where: what it was injected into, as the test calls it; empty for a rule of a ``blkdebug`` node.
    """

    __slots__ = ("_random", "length", "offset", "operations", "probability", "where")

    def __init__(
        self,
        operations: frozenset[str],
        offset: int | None = None,
        length: int = 1,
        *,
        after: int = 0,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(times, after)
        self.operations = operations
        self.offset = offset
        self.length = length
        self.probability = probability
        self.where = ""
        self._random = _seeded(seed) if probability < 1 else None

    def __repr__(self) -> str:
        place = "" if self.offset is None else f" at {self.offset}+{self.length}"
        often = "" if self.times is None else f", {self.times} more {'time' if self.times == 1 else 'times'}"
        return f"<{type(self).__name__} of {'/'.join(sorted(self.operations))}{place}{often}>"

    @property
    def text(self) -> str:
        """The rule in plain words: ``drive0: reads that touch 0+65536 fail with EIO, once``."""
        place = "" if self.offset is None else f" that touch {self.offset}+{self.length}"
        return f"{self.where}: {_PLURALS[self.operations]}{place} {self._effect}{self.often}"

    @property
    def _effect(self) -> str:
        """What becomes of the requests."""
        raise NotImplementedError

    def concerns(self, operation: str, offset: int, length: int) -> bool:
        """Whether a request of ``length`` bytes at ``offset`` is one of those that the rule is about."""
        if operation not in self.operations or self.times == 0:
            return False
        return self.offset is None or (offset < self.offset + self.length and self.offset < offset + length)

    def applies_to(self, operation: str, offset: int, length: int) -> bool:
        """Whether the rule strikes this request; it is counted."""
        return self.concerns(operation, offset, length) and self._count()

    def _draw(self) -> bool:
        return self._random is None or self._random.random() < self.probability


def _seeded(seed: int) -> Random:
    from random import Random  # noqa: PLC0415 - costly to import, and few rules draw

    return Random(seed)


class Fault(Rule):
    """Makes requests fail.

    :ivar errno: with which number.
    """

    __slots__ = ("errno",)

    def __init__(
        self,
        operations: frozenset[str],
        errno: int,
        offset: int | None = None,
        length: int = 1,
        times: int | None = None,
        *,
        after: int = 0,
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(operations, offset, length, after=after, times=times, probability=probability, seed=seed)
        self.errno = errno

    def __repr__(self) -> str:
        return super().__repr__().replace("Fault", f"Fault {errno_name(self.errno)}")

    @property
    def _effect(self) -> str:
        chance = f" with probability {self.probability:g}" if self.probability < 1 else ""
        return f"fail with {errno_name(self.errno)}{chance}"


class Delay(Rule):
    """Lets requests of jobs take time.

    :ivar nanoseconds: of virtual time.
    """

    __slots__ = ("nanoseconds",)

    def __init__(
        self,
        operations: frozenset[str],
        nanoseconds: int,
        offset: int | None = None,
        length: int = 1,
        *,
        times: int | None = None,
    ) -> None:
        super().__init__(operations, offset, length, times=times)
        self.nanoseconds = nanoseconds

    @property
    def _effect(self) -> str:
        return f"of jobs take {self.nanoseconds / NANOSECONDS:g} s"


class Stall(Rule):
    """Lets requests of jobs wait until :meth:`release`."""

    __slots__ = ("_waiting",)

    def __init__(self, operations: frozenset[str], offset: int | None = None, length: int = 1) -> None:
        super().__init__(operations, offset, length)
        self._waiting: list[Callable[[], None]] = []

    @property
    def _effect(self) -> str:
        return "of jobs wait"

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def hold(self, go_on: Callable[[], None]) -> None:
        """Keep a request; ``go_on`` is called when it may go on."""
        self._waiting.append(go_on)

    def release(self) -> None:
        """Let what waits go on, in the order in which it came, and stall nothing more."""
        self.lift()
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()


class FaultOwner(Protocol):
    """What keeps rules about a disk.

    :ivar faults: None as long as there are none.
    """

    faults: Faults | None


class Faults:
    """The rules of one image or node; failures are tried in the order in which they were added."""

    __slots__ = ("delays", "rules", "stalls")

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.delays: list[Delay] = []
        self.stalls: list[Stall] = []

    def check(self, operation: str, offset: int, length: int) -> None:
        """Let the request go on, or fail.

        :raises OSError: with the errno of the first rule that strikes.
        """
        for rule in self.rules:
            if rule.applies_to(operation, offset, length):
                if rule.times == 0:
                    self.rules.remove(rule)
                raise OSError(rule.errno, os.strerror(rule.errno))

    def delay(self, operation: str, offset: int, length: int) -> int:
        """Nanoseconds that a request of a job takes."""
        return sum(rule.nanoseconds for rule in self.delays if rule.applies_to(operation, offset, length))

    def stall(self, operation: str, offset: int, length: int) -> Stall | None:
        """What lets a request wait, or None."""
        for rule in self.stalls:
            if rule.concerns(operation, offset, length):
                return rule
        return None
