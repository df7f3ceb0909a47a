"""Where a qcow2 file keeps what: the offsets in the file that ``qemu-img map`` and the protocol node see.

QEMU takes clusters of the file from a cursor that only looks forward and falls back to a cluster that is freed below
it (alloc_clusters_noref and update_refcount, block/qcow2-refcount.c, 10.0); opening the image puts it back to the
beginning. A new file holds the header, one cluster of refcount table, one refcount block and the L1 table. An L2 table
is allocated with the first guest cluster that needs it, a refcount block with the first file cluster that it counts.

Guest clusters are placed lazily, in the order in which they were first written, so that writes pay nothing. What this
simplifies: a cluster that was zeroed gives its place back, and the refcount table never grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, takewhile

from qbitsim.images.content import Content
from qbitsim.images.spans import Spans

MAXIMUM_NEW_TABLES = 4096
"""Zeroing more than these tables reach, 2 TiB with usual clusters, makes none: QEMU would write for minutes."""


class HostLayout:
    """The clusters of one qcow2 file.

    :param size: of the virtual disk, bytes.
    :param cluster_size: bytes.
    :param refcount_bits: bits of one reference count.
    """

    __slots__ = (
        *("_bitmap_places", "_counted", "_cursor", "_directory", "_l1_table", "_l2_tables", "_places", "_reserved"),
        *("_used", "_wanted_tables", "cluster_size", "end"),
    )

    def __init__(self, size: int, cluster_size: int, refcount_bits: int) -> None:
        self.cluster_size = cluster_size
        self._counted = (cluster_size * 8 // refcount_bits, {0})  # clusters per refcount block, blocks that exist
        self._places: dict[int, int] = {}  # guest cluster -> file cluster
        self._reserved: dict[int, int] = {}  # the same, of clusters that are about to be stored
        self._l2_tables: set[int] = set()
        self._wanted_tables: set[int] = set()  # of clusters that became zero, made at the next sync
        self._bitmap_places: dict[str, list[tuple[int, int]]] = {}  # (first cluster, count) of data and tables
        self._directory: list[tuple[int, int]] = []  # the bitmap directory, if there is one
        self._used = Spans([(0, 3)])
        self._cursor = 0
        self.end = 3 * cluster_size
        self._l1_table = 0, 0  # its first cluster and its length in bytes
        self.grow(size)
        self._cursor = 0

    def reopen(self) -> None:
        """The file was opened: allocation looks for free clusters from its beginning again."""
        self._cursor = 0

    def grow(self, size: int) -> None:
        """The disk grew to *size* bytes: an L1 table that has become too short is replaced."""
        length = -(-size // (self.cluster_size * (self.cluster_size // 8))) * 8
        first, old = self._l1_table
        if length > old:
            self._l1_table = self._take(-(-length // self.cluster_size), length), length
            if old:
                self._free(first, -(-old // self.cluster_size))

    def sync(self, content: Content) -> None:
        """Place the clusters that *content* has stored since the last call, free those it has given up."""
        stored, places = content.allocation_order(), self._places
        if len(places) == len(stored) and not self._wanted_tables and next(reversed(stored), None) in places:
            return
        fresh = list(takewhile(lambda guest: guest not in places, reversed(stored)))
        if len(places) + len(fresh) != len(stored):
            for guest in [guest for guest in places if guest not in stored]:
                self._free(places.pop(guest), 1)
            fresh = [guest for guest in reversed(stored) if guest not in places]
        for guest in reversed(fresh):
            places[guest] = self._take_for(guest)
        if self._wanted_tables:
            wanted, self._wanted_tables = sorted(self._wanted_tables), set()
            self._make_tables(wanted)

    def reserve(self, clusters: Iterable[int]) -> None:
        """Give places to those of the guest clusters that have none, until :meth:`settle`. Call :meth:`sync` before."""
        assert not self._reserved
        for guest in clusters:
            if guest not in self._places:
                self._reserved[guest] = self._take_for(guest)

    def settle(self, content: Content) -> None:
        """Keep the reserved places of the clusters that *content* has stored by now, and give the others back.

        A new L2 table stays in any case (qcow2_alloc_cluster_abort, block/qcow2-cluster.c, 10.0).
        """
        stored, reserved = content.allocation_order(), self._reserved
        self._reserved = {}
        for guest, place in reserved.items():
            if guest in stored:
                self._places[guest] = place
            else:
                self._free(place, 1)

    def want_tables(self, clusters: Iterable[int]) -> None:
        """Make the L2 tables of these guest clusters, which have become zero, when the content is looked at next."""
        per_table = self.cluster_size // 8
        self._wanted_tables |= {cluster // per_table for cluster in clusters}

    def add_tables(self, first: int, stop: int, content: Content) -> None:
        """Make the L2 tables of the guest clusters from *first* to before *stop*, which are to become zero.

        :param content: of the disk as it is before.
        """
        tables = range(first // (self.cluster_size // 8), (stop - 1) // (self.cluster_size // 8) + 1)
        if len(tables) > MAXIMUM_NEW_TABLES or self._l2_tables.issuperset(tables):
            return
        self.sync(content)
        self._make_tables(tables)

    def _make_tables(self, tables: Iterable[int]) -> None:
        for table in tables:
            if table not in self._l2_tables:
                self._l2_tables.add(table)
                self._take(1)

    def _take_for(self, guest_cluster: int) -> int:
        """Allocate a cluster of the file for a guest cluster, and its L2 table if that does not exist."""
        self._make_tables((guest_cluster // (self.cluster_size // 8),))
        return self._take(1)

    def has_table(self, guest_cluster: int) -> bool:
        """Whether the L2 table that says where the guest cluster is exists. Call :meth:`sync` before."""
        return guest_cluster // (self.cluster_size // 8) in self._l2_tables

    @property
    def next_place(self) -> int:
        """The offset in the file of the next cluster that will be taken."""
        return self._find(1) * self.cluster_size

    @property
    def l1_place(self) -> int:
        """The offset in the file of the L1 table."""
        return self._l1_table[0] * self.cluster_size

    def extend(self, end: int) -> None:
        """Something was written up to the byte before *end*: the file is at least as long."""
        self.end = max(self.end, end)

    def place(self, guest_cluster: int) -> int | None:
        """The offset in the file of a guest cluster, None if it has no place. Call :meth:`sync` before."""
        found = self._places.get(guest_cluster, self._reserved.get(guest_cluster))
        return None if found is None else found * self.cluster_size

    def store_bitmaps(self, bitmaps: Iterable[tuple[str, int, int]], kept: Iterable[str] = ()) -> None:
        """Write bitmaps anew, then free the old ones (qcow2-bitmap.c, qcow2_store_persistent_dirty_bitmaps, 10.0).

        :param bitmaps: of each, in file order: its name, the number of clusters its data takes, the number of entries
            of its table.
        :param kept: names of bitmaps that stay where they are, because they are inconsistent.
        """
        old, self._bitmap_places = self._bitmap_places, {name: self._bitmap_places[name] for name in kept}
        freed = [*chain.from_iterable(places for name, places in old.items() if name not in self._bitmap_places)]
        stored = list(bitmaps)
        if not stored and not freed:
            return
        freed += self._directory
        for name, data_clusters, entries in stored:
            count = -(-entries * 8 // self.cluster_size)
            data = [(self._take(1), 1) for _ in range(data_clusters)]
            self._bitmap_places[name] = [*data, (self._take(count, entries * 8), count)]
        self._write_directory()
        for first, count in freed:
            self._free(first, count)

    def has_bitmap(self, name: str) -> bool:
        """Whether a bitmap of that name was ever stored and not removed."""
        return name in self._bitmap_places

    def remove_bitmap(self, name: str) -> None:
        """Take one bitmap out: a new directory, then the old one and the bitmap are freed."""
        if name not in self._bitmap_places:
            return  # it was never stored
        old = [*self._directory, *self._bitmap_places.pop(name)]
        self._write_directory()
        for first, count in old:
            self._free(first, count)

    def _write_directory(self) -> None:
        length = sum(-(-(24 + len(name.encode())) // 8) * 8 for name in self._bitmap_places)
        count = -(-length // self.cluster_size)
        self._directory = [(self._take(count, length), count)] if count else []

    @property
    def image_end(self) -> int:
        """Offset of the first byte behind the last cluster in use, as ``qemu-img check`` reports it."""
        return max(stop for _, stop in self._used) * self.cluster_size

    def copy(self) -> HostLayout:
        """An independent layout of the same value."""
        twin = HostLayout(0, self.cluster_size, 16)
        twin._counted = (self._counted[0], set(self._counted[1]))
        twin._places = self._places.copy()
        twin._l2_tables = self._l2_tables.copy()
        twin._wanted_tables = self._wanted_tables.copy()
        twin._l1_table = self._l1_table
        twin._bitmap_places = self._bitmap_places.copy()
        twin._directory = self._directory.copy()
        twin._used = self._used.copy()
        twin._cursor, twin.end = self._cursor, self.end
        return twin

    def _take(self, count: int, length: int | None = None) -> int:
        """Allocate *count* clusters in a row, of which *length* bytes are written; the first one's number."""
        first = self._find(count)
        per_block, blocks = self._counted
        for block in range(first // per_block, (first + count - 1) // per_block + 1):
            if block not in blocks:
                blocks.add(block)
                self._take(1)
                return self._take(count, length)
        self._used.add(first, first + count)
        self._cursor = first + count
        written = count * self.cluster_size if length is None else length
        self.end = max(self.end, first * self.cluster_size + written)
        return first

    def _find(self, count: int) -> int:
        first = self._cursor
        for start, stop in self._used:
            if stop > first:
                if start >= first + count:
                    break
                first = stop
        return first

    def _free(self, first: int, count: int) -> None:
        self._used.remove(first, first + count)
        self._cursor = min(self._cursor, first)
