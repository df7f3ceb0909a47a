"""Failures and delays of I/O at a chosen place.

A rule says which operations on which bytes it strikes, how often, and how many it lets go on before the first time.
There are three kinds: a :class:`Fault` makes a request fail, a :class:`Delay` lets it take time, a :class:`Stall` lets
it wait until somebody releases it. The rules that a test injects into an image and those of a ``blkdebug`` node are the
same thing.

Requests of jobs can wait. A guest's request is made and answered in one call, in no time: a delay does not
touch it, and one that would have to wait for a stall raises :class:`StalledError`.
"""

from __future__ import annotations

import errno as numbers
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from random import Random

OPERATIONS = ("read", "write", "write-zeroes", "discard", "flush")
"""The kinds of requests that can be made to fail."""


class StalledError(QmpError):
    """Something would have to wait for a stalled request; real QEMU would hang there."""

    def __init__(self, stall: Stall) -> None:
        self.stall = stall
        super().__init__(f"qbitsim does not wait for ever: a request is stalled by {stall!r}; release it first")


class Rule:
    """The common part: what a rule strikes.

    :ivar operations: of :data:`OPERATIONS`.
    :ivar offset: first byte of the range; None for the whole disk.
    :ivar length: bytes of the range.
    :ivar after: how many more requests that match are let go on first.
    :ivar times: how often it still strikes; None for always.
    :ivar probability: of a strike, each time; drawn from ``seed``.
    :ivar where: what it was injected into, as the test calls it; empty for a rule of a ``blkdebug`` node.
    """

    __slots__ = ("_random", "after", "length", "offset", "operations", "probability", "times", "where")

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
        self.operations = operations
        self.offset = offset
        self.length = length
        self.after = after
        self.times = times
        self.probability = probability
        self.where = ""
        self._random = _seeded(seed) if probability < 1 else None

    def __repr__(self) -> str:
        place = "" if self.offset is None else f" at {self.offset}+{self.length}"
        often = "" if self.times is None else f", {self.times} more times"
        return f"<{type(self).__name__} of {'/'.join(sorted(self.operations))}{place}{often}>"

    def lift(self) -> None:
        """Strike no more."""
        self.times = 0

    def concerns(self, operation: str, offset: int, length: int) -> bool:
        """Whether a request of ``length`` bytes at ``offset`` is one of those that the rule is about."""
        if operation not in self.operations or self.times == 0:
            return False
        return self.offset is None or (offset < self.offset + self.length and self.offset < offset + length)

    def strikes(self, operation: str, offset: int, length: int) -> bool:
        """Whether the rule strikes this request; it is counted."""
        if not self.concerns(operation, offset, length):
            return False
        if self.after:
            self.after -= 1
            return False
        if self._random is not None and self._random.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True


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
        return super().__repr__().replace("Fault", f"Fault {numbers.errorcode.get(self.errno, self.errno)}")


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


class Stall(Rule):
    """Lets requests of jobs wait until :meth:`release`."""

    __slots__ = ("_waiting",)

    def __init__(self, operations: frozenset[str], offset: int | None = None, length: int = 1) -> None:
        super().__init__(operations, offset, length)
        self._waiting: list[Callable[[], None]] = []

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
            if rule.strikes(operation, offset, length):
                if rule.times == 0:
                    self.rules.remove(rule)
                raise OSError(rule.errno, os.strerror(rule.errno))

    def delay(self, operation: str, offset: int, length: int) -> int:
        """Nanoseconds that a request of a job takes."""
        return sum(rule.nanoseconds for rule in self.delays if rule.strikes(operation, offset, length))

    def stall(self, operation: str, offset: int, length: int) -> Stall | None:
        """What lets a request wait, or None."""
        for rule in self.stalls:
            if rule.concerns(operation, offset, length):
                return rule
        return None
