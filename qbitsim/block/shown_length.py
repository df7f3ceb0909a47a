"""A node that shows the disk of a child, or a part of it, and remembers how long that is.

Theory of operation: QEMU keeps the length of each node (``total_sectors``) and asks the driver anew when the node is
opened, reopened or resized itself. What that means when the child becomes longer or shorter by itself depends on the
driver and the release: :meth:`ShownLength._follows`. Bitmaps follow only what is done to their own node. A node that is
longer than its child reads zeroes there; a write there, or behind the end of a bitmap, ends QEMU with an assertion, and
is refused here.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from qbitsim.block.drive import io_error
from qbitsim.block.node import Child, Node

if TYPE_CHECKING:
    from qbitsim.block.roles import Surroundings


class ShownLength(Node):
    """The common part of filters, of ``raw`` and of ``snapshot-access``.

    :cvar has_variable_length: it asked its child each time up to QEMU 8.0.
    :cvar hears_of_resizing: it is told when its child is resized, where QEMU tells anybody.
    """

    has_variable_length: ClassVar[bool] = False
    hears_of_resizing: ClassVar[bool] = True

    __slots__ = ("_kept_length",)

    def __init__(self, graph: Surroundings, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self._kept_length: int | None = None

    @property
    def _shown(self) -> Node:
        """The child whose disk it shows."""
        raise NotImplementedError

    @property
    def _shown_length(self) -> int:
        """How long that makes this node."""
        return self._shown.length

    @property
    def length(self) -> int:
        """Bytes of what it shows, as far as it knows."""
        return self._shown_length if self._kept_length is None else self._kept_length

    @property
    def _asks_each_time(self) -> bool:
        return self.has_variable_length and self.graph.lengths_are_variable

    def child_is_replaced(self, child: Child, node: Node) -> None:
        """Keep the length, unless the new child is shorter: QEMU would die of a write behind its end."""
        if child.node is self._shown and not self._asks_each_time:
            length = self.length
            self._kept_length = length if node.length > length else None

    def child_is_resized(self, child: Node) -> None:
        """Keep the length, or tell those above that it changes."""
        if child is not self._shown:
            return
        if self._asks_each_time or (self.hears_of_resizing and self.graph.resizing_is_told):
            for parent in self.parent_nodes:
                parent.child_is_resized(self)
        else:
            self._kept_length = self.length

    def follow_length(self) -> None:
        """Ask for the length anew; the bitmaps of this node follow."""
        self._kept_length = None
        super().follow_length()

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
        if self._kept_length is not None and end > self._shown_length:
            raise io_error(errno.EIO)
        if any(bitmap.size < end for bitmap in self.bitmaps):
            raise io_error(errno.EIO)
