"""Refcount table and blocks of a qcow2 file, made anew from the references that were counted."""

from __future__ import annotations

from qbitsim.images.qcow2.allocator import TABLE_ENTRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.qcow2.metadata import Metadata
    from qbitsim.images.qcow2.references import References


_NEAR = 64


class RebuiltRefcounts:
    """Where they are to be, and what they count (rebuild_refcount_structure, block/qcow2-refcount.c, QEMU 10.0).

    Blocks are put where nothing is used, each behind the beginning of what it counts, then the table, and the blocks
    that count the table; a table that gets too short by that stays behind. What was there before is counted on.

    :param references: how often clusters are referred to.
    :param clusters: of the file, without those that only the new structures reach.
    :ivar counts: the refcounts.
    :ivar blocks: number of the block -> its cluster.
    :ivar table: first cluster and number of clusters of the refcount table.
    :ivar clusters: of the file, with those that the new structures reach.
    """

    __slots__ = ("_entries", "_per_block", "_per_table", "blocks", "clusters", "counts", "table")

    def __init__(self, references: References, clusters: int, metadata: Metadata) -> None:
        self.counts = references.copy()
        self.clusters = clusters
        self.blocks: dict[int, int] = {}
        self._per_block = metadata.cluster_size * 8 // metadata.refcount_bits
        self._per_table = metadata.cluster_size // TABLE_ENTRY
        self._entries = 0  # that the table has room for
        self.table = 0, 0
        grown = self._make_blocks(0, clusters)
        while grown:
            count = self._entries // self._per_table
            first = self._take(0, count)
            self.table = first, count
            grown = self._make_blocks(first, first + count)

    def _make_blocks(self, first: int, stop: int) -> bool:
        """Make the blocks that count clusters from *first* to before *stop*; whether the table must be longer."""
        entries, free, at = self._entries, 0, first
        while at < stop:
            number = at // self._per_block
            if not self.counts[at]:
                at = self._next_counted(at, stop)
                continue
            if number not in self.blocks:
                free = max(free, number * self._per_block)
                self.blocks[number] = free = self._take(free, 1)
                stop = max(stop, free + 1)
                self._entries = max(self._entries, -(-(number + 1) // self._per_table) * self._per_table)
            at = (number + 1) * self._per_block
        return self._entries > entries

    def _next_counted(self, cluster: int, stop: int) -> int:
        """The first cluster behind one that is counted, at most *stop*; there may be a large hole in the file."""
        near = min(stop, cluster + _NEAR)
        found = next((each for each in range(cluster + 1, near) if self.counts[each]), near)
        if found < near or near == stop:
            return found
        pieces = ((max(low, near), min(high, stop)) for low, high in self.counts.pieces() if high > near and low < stop)
        counted = (low + at for low, high in pieces for at, count in enumerate(self.counts.counts(low, high)) if count)
        return next(counted, stop)

    def _take(self, first: int, count: int) -> int:
        """Take the first *count* unused clusters in a row from *first* on; the first of them (alloc_clusters_imrt)."""
        start = first
        while any(self.counts[start + number] for number in range(count)):
            start += next(number for number in range(count - 1, -1, -1) if self.counts[start + number]) + 1
        for cluster in range(start, start + count):
            self.counts[cluster] = 1
        self.clusters = max(self.clusters, start + count)
        return start
