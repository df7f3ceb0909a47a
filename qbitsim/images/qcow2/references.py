"""How often each cluster of a file is referred to, in a byte or two for each that is."""

from __future__ import annotations

from collections.abc import Iterator

_PAGE = 256  # clusters; a file may be large and refer to few
_MANY = 255  # in a page: the count is elsewhere


class References:
    """Counts of clusters, 0 where nobody has set one.

    Cost: some 400 bytes for every 256 clusters of which one is counted.
    """

    __slots__ = ("_high", "_pages")

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._high: dict[int, int] = {}  # cluster -> its count, of those that a byte cannot say

    def __getitem__(self, cluster: int) -> int:
        number, place = divmod(cluster, _PAGE)
        page = self._pages.get(number)
        if page is None:
            return 0
        return page[place] if page[place] < _MANY else self._high[cluster]

    def __setitem__(self, cluster: int, count: int) -> None:
        number, place = divmod(cluster, _PAGE)
        page = self._page(number)
        if count >= _MANY:
            self._high[cluster] = count
        page[place] = min(count, _MANY)

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(_PAGE)
        return page

    def take(self, first: int, stop: int) -> int:
        """Let the clusters from *first* on that nobody refers to have one reference each.

        :returns: the first before *stop* to which somebody refers; *stop* if there is none.
        """
        while first < stop:
            number, low = divmod(first, _PAGE)
            page, high = self._page(number), min(_PAGE, low + stop - first)
            free = high - low - len(page[low:high].lstrip(b"\0"))
            page[low : low + free] = b"\1" * free
            first += free
            if low + free < high:
                break
        return first

    def counts(self, first: int, stop: int) -> list[int]:
        """Those of a range."""
        found, zeroes = bytearray(), bytes(_PAGE)
        for number in range(first // _PAGE, -(-stop // _PAGE)):
            found += self._pages.get(number, zeroes)
        begin = first - first % _PAGE
        counts = list(found[first - begin : stop - begin])
        if _MANY in counts:
            for cluster, count in self._high.items():
                if first <= cluster < stop and counts[cluster - first] == _MANY:
                    counts[cluster - first] = count
        return counts

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Where something may be counted, as (first, behind the last), ascending."""
        return ((number * _PAGE, (number + 1) * _PAGE) for number in sorted(self._pages))

    def items(self) -> Iterator[tuple[int, int]]:
        """The clusters that are counted, ascending, with their counts."""
        for first, stop in self.pieces():
            yield from ((cluster, count) for cluster, count in enumerate(self.counts(first, stop), first) if count)

    def copy(self) -> References:
        """An independent one of the same value."""
        twin = References()
        twin._pages = {number: page[:] for number, page in self._pages.items()}
        twin._high = self._high.copy()
        return twin
