"""``copy-on-read``: what is read from the backing file is kept in the image (block/copy-on-read.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import missing_above
from qbitsim.block.node import Child, Node
from qbitsim.block.status import Status
from qbitsim.drivers.driver import driver
from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph


@struct
class BlockdevOptionsCor(BlockdevOptionsGenericFormat):
    """A filter that copies what is read into its child."""

    bottom: str | None = None


@driver("copy-on-read", options=BlockdevOptionsCor, accepts={"bottom": ()})
class CopyOnReadNode(FilterDriverNode):
    """``copy-on-read``, whose child is ``file``.

    :ivar bottom: what a stream's filter copies is in the layers down to this one, None for all of them.
    :ivar detached: it was taken out of the graph so that it has nothing below it, though a job may keep it still.
    """

    supports_compression = True

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
        """Pass through, and write what does not change the content, unless inactive (cor_child_perm)."""
        del child
        if self.detached:
            return 0, perms.ALL
        return perm if self.inactive else perm | perms.WRITE_UNCHANGED, shared | perms.WRITE_UNCHANGED

    def _read(self, offset: int, length: int) -> bytes:
        child, place, end = self._filtered, offset, offset + length
        while place < end:
            run, copied = end - place, True
            if self.bottom is not None:
                run, copied = missing_above(child, self.bottom, place, run)
            if copied:
                child.copy_up(place, run)
            place += run
        return child.read(offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._filtered.status(offset, length)
