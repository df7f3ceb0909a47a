"""``raw``: the bytes of a file as they are (block/raw-format.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node
from qbitsim.block.permissions import Child
from qbitsim.block.status import Status
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.files.faults import Faults
    from qbitsim.images.image import Image


class RawNode(Node):
    """``raw``: the bytes of its file, or a part of them.

    :param offset: where in the file it begins.
    :param size: bytes; None for up to the end of the file.
    """

    driver = "raw"
    is_format = True

    __slots__ = ("offset", "size")

    def __init__(
        self,
        graph: Graph,
        *,
        offset: int = 0,
        size: int | None = None,
        read_only: bool = False,
        unmap: bool = False,
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.offset = offset
        self.size = size

    @property
    def _file(self) -> Node:
        return self.children[0].node

    @property
    def _is_part(self) -> bool:
        return bool(self.offset) or self.size is not None

    @property
    def length(self) -> int:
        """Bytes."""
        return self.size if self.size is not None else self._file.length - self.offset

    @property
    def cluster_size(self) -> int:
        """That of the file: usually none."""
        return self._file.cluster_size

    @property
    def knows_cluster_size(self) -> bool:
        """Whether the file knows."""
        return self._file.knows_cluster_size

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Pass them on as a filter does; the file of a part must keep its length (raw_child_perm)."""
        del child
        return perm, shared & ~perms.RESIZE if self._is_part else shared

    @property
    def needs_no_io(self) -> bool:
        """Whether the file needs none."""
        return self._file.needs_no_io

    def zeroes_without_io(self, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.zeroes_without_io(self.offset + offset, length)

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.fails_without_io(operation, self.offset + offset, length)

    @property
    def copies_ranges(self) -> bool:
        """Whether the file does."""
        return self._file.copies_ranges

    def own_faults(self) -> Faults | None:
        """Those of the file."""
        return self._file.own_faults()

    def plain_image(self, *, writing: bool) -> Image | None:
        """That of the file, if it is all of it."""
        if self._is_part or (writing and self.bitmaps):
            return None
        return self._file.plain_image(writing=writing)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.debug_event("read_aio")
        return self._file.read(self.offset + offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._file.debug_event("write_aio")
        self._file.write(self.offset + offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._file.write_zeroes(self.offset + offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._file.discard(self.offset + offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._file.status(self.offset + offset, length)

    def _truncate(self, size: int) -> None:
        if self.size is not None:
            raise QmpError("Cannot resize fixed-size raw disks")
        self._file.truncate(size + self.offset)
