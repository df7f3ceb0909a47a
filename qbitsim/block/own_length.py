"""The length of a node that shows the disk of a child, or a part of it.

Theory of operation
===================

1. QEMU keeps the length of each node (``total_sectors``; bdrv_co_refresh_total_sectors, block.c, QEMU 10.0). Which
   drivers are asked for it each time, and so follow a child that becomes longer or shorter, differs between releases;
   the others are asked when they are opened, reopened or resized themselves.
2. Bitmaps follow only what is done to their own node.
3. A node that is longer than its child reads zeroes there. A write there, or behind the end of a bitmap, ends QEMU with
   an assertion (bdrv_co_write_req_prepare, block/io.c), and is refused here.
"""

from __future__ import annotations

import errno

from qbitsim.block.node import Child, Node
from qbitsim.files.failures import io_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.roles import Surroundings


class OwnLengthNode(Node):
    """A node that shows the disk of a child."""

    __slots__ = ("_kept_length",)

    def __init__(self, graph: Surroundings, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self._kept_length: int | None = None

    @property
    def _shown(self) -> Node:
        """The child whose disk it shows."""
        return self.children[0].node

    @property
    def shown_length(self) -> int:
        """Bytes of what the child shows now."""
        return self._shown.length

    @property
    def length(self) -> int:
        """Bytes: those that the node was found to have."""
        return self.shown_length if self._kept_length is None else self._kept_length

    @property
    def _follows(self) -> bool:
        """Whether the driver is asked each time."""
        return self.driver in self.graph.lengths_followed_by

    def child_is_replaced(self, child: Child, node: Node) -> None:
        """Keep the length, unless the new child is shorter: QEMU would die of a write behind its end."""
        if child.node is self._shown and not self._follows:
            length = self.length
            self._kept_length = length if node.length > length else None

    def child_is_resized(self, child: Node) -> None:
        """Keep the length, or tell those above that it changes."""
        if child is not self._shown:
            return
        if self._follows:
            for parent in self.parent_nodes:
                parent.child_is_resized(self)
        else:
            self._kept_length = self.length

    def ask_for_length(self) -> None:
        """Be as long as what the child shows."""
        self._kept_length = None

    def _read_shown(self, offset: int, length: int) -> bytes:
        """Read from the child; behind its end there are zeroes."""
        if self._kept_length is None:
            return self._shown.read(offset, length)
        inside = max(0, min(offset + length, self._shown.length) - offset)
        return (self._shown.read(offset, inside) if inside else b"").ljust(length, b"\0")

    def _check_end(self, offset: int, length: int) -> None:
        """Refuse a request of which QEMU dies.

        :raises OSError: EIO: it ends behind the child, or behind a bitmap of this node.
        """
        end = offset + length
        if self._kept_length is not None and end > self.shown_length:
            raise io_error(errno.EIO)
        if any(bitmap.size < end for bitmap in self.bitmaps):
            raise io_error(errno.EIO)
