"""What a guest does by itself: requests that come while jobs run, between any two of their steps.

A :class:`GuestActivity` makes one request at a time, at a rate, after a pattern. With a rate of 0 its requests are due
at once, like the steps of jobs, and the order policy mixes them; with a rate they come as virtual time passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from qbitsim.errnos import errno_of
from qbitsim.errors import WouldWaitError
from qbitsim.files.faults import StalledError
from qbitsim.qemu_io.run import filled

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.engine.scheduler import Scheduler, Task

LONGEST_WRITE = 1 << 26
"""Bytes."""
MOST_WRITES = 100_000
"""That may be drawn at once; they are kept until they are made."""

Write = tuple[int, int]
"""(offset, length) in bytes."""


class GuestMachine(Protocol):
    """What a guest needs of a machine."""

    @property
    def graph(self) -> Graph:
        """Its block graph."""

    @property
    def scheduler(self) -> Scheduler:
        """What is due."""


class GuestActivity:
    """Writes that a guest makes on a drive; made by :meth:`.Machine.guest_writes`.

    :ivar drive: its id.
    :ivar done: how many requests were made.
    :ivar failures: the errnos of those that failed, in order.
    """

    __slots__ = ("_every", "_machine", "_pattern", "_stopped", "_task", "done", "drive", "failures")

    def __init__(self, machine: GuestMachine, drive: str, pattern: Iterable[Write], every: int) -> None:
        self._machine = machine
        self.drive = drive
        self._pattern = list(pattern)
        self._every = every
        self.done = 0
        self.failures: list[int] = []
        self._stopped = False
        self._task: Task | None = None
        self._plan()

    def __repr__(self) -> str:
        return f"<GuestActivity on {self.drive!r}: {self.done} of {len(self._pattern)} writes>"

    @property
    def most(self) -> int:
        """How many requests there will have been."""
        return len(self._pattern)

    @property
    def text(self) -> str:
        """In plain words: ``drive0: the guest has made 2 of 100 writes``."""
        return f"{self.drive}: the guest has made {self.done} of {self.most} writes"

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._task is not None

    def stop(self) -> None:
        """Make no more requests; one that waits is never made."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            self._task = None

    lift = stop

    def _plan(self) -> None:
        if self._stopped or self.done >= len(self._pattern):
            self._task = None
            return
        offset, length = self._pattern[self.done]
        label = f"guest writes {self.drive} {offset}+{length}"
        scheduler = self._machine.scheduler
        if self._every:
            self._task = scheduler.after(self._every, self._begin, label)
        else:
            self._task = scheduler.soon(self._begin, label)

    def _begin(self) -> None:
        """Make the next request as soon as the limits of the drive let it through."""
        drive = self._machine.graph.drives.get(self.drive)
        if drive is None or not drive.waits_for_limits("write", self._pattern[self.done][1], self._write):
            self._write()

    def _write(self) -> None:
        offset, length = self._pattern[self.done]
        drive = self._machine.graph.drives.get(self.drive)
        if drive is None or self._stopped:
            self._task = None
            return
        try:
            drive.write(offset, filled(self.done % 255 + 1, length))
        except StalledError as error:
            # The guest waits; it does not go on before the stall is released.
            error.stall.hold(self._plan)
            self._task = None
            return
        except WouldWaitError as error:
            self.done += error.is_kept
            error.when_over(self._plan)
            self._task = None
            return
        except OSError as error:
            self.failures.append(errno_of(error))
        self.done += 1
        self._plan()


def spread(size: int, count: int, length: int, seed: int) -> list[Write]:
    """``count`` writes of ``length`` bytes at random, aligned places of a disk of ``size`` bytes.

    :raises ValueError: *length* is none.
    """
    if length < 1:
        raise ValueError(f"length: a write of {length} bytes is none")
    from random import Random  # noqa: PLC0415 - costly to import

    places = max(1, size // length)
    dice = Random(seed)
    return [(dice.randrange(places) * length, length) for _ in range(count)]
