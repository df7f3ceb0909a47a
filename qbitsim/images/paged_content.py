"""A content that knows of some clusters which of their pages the file has."""

from __future__ import annotations

from qbitsim.images.content import Content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.images.pages import PageMasks


class PagedContent(Content):
    """Sparse bytes with masks of pages, which go where a cluster is stored anew, or goes."""

    __slots__ = ("_pages",)

    _pages: PageMasks

    def _put(self, index: int, block: bytes) -> None:
        if index not in self._stored:
            self._index.fresh.append(index)
        elif self._pages.partial:
            self._pages.partial.pop(index, None)
        self._stored[index] = block

    def _drop(self, first: int, last: int) -> list[int]:
        gone = super()._drop(first, last)
        self._forget_pages(gone)
        return gone

    def _zero_clusters_at(self, numbers: list[int]) -> None:
        super()._zero_clusters_at(numbers)
        self._forget_pages(numbers)

    def _forget_pages(self, clusters: Iterable[int]) -> None:
        if self._pages.partial:
            for index in clusters:
                self._pages.partial.pop(index, None)
