"""``info block`` and ``info blockstats``: what query-block and its siblings tell, for people.

(hmp_info_block, block/monitor/block-hmp-cmds.c, and bdrv_image_info_dump, block/qapi.c, QEMU 10.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands import queries
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.qapi.hashorder import qdict_order
from qbitsim.qemu_img.report import tree
from qbitsim.qemu_img.snapshot_table import snapshot_table
from qbitsim.sizes import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qbitsim.commands.context import Context
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_LIMITS = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
_THROTTLING = tuple(
    name
    for kind in ("bps", "iops")
    for burst in ("", "_max")
    for name in (f"{kind}{burst}", f"{kind}_rd{burst}", f"{kind}_wr{burst}")
)
_STATS = (
    *("rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations", "wr_total_time_ns"),
    *("rd_total_time_ns", "flush_total_time_ns", "rd_merged", "wr_merged", "idle_time_ns"),
)


@hmp(
    "info block",
    "nodes:-n,verbose:-v,device:B?",
    params="[-n] [-v] [device]",
    help="show info of one block device or all block devices (-n: show named nodes; -v: show details)",
)
def info_block(context: Context, *, nodes: bool, verbose: bool, device: str | None = None) -> str:
    """All drives, or one of that name; all nodes, or the node of that name if no drive has it."""
    profile = context.profile
    printed = []
    if not nodes:
        drives = execute(context, queries.query_block, queries.QueryBlock())
        for info in drives:
            if device in (None, info["device"]):
                blank = "\n" if info is not drives[0] else ""
                printed.append(blank + _block(info, info.get("inserted"), verbose=verbose, profile=profile))
        if device is None or printed:
            return "".join(printed)
    named = execute(context, queries.query_named_block_nodes, queries.QueryNamedBlockNodes())
    for node in named:
        if device in (None, node["node-name"]):
            blank = "\n" if node is not named[0] else ""
            printed.append(blank + _block(None, node, verbose=verbose, profile=profile))
    return "".join(printed)


def _block(info: Json | None, inserted: Json | None, *, verbose: bool, profile: Profile) -> str:
    """One drive, one node, or the node in a drive."""
    text = _headline(info, inserted)
    if info is not None:
        text += "".join(_drive_lines(info))
    if inserted is None:
        return text
    text += "".join(_node_lines(inserted))
    if verbose:
        text += "\nImages:\n" + "".join(image_text(image, profile) for image in _images(inserted["image"]))
    return text


def _headline(info: Json | None, inserted: Json | None) -> str:
    node = inserted["node-name"] if inserted is not None else None
    if info is not None and info["device"]:
        name = info["device"] + (f" ({node})" if node is not None else "")
    else:
        name = node or (info or {}).get("qdev", "<anonymous>")
    if inserted is None:
        return f"{name}: [not inserted]\n"
    read_only = ", read-only" if inserted["ro"] else ""
    encrypted = ", encrypted" if inserted["encrypted"] else ""
    return f"{name}: {inserted['file']} ({inserted['drv']}{read_only}{encrypted})\n"


def _drive_lines(info: Json) -> Iterator[str]:
    if "qdev" in info:
        yield f"    Attached to:      {info['qdev']}\n"
    if info.get("io-status", "ok") != "ok":
        yield f"    I/O status:       {info['io-status']}\n"
    if info["removable"]:
        locked = "" if info["locked"] else "not "
        tray = "open" if info.get("tray_open") else "closed"
        yield f"    Removable device: {locked}locked, tray {tray}\n"


def _node_lines(inserted: Json) -> Iterator[str]:
    cache = inserted["cache"]
    mode = "writeback" if cache["writeback"] else "writethrough"
    direct = ", direct" if cache["direct"] else ""
    flushes = ", ignore flushes" if cache["no-flush"] else ""
    yield f"    Cache mode:       {mode}{direct}{flushes}\n"
    if "backing_file" in inserted:
        depth = inserted["backing_file_depth"]
        yield f"    Backing file:     {inserted['backing_file']} (chain depth: {depth})\n"
    if inserted["detect_zeroes"] != "off":
        yield f"    Detect zeroes:    {inserted['detect_zeroes']}\n"
    if any(inserted[name] for name in _LIMITS):
        limits = " ".join(f"{name}={inserted.get(name, 0)}" for name in (*_THROTTLING, "iops_size"))
        yield f"    I/O throttling:   {limits} group={inserted.get('group')}\n"


def _images(image: Json | None) -> Iterator[Json]:
    """An image and those of its backing files."""
    while image is not None:
        yield image
        image = image.get("backing-image")


def image_text(image: Json, profile: Profile) -> str:
    """What people are told of an ImageInfo."""
    size = image["virtual-size"]
    lines = [
        f"image: {image['filename']}",
        f"file format: {image['format']}",
        f"virtual size: {human_size(size)} ({size} bytes)",
        f"disk size: {human_size(image['actual-size']) if 'actual-size' in image else 'unavailable'}",
    ]
    if image.get("encrypted"):
        lines.append("encrypted: yes")
    if "cluster-size" in image:
        lines.append(f"cluster_size: {image['cluster-size']}")
    if image.get("dirty-flag"):
        lines.append("cleanly shut down: no")
    if "backing-filename" in image:
        lines += _backing_lines(image)
    text = "".join(f"{line}\n" for line in lines)
    if "limits" in image:
        text += _part("Block limits", image["limits"])
    if "snapshots" in image:
        text += "Snapshot list:\n" + snapshot_table(image["snapshots"], profile)
    specific = image.get("format-specific", {}).get("data")
    return text + _part("Format specific information", specific) if specific else text


def _backing_lines(image: Json) -> Iterable[str]:
    name, full = image["backing-filename"], image.get("full-backing-filename")
    if full is None:
        yield f"backing file: {name} (cannot determine actual path)"
    else:
        yield f"backing file: {name}" + (f" (actual path: {full})" if full != name else "")
    if "backing-filename-format" in image:
        yield f"backing file format: {image['backing-filename-format']}"


def _part(name: str, members: Json) -> str:
    return f"{name}:\n" + "".join(f"{line}\n" for line in tree(_ordered(members), 1))


def _ordered(value: object) -> object:
    """The value with its members in the order in which QEMU walks them."""
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in qdict_order(list(value))}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


@hmp("info blockstats", help="show block device statistics")
def info_blockstats(context: Context) -> str:
    """What the drives count of their guests' requests."""
    now = context.graph.scheduler.now
    show = _table_of_stats if context.profile.hmp_stats_are_tables else _line_of_stats
    shown = [show(drive.id, {"idle_time_ns": 0, **drive.stats.stats(now)}) for drive in context.graph.drives.values()]
    return ("\n" if context.profile.hmp_stats_are_tables else "").join(shown)


def _line_of_stats(name: str, stats: Json) -> str:
    return f"{name}:{''.join(f' {member}={stats[member]}' for member in _STATS)}\n"


def _table_of_stats(name: str, stats: Json) -> str:
    lines = [
        f"{name}: idle_time_ns={stats['idle_time_ns']}",
        f"{'':10}{'bytes':>21}{'operations':>17}{'total_time_ns':>25}{'merged':>11}",
    ]
    for label, kind in (("Read:", "rd"), ("Write:", "wr")):
        counted = (stats[f"{kind}_{each}"] for each in ("bytes", "operations", "total_time_ns", "merged"))
        lines.append(f"{label:10}" + "".join(map("{:>{}}".format, counted, (21, 17, 25, 11))))
    flushes, time = stats["flush_operations"], stats["flush_total_time_ns"]
    lines.append(f"{'Flush:':10}{'':21}{flushes:>17}{time:>25}")
    return "".join(f"{line}\n" for line in lines)
