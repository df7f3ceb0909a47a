"""The disk of a qcow2 image in memory, with what the file would only have room for.

Where a new cluster is written in part and the rest is known to be zero, QEMU lets the file system zero all of it
first, which only reserves the room (handle_alloc_space, block/qcow2.c, 10.0). Such pages are holes for who asks the
file, until they are read: then they are in the memory of the host, which counts as data (measured with ext4).
"""

from __future__ import annotations

from qbitsim.images.content import Content, known_zeroes
from qbitsim.images.paged_content import PagedContent
from qbitsim.images.pages import FILE_PAGE, PageMasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qbitsim.images.content import Reader


class Qcow2Content(PagedContent):
    """Sparse bytes of every kind that knows which pages were written of clusters that were not written as a whole."""

    __slots__ = ()

    def __init__(self, size: int, cluster_size: int, *, zero_clusters: bool = True) -> None:
        super().__init__(size, cluster_size, zero_clusters=zero_clusters)
        self._pages = PageMasks(cluster_size, min(cluster_size, FILE_PAGE))

    def unwritten(self, offset: int, length: int) -> tuple[bool, int]:
        """As every content."""
        unit, end, stop, hole = self.cluster_size, offset + length, offset, False
        while stop < end:
            index, skip = divmod(stop, unit)
            mask = self._pages.of(index)
            found = not mask >> skip // self._pages.page & 1
            if stop > offset and found != hole:
                break
            change = self._pages.change(skip, mask)
            hole, stop = found, stop + (unit - skip if change is None else change)
        return hole, min(stop, end) - offset

    def read(self, offset: int, length: int) -> bytes:
        """As every content."""
        unit = self.cluster_size
        if self._pages.partial:
            self.note_read(range(offset // unit, -(-(offset + length) // unit)), offset, offset + length)
        if length == unit and not offset % unit:
            return self._stored.get(offset // unit) or self._within(offset, length)
        return self._within(offset, length)

    def note_read(self, clusters: Collection[int], offset: int, end: int) -> None:
        """What of *clusters* is between *offset* and *end* is read."""
        unit, partial = self.cluster_size, self._pages.partial
        some = clusters if len(clusters) <= len(partial) else [index for index in partial if index in clusters]
        for index in some:
            if index in partial:
                read = self._pages.touched(max(offset - index * unit, 0), min(end - index * unit, unit))
                self._pages.put(index, partial[index] | read)

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every content; what is copied is read, and written as a whole."""
        chosen = clusters if isinstance(clusters, list | tuple | range) else list(clusters)
        if isinstance(source, Qcow2Content):
            source.note_read(chosen, 0, source.size)
        super().copy_clusters(source, chosen)
        self._forget_pages(chosen)

    def clone(self) -> Qcow2Content:
        """An independent content that is the same in everything; the stored bytes are shared."""
        twin = Qcow2Content(self.size, self.cluster_size, zero_clusters=self.zero_clusters)
        self._share_with(twin)
        twin._pages = self._pages.copy()
        return twin

    def _put_part(self, index: int, skip: int, piece: bytes, below: Reader | None) -> None:
        old, unit = self._stored.get(index), self.cluster_size
        if old is not None:
            mask = self._pages.of(index)
        else:
            old = self._new_cluster(index, below)
            # What is behind the end of the disk is not known to be zero.
            mask = 0 if old is known_zeroes(unit) and (index + 1) * unit <= self.size else self._pages.full
        self._put(index, old[:skip] + piece + old[skip + len(piece) :])
        self._pages.put(index, mask | self._pages.touched(skip, skip + len(piece)))
