"""What drives and nodes have done: counters, histograms, thresholds (block/qapi.c, block/accounting.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.accounting import Accounting, Histogram
from qbitsim.commands.context import Context
from qbitsim.commands.devices import find_drive
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.blockstats import (
    BlockDeviceStats,
    BlockDeviceTimedStats,
    BlockLatencyHistogramSet,
    BlockSetWriteThreshold,
    BlockStats,
    QueryBlockstats,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.shapes import ObjectShape

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node


@command("query-blockstats", QueryBlockstats, returns=list[BlockStats], since="0.14")
def query_blockstats(context: Context, args: QueryBlockstats) -> list[Json]:
    """The counters of all drives, or of all nodes, oldest first."""
    graph = context.graph
    for node in graph.nodes.values():
        node.tell_writes()
    if args.query_nodes:
        return [_node_stats(context, node, of_drive=False) for node in graph.nodes.values()]
    return [_drive_stats(context, drive) for drive in graph.drives.values()]


def _drive_stats(context: Context, drive: Drive) -> Json:
    node = drive.root.node if drive.root is not None else None
    info: Json = {"device": drive.id, **_node_stats(context, node, of_drive=True)}
    if drive.qdev:
        info["qdev"] = drive.qdev
    info["stats"] |= _counters(context, drive.stats)
    return info


def _node_stats(context: Context, node: Node | None, *, of_drive: bool) -> Json:
    """BlockStats of a node, with those of what is below it if they are of a drive; without one those of nothing."""
    layers: list[Node] = []
    while node is not None:
        layers.append(node.skip_implicit_filters() if of_drive else node)
        node = (layers[-1].filtered or layers[-1].backing) if of_drive else None
    info: Json | None = None
    for layer in reversed(layers):
        below, info = info, _layer_stats(context, layer, of_drive=of_drive)
        if below is not None:
            info["backing"] = below
    return info or {"stats": _no_stats(context)}


def _no_stats(context: Context) -> Json:
    stats = {**_counters(context, Accounting()), "account_invalid": False, "account_failed": False}
    return stats | {"wr_highest_offset": 0}


def _layer_stats(context: Context, node: Node, *, of_drive: bool) -> Json:
    info: Json = {"node-name": node.name, "stats": _no_stats(context) | {"wr_highest_offset": node.highest_write}}
    discards = node.discard_stats()
    if discards is not None:
        done, failed, length = discards
        counted = {"discard-nb-ok": done, "discard-nb-failed": failed, "discard-bytes-ok": length}
        info["driver-specific"] = {"driver": node.driver, **counted}
    below = _storage(node)
    if below is not None:
        info["parent"] = _node_stats(context, below, of_drive=of_drive)
    return info


def _storage(node: Node) -> Node | None:
    """The one child that stores what the node shows, None if there are several or none (bdrv_query_bds_stats)."""
    if node.filtered is not None:
        return node.filtered
    others = {"backing"} if node.child("data-file") is None else {"backing", "file"}
    stores = [edge.node for edge in node.children if edge.name not in others]
    return stores[0] if len(stores) == 1 else None


def _counters(context: Context, accounting: Accounting) -> Json:
    """The counters that the release has."""
    known = context.machine.registry.shapes.of(BlockDeviceStats)
    assert isinstance(known, ObjectShape)
    counted = accounting.stats(context.graph.scheduler.now)
    counted["timed_stats"] = [_of_release(context, interval) for interval in counted["timed_stats"]]
    return {each.wire: counted[each.wire] for each in known.members if each.wire in counted}


def _of_release(context: Context, interval: Json) -> Json:
    known = context.machine.registry.shapes.of(BlockDeviceTimedStats)
    assert isinstance(known, ObjectShape)
    return {each.wire: interval[each.wire] for each in known.members}


@command("block-latency-histogram-set", BlockLatencyHistogramSet, since="4.0")
def block_latency_histogram_set(context: Context, args: BlockLatencyHistogramSet) -> None:
    """Count how long requests take, in bins between boundaries; without any, stop counting.

    Histograms that were set before another one is refused stay.
    """
    drive = find_drive(context, None, args.id)
    counters = drive.stats.counters
    if all(given is None for given in (args.boundaries, args.boundaries_read, args.boundaries_write)) and (
        args.boundaries_flush is None
    ):
        for counter in counters.values():
            counter.histogram = None
        return
    for kind, own, called in (
        ("read", args.boundaries_read, "read"),
        ("write", args.boundaries_write, "write"),
        ("zone_append", args.boundaries_zap, "append write"),
        ("flush", args.boundaries_flush, "flush"),
    ):
        boundaries = own if own is not None else args.boundaries
        if boundaries is None:
            continue
        if not _rise(boundaries):
            raise QmpError(f"Device '{args.id}' set {called} boundaries fail")
        counters[kind].histogram = Histogram(boundaries)


def _rise(boundaries: list[int]) -> bool:
    return bool(boundaries) and all(low < high for low, high in zip([0, *boundaries], boundaries, strict=False))


@command("block-set-write-threshold", BlockSetWriteThreshold, since="2.3")
def block_set_write_threshold(context: Context, args: BlockSetWriteThreshold) -> None:
    """Report the first write to a node that ends behind a place."""
    node = context.graph.nodes.get(args.node_name)
    if node is None:
        raise QmpError(f"Device '{args.node_name}' not found")
    for above in node.parent_nodes:
        above.tell_writes()  # what was written before does not count
    node.set_write_threshold(args.write_threshold)
