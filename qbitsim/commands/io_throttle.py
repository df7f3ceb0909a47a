"""Limits of a drive's rate (qmp_block_set_io_throttle, block/qapi-system.c, QEMU 10.0).

They hold back the requests of guests that nobody waits for (:mod:`qbitsim.block.throttled`).
"""

from __future__ import annotations

from qbitsim.block.throttle_group import KINDS, ThrottleGroup, check_limits, is_limited
from qbitsim.commands.context import Context
from qbitsim.commands.devices import find_drive
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import REQUIRED, Feature, Int64, arg
from qbitsim.qapi.structs import struct

SHORT = {
    "bps-total": "bps",
    "bps-read": "bps_rd",
    "bps-write": "bps_wr",
    "iops-total": "iops",
    "iops-read": "iops_rd",
    "iops-write": "iops_wr",
}
"""Limit -> what it is called in the commands that are about drives."""


@struct
class BlockIOThrottle:
    """Arguments of block_set_io_throttle: rates per second, bursts per second, their lengths in seconds."""

    device: str | None = arg(features=[Feature("deprecated", since="6.0")])
    id: str | None = arg(since="2.8")
    bps: Int64 = arg(REQUIRED)
    bps_rd: Int64 = arg(REQUIRED, name="bps_rd")
    bps_wr: Int64 = arg(REQUIRED, name="bps_wr")
    iops: Int64 = arg(REQUIRED)
    iops_rd: Int64 = arg(REQUIRED, name="iops_rd")
    iops_wr: Int64 = arg(REQUIRED, name="iops_wr")
    bps_max: Int64 | None = arg(name="bps_max", since="1.7")
    bps_rd_max: Int64 | None = arg(name="bps_rd_max", since="1.7")
    bps_wr_max: Int64 | None = arg(name="bps_wr_max", since="1.7")
    iops_max: Int64 | None = arg(name="iops_max", since="1.7")
    iops_rd_max: Int64 | None = arg(name="iops_rd_max", since="1.7")
    iops_wr_max: Int64 | None = arg(name="iops_wr_max", since="1.7")
    bps_max_length: Int64 | None = arg(name="bps_max_length", since="2.6")
    bps_rd_max_length: Int64 | None = arg(name="bps_rd_max_length", since="2.6")
    bps_wr_max_length: Int64 | None = arg(name="bps_wr_max_length", since="2.6")
    iops_max_length: Int64 | None = arg(name="iops_max_length", since="2.6")
    iops_rd_max_length: Int64 | None = arg(name="iops_rd_max_length", since="2.6")
    iops_wr_max_length: Int64 | None = arg(name="iops_wr_max_length", since="2.6")
    iops_size: Int64 | None = arg(name="iops_size", since="1.7")
    group: str | None = arg(since="2.4")


@command("block_set_io_throttle", BlockIOThrottle, since="1.1")
def block_set_io_throttle(context: Context, args: BlockIOThrottle) -> None:
    """Set all limits of a drive, and of those that share its group; without any limit it leaves the group."""
    drive = find_drive(context, args.device, args.id)
    if drive.root is None:
        raise QmpError("Device has no medium")
    limits = _limits(args)
    check_limits(limits)
    if not is_limited(limits):
        context.graph.unlimit_drive(drive)
        return
    current = drive.throttle_group.name if drive.throttle_group is not None else args.device or args.id or ""
    context.graph.limit_drive(drive, limits, args.group if args.group is not None else current)


def _limits(args: BlockIOThrottle) -> dict[str, int]:
    """The arguments under the names of QAPI's ThrottleLimits."""
    limits: dict[str, int] = {}
    for kind, short in SHORT.items():
        for suffix in ("", "_max", "_max_length"):
            value = getattr(args, short + suffix)
            if value is not None:
                limits[kind + suffix.replace("_", "-")] = value % (1 << 64) if suffix == "_max_length" else value
    if args.iops_size is not None:
        limits["iops-size"] = args.iops_size
    return limits


def throttle_info(group: ThrottleGroup | None) -> Json:
    """What BlockDeviceInfo tells of the limits: rates always, bursts if there are any."""
    if group is None:
        return _UNLIMITED.copy()
    limits = group.limits
    info: Json = {}
    for kind in KINDS:
        short, burst = SHORT[kind], limits.get(f"{kind}-max", 0)
        info[short] = limits.get(kind, 0)
        if burst:
            info[f"{short}_max"] = burst
            info[f"{short}_max_length"] = limits.get(f"{kind}-max-length", 1)
    if limits.get("iops-size", 0):
        info["iops_size"] = limits["iops-size"]
    info["group"] = group.name
    return info


_UNLIMITED: Json = {SHORT[kind]: 0 for kind in KINDS}
