"""The observer of a machine, which is called as things happen.

There is at most one, and most machines have none. An observer looks and remembers; it changes nothing, so that a
machine with one does what it does without. It is no part of a snapshot: a machine that is put back keeps the one that
it has.
"""

from __future__ import annotations

from typing import Any, Protocol


class Observer(Protocol):
    """What an observer is called for."""

    def emitted(self, event: dict[str, Any]) -> None:
        """An event was emitted just now."""

    def stepping(self, label: str) -> None:
        """The task with that label runs now; what it causes comes before :meth:`stepped`."""

    def stepped(self) -> None:
        """The task has run, and the bottom halves after it."""

    def requested(self, operation: str, drive: Any, offset: int, length: int, error: OSError | None) -> None:
        """The guest has made a request that changes its disk: ``write``, ``write-zeroes`` or ``discard``.

        :param drive: the :class:`~qbitsim.block.drive.Drive`.
        :param error: with what it failed.
        """

    def copied(self, copy: Any, offset: int, length: int) -> None:
        """A chunk of a backup is in its target.

        :param copy: the :class:`~qbitsim.copying.block_copy.BlockCopyState`; :param offset: bytes.
        """

    def noted(self, kind: str, text: str) -> None:
        """Something else was done to the machine: ``fault``, or ``look`` for the rest; ``text`` says what."""
