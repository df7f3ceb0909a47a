"""Which clusters of a qcow2 file are in use: QEMU's allocator and the refcounts that it keeps.

A cursor looks forward for free clusters and falls back to a cluster that is freed below it; opening the file puts it
back to the beginning (alloc_clusters_noref and update_refcount, block/qcow2-refcount.c, 10.0). A file cluster can be
used only if a refcount block counts it. A missing block takes a cluster of its own, behind the ones that were about to
be taken, whereupon the search starts anew with these. Where the refcount table has no room for the block, a new table
is put at the end, with the blocks that count it.
"""

from __future__ import annotations

import errno

from qbitsim.files.failures import StepError, io_error
from qbitsim.images.file_holes import FileHoles
from qbitsim.images.qcow2.refcounts import MemoryRefcounts
from qbitsim.images.spans import Spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qbitsim.images.qcow2.cache_order import CacheOrder
    from qbitsim.images.qcow2.refcounts import Refcounts

TABLE_ENTRY = 8
"""Bytes of an entry of a table of any kind."""
MAXIMUM_BLOCKS = (8 << 20) // TABLE_ENTRY
"""A refcount table leads to no more blocks (QCOW_MAX_REFTABLE_SIZE). QEMU's may grow further, and is then refused."""
_TOO_LARGE = "This operation would make the refcount table grow beyond the maximum size supported by QEMU, aborting"


class Allocator:
    """The clusters of one file. A new one holds a header, one cluster of refcount table and one refcount block.

    :param cluster_size: bytes.
    :param refcount_bits: bits of one reference count.
    :param counts: the reference counts, by default in memory; nothing is counted yet.
    :ivar end: bytes of the file.
    :ivar table: first cluster and number of clusters of the refcount table.
    :ivar blocks: refcount blocks, number of the block -> its cluster.
    :ivar counts: the reference counts.
    :ivar holes: pages that nobody has written, as behind a table that does not fill its clusters, or that the host was
        given back; those among the clusters of the disk are not told here.
    :ivar gives_back: clusters that QEMU discards in the file when it frees them go back to the host.
    :ivar changes: grows whenever clusters are taken or freed.
    :ivar order: gets to know what changes, None if nobody wants to know.
    """

    __slots__ = (
        *("_byte_cursor", "_cursor"),
        *("blocks", "changes", "cluster_size", "counts", "end", "gives_back", "holes", "refcount_bits", "table"),
        "order",
    )

    def __init__(self, cluster_size: int, refcount_bits: int, counts: Refcounts | None = None) -> None:
        self.cluster_size = cluster_size
        self.refcount_bits = refcount_bits
        self.table = 1, 1
        self.blocks = {0: 2}
        self.counts = MemoryRefcounts() if counts is None else counts
        self.counts.add(0, 3)
        self._cursor = 0
        self._byte_cursor = 0  # where compressed data go on; 0 for a new cluster
        self.end = 3 * cluster_size
        self.holes = FileHoles()
        self.gives_back = False
        self.changes = 0
        self.order: CacheOrder | None = None

    def load(self, table: tuple[int, int], blocks: dict[int, int], end: int, counts: Refcounts) -> None:
        """Be that of a file that exists.

        :param table: first cluster and number of clusters of the refcount table; :param blocks: of each its cluster.
        :param end: bytes of the file; :param counts: its reference counts.
        """
        self.table, self.blocks, self.end, self.counts = table, blocks, end, counts
        self.reopen()

    @property
    def per_block(self) -> int:
        """How many clusters a refcount block counts."""
        return self.cluster_size * 8 // self.refcount_bits

    @property
    def table_clusters(self) -> int:
        """How many clusters the refcount table takes."""
        return self.table[1]

    def reopen(self) -> None:
        """The file was opened: the search starts from its beginning again."""
        self._cursor = self._byte_cursor = 0

    def refcount(self, cluster: int) -> int:
        """How many references there are to a cluster."""
        return self.counts.get(cluster)

    def block_of(self, cluster: int) -> int:
        """Where the refcount block is that counts a cluster."""
        return self.blocks[cluster // self.per_block]

    def unused(self, clusters: Iterable[int]) -> Spans:
        """Those of the clusters to which nothing refers."""
        found = Spans()
        found.add_runs(cluster for cluster in clusters if not self.counts.get(cluster))
        return found

    def refcounts(self, first: int, count: int) -> Sequence[int]:
        """How many references there are to each of *count* clusters in a row."""
        return self.counts.counts(first, count)

    def first_above(self, most: int) -> tuple[int, int] | None:
        """The first cluster to which there are more references than *most*, and how many."""
        for number in sorted(self.blocks):
            first = number * self.per_block
            counts = self.counts.counts(first, self.per_block)
            if max(counts) > most:
                return next((cluster, count) for cluster, count in enumerate(counts, first) if count > most)
        return None

    def set_refcount(self, cluster: int, count: int) -> None:
        """Let there be *count* references to a cluster."""
        self.changes += 1
        self.counts.set(cluster, count)
        if not count:
            self._cursor = min(self._cursor, cluster)

    @property
    def last_used(self) -> int:
        """The last cluster in use."""
        return self.counts.last

    def used(self) -> list[tuple[int, int]]:
        """The clusters in use, as (first, behind the last)."""
        return list(self.counts.spans())

    def clusters_in_use(self, stop: int) -> int:
        """How many of the first *stop* clusters are in use."""
        return self.counts.in_use(0, stop)

    # -- taking

    def take(self, count: int, length: int | None = None) -> int:
        """Take *count* clusters in a row and return the first; *length* bytes are written there, by default all."""
        while True:
            first = self._search(count)
            if self._count(first, count):
                self._taken(first, count, length)
                return first

    def take_each(self, count: int) -> list[int]:
        """Take *count* clusters, one after another, wherever they are free; all that fit together at once."""
        taken: list[int] = []
        while len(taken) < count:
            first = self.counts.first_gap(self._cursor, 1)
            block = first // self.per_block
            if block not in self.blocks:
                taken.append(self.take(1))
                continue
            stop = self.counts.free_end(first, min(first + count - len(taken), (block + 1) * self.per_block))
            self._add(first, stop)
            self._cursor = stop
            self._taken(first, stop - first)
            taken += range(first, stop)
        return taken

    def _taken(self, first: int, count: int, length: int | None = None) -> None:
        """*length* bytes, by default all, of clusters that were taken are written.

        Compressed data do not go on in one of them. In QEMU they do if the earlier ones there were freed, and spoil it.
        """
        if first <= self._byte_cursor // self.cluster_size < first + count:
            self._byte_cursor = 0
        unit = self.cluster_size
        length = count * unit if length is None else length
        start, stop = first * unit, (first + count) * unit
        if self.holes:
            self.holes.fill(start, start + length)
        self.holes.add(max(start + length, self.end), stop)
        self.written(first, length)

    def take_table(self, length: int) -> tuple[int, int]:
        """Take the clusters of a table of *length* bytes; the first one, and how many."""
        count = -(-length // self.cluster_size)
        return self.take(count, length), count

    def take_at(self, first: int, most: int) -> int:
        """Take up to *most* clusters at *first*, as far as they are free, and return how many (they are written)."""
        while True:
            count = self.counts.free_end(first, first + most) - first
            if self._count(first, count):
                if count:
                    self._taken(first, count)
                return count

    def take_bytes(self, length: int) -> int:
        """Take room for compressed data of *length* bytes, behind earlier ones if possible; the offset in the file."""
        unit, offset = self.cluster_size, self._byte_cursor
        if offset and self.refcount(offset // unit) == (1 << self.refcount_bits) - 1:
            offset = 0
        room = unit - offset % unit
        while True:
            if not offset or room < length:
                fresh = self._search(1) * unit
                if offset and -(-offset // unit) * unit == fresh:
                    room += unit
                else:
                    offset, room = fresh, unit
            first = offset // unit
            if self._count(first, (offset + length - 1) // unit - first + 1):
                break
            offset = 0
        self._byte_cursor = offset + length if (offset + length) % unit else 0
        self.end = max(self.end, offset + length)
        return offset

    def refer(self, first: int, count: int = 1) -> None:
        """Count one more reference to clusters that are in use; in a damaged file their blocks may have to be made."""
        while not self._count(first, count):
            pass

    def refer_to(self, cluster: int, more: int) -> None:
        """Count *more* references to a cluster in use."""
        if more:
            self.counts.set(cluster, self.counts.get(cluster) + more)

    def free(self, first: int, count: int = 1, *, discards: bool = False) -> None:
        """Count one reference less to *count* clusters in a row.

        :param discards: those that become free are discarded in the file (update_refcount_discard).
        """
        self.changes += 1
        if self.order is not None:
            self.order.free(first, first + count)
        freed = self.counts.drop(first, first + count)
        if freed is not None:
            self._cursor = min(self._cursor, freed)
            if discards:
                self.discard(first, count)

    def discard(self, first: int, count: int = 1) -> None:
        """Let the host have those of *count* clusters in a row that are free, if that is wanted."""
        if self.gives_back:
            for start, stop in self.unused(range(first, first + count)):
                self.holes.add(start * self.cluster_size, stop * self.cluster_size)
                self.counts.note_discarded(start, stop)

    def put_back(self, first: int, stop: int, change: int) -> None:
        """Take back that each cluster from *first* to before *stop* got one reference more, 1, or one less, -1."""
        self.changes += 1
        if change > 0:
            self.counts.drop(first, stop)
        else:
            self.counts.add(first, stop)

    def written(self, first: int, length: int) -> None:
        """*length* bytes are written from cluster *first* on."""
        self.end = max(self.end, first * self.cluster_size + length)

    @property
    def next_free(self) -> int:
        """The cluster that would be taken next."""
        return self.counts.first_gap(self._cursor, 1)

    def _search(self, count: int) -> int:
        """The first of *count* free clusters; in a damaged file the header's may be among them, which nobody gets."""
        first = self.counts.first_gap(self._cursor, count)
        if not first:
            raise io_error(errno.EIO)
        self._cursor = first + count
        return first

    def _count(self, first: int, count: int) -> bool:
        """Count a reference to each of these clusters; False if a block had to be made and the search begins anew."""
        per_block, stop = self.per_block, first + count
        for block in range(first // per_block, (stop - 1) // per_block + 1):
            if block not in self.blocks:
                counted = max(block * per_block, first)
                self._add(first, counted)
                self._make_block(block, counted)
                self._cursor = min(self._cursor, first)
                if counted > first:
                    self.free(first, counted - first)
                return False
        self._add(first, stop)
        return True

    def _add(self, first: int, stop: int) -> None:
        self.changes += 1
        if self.order is not None:
            self.order.count(first, stop)
        self.counts.add(first, stop)

    # -- refcount blocks

    def _make_block(self, number: int, cluster: int) -> None:
        """Make refcount block *number*, in which *cluster* is to be counted (alloc_refcount_block)."""
        self.changes += 1
        if self.order is not None:
            self.order.save_refcounts()
        place = self._search(1)
        if place // self.per_block == number:
            self.counts.add(place, place + 1)
        elif not self._count(place, 1):
            return
        self._taken(place, 1)
        if number < self.table[1] * (self.cluster_size // TABLE_ENTRY):
            self.blocks[number] = place
            return
        start = -(-(max(cluster, place) + 1) // self.per_block) * self.per_block
        self.blocks[number] = place
        self.make_table(start, 0, exact=False)

    def make_table(self, start: int, room: int, *, exact: bool) -> int:
        """Put a refcount table, with the blocks that are missing, at cluster *start* (qcow2_refcount_area).

        :param room: clusters behind *start* that the blocks are to count, too.
        :param exact: the table is not to be larger than needed.
        :returns: the first cluster behind the table.
        :raises OSError: EFBIG, as a damaged file refers to what no table can count.
        """
        entries = self.cluster_size // TABLE_ENTRY
        total = refcount_blocks(start + room, self.cluster_size, self.refcount_bits, generous=not exact)
        wanted = total if exact else total + -(-total // 2)
        if wanted > MAXIMUM_BLOCKS:
            raise io_error(errno.EFBIG)
        size = -(-wanted // entries)
        place = start
        for number in range(start // self.per_block, total):
            if number not in self.blocks:
                self.blocks[number] = place
                place += 1
        end = place + size
        self.counts.add(start, end)
        self._taken(start, end - start)
        old, self.table = self.table, (place, size)
        self.free(*old)
        return end

    def change_refcount_bits(self, bits: int) -> int:
        """Make new refcount blocks and a new table, then free the old ones (qcow2_change_refcount_order).

        :returns: how often the old table was gone through to find room for them.
        :raises StepError: the table would become too large.
        :raises OSError: of the host, or since nothing is counted in a damaged file.
        """
        per_block, entries = self.cluster_size * 8 // bits, self.cluster_size // TABLE_ENTRY
        blocks: dict[int, int] = {}
        table: tuple[int, int] | None = None
        grown, walks = True, 0
        while grown:
            grown, walks = False, walks + 1
            for number in self._renumbered(per_block):
                if number not in blocks and self.counts.in_use(number * per_block, (number + 1) * per_block):
                    blocks[number] = self.take(1)
                    grown = True
            if grown:
                if table is not None:
                    self.free(*table)
                if max(blocks) >= MAXIMUM_BLOCKS:
                    raise StepError(errno.ENOTSUP, _TOO_LARGE)
                size = -(-(max(blocks) + 1) // entries)
                table = self.take(size), size
        if table is None:
            raise io_error(errno.EIO)
        old_blocks, old_table = self.blocks, self.table
        self.counts = self.counts.with_bits(bits, blocks)
        self.blocks, self.table, self.refcount_bits = blocks, table, bits
        for _, place in sorted(old_blocks.items()):
            self.free(place)
        self.free(*old_table)
        return walks

    def _renumbered(self, per_block: int) -> list[int]:
        """The numbers that the blocks may get if each is to count *per_block* clusters, ascending."""
        own = self.per_block
        spans = (range(n * own // per_block, -(-(n + 1) * own // per_block)) for n in self.blocks)
        return sorted(set().union(*spans))

    def drop_empty_blocks(self) -> None:
        """Give up the refcount blocks that count nothing but themselves (qcow2_shrink_reftable)."""
        per_block, empty = self.per_block, []
        for number, place in sorted(self.blocks.items()):
            low, high = number * per_block, (number + 1) * per_block
            own = {place} if place // per_block == number else set()
            if self.counts.in_use(low, high) == len(own):
                empty.append(number)
        for number in empty:
            place = self.blocks.pop(number)
            self.counts.drop(place, place + 1)
            self._cursor = min(self._cursor, place)

    def truncate(self) -> None:
        """Cut the file off behind the last cluster in use."""
        self.end = min(self.end, (self.last_used + 1) * self.cluster_size)

    def emptied(self) -> Allocator:
        """That of a new file of the same kind."""
        twin = Allocator(self.cluster_size, self.refcount_bits, self.counts.emptied())
        twin.gives_back = self.gives_back
        return twin

    def copy(self, *, same_file: bool = False) -> Allocator:
        """An independent one of the same value.

        :param same_file: the counts are the same, not only alike.
        """
        twin = Allocator(self.cluster_size, self.refcount_bits)
        twin.load(self.table, self.blocks.copy(), self.end, self.counts if same_file else self.counts.copy())
        twin._cursor, twin._byte_cursor, twin.holes = self._cursor, self._byte_cursor, self.holes.copy()
        twin.gives_back = self.gives_back
        return twin


def refcount_blocks(clusters: int, cluster_size: int, refcount_bits: int, *, generous: bool = False) -> int:
    """How many refcount blocks count *clusters* clusters, themselves and their table (qcow2_refcount_metadata_size).

    :param generous: the table is to have half as many clusters more as it needs.
    """
    return refcount_clusters(clusters, cluster_size, refcount_bits, generous=generous)[0]


def refcount_clusters(
    clusters: int, cluster_size: int, refcount_bits: int, *, generous: bool = False
) -> tuple[int, int]:
    """Like :func:`refcount_blocks`, together with the clusters of the table."""
    per_table, per_block = cluster_size // TABLE_ENTRY, cluster_size * 8 // refcount_bits
    table = blocks = total = 0
    while True:
        last = total
        blocks = -(-(clusters + table + blocks) // per_block)
        table = -(-blocks // per_table)
        total = clusters + blocks + table
        if total == last and generous:
            clusters += -(-table // 2)
            total, generous = 0, False
        if total == last:
            return blocks, table
