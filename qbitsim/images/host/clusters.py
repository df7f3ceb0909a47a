"""The disk of a qcow2 image in a file: clusters whose bytes are read from the file when somebody wants them.

The file is the image's own, on the host, or an external data file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from qbitsim.images.content import Content, zero_block
from qbitsim.images.host.tracking import TrackedSpans
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.packing import Compression, pack, unpack

if TYPE_CHECKING:
    from typing import Protocol

    from qbitsim.images.content import Reader
    from qbitsim.images.qcow2.tables import Packed, Tables

    class ByteFile(Protocol):
        """What is needed of the file that has the clusters."""

        def read_at(self, offset: int, length: int) -> bytes: ...
        def write_at(self, offset: int, data: bytes) -> None: ...


class PlacedClusters(dict[int, Any]):
    """Looked up, a table from clusters to their bytes; what it holds is where in the file they are.

    That is an offset, or the offset and the length of compressed data. Bytes that are put in are written to the place
    that the tables have for the cluster.

    :param file: open.
    :param tables: of the disk.
    :param unit: bytes of a cluster.
    :param compression: how clusters are compressed.
    :ivar changed: the L2 tables in the reach of which clusters came, went or moved.
    """

    __slots__ = ("_file", "_unit", "changed", "compression", "tables")

    def __init__(self, file: ByteFile, tables: Tables, unit: int, compression: Compression) -> None:
        super().__init__()
        self._file = file
        self._unit = unit
        self.compression = compression
        self.tables = tables
        self.changed: set[int] = set()

    def place(self, cluster: int) -> int | Packed | None:
        """Where the bytes of a cluster are now, None if it has none."""
        return super().get(cluster)

    def put_place(self, cluster: int, place: int | Packed) -> None:
        """The bytes of a cluster are at *place* from now on."""
        if super().get(cluster) != place:
            super().__setitem__(cluster, place)
            self.changed.add(cluster * TABLE_ENTRY // self._unit)

    def move_to(self, file: ByteFile, tables: Tables) -> None:
        """As :meth:`PlacedContent.move_to`."""
        self._file, self.tables = file, tables

    def load(self, places: Mapping[int, int | Packed]) -> None:
        """Take up what the file has."""
        super().update(places)

    def __getitem__(self, cluster: int) -> bytes:
        return self._read(super().__getitem__(cluster))

    def get(self, cluster: int, default: Any = None) -> Any:
        """The bytes of a cluster."""
        place = super().get(cluster)
        return default if place is None else self._read(place)

    def __setitem__(self, cluster: int, block: bytes) -> None:
        place = self.tables.packed.get(cluster)
        if place is not None:
            self._file.write_at(place[0], pack(block, self.compression))
            self.put_place(cluster, place)
        else:
            offset = self.tables.places[cluster] * self._unit
            self._file.write_at(offset, block)
            self.put_place(cluster, offset)

    def __delitem__(self, cluster: int) -> None:
        super().__delitem__(cluster)
        self.changed.add(cluster * TABLE_ENTRY // self._unit)

    def update(self, *others: Any, **more: Any) -> None:
        """Write clusters, one after the other."""
        for cluster, block in dict(*others, **more).items():
            self[cluster] = block

    def __deepcopy__(self, memo: dict[int, Any]) -> PlacedClusters:
        twin = PlacedClusters(deepcopy(self._file, memo), deepcopy(self.tables, memo), self._unit, self.compression)
        dict.update(twin, super().items())
        twin.changed = self.changed.copy()
        return twin

    def copy(self) -> PlacedClusters:
        """The same clusters at the same places."""
        twin = PlacedClusters(self._file, self.tables, self._unit, self.compression)
        dict.update(twin, super().items())
        return twin

    def _read(self, place: int | Packed) -> bytes:
        if isinstance(place, tuple):
            offset, length = place
            found = unpack(self._file.read_at(offset, length), self._unit, self.compression)
            if found is None:
                raise _unreadable()
            return found[0]
        return self._file.read_at(place, self._unit).ljust(self._unit, b"\0")


def _unreadable() -> OSError:
    import errno  # noqa: PLC0415 - damaged files are rare
    import os  # noqa: PLC0415

    return OSError(errno.EIO, os.strerror(errno.EIO))


class PlacedContent(Content):
    """The disk of a qcow2 image, or that of one of its internal snapshots.

    Before bytes are written the tables must have places for them.

    :param tables: where the clusters are to be.
    :param compression: how clusters are compressed.
    """

    __slots__ = ("_file",)

    _stored: PlacedClusters

    def __init__(
        self,
        file: ByteFile,
        tables: Tables,
        size: int,
        cluster_size: int,
        *,
        zero_clusters: bool = True,
        compression: Compression = "zlib",
    ) -> None:
        super().__init__(size, cluster_size, zero_clusters=zero_clusters)
        self._file = file
        self._stored = PlacedClusters(file, tables, cluster_size, compression)

    @property
    def placed(self) -> PlacedClusters:
        """The clusters that hold data."""
        return self._stored

    def track(self) -> None:
        """Note from now on in the reach of which L2 tables something changes."""
        self._stored.changed.clear()
        if isinstance(self._zero, TrackedSpans):
            self._zero.forget_changes()
        else:
            self._zero = TrackedSpans(self._zero, self.cluster_size // TABLE_ENTRY)

    @property
    def is_tracked(self) -> bool:
        """Whether changes are noted."""
        return isinstance(self._zero, TrackedSpans)

    @property
    def changed_tables(self) -> set[int]:
        """The L2 tables in the reach of which clusters came, went, moved, or began or ceased to be ZERO."""
        assert isinstance(self._zero, TrackedSpans)
        return self._stored.changed | self._zero.changed

    def is_hole(self, cluster: int) -> bool:
        """Whether a cluster reads as what is below."""
        return cluster not in self._stored and cluster not in self._zero

    def load(self, places: Mapping[int, int | Packed], zeroes: Iterable[tuple[int, int]]) -> None:
        """Take up what the file has: where clusters with data are; from which cluster to before which all are ZERO."""
        self._stored.load(places)
        self._index.fresh.extend(self._stored)
        for first, stop in zeroes:
            self._zero.add(first, stop)

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
                stop = min(self._index.next(self._stored, cluster, -(-end // unit)) * unit, end)
            else:
                stop = min((cluster + 1) * unit, end)
        if stop > start:
            yield place, skip, stop - start

    def _read_run(self, place: int | Packed | None, skip: int, length: int) -> bytes:
        if place is None:
            return zero_block(length) if length <= self.cluster_size else bytes(length)
        if isinstance(place, tuple):
            return self._stored._read(place)[skip : skip + length]  # noqa: SLF001 (one cluster, known to be packed)
        return self._file.read_at(place + skip, length).ljust(length, b"\0")

    # -- writing

    def write_placed(self, offset: int, data: bytes) -> None:
        """Write to the places that the tables have for the clusters of a range; nothing else is filled in.

        :raises OSError: of the host; then the clusters in front of the failing place are written.
        """
        unit, places, stored, position = self.cluster_size, self._stored.tables.places, self._stored, 0
        while position < len(data):
            cluster, skip = divmod(offset + position, unit)
            first, begin = places[cluster], position
            clusters = [cluster]
            position += min(unit - skip, len(data) - position)
            while position < len(data) and places[cluster + len(clusters)] == first + len(clusters):
                clusters.append(cluster + len(clusters))
                position += min(unit, len(data) - position)
            piece = data if len(data) == position - begin else data[begin:position]
            self._file.write_at(first * unit + skip, piece)
            for number, each in enumerate(clusters):
                if each not in stored:
                    self._index.fresh.append(each)
                stored.put_place(each, (first + number) * unit)

    def put_back(self, places: Mapping[int, int | Packed | None]) -> None:
        """Clusters are where they were before the last write."""
        for cluster, place in places.items():
            if place is not None:
                self._stored.put_place(cluster, place)
            elif cluster in self._stored:
                self._drop(cluster, cluster + 1)

    def write_packed(self, cluster: int, block: bytes) -> None:
        """Write a cluster compressed to the place that the tables have for it; OSError, with nothing changed."""
        place = self._stored.tables.packed[cluster]
        self._file.write_at(place[0], pack(block, self._stored.compression))
        if cluster not in self._stored:
            self._index.fresh.append(cluster)
        self._stored.put_place(cluster, place)

    def _put_part(self, index: int, skip: int, piece: bytes, below: Reader | None) -> None:
        place = self._stored.place(index)
        if isinstance(place, int):
            self._file.write_at(place + skip, piece)
        else:
            super()._put_part(index, skip, piece, below)

    def take_places(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Let the clusters from *first* to before *stop* hold what is at the places that the tables have for them.

        :returns: offset in the file and bytes of those that held no data before.
        """
        unit, places = self.cluster_size, self._stored.tables.places
        for cluster in range(first, stop):
            if cluster not in self._stored:
                self._index.fresh.append(cluster)
                self._stored.put_place(cluster, places[cluster] * unit)
                yield places[cluster] * unit, unit

    def move_to(self, file: ByteFile, tables: Tables) -> None:
        """The bytes are in another file from now on, which has the same, as other tables of the same value say."""
        self._file = file
        self._stored.move_to(file, tables)

    def clone(self) -> PlacedContent:
        """The same disk, of which the bytes are where they are."""
        twin = PlacedContent(
            self._file, self._stored.tables, self.size, self.cluster_size, zero_clusters=self.zero_clusters
        )
        twin._stored, twin._zero, twin._index = self._stored.copy(), self._zero.copy(), self._index.copy()
        return twin


def _follows(place: int | Packed | None, length: int, found: int | Packed | None, inside: int) -> bool:
    """Whether a piece goes on in the cluster at *found*: it began at *place*, *length* bytes before."""
    if place is None or found is None:
        return place is found
    return isinstance(place, int) and isinstance(found, int) and inside == 0 and found == place + length
