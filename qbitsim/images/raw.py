"""``raw``: a file that is the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qbitsim.images.image import Image
from qbitsim.images.plain_content import PlainContent
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.images.content import Content, Reader
    from qbitsim.images.image_file import ImageFile


class RawImage(Image):
    """A plain file.

    :param size: bytes.
    """

    __slots__ = ()

    format = "raw"

    def __init__(self, file: ImageFile, size: int) -> None:
        super().__init__(file, PlainContent(size))

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every image; nothing is below."""
        if self.file.capacity is not None:
            self.check_room(offset, len(data))
        self.content.write(offset, data, below)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """Punch a hole, which always unmaps and takes no room."""
        del unmap
        self.content.write_zeroes(offset, length, below, below_is_zero)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole."""
        self.content.discard(offset, length)

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocated: bool = False
    ) -> None:
        """Cut the file off, or let a hole follow."""
        del zero_new, below, preallocated
        self.content.resize(size)

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every image."""
        chosen = list(clusters)
        self._check_room_for_clusters(source, chosen)
        self.content.copy_clusters(source, chosen)

    def host_offset(self, offset: int) -> int:
        """The same."""
        return offset

    @property
    def file_length(self) -> int:
        """That of the disk."""
        return -(-self.size // SECTOR) * SECTOR

    @property
    def actual_size(self) -> int:
        """The allocated pages."""
        return self.content.allocated

    @property
    def image_end(self) -> int:
        """That of the disk."""
        return self.size

    def reopen(self) -> None:
        """Nothing is kept about it."""

    def close_written(self) -> None:
        """Nothing is stored in it."""

    def extend_file(self, end: int) -> None:
        """What is written to the file is written to the disk."""

    def copy_into(self, file: ImageFile) -> RawImage:
        """Share the bytes."""
        twin = RawImage(file, 0)
        twin.content = self.content.clone()
        return twin
