"""Which pages of a plain file are allocated.

A plain file is stored in clusters but allocated in pages. Almost every cluster is allocated as a whole or not at all;
only for the others a mask is kept, the lowest bit for the first page.
"""

from __future__ import annotations

FILE_PAGE = 4096
"""Unit in which a plain file is allocated, bytes."""


class PageMasks:
    """Masks of the clusters of which some pages are allocated and some are not.

    :param cluster_size: bytes of a cluster.
    :param page: bytes of a page, a divisor of *cluster_size*.
    """

    __slots__ = ("cluster_size", "full", "page", "partial")

    def __init__(self, cluster_size: int, page: int) -> None:
        assert cluster_size % page == 0
        self.cluster_size = cluster_size
        self.page = page
        self.full = (1 << cluster_size // page) - 1
        self.partial: dict[int, int] = {}

    def put(self, index: int, mask: int) -> None:
        """Say that of cluster *index*, which is stored, the pages in *mask* are allocated; *mask* is not 0."""
        assert 0 < mask <= self.full
        if mask == self.full:
            self.partial.pop(index, None)
        else:
            self.partial[index] = mask

    def of(self, index: int) -> int:
        """The allocated pages of cluster *index*, which is stored."""
        return self.partial.get(index, self.full)

    def touched(self, start: int, stop: int) -> int:
        """The pages with at least one byte in ``[start, stop)``, bytes in one cluster counted from its beginning."""
        return (1 << -(-stop // self.page)) - (1 << start // self.page) if start < stop else 0

    def covered(self, start: int, stop: int) -> int:
        """The pages with all their bytes in ``[start, stop)``, bytes in one cluster counted from its beginning."""
        low, high = -(-start // self.page), stop // self.page
        return (1 << high) - (1 << low) if low < high else 0

    def missing(self, start: int, stop: int, mask: int) -> int:
        """How many bytes of pages touched by ``[start, stop)`` are not in *mask*."""
        return (self.touched(start, stop) & ~mask).bit_count() * self.page

    def change(self, skip: int, mask: int) -> int | None:
        """Where, in bytes after *skip*, pages in and not in *mask* next change places; None if not in this cluster."""
        mask >>= skip // self.page
        other = ~mask & (self.full >> skip // self.page) if mask & 1 else mask
        if not other:
            return None
        return ((other & -other).bit_length() - 1 + skip // self.page) * self.page - skip

    def allocated(self, clusters: int) -> int:
        """Bytes allocated if there are that many stored *clusters*."""
        pages = sum(mask.bit_count() for mask in self.partial.values())
        return (clusters - len(self.partial)) * self.cluster_size + pages * self.page

    def copy(self) -> PageMasks:
        """Independent masks of the same value."""
        twin = PageMasks(self.cluster_size, self.page)
        twin.partial = self.partial.copy()
        return twin
