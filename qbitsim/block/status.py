"""What is known of a range of a disk without reading it (bdrv_block_status, block/io.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.block.node import Node


class Status:
    """What is known of a range (bdrv_block_status, block/io.c, QEMU 10.0).

    :ivar length: bytes for which it holds, at least 1.
    :ivar data: there are bytes to read in this layer.
    :ivar zero: it reads as zeroes.
    :ivar allocated: this layer determines the content.
    """

    __slots__ = ("allocated", "data", "length", "zero")

    def __init__(self, length: int, *, data: bool = False, zero: bool = False) -> None:
        self.length = length
        self.data = data
        self.zero = zero
        self.allocated = data or zero

    def __repr__(self) -> str:
        return f"<Status length={self.length} data={self.data} zero={self.zero} allocated={self.allocated}>"


def status_above(node: Node, base: Node | None, offset: int, length: int) -> Status:
    """The status of the range in the layers from ``node`` down to, but without, ``base`` (or the whole chain).

    What no layer has reads as zeroes (bdrv_co_common_block_status_above, block/io.c, QEMU 10.0).
    """
    layer = node.skip_filters()
    status = layer.status(offset, length)
    while not status.allocated:
        below = layer.backing_chain_next
        if below is None or below is base:
            break
        if offset >= below.length:
            status.zero = status.allocated = True
            break
        deeper = below.status(offset, min(status.length, below.length - offset))
        layer, status = below, deeper
    return status
