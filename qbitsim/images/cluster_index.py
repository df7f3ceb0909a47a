"""Which numbers a table has, in order.

The order is brought up to date only when somebody asks: newcomers are appended to a list, which is then merged by one
nearly linear sort.
"""

from __future__ import annotations

from qbitsim.light_library import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PROBES = 16
"""So many numbers are looked up one by one rather than through the order."""


class ClusterIndex:
    """The keys of a table of clusters, in order; the table tells of each new and each lost one.

    :ivar fresh: keys that came since the order was brought up to date; the table appends to it.
    """

    __slots__ = ("_order", "fresh")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._order = sorted(numbers)
        self.fresh: list[int] = []

    def ascending(self) -> list[int]:
        """All numbers, ascending; not to be changed by the caller."""
        if self.fresh:
            self._order.extend(self.fresh)
            self._order.sort()
            self.fresh.clear()
        return self._order

    def pop(self, first: int, last: int) -> list[int]:
        """Take the numbers in [first, last) out; what they are."""
        order = self.ascending()
        low, high = bisect_left(order, first), bisect_left(order, last)
        gone = order[low:high]
        del order[low:high]
        return gone

    def next(self, table: Collection[int], first: int, last: int) -> int:
        """The first number of *table* in [first, last), else *last*."""
        for number in range(first, min(first + PROBES, last)):
            if number in table:
                return number
        if first + PROBES >= last:
            return last
        order = self.ascending()
        place = bisect_left(order, first)
        return min(order[place], last) if place < len(order) else last

    def run_end(self, table: Collection[int], first: int, last: int) -> int:
        """The end of the run of numbers of *table* that starts at *first*, at most *last*."""
        for number in range(first, min(first + PROBES, last)):
            if number not in table:
                return number
        if first + PROBES >= last:
            return last
        order = self.ascending()
        place = bisect_left(order, first)
        # In a sorted list of different numbers, number minus place never falls; the run is where it stays the same.
        high = min(len(order), place + last - first)
        return first + bisect_left(range(place, high), 1, key=lambda at: order[at] - at - first + place)

    def copy(self) -> ClusterIndex:
        """An independent one of the same value."""
        twin = ClusterIndex()
        twin._order, twin.fresh = self._order.copy(), self.fresh.copy()
        return twin
