"""How far a node was written: its highest offset, and the threshold that a client wants to hear of.

Theory of operation: a write looks at one number, the end behind which it would be noticed; that is the lower one of
the highest end so far and the threshold (block/write-threshold.c and bdrv_co_write_req_finish, block/io.c, QEMU 10.0).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.roles import Surroundings


class WriteEnd:
    """The part of a node that knows how far it was written.

    :ivar highest_write: the end of the write that went furthest, 0 before the first.
    :ivar write_threshold: an end behind which the first write is reported, 0 for none.
    :ivar noticed_end: a write that ends behind it is to be noted.
    """

    __slots__ = ("highest_write", "noticed_end", "write_threshold")

    if TYPE_CHECKING:
        graph: Surroundings
        name: str

    def __init__(self) -> None:
        self.highest_write = 0
        self.write_threshold = 0
        self.noticed_end = 0

    def set_write_threshold(self, threshold: int) -> None:
        """Report the first write that ends behind ``threshold`` bytes; 0 for none."""
        self.write_threshold = threshold
        self.noticed_end = min(self.highest_write, threshold) if threshold else self.highest_write

    def note_write_end(self, end: int) -> None:
        """A write ends at ``end``, which is behind :attr:`noticed_end`."""
        self.highest_write = max(self.highest_write, end)
        self.note_discard_end(end)
        self.set_write_threshold(self.write_threshold)

    def note_discard_end(self, end: int) -> None:
        """What was discarded ends at ``end``, which counts for the threshold alone (bdrv_co_write_req_prepare)."""
        threshold = self.write_threshold
        if threshold and end > threshold:
            data = {"node-name": self.name, "amount-exceeded": end - threshold, "write-threshold": threshold}
            self.graph.emit("BLOCK_WRITE_THRESHOLD", data)
            self.set_write_threshold(0)
