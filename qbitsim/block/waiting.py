"""Requests of guests that wait for the end of a drained section.

Most drained sections begin and end within one command, and no guest comes between. The one that lasts is that of a
mirror or an active commit: its source stays drained from the end of its work until it is finalized or cancelled. QEMU
lets a guest's request wait for that long, whatever it is, even one that would be refused (blk_wait_while_drained,
block/block-backend.c; measured with 7.2, 10.0 and 11.1).
"""

from __future__ import annotations

from qbitsim.errors import WouldWaitError
from qbitsim.light_library import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.engine.scheduler import Scheduler


class WaitingRequests:
    """What is to be done when drained sections end, oldest first.

    It knows nodes only as what is waited for.
    """

    __slots__ = ("_due", "_scheduler", "_waiting")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: list[tuple[object, Callable[[], None]]] = []
        self._due: deque[Callable[[], None]] = deque()

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, node: object, go_on: Callable[[], None]) -> None:
        """Let ``go_on`` wait for the end of the drained section that ``node`` is in."""
        self._waiting.append((node, go_on))

    def resume(self, node: object) -> None:
        """The drained section of ``node`` has ended: let go on what waits for it, as a bottom half."""
        if self._waiting:
            self._let_go([entry for entry in self._waiting if entry[0] is node])

    def resume_all(self) -> None:
        """No node is left to wait for."""
        self._let_go(self._waiting)

    def _let_go(self, entries: list[tuple[object, Callable[[], None]]]) -> None:
        if entries:
            self._due += [go_on for _, go_on in entries]
            self._waiting = [entry for entry in self._waiting if entry not in entries]
            self._scheduler.bottom_half(self._go_on)

    def _go_on(self) -> None:
        while self._due:
            self._due.popleft()()


class DrainedError(WouldWaitError):
    """A guest's request came to a node that is drained.

    :param who: what people call the disk.
    :param until: when the section will end, in words; empty if nobody knows.
    """

    def __init__(self, requests: WaitingRequests, node: object, who: str, until: str) -> None:
        self._requests = requests
        self._node = node
        super().__init__(f"qbitsim does not wait for ever: '{who}' is drained{until}, and requests to it wait")

    def when_over(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once the drained section has ended."""
        self._requests.add(self._node, go_on)
