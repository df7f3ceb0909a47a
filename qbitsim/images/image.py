"""What is in one file, whatever its format.

An :class:`Image` is the disk's content and, for formats that have them, the name of the backing file, stored bitmaps
and snapshots. It knows nothing of the graph: a node opens an image, and several images form a chain only by their
names.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod

from qbitsim.images.content import Content, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ClassVar, Literal, TypeAlias

    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.qcow2.bitmaps import StoredBitmap
    from qbitsim.images.qcow2.data_file import DataFile
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.images.raw import RawImage

Preallocation: TypeAlias = "Literal['off', 'metadata', 'falloc', 'full']"
"""Nothing; places in the file; room for them; zeroes that are written there (PreallocMode)."""

PREALLOCATIONS: dict[str, Preallocation] = {"off": "off", "metadata": "metadata", "falloc": "falloc", "full": "full"}


class Image(ABC):
    """The disk in a file. A format that cannot keep something has none of it.

    :param file: where it is.
    :ivar format: such as ``"qcow2"``.
    :ivar content: the disk.
    """

    __slots__ = ("content", "file")

    format: ClassVar[str]

    def __init__(self, file: ImageFile, content: Content) -> None:
        self.content = content
        self.file = file

    def __repr__(self) -> str:
        return f"<Image {self.name!r} {self.format} {self.size} bytes>"

    @property
    def name(self) -> str:
        """That of the file."""
        return self.file.name

    @property
    def plain(self) -> RawImage | None:
        """The bytes of the file, if the image is in nothing else; None if the bytes follow from the image."""
        return None

    @property
    def size(self) -> int:
        """Bytes of the virtual disk."""
        return self.content.size

    @property
    def cluster_size(self) -> int | None:
        """Bytes, None if the format has no clusters."""
        return None

    @property
    def backing(self) -> str | None:
        """The backing file's name as written in the header, None if there is none."""
        return None

    @property
    def backing_format(self) -> str | None:
        """The backing file's format, None if not written down."""
        return None

    @property
    def data_file(self) -> DataFile | None:
        """The external data file, None if there is none."""
        return None

    @property
    def bitmaps(self) -> Sequence[StoredBitmap]:
        """The stored bitmaps, in the order in the file."""
        return ()

    @property
    def snapshots(self) -> Sequence[StoredSnapshot]:
        """The internal snapshots, oldest first."""
        return ()

    @property
    def keeps_bitmaps(self) -> bool:
        """Whether bitmaps can be stored in it."""
        return False

    @property
    def can_resize(self) -> bool:
        """Whether the disk can become longer or shorter."""
        return True

    @property
    def needs_compressed_writes(self) -> bool:
        """Whether ``qemu-img convert`` is to compress what it writes, unasked (bdrv_get_info)."""
        return False

    def refusal(self, *, write: bool) -> str | None:
        """Why the format cannot be opened, in QEMU's words; None if it can.

        :param write: for writing.
        """
        del write
        return None

    def find_bitmap(self, name: str) -> StoredBitmap | None:
        """The stored bitmap of that name, None if there is none."""
        return next((bitmap for bitmap in self.bitmaps if bitmap.name == name), None)

    # -- the disk

    @abstractmethod
    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """:meth:`.Content.write`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it."""

    @abstractmethod
    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """:meth:`.Content.write_zeroes`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it.

        :param unmap: clusters that become zero give back their places in the file.
        """

    @abstractmethod
    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """:meth:`.Content.discard`; *backed* says of a backing file that is open, whatever the header names."""

    def note_given_back(self, offset: int, length: int, *, used: bool) -> None:
        """The host was given back clusters of the file, also those that are still *used* if that is said."""
        del offset, length, used

    @abstractmethod
    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """:meth:`.Content.resize`; the stored bitmaps keep their bits as far as the disk reaches.

        :param below: what the backing chain reads as, for a cluster of which only the new part is to be zero.
        :param preallocation: what is new gets room in the file, too.
        :raises ValueError: the format does not know this kind of preallocation.
        """

    def shrinks(self, data: bytes) -> bool:
        """Whether a cluster of these bytes, or what the disk's last one has of it, can be stored compressed."""
        del data
        return False

    def takes_compressed(self, offset: int) -> bool:
        """Whether a compressed cluster can be put at *offset*. Asking is the first half of writing."""
        del offset
        return False

    def write_compressed(self, offset: int, data: bytes) -> int:
        """Store one cluster compressed; :meth:`shrinks` and :meth:`takes_compressed` say that it can be.

        :returns: how many bytes are stored.
        :raises OSError: as :meth:`write`.
        """
        raise AssertionError(f"{len(data)} compressed bytes at {offset} of a format that has none")

    def end_compressed_writes(self) -> None:  # noqa: B027 (most formats do nothing then)
        """All is written that was to be compressed."""

    @abstractmethod
    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """:meth:`.Content.copy_clusters`; OSError(ENOSPC), with nothing changed, if the capacity does not allow it."""

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """Whether :meth:`copy_clusters` can take clusters of that size from *source*, and no limit stops it."""
        return self.file.capacity is None and source.content.cluster_size == self.content.cluster_size == cluster_size

    # -- its capacity

    def check_room(self, offset: int, length: int) -> None:
        """OSError(ENOSPC) if the capacity does not allow the range to be written."""
        if self.file.capacity is not None:
            self._check_capacity(self.content.growth(offset, length))

    def _check_room_for_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """OSError(ENOSPC) if the capacity does not allow the *clusters* to be copied that *source* has stored."""
        if self.file.capacity is not None:
            unit, stored = source.cluster_size, source.allocation_order()
            wanted = (number * unit for number in clusters if number in stored)
            self._check_capacity(sum(self.content.growth(at, min(unit, self.size - at)) for at in wanted))

    def _check_capacity(self, growth: int) -> None:
        capacity = self.file.capacity
        if growth and capacity is not None and self.content.allocated + growth > capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)

    # -- the file

    @abstractmethod
    def host_offset(self, offset: int) -> int | None:
        """Where in the file the byte at *offset* of the disk is kept.

        None if it has no place of its own: it is not allocated, or compressed. A zeroed cluster may have a place.
        """

    @property
    @abstractmethod
    def file_length(self) -> int:
        """Bytes of the file, rounded up to sectors as QEMU shows it."""

    @property
    @abstractmethod
    def written_length(self) -> int:
        """Bytes of the file without what was only preallocated for a format, rounded up to sectors."""

    @abstractmethod
    def end_file(self, end: int) -> None:
        """Let the file end there, with zeroes behind what was written of it; only a raw file can lose something."""

    @property
    @abstractmethod
    def actual_size(self) -> int:
        """Bytes that a host's file system would need: all that was written of the file, in whole pages."""

    @property
    @abstractmethod
    def image_end(self) -> int:
        """First byte behind the last cluster in use, as ``qemu-img check`` reports it; of a raw file, its end."""

    @abstractmethod
    def reopen(self) -> None:
        """The file is being opened anew."""

    def save(self) -> None:  # noqa: B027 (of an image in memory there is nothing to write)
        """Write down in the file what of it is only in memory."""

    @abstractmethod
    def close_written(self) -> None:
        """The file was open for writing and is closed."""

    @abstractmethod
    def extend_file(self, end: int) -> None:
        """Something was written up to the byte before *end*, so that the file is at least as long."""

    def mark_bitmaps(self, offset: int, length: int) -> None:
        """Something wrote to a range: set its bits in the stored bitmaps that record."""
        for bitmap in self.bitmaps:
            if bitmap.records and length:
                bitmap.mark(offset, length)

    @abstractmethod
    def copy_into(self, file: ImageFile) -> Image:
        """Let *file* hold an independent image of the same value; the stored bytes are shared."""
