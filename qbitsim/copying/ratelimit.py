"""The speed limit of a job: bytes are let go in slices of 100 ms (include/qemu/ratelimit.h, QEMU 10.0).

A chunk goes at once while the slice's bytes are below its quota; what was dispatched beyond the
quota is paid for with as many slices as it fills. With a speed of one byte per second the first
chunk goes at once and the next one after hours.
"""

from __future__ import annotations

from qbitsim.engine.scheduler import NANOSECONDS

SLICE = 100_000_000
"""Nanoseconds."""


class RateLimit:
    """Counts bytes against a speed.

    :ivar speed: bytes per second; 0 is no limit.
    """

    __slots__ = ("_dispatched", "_quota", "_slice_end", "_slice_start", "speed")

    def __init__(self) -> None:
        self.set_speed(0)
        self._slice_start = self._dispatched = 0
        self._slice_end = -SLICE  # long over: the first slice begins with the first chunk

    def set_speed(self, speed: int) -> None:
        """Change the limit; what was dispatched in the slice still counts."""
        self.speed = speed
        self._quota = max(1, speed * SLICE // NANOSECONDS)

    def delay(self, now: int, length: int = 0) -> int:
        """Nanoseconds to wait at the instant ``now`` before more may go, with ``length`` more bytes dispatched."""
        if not self.speed:
            return 0
        if self._slice_end < now:
            self._slice_start = now
            self._slice_end = now + SLICE
            self._dispatched = 0
        self._dispatched += length
        if self._dispatched < self._quota:
            return 0
        # A fraction of a slice is waited for as such (ratelimit_calculate_delay).
        self._slice_end = self._slice_start + self._dispatched * SLICE // self._quota
        return self._slice_end - now
