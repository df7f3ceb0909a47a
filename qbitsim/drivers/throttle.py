"""``throttle``: a filter whose requests share the limits of a group (block/throttle.c, QEMU 10.0).

What waits are the chunks of jobs, which complete when the group lets them, the requests of NBD clients, and those of
guests that nobody waits for. Any other request of a guest begins and ends at one instant; it does not count either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Child, Node
from qbitsim.block.throttle_group import ThrottleGroup
from qbitsim.drivers.driver import driver
from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errors import QmpError
from qbitsim.qapi.blockdev import BlockdevOptions, BlockdevRef
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener


@struct
class BlockdevOptionsThrottle(BlockdevOptions):
    """A filter that limits the rate."""

    throttle_group: str
    file: BlockdevRef


@driver(
    "throttle",
    options=BlockdevOptionsThrottle,
    strong=["throttle-group"],
    reopens=["throttle-group"],
)
class ThrottleNode(FilterDriverNode):
    """``throttle``, whose child is ``file``.

    :ivar group: the group whose limits it shares; None once it is closed.
    """

    flushes_in_any_case = True
    supports_compression = True
    takes_part_in_draining = True

    __slots__ = ("group",)

    def __init__(self, graph: Graph, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.group: ThrottleGroup | None = None

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The file comes first, then the group (throttle_open)."""
        node = cls(opener.graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.open_filter(node, options, "file")
        name = options["throttle-group"]
        group = opener.graph.throttle_groups.get(name)
        if group is None:
            raise QmpError(f"Throttle group '{name}' does not exist")
        node.join(group)
        return node

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """Refuse to be without a group (throttle_parse_options)."""
        if "throttle-group" not in options:
            raise QmpError("Please specify a throttle group")

    def join(self, group: ThrottleGroup) -> None:
        """Leave the former group for this one."""
        self.close()
        self.group = group
        group.members += 1

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Refuse a group that does not exist."""
        del read_only
        name = options.get("throttle-group")
        if name is not None and name not in self.graph.throttle_groups:
            raise QmpError(f"Throttle group '{name}' does not exist")

    def reopen_commit(self, options: Mapping[str, Any]) -> None:
        """Share the limits of another group."""
        self.join(self.graph.throttle_groups[options["throttle-group"]])

    def close(self) -> None:
        """Leave the group."""
        if self.group is not None:
            self.graph.leave_group(self.group)
            self.group = None

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What its parents need and share (bdrv_default_perms)."""
        del child
        return perm, shared

    def delay(self, operation: str, length: int) -> int:
        """How long a request that can wait has to wait here and below."""
        assert self.group is not None
        own = self.group.reserve(self.graph.scheduler.now, length, writing=operation != "read")
        return max(own, super().delay(operation, length))
