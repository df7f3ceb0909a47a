"""Where a qcow2 file keeps what: the places of its tables and of the guest's clusters.

A new file holds what a new :class:`.Allocator` holds, and the L1 table. An L2 table is allocated with the first guest
cluster in its reach that is written, zeroed or discarded. A request takes the clusters it needs in one run, if possible
behind those it has already (qcow2_alloc_host_offset, block/qcow2-cluster.c, 10.0). A cluster that was zeroed in place
keeps its place; one that an internal snapshot shares gets a new one when it is written, and so does its L2 table.

Requests of one cluster are by far the most frequent; they are placed lazily, in the order in which the clusters were
first stored, so that they pay nothing (:meth:`HostLayout.sync`). Everything else is placed at once. What is lazy is in
order because whatever takes or frees clusters at once syncs before.
"""

from __future__ import annotations

import errno
from itertools import groupby, islice

from qbitsim.files.failures import StepError
from qbitsim.images.content import Content
from qbitsim.images.qcow2.allocator import TABLE_ENTRY, Allocator
from qbitsim.images.qcow2.bitmap_places import BitmapPlaces
from qbitsim.images.qcow2.snapshot_tables import SnapshotTables
from qbitsim.images.qcow2.tables import Packed, Part, Tables, packed_span
from qbitsim.images.spans import Spans
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qbitsim.images.qcow2.cache_order import CacheOrder

_TABLE_CACHE = 32 << 20  # where L2 tables take more, a request is cut at slices of them
_SLICE = 4096


@record
class CutOff:
    """What a disk that is cut off leaves behind, as clusters of the file.

    :ivar data: of the guest, compressed or not.
    :ivar last_table: the L2 table that is still needed, though not all of it; None if there is none.
    """

    data: Spans
    last_table: int | None


class HostLayout:
    """The clusters of one qcow2 file.

    :param size: of the virtual disk, bytes.
    :param cluster_size: bytes.
    :param refcount_bits: bits of one reference count.
    :param external: guest clusters are in a data file, each at its own offset.
    :param clusters: those of a new file, by default counted in memory; :param tables: tables that lead nowhere,
        by default in memory.
    :ivar clusters: which clusters are in use.
    :ivar bitmaps: where the stored bitmaps are.
    :ivar active: the tables of the disk; :ivar snapshots: those of the internal snapshots.
    :ivar dropped_tables: the L2 tables that went when the disk was last cut off, as clusters of the file.
    :ivar packed_bytes: compressed data that another program made in its own way: offset in the file -> bytes.
    """

    __slots__ = (
        *("_reserved", "_reserved_at", "_seen", "_slice", "_state_table"),
        *("active", "bitmaps", "cluster_size", "clusters", "dropped_tables", "external", "packed_bytes", "snapshots"),
    )

    def __init__(
        self,
        size: int,
        cluster_size: int,
        refcount_bits: int,
        *,
        external: bool = False,
        clusters: Allocator | None = None,
        tables: Tables | None = None,
    ) -> None:
        self.cluster_size = cluster_size
        self.external = external
        self.clusters = Allocator(cluster_size, refcount_bits) if clusters is None else clusters
        self.active = Tables() if tables is None else tables
        self.snapshots = SnapshotTables(external=external)
        self.dropped_tables: list[int] = []
        self.packed_bytes: dict[int, bytes] = {}
        self._reserved: dict[int, int | Packed | None] = {}  # guest clusters -> where they were before
        self._reserved_at = 0  # bytes of the file then
        self._seen = 0  # how many stored clusters have been placed
        self._slice = cluster_size // TABLE_ENTRY
        self.bitmaps = BitmapPlaces()
        self.grow(size)
        self.clusters.reopen()

    def reopen(self) -> None:
        """The file was opened: allocation looks for free clusters from its beginning again."""
        self.clusters.reopen()

    @property
    def order(self) -> CacheOrder | None:
        """In which order tables and refcounts are written; None if nobody wants to know."""
        return self.clusters.order

    # -- the size of the disk

    def grow(self, size: int) -> None:
        """The disk grew to *size* bytes: an L1 table that has become too short is replaced."""
        self._state_table = -(-size // (self.cluster_size * (self.cluster_size // TABLE_ENTRY)))
        self._grow_l1(self._state_table)
        reach = -(-size // self.cluster_size) * TABLE_ENTRY
        self._slice = (self.cluster_size if reach <= _TABLE_CACHE else min(self.cluster_size, _SLICE)) // TABLE_ENTRY

    def _grow_l1(self, entries: int, *, generous: bool = False) -> None:
        """Replace an L1 table that has less than *entries*; a generous one has half as many more, until they do."""
        first, old = self.active.l1
        if generous:
            wanted, entries = entries, max(old, 1)
            while entries < wanted:
                entries = (entries * 3 + 1) // 2
        if entries > old:
            self.active.l1 = self.clusters.take_table(entries * TABLE_ENTRY)[0], entries
            if old:
                self.clusters.free(first, self._count(old * TABLE_ENTRY))

    def preallocate(self, first: int, stop: int, store: Callable[[int, int, Part], None]) -> None:
        """Place the guest clusters from *first* to before *stop* behind all others, with refcounts for them.

        That is what ``preallocation=falloc`` and ``full`` do when the disk grows (qcow2_co_truncate, block/qcow2.c,
        10.0): a new refcount table comes first, then the clusters; L2 tables go where there is room. A cluster that had
        a place before gives it back at the end, when nobody can write over what still has to be copied.

        :param store: as :meth:`write` has it, for those in the reach of one L2 table.
        :raises StepError: the file is longer than it would be then.
        """
        count = stop - first
        tables = -(-count // (self.cluster_size // TABLE_ENTRY)) + 1
        start = self.clusters.make_table(self.clusters.last_used + 1, count + tables, exact=True)
        if (start + count) * self.cluster_size < self.clusters.end:
            text = "Failed to resize underlying file: Cannot use preallocation for shrinking files"
            raise StepError(errno.EINVAL, text)
        assert self.clusters.take_at(start, count) == count
        replaced: list[int | Packed | None] = []
        guest, per_table = first, self.cluster_size // TABLE_ENTRY
        while guest < stop:
            begin, guest = guest, min(stop, guest - guest % per_table + per_table)
            part = Part({}, {})
            self._prepare_table(begin, part)
            for each in range(begin, guest):
                replaced += self._old_places(each)
                self.active.places[each] = start + each - first
            store(begin, guest, part)
        self._release_all(replaced)

    def shrink(self, size: int, old: int) -> None:
        """The disk is cut off at *size* bytes (qcow2_co_truncate, block/qcow2.c, 10.0). Call :meth:`sync` before.

        :param old: its size before.
        """
        unit = self.cluster_size
        self.discard(-(-size // unit), -(-old // unit))
        gone = [table for table in self.active.l2 if table * (unit // TABLE_ENTRY) >= -(-size // unit)]
        # What the machine's state had there is counted for ever (qcow2_shrink_l1_table).
        self.dropped_tables = [self.active.drop_table(each, unit // TABLE_ENTRY) for each in sorted(gone, reverse=True)]
        for place in self.dropped_tables:
            self.clusters.free(place, discards=True)
        self.clusters.drop_empty_blocks()
        self.clusters.truncate()

    def cut_off(self, size: int, old: int) -> CutOff:
        """What :meth:`shrink` will count less."""
        unit, per_table = self.cluster_size, self.cluster_size // TABLE_ENTRY
        first, stop = -(-size // unit), -(-old // unit)
        data = Spans()
        if not self.external:
            data.add_runs(self._places_of_guest(first, stop))
        last_table = self.active.l2.get(first // per_table) if first % per_table else None
        return CutOff(data, last_table)

    def _places_of_guest(self, first: int, stop: int) -> Iterator[int]:
        """The clusters of the file that hold those of the guest, table by table."""
        unit, per_table = self.cluster_size, self.cluster_size // TABLE_ENTRY
        for table in sorted(table for table in self.active.l2 if (table + 1) * per_table > first):
            for guest in self.active.allocated(max(first, table * per_table), min(stop, (table + 1) * per_table)):
                packed = self.active.packed.get(guest)
                start, count = (self.active.places[guest], 1) if packed is None else packed_span(packed, unit)
                yield from range(start, start + count)

    @property
    def can_be_reset(self) -> bool:
        """Whether the L1 table of an empty file fits where one refcount block counts it."""
        return 3 + self._count(self.active.l1[1] * TABLE_ENTRY) <= self.clusters.per_block and not self.external

    @property
    def is_where_it_begins(self) -> bool:
        """Whether the tables that an empty file has are where a new file has them."""
        clusters = self.clusters
        return clusters.table == (1, 1) and clusters.blocks[0] == 2 and self.active.l1[0] == 3

    def reset(self) -> None:
        """Everything but the L1 table goes, which moves to its first place (make_completely_empty, block/qcow2.c)."""
        entries = self.active.l1[1]
        order, self.clusters, self.active = self.order, self.clusters.emptied(), self.active.emptied()
        self._grow_l1(entries)
        self.clusters.written(self.active.l1[0], self._count(entries * TABLE_ENTRY) * self.cluster_size)
        self.clusters.order = order

    # -- guest clusters

    @property
    def is_lazy(self) -> bool:
        """Whether requests of one cluster may be placed later, with :meth:`sync`."""
        return not (self.external or self.snapshots.saved or self.active.packed)

    def sync(self, content: Content) -> None:
        """Place the clusters that *content* has stored since the last call."""
        stored = content.allocation_order()
        if len(stored) == self._seen:
            return
        recent = list(islice(reversed(stored), len(stored) - self._seen))[::-1]
        if self.order is None:
            self._place_each(recent)
        else:
            saved = max((self.order.stored_then or 0) - self._seen, 0)
            self._place_each(recent[:saved])
            if saved:
                self.order.forget()
            self._place_each(recent[saved:])
        self.settle(content)

    def _place_each(self, guests: list[int]) -> None:
        """Place guest clusters one after the other, which were stored in this order; some were zeroed in place."""
        places, l2, per_table = self.active.places, self.active.l2, self.cluster_size // TABLE_ENTRY
        for table, group in groupby(guests, lambda guest: guest // per_table):
            stored = list(group)
            new = [guest for guest in stored if guest not in places]
            if table not in l2:
                self._put_table(table)
            if self.order is not None:
                self.order.link()
                self.order.remember_stored(stored, places)
            places.update(zip(new, new if self.external else self.clusters.take_each(len(new)), strict=True))

    def _put_table(self, number: int) -> None:
        """Make an L2 table, for which all tables are written (l2_allocate)."""
        if self.order is not None:
            self.order.link()
        self.active.put_table(number, self.clusters.take(1))
        if self.order is not None:
            self.order.forget()

    def settle(self, content: Content) -> None:
        """What *content* has stored by now is placed."""
        self._seen = len(content.allocation_order())
        if self.order is not None:
            self.order.stored_then = None

    def write(
        self,
        first: int,
        stop: int,
        store: Callable[[int, int, Part], None] | None = None,
        save: Callable[[], None] | None = None,
    ) -> None:
        """Place the guest clusters from *first* to before *stop*, which one request is about to write.

        Clusters that are replaced are freed when their part of the request is done: at the end, or while a later part
        waits for a new L2 table to be written.

        :param store: writes the guest clusters from one to before another, which have got places that follow each
            other. If it raises OSError, they get back what they had (qcow2_alloc_cluster_abort), and no more is placed.
        :param save: writes all tables, when there is a new one; OSError as of *store*.
        """
        replaced: list[int | Packed | None] = []
        guest = first
        try:
            while guest < stop:
                begin, part = guest, Part({}, {}, save)
                guest = self._place_whole_part(begin, stop, part)
                if part.tables:
                    self._release_all(replaced)
                if store is not None:
                    self._store(store, begin, guest, part)
                replaced += filter(None, part.places.values())
        finally:
            self._release_all(replaced)

    def _store(self, store: Callable[[int, int, Part], None], first: int, stop: int, part: Part) -> None:
        try:
            store(first, stop, part)
        except OSError:
            self._put_back(part)
            raise

    def _put_back(self, part: Part) -> None:
        for guest, old in part.places.items():
            self._put_back_place(guest, old)
        for table, kept in part.tables.items():
            self.clusters.free(self.active.take_back_table(table, kept))
            if kept is not None:
                self.clusters.refer(kept)

    def _put_back_place(self, guest: int, old: int | Packed | None) -> None:
        self._release(self.active.places.pop(guest))
        if isinstance(old, tuple):
            self.active.packed[guest] = old
        elif old is not None:
            self.active.places[guest] = old

    def _place_whole_part(self, guest: int, stop: int, part: Part) -> int:
        """:meth:`_place_part`; nothing of it is placed if it raises OSError."""
        try:
            return self._place_part(guest, stop, part)
        except OSError:
            self._put_back(part)
            raise

    def _place_part(self, guest: int, stop: int, part: Part) -> int:
        """Place clusters as long as they follow each other in the file (one qcow2_alloc_host_offset).

        :param part: gets what is changed.
        :returns: the first cluster that is left over.
        """
        places, host, begin = self.active.places, None, guest
        while guest < stop:
            self._prepare_table(guest, part)
            if self.is_own(guest):
                if host not in {None, places[guest]}:
                    break
                host = places[guest] + 1
                guest += 1
                continue
            limit = min(stop, (guest // self._slice + 1) * self._slice)
            count = next((n for n in range(1, limit - guest) if self.is_own(guest + n)), limit - guest)
            if self.external:
                start = guest
            elif host is None:
                start = self.clusters.take(count)
            else:
                start, count = host, self.clusters.take_at(host, count)
            for number in range(count):
                part.places[guest + number] = next(self._old_places(guest + number), None)
                places[guest + number] = start + number
            if not count:
                break
            host = start + count
            guest += count
        if self.order is not None:
            self.order.remember_written(range(begin, guest), part.places, places)
        return guest

    def is_own(self, guest: int) -> bool:
        """Whether a guest cluster can be written where it is."""
        place = self.active.places.get(guest)
        return place is not None and (self.external or self.clusters.refcount(place) == 1)

    def _old_places(self, guest: int) -> Iterator[int | Packed]:
        if guest in self.active.packed:
            yield self.active.packed.pop(guest)
        elif guest in self.active.places:
            yield self.active.places[guest]

    def _release(self, place: int | Packed, *, discards: bool = False) -> None:
        """Count one reference less to a cluster or to the clusters of compressed data."""
        if isinstance(place, tuple):
            self.clusters.free(*packed_span(place, self.cluster_size), discards=discards)
        elif not self.external:
            self.clusters.free(place, discards=discards)

    def _release_all(self, places: list[int | Packed | None]) -> None:
        """Release those that there are, and forget them."""
        for place in places:
            if place is not None:
                self._release(place)
        places.clear()

    def takes_packed(self, guest: int) -> bool:
        """Whether a compressed cluster can be put there (qcow2_alloc_compressed_cluster_offset).

        The L2 table is made ready before QEMU looks.
        """
        self._prepare_table(guest)
        return guest not in self.active.places and guest not in self.active.packed

    def write_packed(self, guest: int, length: int) -> None:
        """Place a guest cluster that is about to be stored compressed, in *length* bytes."""
        self._prepare_table(guest)
        if self.order is not None:
            self.order.link()
        offset = self.clusters.take_bytes(length)
        self.packed_bytes.pop(offset, None)
        if self.order is not None:
            self.order.remember(guest, None)
        self.active.packed[guest] = offset, length

    def zero(self, first: int, stop: int, *, unmap: bool) -> None:
        """The guest clusters from *first* to before *stop* become zero (zero_in_l2_slice).

        :param unmap: they give their places back. Compressed ones always do.
        """
        for guest in self._allocated(first, stop):
            if unmap or guest in self.active.packed:
                self._drop(guest)
            elif self.order is not None:
                self.order.remember(guest, self.active.places[guest])

    def discard(self, first: int, stop: int) -> None:
        """The guest clusters from *first* to before *stop* give their places back (discard_in_l2_slice)."""
        for guest in self._allocated(first, stop):
            self._drop(guest)

    def reserve(self, first: int, stop: int) -> None:
        """Place the guest clusters of a write that may fail; then :meth:`settle_reserved`. Call :meth:`sync` before."""
        guest, self._reserved_at = first, self.clusters.end
        while guest < stop:
            part = Part({}, {})
            guest = self._place_whole_part(guest, stop, part)
            self._reserved.update(part.places)

    def settle_reserved(self, *, stored: Callable[[int], bool]) -> None:
        """Free what the reserved clusters had before, or what those have got that were not *stored*.

        If nothing was stored, only the new tables have made the file longer.
        """
        reserved, self._reserved = self._reserved, {}
        kept = 0
        for guest, old in reserved.items():
            if not stored(guest):
                self._put_back_place(guest, old)
                continue
            kept += 1
            if old is not None:
                self._release(old)
        if reserved and not kept:
            tables = (*self.active.l2.values(), *self.clusters.blocks.values())
            self.clusters.end = max(self._reserved_at, (max(tables) + 1) * self.cluster_size)

    def put_back(self, guest: int, place: int | Packed | None) -> None:
        """Let a guest cluster be where it was, whatever the refcounts say."""
        self.active.places.pop(guest, None)
        self.active.packed.pop(guest, None)
        if isinstance(place, tuple):
            self.active.packed[guest] = place
        elif place is not None:
            self.active.places[guest] = place

    def give_up_packed(self, guest: int) -> None:
        """The compressed data of a guest cluster could not be written."""
        self._release(self.active.packed.pop(guest))

    def _drop(self, guest: int) -> None:
        for place in self._old_places(guest):
            if self.order is not None:
                self.order.remember(guest, place)
            self.active.places.pop(guest, None)
            self._release(place, discards=True)

    def _allocated(self, first: int, stop: int) -> Iterator[int]:
        """The guest clusters in the range that have places, ascending; their L2 tables are made ready for a change.

        L2 tables that do not exist are made, too, unless they are too many.
        """
        per_table = self.cluster_size // TABLE_ENTRY
        tables: Iterable[int] = range(first // per_table, (stop - 1) // per_table + 1) if first < stop else range(0)
        if len(range(first, stop)) // per_table - len(self.active.l2) > self.active.most_new:
            tables = sorted(table for table in self.active.l2 if first <= table * per_table < stop)
        for table in tables:
            self._prepare_table(table * per_table)
            yield from self.active.allocated(max(first, table * per_table), min(stop, (table + 1) * per_table))

    # -- L2 tables

    def has_tables(self, guests: Iterable[int]) -> bool:
        """Whether the L2 tables of all these guest clusters exist."""
        per_table = self.cluster_size // TABLE_ENTRY
        return {guest // per_table for guest in guests} <= self.active.l2.keys()

    def _prepare_table(self, guest: int, part: Part | None = None) -> None:
        """Make the L2 table of a guest cluster, or a copy of one that a snapshot shares (get_cluster_table).

        :param part: gets the table, if it had to be made.
        """
        table, l2 = guest // (self.cluster_size // TABLE_ENTRY), self.active.l2
        if not self._lacks_table(table):
            return
        old = l2.get(table)
        self._put_table(table)
        if part is not None and part.save is not None:
            try:
                part.save()
            except OSError:
                self.clusters.free(self.active.take_back_table(table, old))
                raise
        if old is not None:
            self.clusters.free(old)
        if part is not None:
            part.tables[table] = old

    def _lacks_table(self, table: int) -> bool:
        """Whether the disk has no such L2 table, or only shares it with a snapshot."""
        place = self.active.l2.get(table)
        return place is None or (bool(self.snapshots.saved) and self.clusters.refcount(place) > 1)

    # -- looking; call :meth:`sync` before

    def host_offset(self, offset: int) -> int | None:
        """Where in the file the byte at *offset* of the disk is kept, None if it has no place of its own."""
        cluster, skip = divmod(offset, self.cluster_size)
        found = self.active.places.get(cluster)
        return None if found is None else found * self.cluster_size + skip

    def host_runs(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Where in the file a range is kept, as (offset, length), each as long as it goes on there.

        Compressed clusters are there as a whole; what has no place is left out.
        """
        end, unit, place, reach = offset + length, self.cluster_size, 0, 0
        while offset < end:
            stop = min(offset - offset % unit + unit, end)
            own = self.host_offset(offset)
            start, size = self.active.packed.get(offset // unit, (0, 0)) if own is None else (own, stop - offset)
            if reach and start != place + reach:
                yield place, reach
                reach = 0
            place, reach = (place, reach + size) if reach else (start, size)
            offset = stop
        if reach:
            yield place, reach

    def is_packed(self, offset: int) -> bool:
        """Whether the byte at *offset* of the disk is kept compressed."""
        return offset // self.cluster_size in self.active.packed

    def new_table_places(self, offset: int) -> list[tuple[int, int]]:
        """Where in the file QEMU writes before the byte at *offset*, the first in reach of its L2 table, can be stored.

        That is the refcounts, the new L2 table itself, which is put right in front of the data, and one entry of the L1
        table; later changes of the tables stay in memory until they are flushed (l2_allocate and qcow2_write_l1_entry,
        block/qcow2-cluster.c, 10.0). Nothing if the table exists and no snapshot shares it.

        :returns: pairs of offset and length, in bytes.
        """
        unit = self.cluster_size
        table = offset // (unit * (unit // TABLE_ENTRY))
        if not self._lacks_table(table):
            return []
        entry = self.active.l1[0] * unit + table * TABLE_ENTRY
        place = self.clusters.next_free
        counted = place // self.clusters.per_block in self.clusters.blocks
        block = self.clusters.block_of(place if counted else 0)
        return [(block * unit, unit), (place * unit, unit), (entry, TABLE_ENTRY)]

    def table_places(self) -> Iterator[tuple[int, int]]:
        """Where in the file everything is but the data of guests, as (offset, length)."""
        unit, bitmaps = self.cluster_size, self.bitmaps
        yield 0, unit
        yield self.clusters.table[0] * unit, self.clusters.table[1] * unit
        for place in self.clusters.blocks.values():
            yield place * unit, unit
        for tables in (self.active, *self.snapshots.saved):
            yield tables.l1[0] * unit, tables.l1[1] * TABLE_ENTRY
            for place in tables.l2.values():
                yield place * unit, unit
        yield self.snapshots.list_place[0] * unit, self.snapshots.list_place[1]
        for bitmap in bitmaps.by_name.values():
            yield bitmap.table * unit, bitmap.entries * TABLE_ENTRY
            yield from ((entry, unit) for entry in bitmap.data.values() if entry >= unit)
        if bitmaps.directory is not None:
            yield bitmaps.directory

    def table_end(self, offset: int) -> int:
        """Where in the file the slice of the L2 table ends that is in charge of the byte at *offset*; 0 without one."""
        cluster = offset // self.cluster_size
        table, entry = divmod(cluster, self.cluster_size // TABLE_ENTRY)
        place = self.active.l2.get(table)
        if place is None:
            return 0
        return place * self.cluster_size + (entry // self._slice + 1) * self._slice * TABLE_ENTRY

    def slice_end(self, guest_cluster: int) -> int:
        """The guest cluster with which the next slice of an L2 table begins, behind the one of ``guest_cluster``."""
        return guest_cluster - guest_cluster % self._slice + self._slice

    def run_end(self, first: int, stop: int) -> int:
        """The guest cluster, at most ``stop``, up to which those from ``first`` are alike in the file.

        They follow each other, or none has a place; a compressed one is alone (count_contiguous_subclusters,
        block/qcow2-cluster.c, 10.0). Call :meth:`sync` before.
        """
        return first + 1 if first in self.active.packed else self.active.run_end(first, stop)

    @property
    def end(self) -> int:
        """Bytes of the file."""
        return self.clusters.end

    @property
    def image_end(self) -> int:
        """Offset of the first byte behind the last cluster in use, as ``qemu-img check`` reports it."""
        return (self.clusters.last_used + 1) * self.cluster_size

    def keeps_zeroes(self, content: Content) -> bool:
        """Whether clusters that hold no data in *content* may have places."""
        return self.active.keeps_more_than(content.allocation_order())

    # -- internal snapshots; call :meth:`sync` before

    def save_state(self, length: int) -> None:
        """Place *length* bytes of the machine's state behind the disk (qcow2_save_vmstate).

        The first few bytes, which are in one cluster, are a request of their own. The L1 table grows as it does
        whenever a table is missing, by half (qcow2_grow_l1_table).
        """
        first, stop = self.state_range(length)
        self._grow_l1(-(-stop // (self.cluster_size // TABLE_ENTRY)), generous=True)
        self.write(first, first + 1)
        if stop > first + 1:
            self.write(first + 1, stop)
        self.active.settle()

    def create_snapshot(self, lengths: Iterable[int], state_size: int) -> None:
        """:meth:`.SnapshotTables.create`; the disk gives up the machine's state, which the snapshot has now."""
        self.snapshots.create(self.clusters, self.active, lengths)
        self.discard(*self.state_range(state_size))

    def create_snapshot_in_vain(self) -> None:
        """:meth:`.SnapshotTables.create_in_vain`."""
        self.snapshots.create_in_vain(self.clusters, self.active)

    def state_range(self, length: int) -> tuple[int, int]:
        """The clusters of the guest, behind the disk, that *length* bytes of the machine's state take."""
        first = self._state_table * (self.cluster_size // TABLE_ENTRY)
        return first, first + self._count(length)

    def apply_snapshot(self, index: int) -> None:
        """Put the tables of a snapshot in place of the active ones."""
        saved = self.snapshots.saved[index]
        self._grow_l1(saved.l1[1])
        self.snapshots.refer(self.clusters, saved)
        self.snapshots.unrefer(self.clusters, self.active)
        l1, self.active = self.active.l1, saved.copy()
        self.active.l1 = l1

    def delete_snapshot(self, index: int, lengths: Iterable[int]) -> None:
        """:meth:`.SnapshotTables.delete`."""
        self.snapshots.delete(self.clusters, index, lengths)

    @property
    def most_references(self) -> int:
        """How often the active tables' most wanted cluster, or the one it would be, is counted."""
        return self.snapshots.most_references(self.clusters, self.active)

    # -- all of it

    def copy(self, *, same_file: bool = False) -> HostLayout:
        """An independent layout of the same value.

        :param same_file: its refcounts and L2 tables are the same, not only alike.
        """
        twin = HostLayout(0, self.cluster_size, self.clusters.refcount_bits, external=self.external)
        twin.clusters = self.clusters.copy(same_file=same_file)
        known: dict[int, object] | None = None if same_file else {}
        twin.active = self.active.copy() if known is None else self.active.copy_to(known)
        twin.snapshots = self.snapshots.copy(known)
        twin.packed_bytes, twin.dropped_tables = self.packed_bytes.copy(), self.dropped_tables
        twin._seen, twin._slice, twin._state_table = self._seen, self._slice, self._state_table
        twin.bitmaps = self.bitmaps.copy()
        return twin

    def _count(self, length: int) -> int:
        return -(-length // self.cluster_size)
