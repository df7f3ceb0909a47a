"""What a drive counts of the requests of its guest (block/accounting.c, QEMU 10.0).

Requests of jobs and of exports are not counted, nor are those of ``qemu-io`` but for its asynchronous ones. Requests
take no time here, so that all latencies are 0.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbitsim.jsontypes import Json


KINDS = {"read": "rd", "write": "wr", "zone_append": "zone_append", "flush": "flush", "unmap": "unmap"}
"""Kind of request -> what the names of its counters begin with."""

HISTOGRAMS = ("read", "write", "zone_append", "flush")
"""The kinds of requests that have histograms."""


class Histogram:
    """How many requests took how long.

    :ivar boundaries: nanoseconds at which one bin ends and the next begins, rising.
    :ivar bins: one more than there are boundaries.
    """

    __slots__ = ("bins", "boundaries")

    def __init__(self, boundaries: Sequence[int]) -> None:
        self.boundaries = list(boundaries)
        self.bins = [0] * (len(boundaries) + 1)

    def count(self, latency: int) -> None:
        """Count a request that took ``latency`` nanoseconds."""
        self.bins[sum(1 for boundary in self.boundaries if latency >= boundary)] += 1


class Counter:
    """The requests of one kind.

    :ivar operations: how many succeeded; :ivar bytes: how many bytes these had.
    :ivar failed: how many failed; :ivar invalid: how many were outside of the disk.
    :ivar histogram: how long those took that succeeded or failed, None if nobody asked for it.
    """

    __slots__ = ("bytes", "failed", "histogram", "invalid", "operations")

    def __init__(self) -> None:
        self.operations = self.bytes = self.failed = self.invalid = 0
        self.histogram: Histogram | None = None


class Accounting:
    """The counters of one drive.

    :ivar counters: by the kind of request.
    :ivar account_invalid: invalid requests end a time of idleness; :ivar account_failed: failed ones do.
    :ivar last_access: nanoseconds of virtual time of the last request, None if there was none.
    :ivar intervals: seconds over which latencies are averaged.
    """

    __slots__ = ("account_failed", "account_invalid", "counters", "intervals", "last_access")

    def __init__(self) -> None:
        self.counters = {kind: Counter() for kind in KINDS}
        self.account_invalid = True
        self.account_failed = True
        self.last_access: int | None = None
        self.intervals: list[int] = []

    def done(self, kind: str, length: int, now: int) -> None:
        """A request of ``length`` bytes has succeeded."""
        counter = self.counters[kind]
        counter.operations += 1
        counter.bytes += length
        self.last_access = now
        if counter.histogram is not None:
            counter.histogram.count(0)

    def note_failure(self, kind: str, now: int) -> None:
        """A request has failed."""
        counter = self.counters[kind]
        counter.failed += 1
        if self.account_failed:
            self.last_access = now
        if counter.histogram is not None:
            counter.histogram.count(0)

    def note_invalid(self, kind: str, now: int) -> None:
        """A request could not even be tried."""
        self.counters[kind].invalid += 1
        if self.account_invalid:
            self.last_access = now

    def stats(self, now: int) -> Json:
        """The counters under QAPI's names (bdrv_query_blk_stats, block/qapi.c), but for those of the node."""
        info: Json = {}
        for kind, name in KINDS.items():
            counter = self.counters[kind]
            info |= {
                f"{name}_bytes": counter.bytes,
                f"{name}_operations": counter.operations,
                f"{name}_total_time_ns": 0,
                f"{name}_merged": 0,
                f"failed_{name}_operations": counter.failed,
                f"invalid_{name}_operations": counter.invalid,
            }
            if (histogram := counter.histogram) is not None:
                info[f"{name}_latency_histogram"] = {"boundaries": histogram.boundaries, "bins": histogram.bins}
        del info["flush_bytes"], info["flush_merged"]
        info |= {"account_invalid": self.account_invalid, "account_failed": self.account_failed}
        if self.last_access is not None:
            info["idle_time_ns"] = now - self.last_access
        info["timed_stats"] = [_timed_stats(seconds) for seconds in self.intervals]
        return info


def _timed_stats(seconds: int) -> Json:
    """What an interval tells when nothing takes any time."""
    info: Json = {"interval_length": seconds}
    for kind in HISTOGRAMS:
        info |= {f"{which}_{KINDS[kind]}_latency_ns": 0 for which in ("min", "max", "avg")}
        if kind != "flush":
            info[f"avg_{KINDS[kind]}_queue_depth"] = 0.0
    return info
