"""Sets of integers kept as sorted, disjoint, half-open spans.

One flat list holds the borders: ``[start, stop, start, stop, ...]``. A number lies in the set exactly when the count of
borders up to and including it is odd, so that membership, union and difference are each one or two bisections, and the
set of all clusters of a 1 PiB disk is a list of two numbers.
"""

from __future__ import annotations

from qbitsim.light_library import bisect_left, bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Spans:
    """A mutable set of integers, cheap when they come in runs."""

    __slots__ = ("_borders",)

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._borders: list[int] = []
        for start, stop in spans:
            self.add(start, stop)

    def __contains__(self, number: int) -> bool:
        return bisect_right(self._borders, number) % 2 == 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The spans ``(start, stop)``, ascending; no two of them touch."""
        return zip(self._borders[::2], self._borders[1::2], strict=True)

    def __bool__(self) -> bool:
        return bool(self._borders)

    def __repr__(self) -> str:
        return f"Spans({list(self)!r})"

    def add(self, start: int, stop: int) -> None:
        """Put the numbers from *start* up to but not including *stop* into the set."""
        if start < stop:
            low, high = bisect_left(self._borders, start), bisect_right(self._borders, stop)
            self._borders[low:high] = ([] if low % 2 else [start]) + ([] if high % 2 else [stop])

    def remove(self, start: int, stop: int) -> None:
        """Take the numbers from *start* up to but not including *stop* out of the set."""
        if start < stop and self._borders:
            low, high = bisect_left(self._borders, start), bisect_right(self._borders, stop)
            self._borders[low:high] = ([start] if low % 2 else []) + ([stop] if high % 2 else [])

    def numbers(self) -> Iterator[int]:
        """The numbers themselves, ascending."""
        for start, stop in self:
            yield from range(start, stop)

    def add_all(self, numbers: Iterable[int]) -> None:
        """Put single *numbers*, in any order, into the set: one pass for any amount of them."""
        self.add_runs(sorted(numbers))

    def add_runs(self, numbers: Iterable[int]) -> None:
        """The same for *numbers* that come in runs, of which no list is made."""
        start = stop = -1
        for number in numbers:
            if number != stop:
                self.add(start, stop)
                start = number
            stop = number + 1
        self.add(start, stop)

    def next_border(self, number: int, limit: int) -> int:
        """The smallest number above *number* where membership changes, at most *limit*."""
        index = bisect_right(self._borders, number)
        return min(self._borders[index], limit) if index < len(self._borders) else limit

    @property
    def last(self) -> int:
        """The largest number; the set must not be empty."""
        return self._borders[-1] - 1

    def first_gap(self, number: int, length: int) -> int:
        """The first of *length* numbers in a row, none below *number*, that are not in the set."""
        borders = self._borders
        index = bisect_right(borders, number)
        if index % 2:
            number, index = borders[index], index + 1
        while index < len(borders) and borders[index] < number + length:
            number, index = borders[index + 1], index + 2
        return number

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of the spans that lie between *start* and before *stop*, ascending."""
        borders = self._borders
        for index in range(max(bisect_right(borders, start) // 2 * 2 - 2, 0), len(borders), 2):
            if borders[index] >= stop:
                break
            low, high = max(borders[index], start), min(borders[index + 1], stop)
            if low < high:
                yield low, high

    def count(self, start: int, stop: int) -> int:
        """How many numbers from *start* up to but not including *stop* are in the set."""
        return sum(high - low for low, high in self.within(start, stop))

    def copy(self) -> Spans:
        """An independent set of the same numbers."""
        twin = Spans()
        twin._borders = self._borders.copy()
        return twin
