"""``snapshot-access``: reads what the filter below it preserves (block/snapshot-access.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qbitsim.block.node import Child, Node
from qbitsim.block.own_length import OwnLengthNode
from qbitsim.block.status import Status
from qbitsim.drivers.copy_before_write import CopyBeforeWriteNode
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener


@struct
class BlockdevOptionsSnapshotAccess(BlockdevOptionsGenericFormat):
    """The old data behind a copy-before-write filter."""


@driver("snapshot-access", options=BlockdevOptionsSnapshotAccess)
class SnapshotAccessNode(DriverNode, OwnLengthNode):
    """``snapshot-access``, whose child ``file`` is a filter that keeps old data."""

    shows_filename_of_child = True

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Open the child ``file`` and the node above it."""
        node = cls(opener.graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        return opener.open_filter(node, options, "file")

    @property
    def _filter(self) -> CopyBeforeWriteNode:
        node = self.children[0].node
        if not isinstance(node, CopyBeforeWriteNode):
            raise io_error(errno.ENOTSUP)
        return node

    @property
    def knows_cluster_size(self) -> bool:
        """The driver tells nothing of it, and it is no filter (bdrv_co_get_info)."""
        return False

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """It takes nothing that the guest could mind (snapshot_access_child_perm)."""
        del child, perm, shared
        return 0, perms.ALL

    def _read(self, offset: int, length: int) -> bytes:
        return self._filter.snapshot_read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        raise io_error(errno.ENOTSUP)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        raise io_error(errno.ENOTSUP)

    def _discard(self, offset: int, length: int) -> None:
        self._filter.snapshot_discard(offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._filter.snapshot_status(offset, length)
