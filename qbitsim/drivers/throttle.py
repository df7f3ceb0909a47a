"""``throttle``: a filter whose requests share the limits of a group (block/throttle.c, QEMU 10.0).

Requests of guests begin and end at one instant here, so that they cannot wait; they do not count either. What waits
are the chunks of jobs: a chunk that goes through the filter completes when the group lets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node
from qbitsim.block.permissions import Child
from qbitsim.block.throttle_group import ThrottleGroup

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph


class ThrottleNode(Node):
    """``throttle``, whose child is ``file``.

    :ivar group: the group whose limits it shares; None once it is closed.
    """

    driver = "throttle"
    is_filter = True

    __slots__ = ("group",)

    def __init__(self, graph: Graph, group: ThrottleGroup, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.group: ThrottleGroup | None = None
        self.join(group)

    def join(self, group: ThrottleGroup) -> None:
        """Leave the former group for this one."""
        self.close()
        self.group = group
        group.members += 1

    def close(self) -> None:
        """Leave the group."""
        if self.group is not None:
            self.graph.leave_group(self.group)
            self.group = None

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What its parents need and share (bdrv_default_perms)."""
        del child
        return perm, shared

    def delay(self, length: int, *, writing: bool) -> int:
        """How long a request of a job has to wait here and below."""
        assert self.group is not None
        own = self.group.reserve(self.graph.scheduler.now, length, writing=writing)
        return max(own, super().delay(length, writing=writing))
