"""Where a qcow2 file keeps its internal snapshots: their tables and the list of them (block/qcow2-snapshot.c, 10.0).

All tables of one file refer to the same clusters, which its allocator counts; the methods take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.qcow2.allocator import TABLE_ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.images.qcow2.allocator import Allocator
    from qbitsim.images.qcow2.tables import Tables

_FIXED = 64  # bytes of an entry of the list without id and name


class SnapshotTables:
    """The tables of the snapshots of one file.

    :param external: guest clusters are in a data file.
    :ivar saved: oldest first.
    """

    __slots__ = ("_external", "_list", "saved")

    def __init__(self, *, external: bool) -> None:
        self.saved: list[Tables] = []
        self._external = external
        self._list = 0, 0  # first cluster and bytes

    def create(self, clusters: Allocator, active: Tables, names: Iterable[tuple[str, str]]) -> None:
        """Keep the active tables as they are in a new snapshot.

        :param names: id and name of all snapshots, the new one included.
        """
        saved = active.copy()
        saved.l1 = clusters.take_table(saved.l1[1] * TABLE_ENTRY)[0], saved.l1[1]
        self.refer(clusters, saved)
        self.saved.append(saved)
        self._write_list(clusters, names)

    def delete(self, clusters: Allocator, index: int, names: Iterable[tuple[str, str]]) -> None:
        """Forget the tables of a snapshot.

        :param names: id and name of the snapshots that remain.
        """
        gone = self.saved.pop(index)
        self._write_list(clusters, names)
        self.unrefer(clusters, gone)
        clusters.free(gone.l1[0], -(-gone.l1[1] * TABLE_ENTRY // clusters.cluster_size))

    def list_clusters(self, cluster_size: int) -> range:
        """The clusters of the list."""
        first, length = self._list
        return range(first, first - (-length // cluster_size))

    def refer(self, clusters: Allocator, tables: Tables) -> None:
        """Count one more reference to all that tables lead to."""
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            clusters.refer(first, count)

    def unrefer(self, clusters: Allocator, tables: Tables) -> None:
        """Count one reference less to all that tables lead to."""
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            clusters.free(first, count)

    def most_references(self, clusters: Allocator, tables: Tables) -> int:
        """How often that which tables lead to is counted, at most; a cluster of much compressed data often."""
        counts: dict[int, int] = {}
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            for cluster in range(first, first + count):
                counts[cluster] = counts.get(cluster, 0) + 1
        return max((clusters.refcount(cluster) + more - 1 for cluster, more in counts.items()), default=0)

    def _write_list(self, clusters: Allocator, names: Iterable[tuple[str, str]]) -> None:
        length = 0
        for texts in names:
            length = -(-length // 8) * 8 + _FIXED + sum(len(text.encode()) for text in texts)
        (first, old), self._list = self._list, (clusters.take_table(length)[0] if length else 0, length)
        if old:
            clusters.free(first, -(-old // clusters.cluster_size))

    def copy(self) -> SnapshotTables:
        """Independent tables of the same value."""
        twin = SnapshotTables(external=self._external)
        twin.saved, twin._list = [saved.copy() for saved in self.saved], self._list
        return twin
