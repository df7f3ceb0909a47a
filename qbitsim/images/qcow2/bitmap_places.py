"""Where a qcow2 file keeps its stored bitmaps: their data, their tables and the directory (block/qcow2-bitmap.c)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from qbitsim.images.qcow2.allocator import TABLE_ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.images.qcow2.allocator import Allocator

Run = tuple[int, int]
"""The first of some clusters in a row, and how many."""
_ENTRY = 24


def directory_length(name: str) -> int:
    """Bytes of the entry of a bitmap of that name in the directory (calc_dir_entry_size)."""
    return -(-(_ENTRY + len(name.encode())) // 8) * 8


class BitmapPlaces:
    """The clusters of the bitmaps of one file.

    The methods take the file's allocator, which an emptied file gets anew.
    """

    __slots__ = ("_directory", "_places")

    def __init__(self) -> None:
        self._places: dict[str, list[Run]] = {}  # data, then the table
        self._directory: list[Run] = []  # if there is one

    def __contains__(self, name: str) -> bool:
        """Whether a bitmap of that name was ever stored and not removed."""
        return name in self._places

    def store(self, clusters: Allocator, bitmaps: Iterable[tuple[str, int, int]], kept: Iterable[str] = ()) -> None:
        """Write bitmaps anew, then free the old ones (qcow2_store_persistent_dirty_bitmaps, 10.0).

        :param bitmaps: of each, in file order: its name, the number of clusters its data takes, the number of entries
            of its table.
        :param kept: names of bitmaps that stay where they are, because they are inconsistent.
        """
        old, self._places = self._places, {name: self._places[name] for name in kept}
        freed = [*chain.from_iterable(places for name, places in old.items() if name not in self._places)]
        stored = list(bitmaps)
        if not stored and not freed:
            return
        freed += self._directory
        for name, data_clusters, entries in stored:
            data = [(clusters.take(1), 1) for _ in range(data_clusters)]
            self._places[name] = [*data, clusters.take_table(entries * TABLE_ENTRY)]
        self._write_directory(clusters)
        for run in freed:
            clusters.free(*run)

    def remove(self, clusters: Allocator, name: str) -> None:
        """Take one bitmap out: a new directory, then the old one and the bitmap are freed."""
        if name not in self._places:
            return  # it was never stored
        old = [*self._directory, *self._places.pop(name)]
        self._write_directory(clusters)
        for run in old:
            clusters.free(*run)

    def lose(self) -> list[Run]:
        """Forget where they are; the clusters, which nobody frees."""
        lost = [*self._directory, *chain.from_iterable(self._places.values())]
        self._places, self._directory = {}, []
        return lost

    def places(self) -> dict[str, object]:
        """The cluster of the directory, and of each bitmap in file order its name, table and data."""
        directory = self._directory[0][0] if self._directory else None
        stored = [(name, places[-1][0], [first for first, _ in places[:-1]]) for name, places in self._places.items()]
        return {"directory": directory, "stored": stored}

    def copy(self) -> BitmapPlaces:
        """An independent one of the same value."""
        twin = BitmapPlaces()
        twin._places, twin._directory = self._places.copy(), self._directory.copy()
        return twin

    def _write_directory(self, clusters: Allocator) -> None:
        length = sum(directory_length(name) for name in self._places)
        self._directory = [clusters.take_table(length)] if length else []
