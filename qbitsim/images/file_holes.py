"""Pages of a file that are in use although nobody has written them, so that they read as zeroes."""

from __future__ import annotations

from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.spans import Spans


class FileHoles:
    """Such pages of one file; offsets are bytes of it.

    Whether the host has room for them is not said: those of ``preallocation=metadata`` are holes, those of ``falloc``
    are not.
    """

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages = Spans()

    def __bool__(self) -> bool:
        return bool(self._pages)

    def size(self, end: int) -> int:
        """Bytes of the pages that begin in front of *end*."""
        last = -(-end // FILE_PAGE)
        return sum(max(min(stop, last) - start, 0) for start, stop in self._pages) * FILE_PAGE

    def add(self, start: int, end: int) -> None:
        """The pages that are whole in the range are such pages."""
        self._pages.add(-(-start // FILE_PAGE), end // FILE_PAGE)

    def fill(self, start: int, end: int) -> None:
        """The range is written."""
        self._pages.remove(start // FILE_PAGE, -(-end // FILE_PAGE))

    def drop(self, start: int, end: int) -> None:
        """The pages that are whole in the range are given up, as a hole is punched."""
        self._pages.remove(-(-start // FILE_PAGE), end // FILE_PAGE)

    def run(self, start: int, end: int) -> tuple[bool, int]:
        """Whether the byte at *start* is in such a page, and for how many bytes, up to *end*, that goes on."""
        page = start // FILE_PAGE
        border = self._pages.next_border(page, -(-end // FILE_PAGE)) * FILE_PAGE
        return page in self._pages, min(border, end) - start

    def copy(self) -> FileHoles:
        """An independent set of the same pages."""
        twin = FileHoles()
        twin._pages = self._pages.copy()
        return twin
