"""An L1 table of a qcow2 file, and what it leads to."""

from __future__ import annotations

from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, MutableMapping

Packed = tuple[int, int]
"""Compressed data: their offset in the file, and how many bytes."""


class Tables:
    """One L1 table and what it leads to, in memory.

    :ivar l1: first cluster and number of entries.
    :ivar l2: number of an L2 table -> its cluster; changed by :meth:`put_table` and the like.
    :ivar places: guest cluster -> cluster of the file; zeroed ones may be among them.
    :ivar packed: guest cluster -> its compressed data.
    :ivar most_new: so many L2 tables are made at once, when a range becomes zero of which nothing is stored.
    """

    __slots__ = ("l1", "l2", "packed", "places")

    most_new = 4096
    l2: MutableMapping[int, int]
    places: MutableMapping[int, int]
    packed: MutableMapping[int, Packed]

    def __init__(self, l1: tuple[int, int] = (0, 0)) -> None:
        self.l1 = l1
        self.l2, self.places, self.packed = {}, {}, {}

    def put_table(self, number: int, cluster: int) -> None:
        """L2 table *number* is in a cluster that was taken for it from now on; it leads where it did."""
        self.l2[number] = cluster

    def take_back_table(self, number: int, before: int | None) -> int:
        """Undo :meth:`put_table`: the cluster that the table was put into.

        :param before: where the table was before, None for nowhere.
        """
        cluster = self.l2.pop(number)
        if before is not None:
            self.l2[number] = before
        return cluster

    def drop_table(self, number: int, per_table: int) -> int:
        """There is no L2 table *number* any more, nor anything that it led to; the cluster where it was."""
        for guest in [guest for guest in self.places if guest // per_table == number]:
            del self.places[guest]
        return self.l2.pop(number)

    def clusters(self, cluster_size: int, *, external: bool) -> Iterator[tuple[int, int]]:
        """What is counted behind the L1 table, as (first, count); compressed clusters as often as data are in them.

        :param external: the guest clusters are in another file.
        """
        yield from (packed_span(packed, cluster_size) for packed in self.packed.values())
        if not external:
            yield from ((place, 1) for place in self.places.values())
        yield from ((place, 1) for place in self.l2.values())

    def l1_clusters(self, cluster_size: int) -> range:
        """The clusters of the L1 table."""
        first, entries = self.l1
        return range(first, first - (-entries * TABLE_ENTRY // cluster_size))

    def allocated(self, first: int, stop: int) -> Iterator[int]:
        """The guest clusters from *first* to before *stop* that have places, ascending; they may lose theirs then."""
        return (guest for guest in range(first, stop) if guest in self.places or guest in self.packed)

    def run_end(self, first: int, stop: int) -> int:
        """The guest cluster, at most *stop*, up to which the places of those from *first* follow each other.

        If the first has none of its own, that up to which none has.
        """
        place, end = self.places.get(first), first + 1
        while end < stop and self.places.get(end) == (None if place is None else place + end - first):
            end += 1
        return end

    def keeps_more_than(self, guests: Collection[int]) -> bool:
        """Whether others may have places than these guest clusters, which have."""
        return len(self.places) + len(self.packed) > len(guests)

    def keep(self) -> None:
        """Have all in memory for good."""

    def settle(self) -> None:
        """The clusters that have got places hold what is there."""

    def emptied(self) -> Tables:
        """Tables of the same kind that lead nowhere."""
        return Tables()

    def copy(self) -> Tables:
        """Tables of the same value in the same file."""
        twin = Tables(self.l1)
        twin.l2, twin.places, twin.packed = dict(self.l2), dict(self.places), dict(self.packed)
        return twin

    def copy_to(self, known: dict[int, object]) -> Tables:
        """Tables of the same value in another file.

        :param known: what was copied there of other tables of this file by now.
        """
        del known
        return self.copy()

    def allow_zeroes(self, *, allowed: bool) -> None:
        """Whether clusters can be ZERO from now on."""


@record(frozen=False)
class Part:
    """What one part of a request changes, until its data are written; what is to stay in any case is taken out.

    :ivar places: guest clusters that got a place -> where they were before; None for nowhere.
    :ivar tables: numbers of L2 tables that were made -> the cluster of the one that a snapshot keeps; None for none.
    :ivar save: what writes all tables when one was made, None if that is done later.
    """

    places: dict[int, int | Packed | None]
    tables: dict[int, int | None]
    save: Callable[[], None] | None = None


def packed_span(packed: Packed, cluster_size: int) -> tuple[int, int]:
    """The first cluster and the number of clusters in which compressed data are."""
    offset, length = packed
    first = offset // cluster_size
    return first, (offset + length - 1) // cluster_size - first + 1
