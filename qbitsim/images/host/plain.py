"""A raw image in a file of the host: what the file system says is what it is."""

from __future__ import annotations

from qbitsim.files.failures import StepError, step
from qbitsim.images.content import Content, Kind, Reader
from qbitsim.images.file_bytes import BytesContent
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.raw import RawImage
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qbitsim.files.tree import OpenFile
    from qbitsim.images.host.file import HostImageFile
    from qbitsim.images.image import Image, Preallocation


class HostPlainContent(BytesContent):
    """The bytes of a file. HOLE is what the file system calls so.

    :param file: open; for writing if the content is to change.
    """

    __slots__ = ()

    file: OpenFile

    def __init__(self, file: OpenFile) -> None:
        super().__init__(file, -(-file.length // SECTOR) * SECTOR)

    # -- reading

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content (find_allocation, block/file-posix.c, 10.0)."""
        assert 0 <= offset < self.size
        assert length > 0
        end = min(offset + length, self.size)
        data = self.file.next_data(offset)
        if data is None:
            return Kind.HOLE, end - offset
        if data > offset:
            return Kind.HOLE, min(data, end) - offset
        return Kind.DATA, min(self.file.next_hole(offset), end) - offset

    @property
    def allocated(self) -> int:
        """Bytes that the file takes on the file system."""
        return self.file.allocated

    def growth(self, offset: int, length: int) -> int:
        """By how many bytes :attr:`allocated` would grow if the range were written."""
        start = offset // FILE_PAGE * FILE_PAGE
        end, grown = -(-(offset + length) // FILE_PAGE) * FILE_PAGE, 0
        while start < end:
            if start >= self.size:
                return grown + end - start
            kind, run = self.status(start, end - start)
            run = -(-run // FILE_PAGE) * FILE_PAGE
            grown += run if kind is Kind.HOLE else 0
            start += run
        return grown

    # -- writing

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """Write *data*; OSError as the host has it."""
        del below
        assert 0 <= offset <= offset + len(data) <= self.size, (offset, len(data), self.size)
        self.file.write_at(offset, data)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> None:
        """Zero a range, which keeps its place on the file system where that can be said."""
        del below, below_is_zero
        self.file.zero(offset, length)

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Punch a hole."""
        del backed
        self.file.punch(offset, length)

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """Cut the file off, or let a hole follow."""
        del zero_new
        self.file.truncate(size)
        self.size = size

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every content, by copying the bytes."""
        for number in clusters:
            start = number * self.cluster_size
            length = min(self.cluster_size, self.size - start)
            kind, run = source.status(start, length)
            if kind is Kind.DATA or run < length:
                self.write(start, source.read(start, length))
            else:
                self.discard(start, length)


class HostRawImage(RawImage):
    """A plain file of the host."""

    __slots__ = ()

    content: HostPlainContent
    file: HostImageFile

    def __init__(self, file: HostImageFile) -> None:
        super().__init__(file, 0)
        self.content = HostPlainContent(file.bytes)

    def save(self) -> None:
        """All is in the file."""
        self.file.note_saved()

    def close_written(self) -> None:
        """All is in the file."""
        self.save()

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """As every raw image; one that gets no room for what is new is as long as before (handle_aiocb_truncate)."""
        old = self.size
        if preallocation == "off" or size <= old:
            super().resize(size, preallocation=preallocation)
            return
        full = preallocation == "full"
        try:
            with step("Could not write zeros for preallocation" if full else "Could not preallocate new data"):
                super().resize(size, preallocation=preallocation)
                if preallocation == "falloc":
                    self.content.file.allocate(old, size - old)
        except StepError:
            self.content.resize(old)
            raise

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """Punch a hole if it is to be unmapped; otherwise zero the range in place (raw_do_pwrite_zeroes)."""
        if unmap:
            self.content.discard(offset, length)
        else:
            self.content.write_zeroes(offset, length, below, below_is_zero)

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """No: the bytes are in a file."""
        del source, cluster_size
        return False
