"""``compress``: a filter that compresses what is written (block/filter-compress.c, QEMU 10.0).

Its requests are made of whole clusters of the format below. qcow2 compresses a cluster only once: a second write to it
fails, as does one over data that were not compressed. Zeroes and discards go down as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.limits import Limits
from qbitsim.block.node import Node
from qbitsim.drivers.aligned import AlignedNode
from qbitsim.drivers.driver import driver
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.structs import struct
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener


@struct
class BlockdevOptionsCompress(BlockdevOptionsGenericFormat):
    """A filter that compresses what is written; no options of its own."""


@driver("compress", options=BlockdevOptionsCompress)
class CompressNode(AlignedNode):
    """``compress``, whose child is ``file``."""

    limits_ask_for_info = True

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The driver below must compress; whether those further down do shows at the first write."""
        node = super().open(opener, options)
        below = node.children[0].node
        if not below.supports_compression:
            raise QmpError(f"Compression is not supported for underlying format: {below.driver}")
        return node

    def limits_above(self, below: Limits) -> Limits:
        """Whole clusters (compress_refresh_limits)."""
        return changed(below, request=self.cluster_size or 1)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        super()._write(offset, data, compressed=True)
