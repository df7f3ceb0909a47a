"""Which clusters of a qcow2 file can be written compressed.

A cluster that has a place in the file cannot (qcow2_alloc_compressed_cluster_offset, block/qcow2-cluster.c, QEMU 10.0):
that is one with data, compressed or not, and one with data that was zeroed in place. Data that do not get smaller are
written as they are, wherever that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.content import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qbitsim.images.content import Content

WINDOW_BITS = 12
MEMORY_LEVEL = 9


class Packing:
    """What the content itself does not know about its clusters.

    :ivar compressed: numbers of the clusters whose data are compressed.
    :ivar zeroed: numbers of the clusters that were zeroed and keep their place in the file.
    """

    __slots__ = ("compressed", "zeroed")

    def __init__(self) -> None:
        self.compressed: set[int] = set()
        self.zeroed: set[int] = set()

    def copy(self) -> Packing:
        """An independent one of the same value."""
        twin = Packing()
        twin.compressed, twin.zeroed = set(self.compressed), set(self.zeroed)
        return twin

    def takes(self, content: Content, cluster: int) -> bool:
        """Whether a compressed cluster can be put there."""
        return cluster not in self.zeroed and cluster not in content.allocation_order()

    def written(self, content: Content, offset: int, length: int) -> None:
        """The clusters that the range touches have data now, which are not compressed."""
        if self.compressed or self.zeroed:
            touched = range(offset // content.cluster_size, -(-(offset + length) // content.cluster_size))
            self.zeroed.difference_update(touched)
            self.compressed.difference_update(touched)

    def zeroing(self, content: Content, offset: int, length: int, *, in_place: bool) -> None:
        """The whole clusters of the range are about to become zeroes; compressed ones never keep their place."""
        data = set(_data_clusters(content, offset, length))
        if in_place:
            self.zeroed |= data - self.compressed
        else:
            unit = content.cluster_size
            self.zeroed.difference_update(range(-(-offset // unit), (offset + length) // unit))
        self.compressed -= data

    def copied(self, content: Content, source: Content, clusters: Collection[int]) -> None:
        """These clusters are about to become those of ``source``; what is zero there is zeroed in place."""
        known, new = content.allocation_order(), source.allocation_order()
        if known or self.zeroed:
            emptied = [number for number in clusters if number not in new and number not in self.compressed]
            placed = {number for number in emptied if number in known or number in self.zeroed}
            self.zeroed.difference_update(clusters)
            self.zeroed |= placed
        self.compressed.difference_update(clusters)


def shrinks(data: bytes) -> bool:
    """Whether a cluster of these bytes gets smaller by compressing it (qcow2_zlib_compress, block/qcow2-threads.c)."""
    import zlib  # noqa: PLC0415 - few need it

    packer = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    return len(packer.compress(data) + packer.flush()) < len(data)


def _data_clusters(content: Content, offset: int, length: int) -> Iterator[int]:
    unit = content.cluster_size
    position, end = -(-offset // unit) * unit, offset + length
    if end < content.size:
        end -= end % unit
    while position < end:
        kind, run = content.status(position, end - position)
        if kind is Kind.DATA:
            yield from range(position // unit, -(-(position + run) // unit))
        position += run
