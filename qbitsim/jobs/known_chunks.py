"""What a mirror knows of its target (block/mirror.c, QEMU 10.0 and 11.1)."""

from __future__ import annotations

from qbitsim.bits.bits import Bits


class KnownChunks:
    """The chunks of which something is known, such as that they read as zeroes; at first none.

    :ivar length: bytes of the disk.
    :param granularity: bytes of a chunk.
    """

    __slots__ = ("_bits", "_granularity", "length")

    def __init__(self, length: int, granularity: int) -> None:
        self._bits = Bits(-(-length // granularity))
        self._granularity = granularity
        self.length = length

    def learn_all(self) -> None:
        """It holds for the whole target."""
        self._bits.set_all()

    def learn(self, offset: int, length: int) -> None:
        """It holds for these bytes; a chunk of which they are a part only is left alone."""
        unit, end = self._granularity, offset + length
        first, stop = -(-offset // unit), -(-end // unit) if end == self.length else end // unit
        if first < stop:
            self._bits.set(first, stop)

    def forget(self, offset: int, length: int) -> None:
        """These bytes may be anything."""
        self._bits.clear(*self._touched(offset, length))

    def holds(self, offset: int, length: int) -> bool:
        """Whether it is known of all chunks that have some of these bytes."""
        return self._bits.next_clear(*self._touched(offset, length)) < 0

    def _touched(self, offset: int, length: int) -> tuple[int, int]:
        return offset // self._granularity, -(-(offset + length) // self._granularity)
