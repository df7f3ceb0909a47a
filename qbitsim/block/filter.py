"""A node that filters: it shows the disk of its child, and passes on what its driver does not change."""

from __future__ import annotations

from qbitsim.block.node import Child, Node
from qbitsim.block.own_length import OwnLengthNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar

    from qbitsim.block.status import Status
    from qbitsim.files.faults import FaultOwner
    from qbitsim.images.image import Image


class FilterNode(OwnLengthNode):
    """The common part of filters. One that was taken out of the graph has no child any more.

    :cvar flushes_in_any_case: what it filters, even if nobody may write to it (drivers with a bdrv_co_flush).
    """

    is_filter = True
    flushes_in_any_case: ClassVar[bool] = False

    __slots__ = ()

    @property
    def filtered(self) -> Node | None:
        """The child that it filters (bdrv_filter_bs)."""
        child = self.child("file") or self.child("backing") or self.child("image")
        return child.node if child is not None else None

    @property
    def _filtered(self) -> Node:
        filtered = self.filtered
        assert filtered is not None
        return filtered

    @property
    def _shown(self) -> Node:
        return self._filtered

    @property
    def backing(self) -> None:
        """None: what a filter has as ``backing`` is what it filters."""

    @property
    def flushed_children(self) -> list[Child]:
        """What may be written to, or what is filtered."""
        if not self.flushes_in_any_case:
            return super().flushed_children
        filtered = self.filtered
        return [child for child in self.children if child.node is filtered]

    def can_replace(self, node: Node) -> bool:
        """As what it filters can, too."""
        filtered = self.filtered
        return super().can_replace(node) or (filtered is not None and filtered.can_replace(node))

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What the parents need and share (bdrv_filter_default_perms, block.c, QEMU 10.0)."""
        del child
        return perm, shared

    # -- the disk

    @property
    def cluster_size(self) -> int:
        """Bytes, as below."""
        filtered = self.filtered
        return filtered.cluster_size if filtered is not None else 0

    @property
    def knows_cluster_size(self) -> bool:
        """As below."""
        filtered = self.filtered
        return filtered.knows_cluster_size if filtered is not None else True

    @property
    def is_dirty(self) -> bool:
        """As below."""
        filtered = self.filtered
        return filtered is not None and filtered.is_dirty

    @property
    def disk_image(self) -> Image | None:
        """The image below."""
        filtered = self.filtered
        return filtered.disk_image if filtered is not None else None

    @property
    def fault_owner(self) -> FaultOwner | None:
        """What keeps the rules of the disk below."""
        filtered = self.filtered
        return filtered.fault_owner if filtered is not None else None

    def allocated_file_size(self) -> int | None:
        """Bytes of the files below, None if that cannot be told."""
        filtered = self.filtered
        return filtered.allocated_file_size() if filtered is not None else 0

    # -- requests

    def _read(self, offset: int, length: int) -> bytes:
        return self._read_shown(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._check_end(offset, len(data))
        self._filtered.write(offset, data, compressed=compressed)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check_end(offset, length)
        below = self._filtered
        below.write_zeroes(offset, length, unmap=unmap and below.unmap)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """As below."""
        filtered = self.filtered
        return filtered is not None and filtered.zeroes_fast(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self._check_end(offset, length)
        self._filtered.discard(offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._filtered.status(offset, length)

    def _truncate(self, size: int) -> None:
        self._filtered.truncate(size)

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        if operation == "read":
            self._filtered.pread(offset, length)
        else:
            self._filtered.pwrite(offset, length)

    def before_table_change(self, lost: Iterable[tuple[int, int]] = ()) -> None:
        """Pass it on."""
        self._filtered.before_table_change(lost)

    def note_discarded(self, offset: int, length: int) -> None:
        """Pass it on, if the filter passes discards on."""
        if self.unmap:
            self._filtered.note_discarded(offset, length)

    def count_discard(self, offset: int, length: int) -> None:
        """Pass it on, if the filter passes discards on."""
        if self.unmap:
            self._filtered.count_discard(offset, length)

    # -- what a job may know before it asks

    @property
    def takes_compressed_writes(self) -> bool:
        """Whether the filter passes them on, and what is below takes them."""
        filtered = self.filtered
        return self.supports_compression and (filtered is None or filtered.takes_compressed_writes)

    @property
    def can_unmap_zeroes(self) -> bool:
        """As below."""
        filtered = self.filtered
        return filtered is not None and filtered.can_unmap_zeroes

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """As below."""
        filtered = self.filtered
        return filtered is not None and filtered.fails_without_io(operation, offset, length)
