"""``compress``: a filter that compresses what is written (block/filter-compress.c, QEMU 10.0).

Its requests are made of whole clusters of the format below: what a write leaves out of its first and last cluster is
read and written with it, and bitmaps are marked for whole clusters. qcow2 compresses a cluster only once: a second
write to it fails, as does one over data that were not compressed. Zeroes and discards go down as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.limits import Limits
from qbitsim.block.node import Node
from qbitsim.drivers.driver import FilterDriverNode, driver
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.structs import struct
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener


@struct
class BlockdevOptionsCompress(BlockdevOptionsGenericFormat):
    """A filter that compresses what is written; no options of its own."""


@driver("compress", options=BlockdevOptionsCompress, since="4.2")
class CompressNode(FilterDriverNode):
    """``compress``, whose child is ``file``."""

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The driver below must compress; whether those further down do shows at the first write."""
        node = super().open(opener, options)
        below = node.children[0].node
        if not below.supports_compression:
            raise QmpError(f"Compression is not supported for underlying format: {below.driver}")
        return node

    def on_permissions(self, perm: int, shared: int) -> None:
        """Refuse to write a last cluster that is not whole (bdrv_node_check_perm, block.c, QEMU 10.0)."""
        del shared
        if perm & (perms.WRITE | perms.WRITE_UNCHANGED) and not perm & perms.RESIZE and self._is_cut:
            raise QmpError(
                "Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment"
            )

    @property
    def limits(self) -> Limits:
        """Whole clusters (compress_refresh_limits)."""
        return changed(super().limits, request=self._alignment)

    @property
    def _alignment(self) -> int:
        return self.cluster_size or 1

    @property
    def _is_cut(self) -> bool:
        return self.length % self._alignment != 0

    def _widened(self, offset: int, length: int) -> tuple[int, int]:
        """Where the clusters of the range begin and end; the last one may be cut by the end of the disk."""
        unit = self._alignment
        return offset - offset % unit, min(-(-(offset + length) // unit) * unit, self.length)

    def read(self, offset: int, length: int) -> bytes:
        """Read the clusters that the range touches."""
        start, end = self._widened(offset, length)
        return super().read(start, end - start)[offset - start :][:length]

    def write(self, offset: int, data: bytes, *, compressed: bool = False) -> None:
        """Write the clusters that the range touches; it is filled up with what is there."""
        start, end = self._widened(offset, len(data))
        if self._is_cut and end == self.length:
            raise UnsupportedError("a compressed write beyond the end of an image")
        stop = offset + len(data)
        head, tail = self._read_range(start, offset), self._read_range(stop, end)
        super().write(start, b"".join((head, data, tail)), compressed=compressed)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Zero whole clusters, and write the parts of others (bdrv_co_do_zero_pwritev, block/io.c, QEMU 10.0)."""
        unit, stop = self._alignment, offset + length
        first, last = -(-offset // unit) * unit, stop - stop % unit
        if offset < min(first, stop):
            self.write(offset, bytes(min(first, stop) - offset))
        if first < last:
            super().write_zeroes(first, last - first, unmap=unmap)
        if first <= last < stop:
            self.write(last, bytes(stop - last))

    def _read_range(self, start: int, end: int) -> bytes:
        return self._read(start, end - start) if start < end else b""

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        super()._write(offset, data, compressed=True)
