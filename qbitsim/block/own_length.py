"""The length of a node that shows the disk of a child.

QEMU keeps the length of each node there (``total_sectors``; bdrv_co_refresh_total_sectors, block.c, QEMU 10.0). Which
drivers are asked for it each time, and so follow a child that becomes longer or shorter, differs between releases; the
others are asked when they are opened, reopened or resized themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node

if TYPE_CHECKING:
    from qbitsim.block.roles import Surroundings


class OwnLengthNode(Node):
    """A node that shows the disk of a child."""

    __slots__ = ("_kept_length",)

    def __init__(self, graph: Surroundings, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self._kept_length: int | None = None

    @property
    def shown_length(self) -> int:
        """Bytes of what the children show now."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Bytes: those that the node was found to have."""
        return self.shown_length if self._kept_length is None else self._kept_length

    def keep_length(self) -> None:
        """A child is about to be replaced, or to have another length: keep the length, unless the driver is asked."""
        if self.driver not in self.graph.lengths_followed_by:
            self._kept_length = self.length

    def ask_for_length(self) -> None:
        """Be as long as what the children show."""
        self._kept_length = None
