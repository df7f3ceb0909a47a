"""The options of ``-drive`` that are about the drive, and not about its node (blockdev_init, blockdev.c, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qbitsim.block.throttle_group import KINDS, check_limits, is_limited
from qbitsim.commands.drive_interface import take_interface
from qbitsim.commands.io_throttle import SHORT
from qbitsim.drivers.drive_options import switch
from qbitsim.errors import QmpError
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.commands.drive_interface import DriveInterface

_LIMITS = [
    *(kind + suffix for suffix in ("", "-max", "-max-length") for kind in KINDS),
    "iops-size",
]
_ALIASES = {
    **{short: f"throttling.{kind}" for kind, short in SHORT.items()},
    **{f"{short}_max": f"throttling.{kind}-max" for kind, short in SHORT.items()},
    "iops_size": "throttling.iops-size",
    "group": "throttling.group",
    "readonly": "read-only",
}
"""Names of old -> those that they stand for."""

_AIO = ("threads", "native", "io_uring")
_READ_ACTIONS = ("ignore", "report", "stop")
_WRITE_ACTIONS = (*_READ_ACTIONS, "enospc")
_WITH_ERROR_POLICIES = ("ide", "scsi", "virtio", "none")
_MAXIMUM_UNSIGNED = (1 << 64) - 1

WRITETHROUGH = ("directsync", "writethrough")
"""The cache modes in which a drive has no write cache."""


@record
class DriveCommon:
    """What ``-drive`` says of the drive.

    :ivar limits: under the names of QAPI's ThrottleLimits; :ivar group: the group that shares them, None for its own.
    :ivar write_cache: the guest is told of a write cache.
    :ivar snapshot: what is written goes into a temporary overlay.
    :ivar native_aio: the host's own way of asynchronous I/O.
    :ivar interface: where it is plugged in.
    :ivar error_policies: what its device does about reads and other requests that fail, where it was said.
    :ivar intervals: seconds over which latencies are averaged, in the order given.
    """

    interface: DriveInterface
    error_policies: dict[str, str]
    limits: dict[str, int]
    group: str | None
    write_cache: bool
    snapshot: bool
    native_aio: bool
    account_invalid: bool
    account_failed: bool
    intervals: list[int]

    def apply(self, graph: Graph, drive: Drive) -> None:
        """Let ``drive`` be like this."""
        drive.on_read_error = self.error_policies.get("rerror", drive.on_read_error)
        drive.on_write_error = self.error_policies.get("werror", drive.on_write_error)
        drive.write_cache = self.write_cache
        drive.stats.account_invalid = self.account_invalid
        drive.stats.account_failed = self.account_failed
        drive.stats.intervals = self.intervals
        if is_limited(self.limits):
            graph.limit_drive(drive, self.limits, self.group if self.group is not None else drive.id)


def take_common(given: Mapping[str, str], machine_type: str) -> tuple[DriveCommon, dict[str, str]]:
    """What is about the drive, and the options that are left for its node.

    :raises QmpError: with the texts and in the order of drive_new and blockdev_init (blockdev.c, QEMU 10.0).
    """
    rest = _renamed(given)
    interface, rest = take_interface(rest, machine_type)
    for name in ("werror", "rerror"):
        if name in rest and interface.name not in _WITH_ERROR_POLICIES:
            raise QmpError(f"{name} is not supported by this bus type")
    limits = {name: _number(rest, f"throttling.{name}") for name in _LIMITS if f"throttling.{name}" in rest}
    snapshot = _switch(rest, "snapshot")
    account_invalid = _switch(rest, "stats-account-invalid", default=True)
    account_failed = _switch(rest, "stats-account-failed", default=True)
    write_cache = _switch(rest, "cache.writeback", default=rest.get("cache") not in WRITETHROUGH)
    aio = rest.pop("aio", "threads")
    if aio not in _AIO:
        raise QmpError("invalid aio option")
    intervals = _intervals(rest)
    check_limits(limits)
    policies = {}
    for name, actions, called in (("werror", _WRITE_ACTIONS, "write"), ("rerror", _READ_ACTIONS, "read")):
        action = rest.pop(name, "auto")
        if action not in (*actions, "auto"):
            raise QmpError(f"'{given[name]}' invalid {called} error action")
        if action != "auto":
            policies[name] = action
    common = DriveCommon(
        interface=interface,
        error_policies=policies,
        limits=limits,
        group=rest.pop("throttling.group", None),
        write_cache=write_cache,
        snapshot=snapshot,
        native_aio=aio == "native",
        account_invalid=account_invalid,
        account_failed=account_failed,
        intervals=intervals,
    )
    return common, rest


def _renamed(given: Mapping[str, str]) -> dict[str, str]:
    """The options under their names of today."""
    rest = dict(given)
    for old, new in _ALIASES.items():
        if old in rest:
            if new in rest:
                raise QmpError(f"'{new}' and its alias '{old}' can't be used at the same time")
            rest[new] = rest.pop(old)
    return rest


def _number(rest: dict[str, str], name: str) -> int:
    try:
        return int(rest.pop(name), 0) & _MAXIMUM_UNSIGNED
    except ValueError:
        raise QmpError(f"Parameter '{name}' expects a number") from None


def _switch(rest: dict[str, str], name: str, *, default: bool = False) -> bool:
    return switch(name, rest.pop(name)) if name in rest else default


def _intervals(rest: dict[str, str]) -> list[int]:
    intervals: list[int] = []
    while (name := f"stats-intervals.{len(intervals)}") in rest:
        text = rest.pop(name)
        if not text.isdecimal() or not int(text):
            raise QmpError(f"Invalid interval length: {text}")
        intervals.append(int(text))
    if wrong := [name for name in rest if name.startswith("stats-intervals.")]:
        raise QmpError(f"Invalid option {wrong[0]}")
    return intervals
