"""The disk of a qcow2 image in a file: clusters whose bytes are read from the file when somebody wants them.

The file is the image's own, on the host, or an external data file. Which clusters hold data, and where, say the L2
tables (:class:`.CachedTables`); a :class:`PlacedContent` has nothing of its own.
"""

from __future__ import annotations

import errno

from qbitsim.files.failures import io_error
from qbitsim.images.content import Content, Kind, zero_block
from qbitsim.images.qcow2.packing import Compression, pack, unpack
from qbitsim.images.qcow2.structures import COMPRESSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from qbitsim.files.tree import ByteFile
    from qbitsim.images.content import Reader
    from qbitsim.images.host.l2_tables import CachedTables
    from qbitsim.images.qcow2.tables import Packed

_NEWEST = 1 << 16
"""Of so many clusters it is known that they were stored last."""
_MANY = 1 << 60
"""What the number of clusters that hold data is taken for when the disk is opened: nobody has counted them."""


class PlacedClusters(dict[int, "Any"]):
    """Looked up, a table from clusters to their bytes, which are in a file; it is never filled.

    Of its length only the changes have a meaning. Reversed, it gives those that came last, newest first, as far as
    somebody may ask.

    :param file: open.
    :param tables: say where.
    :param compression: how clusters are compressed.
    """

    __slots__ = ("_balance", "_file", "_newest", "compression", "tables")

    def __init__(self, file: ByteFile, tables: CachedTables, compression: Compression) -> None:
        super().__init__()
        self._balance = _MANY
        self._file = file
        self._newest: dict[int, None] = {}
        self.compression = compression
        self.tables = tables

    def __getitem__(self, cluster: int) -> bytes:
        found = self.get(cluster)
        if found is None:
            raise KeyError(cluster)
        assert isinstance(found, bytes)
        return found

    def get(self, cluster: int, default: Any = None) -> Any:
        """The bytes of a cluster."""
        place = self.place(cluster)
        return default if place is None else self.read(place)

    def place(self, cluster: int) -> int | Packed | None:
        """Where the bytes of a cluster are now, None if it has none."""
        entry = self.tables.read_entry(cluster)
        return self.tables.place_of(entry) if self.tables.kind(entry) is Kind.DATA else None

    def read(self, place: int | Packed) -> bytes:
        """The bytes of a cluster that is at a place."""
        unit = self.tables.cache.cluster_size
        if isinstance(place, tuple):
            offset, length = place
            found = unpack(self._file.read_at(offset, length), unit, self.compression)
            if found is None:
                raise io_error(errno.EIO)
            return found[0]
        return self._file.read_at(place, unit).ljust(unit, b"\0")

    def __contains__(self, cluster: object) -> bool:
        assert isinstance(cluster, int)
        return self.tables.holds_data(cluster)

    def __len__(self) -> int:
        return self._balance

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        return (cluster for first, stop in self.tables.data_runs() for cluster in range(first, stop))

    def __reversed__(self) -> Iterator[int]:
        return reversed(self._newest)

    def keys(self) -> Any:
        """Itself."""
        return self

    def isdisjoint(self, clusters: Iterable[int]) -> bool:
        """Whether none of these clusters holds data."""
        return not any(cluster in self for cluster in clusters)

    def take(self, cluster: int) -> None:
        """A cluster holds from now on what is at the place that the layout has for it."""
        is_new = not self.tables.holds_data(cluster)
        self.tables.show_data(cluster)
        if is_new:
            self._balance += 1
            self._newest[cluster] = None
            if len(self._newest) > 2 * _NEWEST:
                for oldest in list(self._newest)[:_NEWEST]:
                    del self._newest[oldest]

    def lose(self, first: int, stop: int) -> list[int]:
        """The clusters from *first* to before *stop* hold nothing any more; those that did."""
        gone, at = list[int](), first
        while at < stop:
            begin = at
            kind, at = self.tables.run(at, stop)
            if kind is Kind.DATA:
                gone += range(begin, at)
                self.tables.show_hole(begin, at)
        self._balance -= len(gone)
        for cluster in gone if self._newest else ():
            self._newest.pop(cluster, None)
        return gone

    def forget(self, cluster: int, entry: int) -> None:
        """A cluster reads as an earlier entry says."""
        if cluster in self:
            self._balance -= 1
            self._newest.pop(cluster, None)
        self.tables.show_again(cluster, entry)

    def __setitem__(self, cluster: int, block: bytes) -> None:
        place = self.tables.place_of(self.tables.entry(cluster))
        assert place is not None
        data, offset = (pack(block, self.compression), place[0]) if isinstance(place, tuple) else (block, place)
        self._file.write_at(offset, data)
        self.take(cluster)

    def copy_to(self, file: ByteFile, tables: CachedTables) -> PlacedClusters:
        """The same clusters in another file, or of other tables."""
        twin = PlacedClusters(file, tables, self.compression)
        twin._balance, twin._newest = self._balance, self._newest.copy()
        return twin

    def __delitem__(self, cluster: int) -> None:
        self.lose(cluster, cluster + 1)

    def update(self, *others: Any, **more: Any) -> None:
        """Write clusters, one after the other."""
        for cluster, block in dict(*others, **more).items():
            self[cluster] = block


class ZeroClusters:
    """The clusters that are ZERO: what of :class:`.Spans` a content needs.

    :param tables: say so.
    """

    __slots__ = ("_tables",)

    def __init__(self, tables: CachedTables) -> None:
        self._tables = tables

    def __contains__(self, cluster: int) -> bool:
        return self._tables.kind(self._tables.read_entry(cluster)) is Kind.ZERO

    def add(self, start: int, stop: int) -> None:
        """Let all be ZERO."""
        self._tables.show_zero(start, stop)

    def add_all(self, numbers: Iterable[int]) -> None:
        """Let single clusters be ZERO."""
        start = stop = 0
        for number in numbers:
            if number != stop:
                self.add(start, stop)
                start = number
            stop = number + 1
        self.add(start, stop)

    def remove(self, start: int, stop: int) -> None:
        """Let all be holes."""
        self._tables.show_hole(start, stop)


class PlacedContent(Content):
    """The disk of a qcow2 image, or that of one of its internal snapshots.

    Before bytes are written the tables must have places for them.

    :param tables: where the clusters are, and are to be.
    :param compression: how clusters are compressed.
    """

    __slots__ = ("_file",)

    _stored: PlacedClusters
    _zero: Any

    def __init__(
        self,
        file: ByteFile,
        tables: CachedTables,
        size: int,
        *,
        zero_clusters: bool = True,
        compression: Compression = "zlib",
    ) -> None:
        super().__init__(size, tables.cache.cluster_size, zero_clusters=zero_clusters)
        self._file = file
        self._stored = PlacedClusters(file, tables, compression)
        self._zero = ZeroClusters(tables)

    def move_to(self, file: ByteFile, tables: CachedTables) -> None:
        """The bytes are in another file from now on, which has the same, as other tables of the same value say."""
        self._file = file
        self._stored = self._stored.copy_to(file, tables)
        self._zero = ZeroClusters(tables)

    def use_tables(self, tables: CachedTables) -> None:
        """Other tables of the same value say where the clusters are."""
        self.move_to(self._file, tables)

    @property
    def tables(self) -> CachedTables:
        """They say where the clusters are."""
        return self._stored.tables

    @property
    def placed(self) -> PlacedClusters:
        """The clusters that hold data."""
        return self._stored

    def is_hole(self, cluster: int) -> bool:
        """Whether a cluster reads as what is below."""
        return self.tables.kind(self.tables.read_entry(cluster)) is Kind.HOLE

    # -- reading

    def read(self, offset: int, length: int) -> bytes:
        """As every content; clusters that are in a row in the file are read at once."""
        assert 0 <= offset <= offset + length <= self.size, (offset, length, self.size)
        parts = [self._read_run(*run) for run in self._runs(offset, length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int | Packed | None, int, int]]:
        """A range in pieces: where each is in the file, None for nowhere; how far in the cluster; how long."""
        unit, end = self.cluster_size, offset + length
        place: int | Packed | None = None
        start = stop = offset
        skip = 0
        while stop < end:
            cluster, inside = divmod(stop, unit)
            found = self._stored.place(cluster)
            if stop > start and not _follows(place, stop - start + skip, found, inside):
                yield place, skip, stop - start
                start = stop
            if stop == start:
                place, skip = found, inside
            if found is None:
                stop = min(self.tables.run(cluster, -(-end // unit))[1] * unit, end)
            else:
                stop = min((cluster + 1) * unit, end)
        if stop > start:
            yield place, skip, stop - start

    def _read_run(self, place: int | Packed | None, skip: int, length: int) -> bytes:
        if place is None:
            return zero_block(length) if length <= self.cluster_size else bytes(length)
        if isinstance(place, tuple):
            return self._stored.read(place)[skip : skip + length]  # one cluster
        return self._file.read_at(place + skip, length).ljust(length, b"\0")

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content."""
        assert 0 <= offset < self.size
        assert length > 0
        unit, end = self.cluster_size, min(offset + length, self.size)
        kind, stop = self.tables.run(offset // unit, -(-end // unit))
        return kind, min(stop * unit, end) - offset

    def stored_clusters(self) -> list[int]:
        """As every content; this looks at all tables."""
        clusters = -(-self.size // self.cluster_size)
        return [cluster for cluster in self._stored if cluster < clusters]

    @property
    def allocated(self) -> int:
        """As every content; this looks at all tables."""
        clusters = -(-self.size // self.cluster_size)
        return sum(min(stop, clusters) - min(first, clusters) for first, stop in self.tables.data_runs()) * (
            self.cluster_size
        )

    # -- writing

    def write_placed(self, offset: int, data: bytes) -> None:
        """Write to the places that the tables have for the clusters of a range; nothing else is filled in.

        :raises OSError: of the host; then the clusters in front of the failing place are written.
        """
        unit, tables, position = self.cluster_size, self.tables, 0
        while position < len(data):
            cluster, skip = divmod(offset + position, unit)
            place, begin = tables.place_of(tables.entry(cluster)), position
            assert isinstance(place, int)
            first = cluster
            position += min(unit - skip, len(data) - position)
            while position < len(data):
                cluster += 1
                if tables.place_of(tables.entry(cluster)) != place + (cluster - first) * unit:
                    break
                position += min(unit, len(data) - position)
            else:
                cluster += 1
            piece = data if len(data) == position - begin else data[begin:position]
            self._file.write_at(place + skip, piece)
            for each in range(first, cluster):
                self._stored.take(each)

    def put_back(self, entries: dict[int, int]) -> None:
        """Clusters read as before the last write."""
        for cluster, entry in entries.items():
            self._stored.forget(cluster, entry)

    def write_packed(self, cluster: int, block: bytes) -> None:
        """Write a cluster compressed to the place that the tables have for it; OSError, with nothing changed."""
        assert self.tables.entry(cluster) & COMPRESSED
        self._stored[cluster] = block

    def take_places(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Let the clusters from *first* to before *stop* hold what is at the places that the tables have for them.

        :returns: offset in the file and bytes of those that held no data before, as long as they follow each other.
        """
        start = end = 0
        for cluster in range(first, stop):
            if self.tables.holds_data(cluster) and cluster not in self.tables.unsettled:
                continue
            place = self.tables.place_of(self.tables.entry(cluster))
            assert isinstance(place, int)
            self._stored.take(cluster)
            if place != end:
                if start < end:
                    yield start, end - start
                start = place
            end = place + self.cluster_size
        if start < end:
            yield start, end - start

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """As every content, table by table."""
        assert not zero_new
        unit, old = self.cluster_size, self.size
        for _, start, low, high in self.tables.parts(-(-size // unit), -(-old // unit)):
            self.cut_off(start + low, start + high)
        self.size = size

    def cut_off(self, first: int, last: int) -> None:
        """The clusters from *first* to before *last* are gone for good, ZERO ones as well."""
        self._drop(first, last)
        self._zero.remove(first, last)

    def expand_zeroes(self, stored: Iterable[int]) -> None:
        """As every content; the places in the tables are known."""
        del stored
        for first, last in list(self.tables.zero_runs()):
            for cluster in range(first, last):
                if self.tables.place_of(self.tables.entry(cluster)) is None:
                    self._zero.remove(cluster, cluster + 1)
                else:
                    self._put(cluster, zero_block(self.cluster_size))
        self.zero_clusters = False

    def forget(self) -> None:
        """Nothing is there any more; the layout has taken all places away."""
        self.tables.settle()
        self.tables.clear_tables()

    def clone(self) -> PlacedContent:
        """The same disk, of which the bytes are where they are."""
        compression = self._stored.compression
        twin = PlacedContent(
            self._file, self.tables, self.size, zero_clusters=self.zero_clusters, compression=compression
        )
        twin._stored = self._stored.copy_to(self._file, self.tables)
        return twin

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every content."""
        for number in clusters:
            block = source._stored.get(number)  # noqa: SLF001 (another content)
            if block is None:
                self.zero_clusters_in(number, number + 1)
            else:
                self._put(number, block)

    # -- the table

    def _put(self, index: int, block: bytes) -> None:
        self._stored[index] = block

    def _put_part(self, index: int, skip: int, piece: bytes, below: Reader | None) -> None:
        place = self._stored.place(index)
        if isinstance(place, int) and index not in self.tables.unsettled:
            self._file.write_at(place + skip, piece)
        else:
            super()._put_part(index, skip, piece, below)

    def _drop(self, first: int, last: int) -> list[int]:
        return self._stored.lose(first, last)


def _follows(place: int | Packed | None, length: int, found: int | Packed | None, inside: int) -> bool:
    """Whether a piece goes on in the cluster at *found*: it began at *place*, *length* bytes before."""
    if place is None or found is None:
        return place is found
    return isinstance(place, int) and isinstance(found, int) and inside == 0 and found == place + length
