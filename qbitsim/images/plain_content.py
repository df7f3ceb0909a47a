"""The sparse bytes of a plain file.

It is allocated page by page, which is what ``SEEK_HOLE`` answers on ext4 and tmpfs. Writing zeroes punches holes
(block/file-posix.c, handle_aiocb_write_zeroes, 10.0; measured with ``qemu-img map`` on ext4).
"""

from __future__ import annotations

from qbitsim.images.content import Content, Kind, Reader
from qbitsim.images.paged_content import PagedContent
from qbitsim.images.pages import FILE_PAGE, PageMasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FILE_CLUSTER = 65536
"""Bytes kept together for a plain file."""


class PlainContent(PagedContent):
    """Sparse bytes of kind HOLE and DATA.

    :param size: bytes.
    :param cluster_size: bytes per stored object, a power of two.
    :param page: bytes per unit of allocation, a divisor of *cluster_size*.
    """

    __slots__ = ()

    def __init__(self, size: int, cluster_size: int = FILE_CLUSTER, page: int = FILE_PAGE) -> None:
        super().__init__(size, cluster_size, zero_clusters=False)
        self._pages = PageMasks(cluster_size, page)

    # -- reading

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content, in pages."""
        if not self._pages.partial:
            return super().status(offset, length)
        assert 0 <= offset < self.size
        assert length > 0
        unit, stop, end = self.cluster_size, offset, min(offset + length, self.size)
        data = self._mask(offset // unit) >> offset % unit // self._pages.page & 1
        while stop < end:
            index, skip = divmod(stop, unit)
            mask = self._mask(index)
            if mask >> skip // self._pages.page & 1 != data:
                break
            if mask:
                change = self._pages.change(skip, mask)
                stop += unit - skip if change is None else change
            else:
                stop = self._index.next(self._stored, index, -(-end // unit)) * unit
        return (Kind.DATA if data else Kind.HOLE), min(stop, end) - offset

    @property
    def allocated(self) -> int:
        """Bytes in allocated pages."""
        return self._pages.allocated(len(self._stored))

    def growth(self, offset: int, length: int) -> int:
        """By how many bytes :attr:`allocated` would grow if the range were written."""
        unit, end, grown = self.cluster_size, offset + length, 0
        for index in range(offset // unit, -(-end // unit)):
            start, stop = max(offset, index * unit), min(end, (index + 1) * unit)
            grown += self._pages.missing(start - index * unit, stop - index * unit, self._mask(index))
        return grown

    # -- writing

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> None:
        """Turn the whole pages of the range into holes and zero the bytes of the others in place."""
        del below, below_is_zero
        unit, end = self.cluster_size, offset + length
        self._drop(*self.whole_clusters(offset, length))
        for index in {offset // unit, end // unit} & self._stored.keys():
            start, stop = max(offset - index * unit, 0), min(end - index * unit, unit)
            if start < stop:
                old = self._stored[index]
                self._stored[index] = old[:start] + bytes(stop - start) + old[stop:]
                reach = unit if end == self.size else stop
                self._set_mask(index, self._mask(index) & ~self._pages.covered(start, reach))

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """The same as :meth:`write_zeroes`; nothing is below."""
        del backed
        self.write_zeroes(offset, length)

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """Change the size to *size* bytes; what is new is a hole."""
        del zero_new
        old, keep, last = self.size, size % self.cluster_size, size // self.cluster_size
        super().resize(size)
        if size < old and keep and last in self._stored:
            self._stored[last] = self._stored[last][:keep].ljust(self.cluster_size, b"\0")
            self._set_mask(last, self._mask(last) & self._pages.touched(0, keep))

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every content; of a plain file the pages, too."""
        chosen = clusters if isinstance(clusters, list | tuple | range) else list(clusters)
        super().copy_clusters(source, chosen)
        self._forget_pages(chosen)
        if isinstance(source, PlainContent):
            self._copy_pages(source, chosen)

    def _copy_pages(self, source: PlainContent, clusters: Iterable[int]) -> None:
        theirs = source._pages.partial
        if theirs:
            self._pages.partial.update((index, theirs[index]) for index in clusters if index in theirs)

    def clone(self) -> PlainContent:
        """An independent content that is the same in everything; the stored bytes are shared."""
        twin = PlainContent(self.size, self.cluster_size, self._pages.page)
        self._share_with(twin)
        twin._pages = self._pages.copy()
        return twin

    # -- pages

    def _put_part(self, index: int, skip: int, piece: bytes, below: Reader | None) -> None:
        mask = self._mask(index)
        super()._put_part(index, skip, piece, below)
        self._pages.put(index, mask | self._pages.touched(skip, skip + len(piece)))

    def _mask(self, index: int) -> int:
        return self._pages.of(index) if index in self._stored else 0

    def _set_mask(self, index: int, mask: int) -> None:
        if mask:
            self._pages.put(index, mask)
        else:
            self._drop(index, index + 1)
