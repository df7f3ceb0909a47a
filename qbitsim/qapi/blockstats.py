"""What query-blockstats returns, and the arguments and events that have to do with it (qapi/block-core.json).

Offsets and lengths are bytes, times nanoseconds.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from qbitsim.qapi.blockdev import BlockdevDriver
from qbitsim.qapi.schema import UInt64, arg, branch, note, union
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


class BlockLatencyHistogramInfo(TypedDict):
    """How many requests took how long."""

    boundaries: list[int]
    bins: list[int]


class BlockDeviceTimedStats(TypedDict):
    """Latencies in the last ``interval_length`` seconds."""

    interval_length: int
    min_rd_latency_ns: int
    max_rd_latency_ns: int
    avg_rd_latency_ns: int
    min_wr_latency_ns: int
    max_wr_latency_ns: int
    avg_wr_latency_ns: int
    min_zone_append_latency_ns: Annotated[NotRequired[int], note(since="8.1", required=True)]
    max_zone_append_latency_ns: Annotated[NotRequired[int], note(since="8.1", required=True)]
    avg_zone_append_latency_ns: Annotated[NotRequired[int], note(since="8.1", required=True)]
    min_flush_latency_ns: int
    max_flush_latency_ns: int
    avg_flush_latency_ns: int
    avg_rd_queue_depth: float
    avg_wr_queue_depth: float
    avg_zone_append_queue_depth: Annotated[NotRequired[float], note(since="8.1", required=True)]


class BlockDeviceStats(TypedDict):
    """The counters of a drive, with how far its node was written."""

    rd_bytes: int
    wr_bytes: int
    zone_append_bytes: Annotated[NotRequired[int], note(since="8.1", required=True)]
    unmap_bytes: Annotated[NotRequired[int], note(since="4.2", required=True)]
    rd_operations: int
    wr_operations: int
    zone_append_operations: Annotated[NotRequired[int], note(since="8.1", required=True)]
    flush_operations: int
    unmap_operations: Annotated[NotRequired[int], note(since="4.2", required=True)]
    rd_total_time_ns: int
    wr_total_time_ns: int
    zone_append_total_time_ns: Annotated[NotRequired[int], note(since="8.1", required=True)]
    flush_total_time_ns: int
    unmap_total_time_ns: Annotated[NotRequired[int], note(since="4.2", required=True)]
    wr_highest_offset: int
    rd_merged: int
    wr_merged: int
    zone_append_merged: Annotated[NotRequired[int], note(since="8.1", required=True)]
    unmap_merged: Annotated[NotRequired[int], note(since="4.2", required=True)]
    idle_time_ns: NotRequired[int]
    failed_rd_operations: int
    failed_wr_operations: int
    failed_zone_append_operations: Annotated[NotRequired[int], note(since="8.1", required=True)]
    failed_flush_operations: int
    failed_unmap_operations: Annotated[NotRequired[int], note(since="4.2", required=True)]
    invalid_rd_operations: int
    invalid_wr_operations: int
    invalid_zone_append_operations: Annotated[NotRequired[int], note(since="8.1", required=True)]
    invalid_flush_operations: int
    invalid_unmap_operations: Annotated[NotRequired[int], note(since="4.2", required=True)]
    account_invalid: bool
    account_failed: bool
    timed_stats: list[BlockDeviceTimedStats]
    rd_latency_histogram: Annotated[NotRequired[BlockLatencyHistogramInfo], note(since="4.0")]
    wr_latency_histogram: Annotated[NotRequired[BlockLatencyHistogramInfo], note(since="4.0")]
    zone_append_latency_histogram: Annotated[NotRequired[BlockLatencyHistogramInfo], note(since="8.1")]
    flush_latency_histogram: Annotated[NotRequired[BlockLatencyHistogramInfo], note(since="4.0")]


@union("driver")
class BlockStatsSpecific(TypedDict):
    """What only one driver counts."""

    driver: BlockdevDriver


BlockStatsSpecificFile = TypedDict(
    "BlockStatsSpecificFile", {"discard-nb-ok": int, "discard-nb-failed": int, "discard-bytes-ok": int}
)
"""Discards of a host's file."""
branch(BlockStatsSpecific, "file", "host_device")(BlockStatsSpecificFile)

_BlockStats = TypedDict(
    "_BlockStats",
    {
        "device": NotRequired[str],
        "qdev": Annotated[NotRequired[str], note(since="3.0")],
        "node-name": NotRequired[str],
        "stats": BlockDeviceStats,
        "driver-specific": Annotated[NotRequired[BlockStatsSpecific], note(since="4.2")],
        "parent": NotRequired["BlockStats"],
        "backing": NotRequired["BlockStats"],
    },
)


class BlockStats(_BlockStats):
    """A drive, or a node, with what is below it."""


@struct
class QueryBlockstats:
    """Arguments of query-blockstats; ``query_nodes`` asks for the nodes, not for the drives."""

    query_nodes: bool | None = arg(since="2.3")


@struct
class BlockLatencyHistogramSet:
    """Arguments of block-latency-histogram-set; boundaries in nanoseconds."""

    id: str
    boundaries: list[UInt64] | None = None
    boundaries_read: list[UInt64] | None = None
    boundaries_write: list[UInt64] | None = None
    boundaries_zap: list[UInt64] | None = arg(since="8.1")
    boundaries_flush: list[UInt64] | None = None


@struct
class BlockSetWriteThreshold:
    """Arguments of block-set-write-threshold; 0 turns it off."""

    node_name: str
    write_threshold: UInt64
