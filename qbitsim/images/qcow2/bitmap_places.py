"""Where a qcow2 file keeps its stored bitmaps: their data, their tables and the directory (block/qcow2-bitmap.c)."""

from __future__ import annotations

import os

from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qbitsim.images.qcow2.allocator import Allocator

_ENTRY = 24


def directory_length(name: str) -> int:
    """Bytes of the entry of a bitmap of that name in the directory (calc_dir_entry_size)."""
    return -(-(_ENTRY + len(os.fsencode(name))) // 8) * 8


@record
class BitmapPlace:
    """Where one bitmap is.

    :ivar table: the first cluster of its table.
    :ivar entries: number of entries of the table.
    :ivar data: the entries that are not 0: number of the entry -> offset of a cluster of data in bytes, or flags.
    """

    table: int
    entries: int
    data: dict[int, int]


class BitmapPlaces:
    """The clusters of the bitmaps of one file.

    The methods take the file's allocator, which an emptied file gets anew.

    :ivar directory: offset of the directory and its length, in bytes; None if there is none.
    :ivar by_name: the bitmaps in file order.
    :ivar stale: of a directory that was lost: number of bitmaps, offset, length; None if none was.
    """

    __slots__ = ("by_name", "directory", "stale")

    def __init__(self) -> None:
        self.by_name: dict[str, BitmapPlace] = {}
        self.directory: tuple[int, int] | None = None
        self.stale: tuple[int, int, int] | None = None

    def __contains__(self, name: str) -> bool:
        """Whether a bitmap of that name was ever stored and not removed."""
        return name in self.by_name

    def store(
        self, clusters: Allocator, bitmaps: Iterable[tuple[str, Iterable[int], int]], kept: Iterable[str] = ()
    ) -> None:
        """Write bitmaps anew, then free the old ones (qcow2_store_persistent_dirty_bitmaps, 10.0).

        :param bitmaps: of each, in file order: its name, the numbers of the table entries for which it has data,
            ascending, the number of entries of its table.
        :param kept: names of bitmaps that stay where they are, because they are inconsistent.
        """
        old, self.by_name = self.by_name, {name: self.by_name[name] for name in kept}
        freed = [place for name, place in old.items() if name not in self.by_name]
        stored, directory = list(bitmaps), self.directory
        if not stored and not freed:
            return
        for name, wanted, entries in stored:
            data = {entry: clusters.take(1) * clusters.cluster_size for entry in wanted}
            self.by_name[name] = BitmapPlace(clusters.take_table(entries * TABLE_ENTRY)[0], entries, data)
        self._write_directory(clusters)
        for place in freed:
            _free(clusters, place)
        _free_directory(clusters, directory)

    def remove(self, clusters: Allocator, name: str) -> None:
        """Take one bitmap out: a new directory, then the old one and the bitmap are freed."""
        if name not in self.by_name:
            return  # it was never stored
        directory, place = self.directory, self.by_name.pop(name)
        self._write_directory(clusters)
        _free_directory(clusters, directory)
        _free(clusters, place)

    def lose(self) -> None:
        """Forget where they are; their clusters are leaked, for nobody frees them."""
        if self.directory is not None:
            self.stale = len(self.by_name), *self.directory
        self.by_name, self.directory = {}, None

    def places(self, cluster_size: int) -> dict[str, object]:
        """The cluster of the directory, and of each bitmap in file order its name, table and data."""
        directory = self.directory[0] // cluster_size if self.directory is not None else None
        stored = [
            (name, place.table, [offset // cluster_size for offset in place.data.values() if offset >= cluster_size])
            for name, place in self.by_name.items()
        ]
        return {"directory": directory, "stored": stored}

    def runs(self, clusters: Allocator) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The clusters of all bitmaps as (first, count): those of data, and those of tables and the directory."""
        found = [list(runs(clusters, place)) for place in self.by_name.values()]
        directory = [_directory_run(clusters, self.directory)] if self.directory is not None else []
        return [run for each in found for run in each[:-1]], [each[-1] for each in found] + directory

    def copy(self) -> BitmapPlaces:
        """An independent one of the same value."""
        twin = BitmapPlaces()
        twin.by_name, twin.directory, twin.stale = self.by_name.copy(), self.directory, self.stale
        return twin

    def _write_directory(self, clusters: Allocator) -> None:
        length = sum(directory_length(name) for name in self.by_name)
        self.directory = (clusters.take_table(length)[0] * clusters.cluster_size, length) if length else None


def runs(clusters: Allocator, place: BitmapPlace) -> Iterator[tuple[int, int]]:
    """The clusters of one bitmap as (first, count): those of its data, then those of its table."""
    unit = clusters.cluster_size
    yield from ((offset // unit, 1) for offset in place.data.values() if offset >= unit)
    yield place.table, -(-place.entries * TABLE_ENTRY // unit)


def _free(clusters: Allocator, place: BitmapPlace) -> None:
    """Free the clusters of one bitmap; only those of its data are discarded (clear_bitmap_table)."""
    *data, table = runs(clusters, place)
    for run in data:
        clusters.free(*run, discards=True)
    clusters.free(*table)


def _free_directory(clusters: Allocator, directory: tuple[int, int] | None) -> None:
    if directory is not None:
        clusters.free(*_directory_run(clusters, directory))


def _directory_run(clusters: Allocator, directory: tuple[int, int]) -> tuple[int, int]:
    offset, length = directory
    return offset // clusters.cluster_size, -(-length // clusters.cluster_size)
