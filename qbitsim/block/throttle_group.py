"""Throttle groups: limits that their members share (util/throttle.c, QEMU 10.0).

Every limit is a leaky bucket: a request that is let through fills it, time empties it at the limit's rate, and while
it is too full requests wait. Without a burst rate a tenth of a second's worth fits.
"""

from __future__ import annotations

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAXIMUM = 1_000_000_000_000_000
KINDS = ("iops-total", "iops-read", "iops-write", "bps-total", "bps-read", "bps-write")
LIMITS = (*(f"{kind}{part}" for kind in KINDS for part in ("", "-max", "-max-length")), "iops-size")
"""The names of QAPI's ThrottleLimits."""

_LONGEST = 2**32 - 1


class Bucket:
    """One limit.

    :ivar rate: units per second, 0 for no limit; :ivar burst: units per second for :ivar seconds: seconds, or 0.
    """

    __slots__ = ("_burst_level", "_level", "_when", "burst", "rate", "seconds")

    def __init__(self, rate: int, burst: int, seconds: int) -> None:
        self.rate = rate
        self.burst = burst
        self.seconds = seconds
        self._level = 0.0
        self._burst_level = 0.0
        self._when = 0

    def reserve(self, now: int, units: float) -> int:
        """Take ``units`` in turn; return for how many nanoseconds the request has to wait (throttle_compute_wait)."""
        if not self.rate:
            return 0
        passed = (now - self._when) / NANOSECONDS
        self._when = now
        self._level = max(0.0, self._level - self.rate * passed)
        self._burst_level = max(0.0, self._burst_level - self.burst * passed)
        room = self.burst * self.seconds if self.burst else self.rate / 10
        wait = (self._level - room) / self.rate
        if wait <= 0 and self.seconds > 1:
            wait = (self._burst_level - self.burst / 10) / self.burst
        self._level += units
        self._burst_level += units
        return max(0, round(wait * NANOSECONDS))


class ThrottleGroup:
    """The limits that the members of a group share.

    :param limits: under the names of QAPI's ThrottleLimits: ``bps-total``, ``iops-read-max``, …
    :param name: what clients call it.
    :param of_drives: it was made by the limits of a drive, and goes with its last member; others are objects.
    :ivar members: how many drives and nodes share it.
    :raises QmpError: with the texts and in the order of throttle_is_valid.
    """

    __slots__ = ("_buckets", "_unit", "limits", "members", "name", "of_drives")

    def __init__(self, limits: Mapping[str, int], name: str = "", *, of_drives: bool = False) -> None:
        self.name = name
        self.of_drives = of_drives
        self.members = 0
        self.set_limits(limits)

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """Replace all limits; requests start anew.

        :raises QmpError: as the class says; nothing has changed then.
        """
        check_limits(limits)
        self.limits = dict(limits)
        self._buckets = {
            kind: Bucket(limits.get(kind, 0), limits.get(f"{kind}-max", 0), limits.get(f"{kind}-max-length", 1))
            for kind in KINDS
        }
        self._unit = limits.get("iops-size", 0)

    @property
    def all_limits(self) -> dict[str, int]:
        """Every limit, those that were not given too."""
        return {name: self.limits.get(name, int(name.endswith("-length"))) for name in LIMITS}

    def reserve(self, now: int, length: int, *, writing: bool) -> int:
        """Let a request of ``length`` bytes take its turn; return how many nanoseconds it has to wait."""
        side = "write" if writing else "read"
        operations = max(1.0, length / self._unit) if self._unit else 1.0
        return max(
            self._buckets[f"bps-{which}"].reserve(now, length)
            if unit == "bps"
            else self._buckets[f"iops-{which}"].reserve(now, operations)
            for unit in ("bps", "iops")
            for which in ("total", side)
        )


def is_limited(limits: Mapping[str, int]) -> bool:
    """Whether there is any limit (throttle_enabled)."""
    return any(limits.get(kind, 0) for kind in KINDS)


def check_lengths(limits: Mapping[str, int]) -> None:
    """Refuse bursts that are too long for the group of an object.

    :raises QmpError: with the text of throttle_limits_to_config (util/throttle.c, QEMU 10.0).
    """
    for kind in ("bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"):
        if limits.get(f"{kind}-max-length", 1) > _LONGEST:
            raise QmpError(f"{kind}-max-length value must be in the range [0, {_LONGEST}]")


def check_limits(limits: Mapping[str, int]) -> None:
    """Refuse limits that make no sense.

    :raises QmpError: with the texts and in the order of throttle_is_valid (util/throttle.c, QEMU 10.0).
    """
    for unit in ("bps", "iops"):
        for part in ("", "-max"):
            total = limits.get(f"{unit}-total{part}", 0)
            if total and (limits.get(f"{unit}-read{part}", 0) or limits.get(f"{unit}-write{part}", 0)):
                raise QmpError("bps/iops/max total values and read/write values cannot be used at the same time")
    if limits.get("iops-size", 0) and not any(limits.get(kind, 0) for kind in KINDS if kind.startswith("iops")):
        raise QmpError("iops size requires an iops value to be set")
    for kind in KINDS:
        _check_bucket(limits.get(kind, 0), limits.get(f"{kind}-max", 0), limits.get(f"{kind}-max-length", 1))


def _check_bucket(rate: int, burst: int, seconds: int) -> None:
    if not (0 <= rate <= MAXIMUM and 0 <= burst <= MAXIMUM):
        raise QmpError(f"bps/iops/max values must be within [0, {MAXIMUM}]")
    if seconds == 0:
        raise QmpError("the burst length cannot be 0")
    if seconds > 1 and not burst:
        raise QmpError("burst length set without burst rate")
    if burst and not rate:
        raise QmpError("bps_max/iops_max require corresponding bps/iops values")
    if burst and burst < rate:
        raise QmpError("bps_max/iops_max cannot be lower than bps/iops")
    if burst and seconds > MAXIMUM // burst:
        raise QmpError("burst length too high for this burst rate")
