"""How many references there are to each cluster of a qcow2 file."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qbitsim.images.spans import Spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Refcounts(ABC):
    """The reference counts of one file; a cluster with a count above 0 is in use. Ranges end before *stop*."""

    __slots__ = ()

    @abstractmethod
    def get(self, cluster: int) -> int:
        """The count of one cluster."""

    @abstractmethod
    def counts(self, first: int, count: int) -> Sequence[int]:
        """Those of *count* clusters in a row."""

    @abstractmethod
    def add(self, first: int, stop: int) -> None:
        """Count one more for each cluster."""

    @abstractmethod
    def drop(self, first: int, stop: int) -> int | None:
        """Count one less for each cluster; the first one that became free. What is free stays so."""

    @abstractmethod
    def set(self, cluster: int, count: int) -> None:
        """Give a cluster a count."""

    @abstractmethod
    def first_gap(self, number: int, length: int) -> int:
        """The first of *length* free clusters in a row, none below *number*."""

    @abstractmethod
    def free_end(self, first: int, limit: int) -> int:
        """The first cluster from *first* on that is in use, at most *limit*."""

    @property
    @abstractmethod
    def last(self) -> int:
        """The last cluster in use; one must be."""

    @abstractmethod
    def in_use(self, first: int, stop: int) -> int:
        """How many clusters of a range are in use."""

    @abstractmethod
    def spans(self) -> Iterator[tuple[int, int]]:
        """The clusters in use, as (first, behind the last), ascending."""

    @abstractmethod
    def emptied(self) -> Refcounts:
        """One of the same kind in which nothing is counted."""

    def note_discarded(self, first: int, stop: int) -> None:
        """Free clusters are discarded in the file; of one in memory nobody does that."""
        del first, stop

    def with_bits(self, bits: int, blocks: Mapping[int, int]) -> Refcounts:
        """The same counts, each of *bits* bits.

        :param blocks: the refcount blocks that are to hold them: number -> cluster, one where nothing is yet.
        """
        del bits, blocks
        return self  # what is in memory has no width

    @abstractmethod
    def copy(self) -> Refcounts:
        """An independent one of the same value."""


class MemoryRefcounts(Refcounts):
    """Refcounts of a file that is not there: which clusters are in use, and what counts more than once."""

    __slots__ = ("_extra", "_used")

    def __init__(self) -> None:
        self._used = Spans()
        self._extra: dict[int, int] = {}  # references beyond the first

    def load(self, first: int, counts: Sequence[int]) -> None:
        """Take over the counts of clusters in a row from *first* on, in which none counts as used yet."""
        marks = bytes(min(count, 2) for count in counts) if max(counts) > 1 else bytes(list(counts))
        at = 0
        while at < len(marks):
            start = len(marks) - len(marks[at:].lstrip(b"\0"))
            at = len(marks) - len(marks[start:].lstrip(b"\1\2"))
            self._used.add(first + start, first + at)
        if b"\2" in marks:
            self._extra.update((first + place, count - 1) for place, count in enumerate(counts) if count > 1)

    def get(self, cluster: int) -> int:
        """As of every file."""
        return self._extra.get(cluster, 0) + 1 if cluster in self._used else 0

    def counts(self, first: int, count: int) -> Sequence[int]:
        """As of every file."""
        counts, stop = [0] * count, first + count
        for low, high in self._used.within(first, stop):
            counts[low - first : high - first] = [1] * (high - low)
        if len(self._extra) < count:
            for cluster, more in self._extra.items():
                if first <= cluster < stop:
                    counts[cluster - first] += more
        else:
            counts = [one + self._extra.get(cluster, 0) for cluster, one in enumerate(counts, first)]
        return counts

    def add(self, first: int, stop: int) -> None:
        """As of every file."""
        if not self._extra and self._all_free(first, stop):
            self._used.add(first, stop)
            return
        for cluster in range(first, stop):
            if cluster in self._used:
                self._extra[cluster] = self._extra.get(cluster, 0) + 1
            else:
                self._used.add(cluster, cluster + 1)

    def _all_free(self, first: int, stop: int) -> bool:
        return first not in self._used and self._used.next_border(first, stop) >= stop

    def drop(self, first: int, stop: int) -> int | None:
        """As of every file."""
        if not self._extra:
            self._used.remove(first, stop)
            return first
        freed = None
        for cluster in range(first, stop):
            if cluster in self._extra:
                self._extra[cluster] -= 1
                if not self._extra[cluster]:
                    del self._extra[cluster]
            else:
                self._used.remove(cluster, cluster + 1)
                freed = cluster if freed is None else freed
        return freed

    def set(self, cluster: int, count: int) -> None:
        """As of every file."""
        self._extra.pop(cluster, None)
        if not count:
            self._used.remove(cluster, cluster + 1)
            return
        self._used.add(cluster, cluster + 1)
        if count > 1:
            self._extra[cluster] = count - 1

    def first_gap(self, number: int, length: int) -> int:
        """As of every file."""
        return self._used.first_gap(number, length)

    def free_end(self, first: int, limit: int) -> int:
        """As of every file."""
        return first if first in self._used else self._used.next_border(first, limit)

    @property
    def last(self) -> int:
        """As of every file."""
        return self._used.last

    def in_use(self, first: int, stop: int) -> int:
        """As of every file."""
        return self._used.count(first, stop)

    def spans(self) -> Iterator[tuple[int, int]]:
        """As of every file."""
        return iter(self._used)

    def emptied(self) -> MemoryRefcounts:
        """As of every file."""
        return MemoryRefcounts()

    def copy(self) -> MemoryRefcounts:
        """As of every file."""
        twin = MemoryRefcounts()
        twin._used, twin._extra = self._used.copy(), self._extra.copy()
        return twin
