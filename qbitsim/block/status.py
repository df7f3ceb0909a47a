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


MAXIMUM_CHECKED = 128 << 10
"""Bytes at the beginning of a disk that are read to see whether they are zeroes (MAX_ZERO_CHECK_BUFFER)."""


def status_above(node: Node, base: Node | None, offset: int, length: int, *, at_once: bool = False) -> Status:
    """The status of the range in the layers from ``node`` down to, but without, ``base`` (or the whole chain).

    What no layer has reads as zeroes (bdrv_co_common_block_status_above, block/io.c, QEMU 10.0).

    :param at_once: as far as a single look at the tables of each layer tells; what follows may be of the same status.
    """
    layer = node.skip_filters()
    status = _status(layer, offset, length, at_once=at_once)
    while not status.allocated:
        below = layer.backing_chain_next
        if below is None or below is base:
            break
        if offset >= below.length:
            status.zero = status.allocated = True
            break
        deeper = _status(below, offset, min(status.length, below.length - offset), at_once=at_once)
        layer, status = below, deeper
    return status


def _status(layer: Node, offset: int, length: int, *, at_once: bool) -> Status:
    status = layer.status(offset, length)
    if at_once:
        status.length = layer.looked_up_at_once(offset, status.length)
    return status


def is_all_zeroes(node: Node) -> bool:
    """Whether the whole disk is known to read as zeroes, or found to after a look at its beginning.

    (bdrv_co_is_all_zeroes, block/io.c, since QEMU 10.1)

    :raises OSError: the beginning cannot be read.
    """
    bottom = node.skip_filters()
    while (below := bottom.backing_chain_next) is not None:
        bottom = below
    offset, data = 0, 0
    while offset < node.length:
        status = status_above(node, None, offset, node.length - offset)
        if not (status.zero or (bottom.supports_backing and not status.allocated)):
            if offset or status.length > MAXIMUM_CHECKED:
                return False
            data = status.length
        offset += status.length
    return not any(node.read(0, data)) if data else True
