"""Filters that people put into a graph by hand: ``blkdebug``, ``throttle`` and ``copy-on-read``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node
from qbitsim.block.permissions import Child
from qbitsim.block.status import Status
from qbitsim.files import permissions as perms
from qbitsim.files.faults import Fault, Faults
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph

_EVENTS = {"read": "read_aio", "write-zeroes": "pwritev_zero"}
"""The event that comes before a request, by its kind."""


@record(frozen=False)
class DebugRule:
    """A rule of ``blkdebug`` (block/blkdebug.c, QEMU 10.0).

    :ivar event: the rule wakes when this event happens; ``none`` is awake from the start.
    :ivar state: only in this state; 0 for any.
    :ivar fault: what to inject; None for a rule that only changes the state.
    :ivar new_state: the state to go to.
    """

    event: str
    state: int
    fault: Fault | None
    new_state: int | None = None


class BlkdebugNode(Node):
    """``blkdebug``, whose child is ``image``: makes requests fail."""

    driver = "blkdebug"
    is_filter = True

    __slots__ = ("active", "rules", "state")

    def __init__(self, graph: Graph, rules: list[DebugRule], *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.rules = rules
        self.state = 1
        self.active = Faults()
        self.debug_event("none")

    @property
    def filename(self) -> str:
        """``blkdebug::FILE`` (blkdebug_refresh_filename)."""
        child = self.filtered
        return f"blkdebug::{child.filename}" if child is not None else ""

    def allocated_file_size(self) -> None:
        """None: the driver does not tell."""

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether a rule that is awake, or is woken by the request, strikes (rule_check yields to a bottom half)."""
        faults = self._faults(self._woken(_EVENTS.get(operation, ""))) or self.active.rules
        return any(fault.concerns(operation, offset, length) for fault in faults)

    def _woken(self, event: str) -> list[DebugRule]:
        return [rule for rule in self.rules if rule.event == event and rule.state in (0, self.state)]

    @staticmethod
    def _faults(woken: list[DebugRule]) -> list[Fault]:
        return [rule.fault for rule in woken if rule.fault is not None and rule.fault.times != 0]

    def debug_event(self, event: str) -> None:
        """Wake the rules that wait for ``event``; the first of them puts all others to sleep (process_event)."""
        woken = self._woken(event)
        faults = self._faults(woken)
        if faults:
            self.active.rules[:] = faults
        for rule in reversed(woken):
            # QEMU walks the rules newest first; the one that it comes to last wins.
            if rule.new_state is not None:
                self.state = rule.new_state

    def _read(self, offset: int, length: int) -> bytes:
        self.active.check("read", offset, length)
        return super()._read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self.debug_event("pwritev")
        try:
            self.active.check("write", offset, len(data))
            super()._write(offset, data, compressed=compressed)
        finally:
            self.debug_event("pwritev_done")

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self.debug_event("pwritev_zero")
        try:
            self.active.check("write-zeroes", offset, length)
            super()._write_zeroes(offset, length, unmap=unmap)
        finally:
            self.debug_event("pwritev_done")

    def _discard(self, offset: int, length: int) -> None:
        self.active.check("discard", offset, length)
        super()._discard(offset, length)

    def _flush(self) -> None:
        self.active.check("flush", 0, 0)
        super()._flush()

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        if operation == "write":
            self.debug_event("pwritev")
        try:
            self.active.check(operation, offset, length)
            super()._format_request(operation, offset, length)
        finally:
            if operation == "write":
                self.debug_event("pwritev_done")


class CopyOnReadNode(Node):
    """``copy-on-read``: what is read from the backing file is kept in the image (block/copy-on-read.c, QEMU 10.0)."""

    driver = "copy-on-read"
    is_filter = True

    __slots__ = ()

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Pass through, and write what does not change the content (cor_child_perm)."""
        del child
        return perm | perms.WRITE_UNCHANGED, shared | perms.WRITE_UNCHANGED

    def _read(self, offset: int, length: int) -> bytes:
        child = self._filtered
        child.copy_up(offset, length)
        return child.read(offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._filtered.status(offset, length)
