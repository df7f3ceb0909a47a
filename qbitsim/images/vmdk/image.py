"""``vmdk``: a disk of VMware in one sparse file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qbitsim.errors import UnsupportedError
from qbitsim.images.file_bytes import ContentBytes
from qbitsim.images.image import Image
from qbitsim.images.vmdk.content import GrainContent
from qbitsim.images.vmdk.descriptor import content_ids, with_content_id
from qbitsim.images.vmdk.structures import DESCRIPTOR_LENGTH, DESCRIPTOR_PLACE

if TYPE_CHECKING:
    from qbitsim.files.tree import ByteFile
    from qbitsim.images.content import Content, Reader
    from qbitsim.images.image import Preallocation
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.raw import RawImage
    from qbitsim.images.vmdk.extent import Extent


class VmdkImage(Image):
    """A VMDK image. It works on the bytes of its file, in memory as on the host, and keeps nothing else.

    :param plain: the bytes.
    :param extent: where the tables are in them.
    :param through: by which the bytes are read and written, if somebody is to notice.
    """

    __slots__ = ("_has_new_id", "_plain", "extent")

    format = "vmdk"
    content: GrainContent

    def __init__(self, file: ImageFile, plain: RawImage, extent: Extent, through: ByteFile | None = None) -> None:
        super().__init__(file, GrainContent(through or ContentBytes(plain.content), extent))
        self._plain = plain
        self._has_new_id = False
        self.extent = extent

    def seen_through(self, bytes_: ByteFile) -> VmdkImage:
        """The same image, of which every access to its bytes goes through *bytes_*."""
        return VmdkImage(self.file, self._plain, self.extent, bytes_)

    @property
    def plain(self) -> RawImage:
        """The bytes of the file."""
        return self._plain

    @property
    def cluster_size(self) -> int:
        """Bytes of a grain."""
        return self.content.cluster_size

    @property
    def create_type(self) -> str:
        """What QEMU takes it for, whatever the descriptor says."""
        return "streamOptimized" if self.extent.is_compressed else "monolithicSparse"

    @property
    def descriptor(self) -> bytes:
        """The text, with zeroes behind it."""
        return self.content.file.read_at(DESCRIPTOR_PLACE, DESCRIPTOR_LENGTH).ljust(DESCRIPTOR_LENGTH, b"\0")

    @property
    def content_ids(self) -> tuple[int, int]:
        """Its content identifier, and that of its parent."""
        found = content_ids(self.descriptor)
        assert found is not None
        return found

    @property
    def needs_compressed_writes(self) -> bool:
        """Yes, if all is compressed."""
        return self.extent.is_compressed

    def refusal(self, *, write: bool) -> str | None:
        """As every image; files of version 3 track changes, unless they are compressed (vmdk_open_vmdk4).

        :raises UnsupportedError: for writing if there is a footer: QEMU writes behind it, and opens the file no more.
        """
        if write and self.extent.has_footer:
            raise UnsupportedError("writing a vmdk image with a footer")
        if write and self.extent.header.file_version == 3 and not self.extent.is_compressed:
            return "VMDK version 3 must be read only"
        return None

    # -- the disk

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every image; nothing is below. OSError as the content has it."""
        del below
        self.check_room(offset, len(data))
        for start, length in self.content.parts(offset, len(data)):
            self.content.write_part(start, data[start - offset : start - offset + length])
            self._change_id()

    def shrinks(self, data: bytes) -> bool:
        """Whether or not: the extent says whether it is compressed (vmdk_co_pwritev_compressed)."""
        del data
        return True

    def takes_compressed(self, offset: int) -> bool:
        """The write says that."""
        del offset
        return True

    def write_compressed(self, offset: int, data: bytes) -> int:
        """As any write."""
        self.write(offset, data)
        return len(data)

    def end_compressed_writes(self) -> None:
        """Let the file end with a sector."""
        self.end_file(self.file_length)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """As every image; nothing is ever unmapped."""
        del below, below_is_zero, unmap
        self.check_room(offset, length)
        self.content.write_zeroes(offset, length)
        self._change_id()

    def _change_id(self) -> None:
        """The disk was written for the first time since the file was opened: others see that it is another one."""
        if not self._has_new_id:
            old = self.content_ids[0]
            new = with_content_id(self.descriptor, zlib.crc32(old.to_bytes(4, "big")))
            self.content.file.write_at(DESCRIPTOR_PLACE, new)
            self._has_new_id = True

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Nothing: grains are never given up."""

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """Not here; whoever asks has looked at :attr:`can_resize`."""
        raise AssertionError(f"{size} bytes for a disk that cannot be resized")

    @property
    def can_resize(self) -> bool:
        """The format has no way."""
        return False

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every image, by copying the bytes."""
        unit = source.cluster_size
        for number in clusters:
            length = min(unit, self.size - number * unit)
            self.write(number * unit, source.read(number * unit, length))

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """No: the bytes are in a file."""
        del source, cluster_size
        return False

    # -- the file

    def host_offset(self, offset: int) -> int | None:
        """As every image."""
        return self.content.place(offset)

    @property
    def file_length(self) -> int:
        """That of the bytes."""
        return self._plain.file_length

    @property
    def written_length(self) -> int:
        """All of it."""
        return self._plain.file_length

    def end_file(self, end: int) -> None:
        """Let zeroes follow."""
        if end > self._plain.size:
            self._plain.resize(end)

    @property
    def actual_size(self) -> int:
        """That of the bytes."""
        return self._plain.actual_size

    @property
    def image_end(self) -> int:
        """The end of the file."""
        return self._plain.size

    def reopen(self) -> None:
        """As every image; what is written from now on comes behind what the file has."""
        self._has_new_id = False
        self.content.find_end()

    def save(self) -> None:
        """All is in the file."""
        self._plain.save()

    def close_written(self) -> None:
        """All is in the file."""
        self.save()

    def extend_file(self, end: int) -> None:
        """Let zeroes follow, until what is written arrives."""
        self.end_file(end)

    def copy_into(self, file: ImageFile) -> VmdkImage:
        """As every image."""
        twin = VmdkImage(file, self._plain.copy_into(file), self.extent)
        file.image = twin
        return twin
