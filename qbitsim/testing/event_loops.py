"""Clients of asyncio, plugged into a state machine as they are; see :mod:`qbitsim.testing.over_sockets`.

The client's event loop is one of its own, which stands still but when the state machine lets it go on; its time is the
machine's, so that ``asyncio.sleep`` and time-outs are a matter of moves, and a run is the same each time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.testing.over_sockets import TURN, OverSocket, Running

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.testing.clients import BackupClient


class InLoop(OverSocket):
    """A client whose actions are coroutine functions."""

    def __init__(self, machine: Machine, make: Callable[[str], BackupClient]) -> None:
        self._loop = _Loop(machine)
        super().__init__(machine, make)

    def begin(self, action: Callable[[], Any]) -> Running:
        """As a task of the client's loop."""
        return _Task(self._loop, action)

    def close(self) -> None:
        """Hang up, and end the loop."""
        super().close()
        self._loop.give_up()


class _Selector(selectors.DefaultSelector):
    """Waits for nothing, but notes that the loop would."""

    def __init__(self) -> None:
        super().__init__()
        self.would_wait: float | None = None
        self.loop: _Loop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; if nothing is, and the loop has nothing else to do, it stops."""
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0) and self.loop is not None:
            self.would_wait = timeout
            self.loop.stop()
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """A loop that runs until it has nothing to do, by the clock of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waits = _Selector()
        super().__init__(self._waits)
        self._waits.loop = self

    def time(self) -> float:
        """Seconds of the machine's time."""
        return self._machine.clock() / NANOSECONDS

    def go_on(self) -> float:
        """Run until there is nothing to do; return how many seconds it would wait by itself."""
        self._waits.would_wait = None
        self.run_forever()
        return TURN if self._waits.would_wait is None else self._waits.would_wait

    def give_up(self) -> None:
        """Cancel what goes on, and close."""
        if self.is_closed():
            return
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.set_exception_handler(_say_nothing)
        self.go_on()
        self.close()


def _say_nothing(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What a client that is given up complains of interests nobody."""


class _Task:
    def __init__(self, loop: _Loop, action: Callable[[], Any]) -> None:
        self._loop = loop
        self._task = loop.create_task(action())
        self.sleeps = TURN

    def let_run(self, heard: Callable[[], bool]) -> None:
        self.sleeps = self._loop.go_on()

    @property
    def over(self) -> bool:
        return self._task.done()

    def result(self) -> None:
        self._task.result()

    def stop(self) -> None:
        self._task.cancel()
        self._loop.set_exception_handler(_say_nothing)
        self._loop.go_on()
