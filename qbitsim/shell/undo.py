"""What can be undone: a snapshot of the machine before each thing that changes it, so many of them.

The snapshots are the server's (``x-qbitsim-snapshot``). They are called after this process, so that two shells on one
server do not put back each other's.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from itertools import count

from qbitsim.errors import NOT_EMULATED, QmpError
from qbitsim.jsontypes import Json

LEVELS = 50
"""How many steps can be undone."""

_shells = count()


class Undo:
    """The steps that can be undone.

    :param execute: runs a command on the server.
    :ivar refusal: why the server cannot be saved: its images are files of the host. None if it can.
    """

    def __init__(self, execute: Callable[[str, Json], object]) -> None:
        self._execute = execute
        self._prefix = f"shell-{os.getpid()}-{next(_shells)}"
        self._steps: deque[tuple[str, str]] = deque(maxlen=LEVELS)  # name of the snapshot, what came after it
        self._number = 0
        self.refusal: str | None = None

    def __len__(self) -> int:
        return len(self._steps)

    def save(self, what: str) -> bool:
        """Save the machine as it is before ``what`` happens; False if it is one that cannot be saved.

        :raises QmpError: it can, but not now.
        """
        if self.refusal is not None:
            return False
        name = f"{self._prefix}-{self._number % LEVELS}"
        try:
            self._execute("x-qbitsim-snapshot", {"name": name})
        except QmpError as error:
            if not error.desc.startswith(NOT_EMULATED):
                raise
            self.refusal = error.desc
            return False
        self._number += 1
        self._steps.append((name, what))
        return True

    def forget(self) -> None:
        """Forget the latest point: nothing has happened after all."""
        self._steps.pop()
        self._number -= 1

    def undo(self, levels: int) -> list[str]:
        """Make the machine what it was so many steps ago; what was undone, latest first.

        :raises QmpError: the server does not have the snapshot any more.
        """
        levels = min(levels, len(self._steps))
        name, _ = self._steps[-levels]
        self._execute("x-qbitsim-restore", {"name": name})
        undone = [self._steps.pop()[1] for _ in range(levels)]
        self._number -= levels
        return undone
