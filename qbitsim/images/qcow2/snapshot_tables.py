"""Where a qcow2 file keeps its internal snapshots: their tables and the list of them (block/qcow2-snapshot.c, 10.0).

All tables of one file refer to the same clusters, which its allocator counts; the methods take it.
"""

from __future__ import annotations

from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.tables import packed_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.images.qcow2.allocator import Allocator
    from qbitsim.images.qcow2.tables import Tables


class SnapshotTables:
    """The tables of the snapshots of one file.

    :param external: guest clusters are in a data file.
    :ivar saved: oldest first.
    :ivar list_place: first cluster and bytes of the list of snapshots.
    """

    __slots__ = ("_external", "list_place", "saved")

    def __init__(self, *, external: bool) -> None:
        self.saved: list[Tables] = []
        self._external = external
        self.list_place = 0, 0

    def create(self, clusters: Allocator, active: Tables, lengths: Iterable[int]) -> None:
        """Keep the active tables as they are in a new snapshot.

        :param lengths: bytes of the list entries of all snapshots, the new one included.
        """
        saved = active.copy()
        saved.l1 = clusters.take_table(saved.l1[1] * TABLE_ENTRY)[0], saved.l1[1]
        self.refer(clusters, saved)
        self.saved.append(saved)
        self._write_list(clusters, lengths)

    def create_in_vain(self, clusters: Allocator, active: Tables) -> None:
        """Leave behind what a snapshot leaves that cannot be: its L1 table, and the references counted before the end.

        Tables are gone through one after another, the clusters of each before it (qcow2_update_snapshot_refcount).
        """
        unit, most = clusters.cluster_size, (1 << clusters.refcount_bits) - 1
        per_table = unit // TABLE_ENTRY
        clusters.take_table(active.l1[1] * TABLE_ENTRY)
        for number, table in sorted(active.l2.items()):
            for guest in active.allocated(number * per_table, (number + 1) * per_table):
                packed = active.packed.get(guest)
                first, count = (active.places[guest], 1) if packed is None else packed_span(packed, unit)
                if most in clusters.refcounts(first, count):
                    return
                clusters.refer(first, count)
            if clusters.refcount(table) == most:
                return
            clusters.refer(table)

    def delete(self, clusters: Allocator, index: int, lengths: Iterable[int]) -> None:
        """Forget the tables of a snapshot.

        :param lengths: bytes of the list entries of the snapshots that remain.
        """
        gone = self.saved.pop(index)
        self._write_list(clusters, lengths)
        self.unrefer(clusters, gone)
        clusters.free(gone.l1[0], len(gone.l1_clusters(clusters.cluster_size)), discards=True)

    def parts(self, clusters: Allocator, index: int) -> tuple[set[int], set[int]]:
        """The clusters to which the tables of a snapshot lead, and those of its L1 table."""
        saved = self.saved[index]
        return self.led_to(clusters, saved), set(saved.l1_clusters(clusters.cluster_size))

    def led_to(self, clusters: Allocator, tables: Tables) -> set[int]:
        """The clusters to which tables lead."""
        led = tables.clusters(clusters.cluster_size, external=self._external)
        return {cluster for first, count in led for cluster in range(first, first + count)}

    def list_clusters(self, cluster_size: int) -> range:
        """The clusters of the list."""
        first, length = self.list_place
        return range(first, first - (-length // cluster_size))

    def refer(self, clusters: Allocator, tables: Tables) -> None:
        """Count one more reference to all that tables lead to."""
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            clusters.refer(first, count)

    def unrefer(self, clusters: Allocator, tables: Tables) -> None:
        """Count one reference less to all that tables lead to."""
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            clusters.free(first, count, discards=True)

    def most_references(self, clusters: Allocator, tables: Tables) -> int:
        """How often that which tables lead to is counted, at most; a cluster of much compressed data often."""
        most, packed = 0, dict[int, int]()
        for first, count in tables.clusters(clusters.cluster_size, external=self._external):
            most = max(most, *clusters.refcounts(first, count))
        for place in tables.packed.values():
            first, count = packed_span(place, clusters.cluster_size)
            for cluster in range(first, first + count):
                packed[cluster] = packed.get(cluster, 0) + 1
        return max(most, *(clusters.refcount(cluster) + more - 1 for cluster, more in packed.items()), 0)

    def _write_list(self, clusters: Allocator, lengths: Iterable[int]) -> None:
        length = 0
        for entry in lengths:
            length = -(-length // 8) * 8 + entry
        (first, old), self.list_place = self.list_place, (clusters.take_table(length)[0] if length else 0, length)
        if old:
            clusters.free(first, -(-old // clusters.cluster_size), discards=True)

    def copy(self, known: dict[int, object] | None) -> SnapshotTables:
        """The same of the same file; or of another one, of which *known* was copied (:meth:`.Tables.copy_to`)."""
        twin = SnapshotTables(external=self._external)
        twin.saved = [saved.copy() if known is None else saved.copy_to(known) for saved in self.saved]
        twin.list_place = self.list_place
        return twin
