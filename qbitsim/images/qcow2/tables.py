"""An L1 table of a qcow2 file, and what it leads to."""

from __future__ import annotations

from collections.abc import Iterator

from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.records import record

Packed = tuple[int, int]
"""Compressed data: their offset in the file, and how many bytes."""


@record(frozen=False)
class Tables:
    """One L1 table and what it leads to.

    :ivar l1: first cluster and number of entries.
    :ivar l2: number of an L2 table -> its cluster.
    :ivar places: guest cluster -> cluster of the file; zeroed ones may be among them.
    :ivar packed: guest cluster -> its compressed data.
    """

    l1: tuple[int, int]
    l2: dict[int, int]
    places: dict[int, int]
    packed: dict[int, Packed]

    def clusters(self, cluster_size: int, *, external: bool) -> Iterator[tuple[int, int]]:
        """What is counted behind the L1 table, as (first, count); compressed clusters as often as data are in them.

        :param external: the guest clusters are in another file.
        """
        yield from (packed_span(packed, cluster_size) for packed in self.packed.values())
        if not external:
            yield from ((place, 1) for place in self.places.values())
        yield from ((place, 1) for place in self.l2.values())

    def l1_clusters(self, cluster_size: int) -> range:
        """The clusters of the L1 table."""
        first, entries = self.l1
        return range(first, first - (-entries * TABLE_ENTRY // cluster_size))

    def copy(self) -> Tables:
        """Independent tables of the same value."""
        return Tables(self.l1, self.l2.copy(), self.places.copy(), self.packed.copy())


@record(frozen=False)
class Part:
    """What one part of a request changes, until its data are written; what is to stay in any case is taken out.

    :ivar places: guest clusters that got a place -> where they were before; None for nowhere.
    :ivar tables: numbers of L2 tables that were made -> the cluster of the one that a snapshot keeps; None for none.
    """

    places: dict[int, int | Packed | None]
    tables: dict[int, int | None]


def packed_span(packed: Packed, cluster_size: int) -> tuple[int, int]:
    """The first cluster and the number of clusters in which compressed data are."""
    offset, length = packed
    first = offset // cluster_size
    return first, (offset + length - 1) // cluster_size - first + 1
