"""Queries about drives and nodes (block/qapi.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node
from qbitsim.commands.context import Context
from qbitsim.commands.image_info import ImageInfos, backing_depth
from qbitsim.commands.io_throttle import throttle_info
from qbitsim.jsontypes import Json
from qbitsim.qapi.info import BlockDeviceInfo, BlockInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.drive import Drive
    from qbitsim.profiles import Profile


@struct
class QueryNamedBlockNodes:
    """Arguments of query-named-block-nodes; ``flat`` leaves out the images of backing files."""

    flat: bool | None = None


@struct
class QueryBlock:
    """Arguments of query-block; ``flat`` leaves out the images of backing files."""

    flat: bool | None = arg(since="11.0")


@command("query-block", QueryBlock, returns=list[BlockInfo], since="0.14")
def query_block(context: Context, args: QueryBlock) -> list[Json]:
    """All drives."""
    images = ImageInfos(context.profile, flat=bool(args.flat))
    return [_drive_info(drive, images) for drive in context.graph.drives.values()]


@command("query-named-block-nodes", QueryNamedBlockNodes, returns=list[BlockDeviceInfo], since="2.0")
def query_named_block_nodes(context: Context, args: QueryNamedBlockNodes) -> list[Json]:
    """All nodes, newest first."""
    images = ImageInfos(context.profile, flat=bool(args.flat))
    return [
        node_info(node, images)
        for node in reversed(context.graph.nodes.values())
        if not (node.implicit and context.graph.hide_filters)
    ]


def _drive_info(drive: Drive, images: ImageInfos) -> Json:
    profile = images.profile
    info: Json = {"device": drive.id, "type": "unknown", "removable": drive.removable, "locked": drive.locked}
    if drive.qdev:
        info["qdev"] = drive.qdev
    if drive.device is not None and drive.device.tray_open is not None:
        info["tray_open"] = drive.device.tray_open
    if drive.shows_io_status:
        info["io-status"] = drive.io_status
    if drive.root is not None:
        node = drive.root.node.skip_implicit_filters()
        info["inserted"] = node_info(node, images, of_drive=True)
        info["inserted"]["cache"]["writeback"] = drive.write_cache
        info["inserted"] |= throttle_info(drive.throttle_group)
        if profile.drives_show_bitmaps and node.bitmaps:
            info["dirty-bitmaps"] = info["inserted"].get("dirty-bitmaps") or bitmap_infos(node, profile)
    return info


def node_info(node: Node, images: ImageInfos, *, of_drive: bool = False) -> Json:
    """BlockDeviceInfo of one node.

    :param of_drive: leave out filters that no client has named.
    """
    profile = images.profile
    image = images.of(node, skip_implicit=of_drive)
    info: Json = {
        "file": images.names.of(node),
        "node-name": node.name,
        "ro": node.read_only,
        "drv": node.driver,
        # The order matters to who reads the text: it has a bucket of QEMU's hash table in common with write_threshold.
        **({"backing_file": images.names.of(node.backing)} if node.backing is not None else {}),
        "backing_file_depth": backing_depth(image),
        "encrypted": False,
        "detect_zeroes": node.detect_zeroes,
        "write_threshold": _as_signed(node.write_threshold),
        "cache": _cache_info(node),
        "image": image,
        **throttle_info(None),
    }
    if profile.nodes_show_children:
        edges = sorted(node.children, key=lambda edge: edge.linked, reverse=True)
        info["children"] = [{"child": edge.name, "node-name": edge.node.name} for edge in edges]
    if profile.nodes_show_active:
        info["active"] = not node.inactive
    if node.bitmaps and profile.nodes_show_bitmaps:
        info["dirty-bitmaps"] = bitmap_infos(node, profile)
    return info


def _as_signed(value: int) -> int:
    """A number of 64 bits as QAPI's ``int`` shows it."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _cache_info(node: Node) -> Json:
    """Nothing is cached here; what was asked for is shown."""
    given = node.cache_options
    return {"writeback": True, "direct": bool(given.get("direct")), "no-flush": bool(given.get("no-flush"))}


def bitmap_infos(node: Node, profile: Profile) -> list[Json]:
    """BlockDirtyInfo of all bitmaps of a node, newest first."""
    describe = _bitmap_with_status if profile.bitmap_status_field else _bitmap_info
    return [describe(bitmap) for bitmap in node.bitmaps]


def _bitmap_info(bitmap: DirtyBitmap) -> Json:
    info = _named_bitmap(bitmap)
    info |= {"recording": bitmap.recording, "busy": bitmap.busy, "persistent": bitmap.persistent}
    if bitmap.inconsistent:
        info["inconsistent"] = True
    return info


def _bitmap_with_status(bitmap: DirtyBitmap) -> Json:
    """As bdrv_dirty_bitmap_status had it (block/dirty-bitmap.c, QEMU 2.5)."""
    status = "frozen" if bitmap.successor else "disabled" if bitmap.disabled else "active"
    return {**_named_bitmap(bitmap), "status": status}


def _named_bitmap(bitmap: DirtyBitmap) -> Json:
    info: Json = {"granularity": bitmap.granularity, "count": bitmap.count}
    if bitmap.name is not None:
        info["name"] = bitmap.name
    return info
