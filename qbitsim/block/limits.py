"""What a node asks of the requests that it is sent (BlockLimits, include/block/block_int-common.h, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BEST_MEMORY_ALIGNMENT = 4096
"""Bytes, as every node here has it: a page of the host's memory."""

MAXIMUM_PIECES = 1024
"""Pieces of memory that one request may have, as every node here has it (IOV_MAX)."""


@record(kw_only=True)
class Limits:
    """Bytes; 0 where there is no limit of its own.

    :ivar request: offset and length of a request are multiples of it; :ivar memory: so are addresses in memory.
    :ivar discard: discards that are multiples of it work best; :ivar zeroes: so do zero-writes.
    :ivar best_transfer: reads and writes of so much work best; :ivar most_transfer: they are no longer than that.
    :ivar most_zeroes: nor are zero-writes than that; :ivar most_discard: nor are discards than that.
    """

    request: int = 1
    memory: int = 512
    discard: int = 0
    zeroes: int = 0
    best_transfer: int = 0
    most_transfer: int = 0
    most_zeroes: int = 0
    most_discard: int = 0

    def described(self) -> dict[str, int]:
        """A BlockLimitsInfo (qapi/block-core.json), in the order of QEMU's hash table."""
        info = {
            "write-zeroes-alignment": self.zeroes,
            "request-alignment": self.request,
            "opt-transfer": self.best_transfer,
            "min-mem-alignment": self.memory,
            "max-transfer": self.most_transfer,
            "discard-alignment": self.discard,
            "opt-mem-alignment": BEST_MEMORY_ALIGNMENT,
            "max-iov": MAXIMUM_PIECES,
            "max-write-zeroes": self.most_zeroes,
            "max-discard": self.most_discard,
        }
        return {name: value for name, value in info.items() if value}


def merged(below: Iterable[Limits]) -> Limits:
    """Those of a node without a say in it: what holds for its children (bdrv_refresh_limits, block/io.c, QEMU 10.0)."""
    every = list(below)
    if not every:
        return Limits()
    return Limits(
        memory=max(each.memory for each in every),
        discard=max(each.discard for each in every),
        best_transfer=max(each.best_transfer for each in every),
        most_transfer=min((each.most_transfer for each in every if each.most_transfer), default=0),
    )
