"""``copy-on-read``: what is read from the backing file is kept in the image (block/copy-on-read.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import is_only_below
from qbitsim.block.node import Child, Node
from qbitsim.block.status import Status
from qbitsim.drivers.driver import FilterDriverNode, driver
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph


@struct
class BlockdevOptionsCor(BlockdevOptionsGenericFormat):
    """A filter that copies what is read into its child."""

    bottom: str | None = None


@driver("copy-on-read", options=BlockdevOptionsCor, since="3.0", accepts={"bottom": ()})
class CopyOnReadNode(FilterDriverNode):
    """``copy-on-read``, whose child is ``file``.

    :ivar bottom: the lowest layer whose data it copies; None for all there are.
    :ivar detached: it was taken out of the graph so that it has nothing below it, though a job may keep it still.
    """

    supports_compression = True
    has_variable_length = True

    __slots__ = ("bottom", "detached")

    def __init__(self, graph: Graph, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.bottom: Node | None = None
        self.detached = False

    @property
    def shows_children(self) -> bool:
        """Not when it was taken out."""
        return not self.detached

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Pass through, and write what does not change the content (cor_child_perm)."""
        del child
        if self.detached:
            return 0, perms.ALL
        return perm | perms.WRITE_UNCHANGED, shared | perms.WRITE_UNCHANGED

    def _read(self, offset: int, length: int) -> bytes:
        child, end = self._filtered, offset + length
        self._check_end(offset, length)
        if self.bottom is None:
            child.copy_up(offset, length)
        else:
            place = offset
            while place < end:
                part, wanted = is_only_below(child, self.bottom, place, end - place)
                if wanted:
                    child.copy_up(place, part)
                place += part
        return child.read(offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._filtered.status(offset, length)
