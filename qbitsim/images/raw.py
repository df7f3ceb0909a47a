"""``raw``: a file that is the disk."""

from __future__ import annotations

from qbitsim.images.content import Kind, zero_block
from qbitsim.images.file_holes import FileHoles
from qbitsim.images.image import Image
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.plain_content import FILE_CLUSTER, PlainContent
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qbitsim.images.content import Content, Reader
    from qbitsim.images.image import Preallocation
    from qbitsim.images.image_file import ImageFile


class RawImage(Image):
    """A plain file.

    :param size: bytes.
    """

    __slots__ = ("_unwritten",)

    format = "raw"

    def __init__(self, file: ImageFile, size: int) -> None:
        super().__init__(file, PlainContent(size))
        self._unwritten = FileHoles()  # for which the host has kept room

    @property
    def plain(self) -> RawImage:
        """Itself."""
        return self

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every image; nothing is below."""
        if self.file.capacity is not None:
            self.check_room(offset, len(data))
        self.content.write(offset, data, below)
        if self._unwritten:
            self._unwritten.fill(offset, offset + len(data))

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
        self._unwritten.drop(offset, offset + length)
        self.content.write_zeroes(offset, length, below, below_is_zero)

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Punch a hole."""
        del backed
        self._unwritten.drop(offset, offset + length)
        self.content.discard(offset, length)

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """Cut the file off, or let a hole follow, or what was preallocated."""
        del zero_new, below
        if preallocation == "metadata":
            raise ValueError("a raw file has no metadata")
        old = self.size
        self.content.resize(size)
        self._unwritten.drop(size, old)
        if preallocation == "falloc" and size > old:
            self._unwritten.add(old, -(-size // FILE_PAGE) * FILE_PAGE)
        elif preallocation == "full":
            for offset in range(old, size, FILE_CLUSTER):
                self.content.write(offset, zero_block(min(FILE_CLUSTER, size - offset)))

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every image."""
        chosen = list(clusters)
        self._check_room_for_clusters(source, chosen)
        self.content.copy_clusters(source, chosen)
        for number in chosen if self._unwritten else ():
            self._unwritten.fill(number * source.cluster_size, (number + 1) * source.cluster_size)

    def described(self, offset: int, length: int) -> tuple[int, bool, bool, bool]:
        """For how many bytes from *offset* on it holds that they are allocated, that they are data, that they are zero.

        A plain file has all that it is.
        """
        kind, run = self.content.status(offset, length)
        return run, True, kind is Kind.DATA, kind is not Kind.DATA

    def host_offset(self, offset: int) -> int:
        """The same."""
        return offset

    @property
    def file_length(self) -> int:
        """That of the disk."""
        return -(-self.size // SECTOR) * SECTOR

    @property
    def written_length(self) -> int:
        """All of it."""
        return self.file_length

    def end_file(self, end: int) -> None:
        """Resize it."""
        self.resize(end)

    @property
    def actual_size(self) -> int:
        """The allocated pages."""
        return self.content.allocated + self._unwritten.size(self.size)

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
        """As every image."""
        twin = RawImage(file, 0)
        twin.content, twin._unwritten = self.content.clone(), self._unwritten.copy()
        file.image = twin
        return twin
