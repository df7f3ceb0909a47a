"""What a mirror knows of zeroes in its target (block/mirror.c since QEMU 10.1)."""

from __future__ import annotations

from qbitsim.bits.bits import Bits


class KnownZeroes:
    """The chunks of the target that are known to read as zeroes; at first none.

    :param length: bytes of the disk.
    :param granularity: bytes of a chunk.
    """

    __slots__ = ("_bits", "_granularity", "_length")

    def __init__(self, length: int, granularity: int) -> None:
        self._bits = Bits(-(-length // granularity))
        self._granularity = granularity
        self._length = length

    def learn_all(self) -> None:
        """The whole target reads as zeroes."""
        self._bits.set_all()

    def learn(self, offset: int, length: int) -> None:
        """These bytes do; a chunk of which they are a part only is left alone."""
        unit, end = self._granularity, offset + length
        first, stop = -(-offset // unit), -(-end // unit) if end == self._length else end // unit
        if first < stop:
            self._bits.set(first, stop)

    def forget(self, offset: int, length: int) -> None:
        """These bytes may be anything."""
        self._bits.clear(*self._touched(offset, length))

    def holds(self, offset: int, length: int) -> bool:
        """Whether these bytes are known to be zeroes."""
        return self._bits.next_clear(*self._touched(offset, length)) < 0

    def _touched(self, offset: int, length: int) -> tuple[int, int]:
        return offset // self._granularity, -(-(offset + length) // self._granularity)
