"""The external data file of a qcow2 image, in which each cluster of the disk is at its own offset."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.image import Preallocation
    from qbitsim.images.image_file import ImageFile


class DataFile:
    """A :class:`.ByteSource` and more: what the image says of its data file, and the file once somebody has opened it.

    :param name: as the header has it, None if it does not say.
    :param is_raw: the file reads as the disk, whatever the tables say (data_file_raw).
    :ivar file: None as long as it is not open.
    :ivar is_held: a node has it open, whatever the name says.
    """

    __slots__ = ("file", "is_held", "is_raw", "name")

    def __init__(self, name: str | None, *, is_raw: bool, file: ImageFile | None = None) -> None:
        self.name = name
        self.is_raw = is_raw
        self.file = file
        self.is_held = False

    def _opened(self) -> ImageFile:
        if self.file is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        return self.file

    def copy(self) -> DataFile:
        """The same, not open."""
        return DataFile(self.name, is_raw=self.is_raw)

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._opened().raw.size

    def read_at(self, offset: int, length: int) -> bytes:
        """*length* bytes from *offset* on, fewer where the file ends."""
        image = self._opened().raw
        inside = min(offset + length, image.size) - offset
        return image.content.read(offset, inside) if inside > 0 else b""

    def write_at(self, offset: int, data: bytes) -> None:
        """Store bytes; the file becomes longer if they reach behind its end, as a new last cluster of the disk may."""
        image = self._opened().take_bytes()
        if offset + len(data) > image.size:
            image.resize(offset + len(data))
        image.write(offset, data)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Zero a range, as far as the file reaches."""
        image = self._opened().take_bytes()
        inside = min(offset + length, image.size) - offset
        if inside > 0:
            image.write_zeroes(offset, inside, unmap=unmap)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole, as far as the file reaches."""
        image = self._opened().take_bytes()
        inside = min(offset + length, image.size) - offset
        if inside > 0:
            image.discard(offset, inside)

    def resize(self, size: int, preallocation: Preallocation) -> None:
        """Follow the disk, which has *size* bytes now: without preallocation exactly, otherwise when it is too short.

        Preallocated metadata are the image's; the data file only grows.
        """
        image = self._opened().take_bytes()
        if preallocation == "off" or image.size < size:
            image.resize(size, preallocation="off" if preallocation == "metadata" else preallocation)
