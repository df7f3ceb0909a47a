"""A file seen as nothing but bytes, whatever is in it."""

from __future__ import annotations

from qbitsim.images.content import Content, Kind, Reader
from qbitsim.images.plain_content import FILE_CLUSTER, PlainContent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from qbitsim.files.tree import ByteSource
    from qbitsim.images.image import Image
    from qbitsim.images.qcow2.rendered import RenderedFile


COPIED_AT_ONCE = 1 << 20
"""Bytes that are read and written in one piece where a whole file is copied."""


class BytesContent(Content):
    """The bytes of a file that are kept by somebody else.

    :param file: who keeps them.
    :param size: bytes.
    :ivar file: who keeps them.
    """

    __slots__ = ("file",)

    def __init__(self, file: ByteSource, size: int) -> None:
        super().__init__(size, FILE_CLUSTER, zero_clusters=False)
        self.file = file

    def read(self, offset: int, length: int) -> bytes:
        """As every content; behind the end of a file that somebody cut off there are zeroes."""
        assert 0 <= offset <= offset + length <= self.size, (offset, length, self.size)
        return self.file.read_at(offset, length).ljust(length, b"\0")

    def stored_clusters(self) -> list[int]:
        """The numbers of the clusters that are no hole as a whole."""
        unit = self.cluster_size
        runs = (range(start // unit, -(-(start + length) // unit)) for start, length in self.ranges(Kind.DATA))
        return list(dict.fromkeys(number for run in runs for number in run))

    def clone(self) -> PlainContent:
        """A content in memory that reads the same."""
        twin = PlainContent(self.size)
        for start, length in self.ranges(Kind.DATA):
            for offset in range(start, start + length, COPIED_AT_ONCE):
                twin.write(offset, self.read(offset, min(COPIED_AT_ONCE, start + length - offset)))
        return twin


class RenderedContent(BytesContent):
    """The bytes of the file of a qcow2 image in memory. They are only read.

    :param file: makes them.
    :param image: it.
    """

    __slots__ = ("_image",)

    file: RenderedFile

    def __init__(self, file: RenderedFile, image: Image) -> None:
        super().__init__(file, image.file_length)
        self._image = image

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content, in pages that were written."""
        assert 0 <= offset < self.size
        assert length > 0
        data, run = self.file.status(offset, min(length, self.size - offset))
        return (Kind.DATA if data else Kind.HOLE), run

    @property
    def allocated(self) -> int:
        """Bytes that a host's file system would need."""
        return self._image.actual_size

    # -- writing: the file has to become a plain one before

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> NoReturn:
        """Not here."""
        raise AssertionError(f"{len(data)} bytes at {offset} of what is only seen as bytes")

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> NoReturn:
        """Not here."""
        raise AssertionError(f"{length} zeroes at {offset} of what is only seen as bytes")

    def discard(self, offset: int, length: int, *, backed: bool = False) -> NoReturn:
        """Not here."""
        raise AssertionError(f"a discard of {length} bytes at {offset} of what is only seen as bytes")

    def resize(self, size: int, *, zero_new: bool = False) -> NoReturn:
        """Not here."""
        raise AssertionError(f"{size} bytes of what is only seen as bytes")

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> NoReturn:
        """Not here."""
        raise AssertionError("clusters for what is only seen as bytes")


class ContentBytes:
    """A :class:`.ByteFile`: what a content holds.

    :ivar content: it.
    """

    __slots__ = ("content",)

    def __init__(self, content: Content) -> None:
        self.content = content

    @property
    def length(self) -> int:
        """Bytes."""
        return self.content.size

    def read_at(self, offset: int, length: int) -> bytes:
        """*length* bytes from *offset* on, fewer where the content ends."""
        inside = min(offset + length, self.content.size) - offset
        return self.content.read(offset, inside) if inside > 0 else b""

    def write_at(self, offset: int, data: bytes) -> None:
        """Store bytes; the content becomes longer if they reach behind its end."""
        if offset + len(data) > self.content.size:
            self.content.resize(offset + len(data))
        self.content.write(offset, data)
