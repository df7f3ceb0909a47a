"""What is known of a range of a disk without reading it (bdrv_block_status, block/io.c, QEMU 10.0)."""

from __future__ import annotations


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
