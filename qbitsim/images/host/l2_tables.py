"""The L2 tables of a qcow2 file that are read when they are wanted, and what they say of the disk.

An :class:`L2Cache` has the tables of one file, by the clusters in which they are, so that the disk and its internal
snapshots share what they share in the file. A :class:`CachedTables` is one L1 table above it: to the layout it is a
:class:`.Tables`, and to a :class:`.PlacedContent` it says what the disk reads as. Both are one thing, the entries of
the file, which are kept as they are there: opening costs the L1 table, and memory is that of the cache.

Only while a request is under way do layout and disk differ: a cluster that was given a new place still reads as what it
was until its data are there. What it was is kept in :attr:`CachedTables.unsettled` until the disk has followed.
"""

from __future__ import annotations

import errno
import sys

from qbitsim.files.failures import io_error
from qbitsim.images.content import Kind
from qbitsim.images.host.table_cache import TableCache
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.structures import COMPRESSED, COPIED, OFFSET_MASK, ZERO
from qbitsim.images.qcow2.tables import Packed, Tables, packed_span
from qbitsim.light_library import MutableMapping, array, or_, reduce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import TypeVar

    from qbitsim.files.tree import ByteSource

    _V = TypeVar("_V")
else:
    _V = object

_NEAR = 64
_SLICE = 512
"""Entries of a slice of an L2 table, 4 KiB (l2-cache-entry-size)."""
_FIRST, _LAST = (7, 0) if sys.byteorder == "little" else (0, 7)
"""The byte of an entry in which COPIED and COMPRESSED are, and the one with ZERO."""


class L2Cache:
    """The L2 tables of one file.

    :param file: open; None for one that is not there, all tables of which are kept.
    :param cluster_size: bytes.
    :param external: guest clusters are in a data file, each at its own offset.
    :param zero_clusters: whether an entry may say ZERO.
    :ivar slices: pieces of them, of which one is read at a time: table in cluster *n* has those with :meth:`keys` (n).
    :ivar per_slice: entries of a slice.
    """

    __slots__ = (
        *("_file", "bits", "cluster_size", "external", "in_table", "per_slice", "per_table", "slices"),
        "zero_clusters",
    )

    def __init__(
        self, file: ByteSource | None, cluster_size: int, *, external: bool = False, zero_clusters: bool = True
    ) -> None:
        self._file = file
        self.cluster_size = cluster_size
        self.bits = cluster_size.bit_length() - 1
        self.external = external
        self.per_table = cluster_size // TABLE_ENTRY
        self.per_slice = min(self.per_table, _SLICE)
        self.in_table = self.per_table // self.per_slice
        self.zero_clusters = zero_clusters
        self.slices = TableCache(self._read, self.per_slice * TABLE_ENTRY)

    def keys(self, cluster: int) -> range:
        """The numbers of the slices of the table in a cluster."""
        return range(cluster * self.in_table, (cluster + 1) * self.in_table)

    def _read(self, key: int) -> array[int]:
        assert self._file is not None
        length = self.per_slice * TABLE_ENTRY
        entries = structures.unpack_table(self._file.read_at(key * length, length).ljust(length, b"\0"))
        self._check(entries)
        return entries

    def _check(self, entries: array[int]) -> None:
        """Refuse entries that QEMU takes for corruption: who asks for what they say gets EIO.

        (qcow2_get_host_offset, block/qcow2-cluster.c, 10.0; it looks only at those that it meets.)
        """
        low = (self.cluster_size - 1) & OFFSET_MASK | (0 if self.zero_clusters else ZERO)
        if not reduce(or_, entries) & (low | COMPRESSED):
            return
        for entry in entries:
            if (self.external if entry & COMPRESSED else entry & low) and entry:
                raise io_error(errno.EIO)

    def blank(self) -> array[int]:
        """A slice that leads nowhere."""
        return array("Q", bytes(self.per_slice * TABLE_ENTRY))

    def copy(self) -> L2Cache:
        """That of another file, which has the same."""
        twin = L2Cache(self._file, self.cluster_size, external=self.external, zero_clusters=self.zero_clusters)
        twin.slices = self.slices.copy(twin._read)
        return twin


class CachedTables(Tables):
    """One L1 table of a file and what it leads to.

    :param cache: the L2 tables of the file.
    :ivar unsettled: guest clusters of which the disk does not read as their entries say -> the entries that say it.
    :ivar placed_zeroes: ZERO clusters that the request under way has given places -> their entries without.
    :ivar l1_changed: the numbers of the L2 tables that came, went or moved since the L1 table was written.
    """

    __slots__ = ("cache", "l1_changed", "placed_zeroes", "unsettled")

    most_new = 1 << 22

    def __init__(self, cache: L2Cache, l1: tuple[int, int] = (0, 0)) -> None:
        self.l1 = l1
        self.l2 = {}
        self.cache = cache
        self.unsettled: dict[int, int] = {}
        self.placed_zeroes: dict[int, int] = {}
        self.l1_changed: set[int] = set()
        self.places, self.packed = _Places(self), _PackedClusters(self)

    # -- entries

    def entry(self, guest: int) -> int:
        """The entry of a guest cluster."""
        cache = self.cache
        number, index = divmod(guest, cache.per_table)
        cluster = self.l2.get(number)
        if cluster is None:
            return 0
        piece, index = divmod(index, cache.per_slice)
        return cache.slices.get(cluster * cache.in_table + piece)[index]

    def read_entry(self, guest: int) -> int:
        """The entry that says what a cluster reads as."""
        if self.unsettled:
            found = self.unsettled.get(guest)
            if found is not None:
                return found
        return self.entry(guest)

    def unsettled_slices(self) -> dict[int, dict[int, int]]:
        """The slices with entries that lead to where no data are yet: of each, index -> the entry without."""
        found: dict[int, dict[int, int]] = {}
        for guest, entry in (*self.unsettled.items(), *self.placed_zeroes.items()):
            number, index = divmod(guest, self.cache.per_table)
            piece, index = divmod(index, self.cache.per_slice)
            found.setdefault(self.l2[number] * self.cache.in_table + piece, {})[index] = entry
        return found

    def set_entry(self, guest: int, entry: int) -> None:
        """Change an entry; there must be an L2 table for it."""
        cache = self.cache
        number, index = divmod(guest, cache.per_table)
        piece, index = divmod(index, cache.per_slice)
        cache.slices.change(self.l2[number] * cache.in_table + piece)[index] = entry

    def parts(self, first: int, stop: int) -> Iterator[tuple[int | None, int, int, int]]:
        """A range of guest clusters in parts, one for each slice, or for what L2 tables that are missing would reach.

        :returns: the number of the slice, None for none; the guest cluster of its first entry; the first and the one
            behind the last of its entries that are in the range.
        """
        cache = self.cache
        while first < stop:
            number, index = divmod(first, cache.per_table)
            cluster = self.l2.get(number)
            start = number * cache.per_table
            if cluster is None:
                key, length = None, self._next_table(number, -(-stop // cache.per_table)) * cache.per_table - start
            else:
                piece = index // cache.per_slice
                key, start, length = cluster * cache.in_table + piece, start + piece * cache.per_slice, cache.per_slice
            high = min(length, stop - start)
            yield key, start, first - start, high
            first = start + high

    def _next_table(self, number: int, stop: int) -> int:
        """The number of the first L2 table behind a number, at most *stop*; a large disk may have few of them."""
        near = min(stop, number + _NEAR)
        found = next((each for each in range(number + 1, near) if each in self.l2), near)
        if found < near or near == stop:
            return found
        return min((each for each in self.l2 if near <= each < stop), default=stop)

    def has_place(self, entry: int) -> bool:
        """Whether an entry leads to a cluster as a whole; that at offset 0 of a data file is one unless it is ZERO.

        (qcow2_get_cluster_type, block/qcow2.h, 10.0)
        """
        if entry & COMPRESSED:
            return False
        return bool(entry & OFFSET_MASK) or (self.cache.external and entry & (COPIED | ZERO) == COPIED)

    def kind(self, entry: int) -> Kind:
        """What an entry says."""
        if entry & COMPRESSED:
            return Kind.DATA
        if entry & ZERO:
            return Kind.ZERO
        return Kind.DATA if self.has_place(entry) else Kind.HOLE

    def place_of(self, entry: int) -> int | Packed | None:
        """What an entry leads to: an offset, or compressed data, None for nowhere."""
        if entry & COMPRESSED:
            return structures.compressed_place(entry, self.cache.bits)
        return entry & OFFSET_MASK if self.has_place(entry) else None

    # -- what the layout changes

    def put_table(self, number: int, cluster: int) -> None:
        """As of every L1 table."""
        before = self.l2.get(number)
        slices = self.cache.slices
        for piece, key in enumerate(self.cache.keys(cluster)):
            old = None if before is None else slices.get(before * self.cache.in_table + piece)
            slices.put(key, self.cache.blank() if old is None else old[:])
        self._lead(number, cluster)

    def take_back_table(self, number: int, before: int | None) -> int:
        """As of every L1 table."""
        cluster = self.l2[number]
        for key in self.cache.keys(cluster):
            self.cache.slices.drop(key)
        self._lead(number, before)
        return cluster

    def drop_table(self, number: int, per_table: int) -> int:
        """As of every L1 table."""
        del per_table
        return self.take_back_table(number, None)

    def _lead(self, number: int, cluster: int | None) -> None:
        self.l1_changed.add(number)
        if cluster is None:
            del self.l2[number]
        else:
            self.l2[number] = cluster

    def give_place(self, guest: int, entry: int) -> None:
        """The layout has a new place for a cluster, which reads as before until the disk says otherwise."""
        now = self.read_entry(guest)
        if self.kind(now) is Kind.ZERO and entry & OFFSET_MASK and not entry & COMPRESSED:
            entry |= ZERO
            self.unsettled.pop(guest, None)
            self.placed_zeroes[guest] = self.entry(guest)
        elif self.place_of(now) == self.place_of(entry):
            entry = now  # it was put back
            self.unsettled.pop(guest, None)
        else:
            self.unsettled[guest] = now
        self.set_entry(guest, entry)

    def take_place(self, guest: int) -> None:
        """The layout has taken away the place of a cluster, which reads as before until the disk says otherwise."""
        now = self.read_entry(guest)
        if self.kind(now) is Kind.DATA:
            self.unsettled[guest] = now
            self.set_entry(guest, 0)
        else:
            self.unsettled.pop(guest, None)
            self.set_entry(guest, now & ZERO)

    def allocated(self, first: int, stop: int) -> Iterator[int]:
        """As of every L1 table."""
        for key, start, low, high in self.parts(first, stop):
            entries = self.cache.slices.get(key)[low:high] if key is not None else ()
            if any(entries):
                places = ((guest, entry) for guest, entry in enumerate(entries, start + low) if entry & ~ZERO)
                yield from (guest for guest, entry in places if self.place_of(entry) is not None)

    def run_end(self, first: int, stop: int) -> int:
        """As of every L1 table."""
        place, at = self.place_of(self.entry(first)), first
        assert not isinstance(place, tuple)
        for key, start, low, high in self.parts(first, stop):
            if key is None:
                at = start + (high if place is None else low)
            else:
                wanted = None if place is None else place + (start + low - first) * self.cache.cluster_size
                at = start + low + self._alike(self.cache.slices.get(key)[low:high], wanted)
            if at < start + high:
                break
        return at

    def _alike(self, entries: array[int], place: int | None) -> int:
        """How many of these entries lead to clusters that follow each other, from *place* on; or have none."""
        unit, count = self.cache.cluster_size, len(entries)
        if place is None:
            others = (at for at, entry in enumerate(entries) if entry & ~ZERO and self.place_of(entry) is not None)
        elif entries[0] & OFFSET_MASK == place and entries == _ascending(entries[0], count, unit):
            return count
        else:
            others = (at for at, entry in enumerate(entries) if self.place_of(entry) != place + at * unit)
        return next(others, count)

    def keeps_more_than(self, guests: Collection[int]) -> bool:
        """As of every L1 table; nobody has counted."""
        del guests
        return True

    def keep(self) -> None:
        """As of every L1 table."""
        for cluster in self.l2.values():
            for key in self.cache.keys(cluster):
                self.cache.slices.change(key)

    def settle(self) -> None:
        """As of every L1 table."""
        self.unsettled.clear()

    def clusters(self, cluster_size: int, *, external: bool) -> Iterator[tuple[int, int]]:
        """As of every L1 table, those that follow each other together."""
        first = count = 0
        for entry in self._entries():
            if entry & COMPRESSED:
                yield packed_span(structures.compressed_place(entry, self.cache.bits), cluster_size)
                continue
            place = (entry & OFFSET_MASK) // cluster_size
            if external or not place:
                continue
            if place == first + count:
                count += 1
                continue
            if count:
                yield first, count
            first, count = place, 1
        if count:
            yield first, count
        yield from ((place, 1) for place in self.l2.values())

    def _entries(self) -> Iterator[int]:
        """All entries that are not 0."""
        for cluster in self.l2.values():
            for key in self.cache.keys(cluster):
                yield from filter(None, self.cache.slices.get(key))

    def emptied(self) -> CachedTables:
        """As of every L1 table."""
        return CachedTables(self.cache)

    def copy(self) -> CachedTables:
        """As of every L1 table."""
        twin = CachedTables(self.cache, self.l1)
        twin.l2 = dict(self.l2)
        twin.unsettled, twin.l1_changed = self.unsettled.copy(), set(self.l2)
        return twin

    def copy_to(self, known: dict[int, object]) -> CachedTables:
        """As of every L1 table."""
        cache = known.get(id(self.cache)) or self.cache.copy()
        assert isinstance(cache, L2Cache)
        known[id(self.cache)] = cache
        twin = self.copy()
        twin.cache = cache
        return twin

    def allow_zeroes(self, *, allowed: bool) -> None:
        """As of every L1 table."""
        self.cache.zero_clusters = allowed

    # -- what the disk changes

    def show_data(self, guest: int) -> None:
        """A cluster reads as what is at its place from now on."""
        entry = self.entry(guest)
        self.unsettled.pop(guest, None)
        self.placed_zeroes.pop(guest, None)
        if entry & ZERO and not entry & COMPRESSED:
            self.set_entry(guest, entry & ~ZERO)

    def show_again(self, guest: int, entry: int) -> None:
        """A cluster reads as an earlier entry says."""
        self.unsettled[guest] = entry

    def show_zero(self, first: int, stop: int) -> None:
        """The clusters of a range are ZERO; those without an L2 table stay holes (see :attr:`.Tables.most_new`)."""
        self._settle(first, stop)
        for key, _, low, high in self.parts(first, stop):
            if key is not None:
                entries = self.cache.slices.change(key)
                if any(entries[low:high]):
                    entries[low:high] = array("Q", map(self._zeroed, entries[low:high]))
                else:
                    entries[low:high] = array("Q", [ZERO]) * (high - low)

    def _zeroed(self, entry: int) -> int:
        assert not entry & COMPRESSED
        return entry | ZERO

    def show_hole(self, first: int, stop: int) -> None:
        """The clusters of a range are holes; one that has a place is to lose it soon."""
        self._settle(first, stop)
        for key, start, low, high in self.parts(first, stop):
            entries = self.cache.slices.get(key)[low:high] if key is not None else ()
            for index, entry in enumerate(entries if any(entries) else (), low):
                if self.place_of(entry) is not None:
                    self.unsettled[start + index] = 0
                elif entry:
                    self.set_entry(start + index, 0)

    def clear_tables(self) -> None:
        """All clusters are holes without a place; the L2 tables stay."""
        for cluster in self.l2.values():
            for key in self.cache.keys(cluster):
                if any(self.cache.slices.get(key)):
                    self.cache.slices.change(key)[:] = self.cache.blank()

    def _settle(self, first: int, stop: int) -> None:
        if not self.unsettled:
            return
        if len(self.unsettled) < stop - first:
            for guest in [guest for guest in self.unsettled if first <= guest < stop]:
                del self.unsettled[guest]
        else:
            for guest in range(first, stop):
                self.unsettled.pop(guest, None)

    # -- what the disk is

    def run(self, first: int, stop: int) -> tuple[Kind, int]:
        """The kind of a cluster, and before which one, at most *stop*, all are of that kind."""
        kind, at = self.kind(self.read_entry(first)), first
        for key, start, low, high in self.parts(first, stop):
            if self.unsettled:
                at = self._run_one_by_one(kind, start + low, start + high)
            elif key is None:
                at = start + (high if kind is Kind.HOLE else low)
            else:
                at = start + self._run_in(kind, self.cache.slices.get(key), low, high)
            if at < start + high:
                break
        return kind, at

    def _run_one_by_one(self, kind: Kind, first: int, stop: int) -> int:
        others = (guest for guest in range(first, stop) if self.kind(self.read_entry(guest)) is not kind)
        return next(others, stop)

    def _run_in(self, kind: Kind, entries: array[int], low: int, high: int) -> int:
        """The first of these entries that is not of a kind; the usual ones are told from their bytes, all at once."""
        data = entries[low:high].tobytes()
        if kind is Kind.HOLE:
            alike = _leading(data, b"\0") // TABLE_ENTRY
        elif kind is Kind.DATA:
            alike = min(_leading(data[_FIRST::TABLE_ENTRY], b"\x80"), _leading(data[_LAST::TABLE_ENTRY], b"\0"))
        else:
            alike = min(_leading(data[_FIRST::TABLE_ENTRY], b"\0\x80"), _leading(data[_LAST::TABLE_ENTRY], b"\1"))
        return next((at for at in range(low + alike, high) if self.kind(entries[at]) is not kind), high)

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """The clusters that hold data, as (first, behind the last), ascending."""
        return self._runs_of(Kind.DATA)

    def zero_runs(self) -> Iterator[tuple[int, int]]:
        """The clusters that are ZERO, likewise."""
        return self._runs_of(Kind.ZERO)

    def _runs_of(self, wanted: Kind) -> Iterator[tuple[int, int]]:
        per_table = self.cache.per_table
        for number in sorted(self.l2):
            at, stop = number * per_table, (number + 1) * per_table
            while at < stop:
                first = at
                kind, at = self.run(at, stop)
                if kind is wanted:
                    yield first, at

    def holds_data(self, guest: int) -> bool:
        """Whether a cluster does."""
        return self.kind(self.read_entry(guest)) is Kind.DATA


def _ascending(first: int, count: int, step: int) -> array[int]:
    return array("Q", range(first, first + count * step, step))


def _leading(data: bytes, what: bytes) -> int:
    """How many of the first bytes are among *what*."""
    return len(data) - len(data.lstrip(what))


class _GuestClusters(MutableMapping[int, _V]):
    """Guest clusters of one kind, with what their L2 entries say."""

    __slots__ = ("_tables",)

    def __init__(self, tables: CachedTables) -> None:
        self._tables = tables

    def __delitem__(self, guest: int) -> None:
        if guest not in self:
            raise KeyError(guest)
        self._tables.take_place(guest)

    def __iter__(self) -> Iterator[int]:
        last = (max(self._tables.l2, default=-1) + 1) * self._tables.cache.per_table
        return (guest for guest in self._tables.allocated(0, last) if guest in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Places(_GuestClusters[int]):
    """Guest clusters with places of their own."""

    __slots__ = ()

    def _at(self, guest: int) -> int | None:
        entry = self._tables.entry(guest)
        return (entry & OFFSET_MASK) // self._tables.cache.cluster_size if self._tables.has_place(entry) else None

    def __getitem__(self, guest: int) -> int:
        found = self._at(guest)
        if found is None:
            raise KeyError(guest)
        return found

    def get(self, guest: int, default: object = None) -> object:  # type: ignore[override]
        found = self._at(guest)
        return default if found is None else found

    def __contains__(self, guest: object) -> bool:
        assert isinstance(guest, int)
        return self._at(guest) is not None

    def __setitem__(self, guest: int, cluster: int) -> None:
        self._tables.give_place(guest, cluster * self._tables.cache.cluster_size | COPIED)


class _PackedClusters(_GuestClusters[Packed]):
    """Guest clusters that are compressed."""

    __slots__ = ()

    def __getitem__(self, guest: int) -> Packed:
        entry = self._tables.entry(guest)
        if not entry & COMPRESSED:
            raise KeyError(guest)
        return structures.compressed_place(entry, self._tables.cache.bits)

    def __contains__(self, guest: object) -> bool:
        assert isinstance(guest, int)
        return bool(self._tables.entry(guest) & COMPRESSED)

    def __setitem__(self, guest: int, place: Packed) -> None:
        self._tables.give_place(guest, structures.compressed_entry(*place, self._tables.cache.bits))
