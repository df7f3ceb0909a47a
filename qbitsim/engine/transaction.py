"""A list of changes that are kept together or undone together.

A handler that changes something registers, at that moment, how the change is finished and
how it is undone. QEMU's rules (util/transactions.c, QEMU 10.0):

* on success the ``commit`` callbacks run, on failure the ``abort`` callbacks, then in both
  cases the ``clean`` callbacks;
* QEMU 8.1 and later walk the list backwards: the last action commits first. Before,
  ``qmp_transaction`` (blockdev.c) walked it forwards. This decides in which order the jobs
  of a transaction start.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

Callback = Callable[[], None]


class Transaction:
    """Use as a context manager: leaving it normally commits, leaving it with any exception aborts.

    :param reverse: walk the actions backwards (QEMU 8.1 and later).
    """

    __slots__ = ("_actions", "_reverse")

    def __init__(self, *, reverse: bool = True) -> None:
        self._actions: list[tuple[Callback | None, Callback | None, Callback | None]] = []
        self._reverse = reverse

    def add(
        self, *, commit: Callback | None = None, abort: Callback | None = None, clean: Callback | None = None
    ) -> None:
        """Register what finishes, undoes and tidies up a change that has just been made."""
        self._actions.append((commit, abort, clean))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed = kind is not None
        actions = self._actions[::-1] if self._reverse else self._actions
        # However it is walked, what was done last is undone first.
        for commit, abort, _clean in self._actions[::-1] if failed else actions:
            callback = abort if failed else commit
            if callback is not None:
                callback()
        for _commit, _abort, clean in actions:
            if clean is not None:
                clean()
