"""An export as a file that holds an image: its bytes are read and written over NBD.

The protocol has no length that changes: the file is as long as the export, whatever is in it (nbd_co_truncate(),
block/nbd.c, QEMU 10.0).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.content import Content, Kind, Reader
from qbitsim.images.host.file import HostImageFile
from qbitsim.images.host.plain import HostPlainContent, HostRawImage
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.limits import Limits
    from qbitsim.images.image import Image, Preallocation
    from qbitsim.nbd.remote import RemoteExport

_WRITTEN_AT_ONCE = 1 << 20


class RemoteFile:
    """The bytes of an export (:class:`.OpenFile`).

    :param export: connected.
    :param name: what people call it.
    """

    stamp = (0, 0, 0)
    is_handed_over = False
    allocated = 0  # nobody can tell

    def __init__(self, export: RemoteExport, name: str) -> None:
        self.export = export
        self.path = name
        self.touched = False
        self.writable = False
        self.is_open = True

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise UnsupportedError("a snapshot of a machine with an image of a format on an NBD server")

    def make_writable(self) -> None:
        """Write from now on.

        :raises OSError: EACCES, the server lets nobody write.
        """
        if self.export.read_only:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), self.path)
        self.writable = True

    def close(self) -> None:
        """Say goodbye to the server."""
        if self.is_open:
            self.is_open = False
            self.export.close()

    # -- bytes

    @property
    def length(self) -> int:
        """Bytes of the export, in whole sectors."""
        return self.export.size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range; fewer at the end."""
        return self.export.read(offset, max(0, min(offset + length, self.length) - offset))

    def write_at(self, offset: int, data: bytes) -> None:
        """Write bytes; what the server says of such that are behind the end is its affair."""
        self.touched = True
        self.export.write(offset, data)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write zeroes, byte by byte."""
        for start in range(offset, offset + length, _WRITTEN_AT_ONCE):
            self.write_at(start, bytes(min(_WRITTEN_AT_ONCE, offset + length - start)))

    def make_zero(self, offset: int, length: int, *, unmap: bool) -> None:
        """Zero a range, by writing zeroes if the server does not know how.

        :param unmap: it may become a hole.
        """
        self.touched = True
        try:
            self.export.write_zeroes(offset, length, unmap=unmap)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            self.write_zeroes(offset, length)

    def punch(self, offset: int, length: int) -> None:
        """Zero a range, as far as the export reaches, which may become a hole."""
        length = min(offset + length, self.length) - offset
        if length > 0:
            self.make_zero(offset, length, unmap=True)

    def zero(self, offset: int, length: int) -> None:
        """Zero a range, which stays allocated."""
        if length > 0:
            self.make_zero(offset, length, unmap=False)

    def allocate(self, offset: int, length: int) -> None:
        """Nothing needs to be done: room is the server's affair."""
        self._check_room(offset + length)

    def truncate(self, size: int) -> None:
        """Keep the length.

        :raises OSError: EINVAL, it would have to grow.
        """
        if size > self.length:
            raise OSError(errno.EINVAL, "Cannot grow NBD nodes", self.path)

    def flush(self) -> None:
        """Let the server flush."""
        self.export.flush()

    def _check_room(self, end: int) -> None:
        if end > self.length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    # -- what is where

    def next_data(self, offset: int) -> int | None:
        """The first byte from *offset* on that is not known to be zero; None if there is none."""
        return next((start for start, _length in self._not_zero(offset)), None)

    def next_hole(self, offset: int) -> int:
        """The first byte from *offset* on that is known to be zero, or the end."""
        for start, length in self._not_zero(offset):
            if start > offset:
                break
            offset = start + length
        return offset

    def extents(self) -> Iterator[tuple[int, int]]:
        """What is not known to be zero, as (offset, length), ascending."""
        return self._not_zero(0)

    def _not_zero(self, offset: int) -> Iterator[tuple[int, int]]:
        while offset < self.length:
            status = self.export.status(offset, self.length - offset)
            if not status.zero:
                yield offset, status.length
            offset += status.length

    # -- locks: NBD has none

    def lock(self, used: int, unshared: int) -> None:
        """Nobody is in the way."""
        del used, unshared

    def conflict(self, used: int, unshared: int) -> None:
        """Nobody is in the way."""
        del used, unshared


class RemoteContent(HostPlainContent):
    """The bytes of an export. What the server tells to be zero is of kind ZERO; HOLE is what it has nothing of.

    Only another context than ``base:allocation`` has such holes: a dirty range is one, and the rest is DATA.
    """

    holes_are_zero = False

    file: RemoteFile

    __slots__ = ()

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content."""
        status = self.file.export.status(offset, min(length, self.size - offset))
        kind = Kind.ZERO if status.zero else Kind.DATA if status.data else Kind.HOLE
        return kind, status.length

    def growth(self, offset: int, length: int) -> int:
        """Nobody can tell."""
        del offset, length
        return 0

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Say that bytes are not needed any more."""
        del backed
        self.file.export.trim(offset, length)

    def copy_clusters(self, source: Content, clusters: object) -> None:
        """Not here: nothing is shared with a server."""
        raise AssertionError("clusters for an export")


class RemoteRawImage(HostRawImage):
    """A plain disk on a server."""

    __slots__ = ()

    content: RemoteContent
    file: RemoteImageFile

    def __init__(self, file: RemoteImageFile) -> None:
        super().__init__(file)
        self.content = RemoteContent(file.bytes)

    def described(self, offset: int, length: int) -> tuple[int, bool, bool, bool]:
        """What the server tells."""
        status = self.file.bytes.export.status(offset, length)
        return status.length, status.allocated, status.data, status.zero

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """As every image: the server may make a hole of what is to be unmapped."""
        del below, below_is_zero
        self.file.bytes.make_zero(offset, length, unmap=unmap)

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """Keep the length.

        :raises OSError: ENOTSUP, it is another one.
        """
        del zero_new, below, preallocation
        if size != self.size:
            raise OSError(errno.ENOTSUP, "Cannot resize NBD nodes", self.name)


class RemoteImageFile(HostImageFile):
    """An export that holds an image, raw or of a format.

    :param name: what people call it: a file name with a protocol.
    :param export: connected.
    """

    __slots__ = ()

    bytes: RemoteFile

    def __init__(self, name: str, export: RemoteExport) -> None:
        super().__init__(name, RemoteFile(export, name))

    def _plain_image(self) -> RemoteRawImage:
        return RemoteRawImage(self)

    def make_image(self, image_format: str, size: int, **options: Any) -> Image:
        """Make an image in the export, which keeps its length (bdrv_co_create_opts_simple(), block.c, QEMU 10.0).

        :param options: of :meth:`make_qcow2`.
        :raises QmpError: the export is too short for a raw one.
        :raises UnsupportedError: it is of another format.
        :raises OSError: as the server says.
        """
        if image_format == "qcow2":
            return self.make_qcow2(size, **options)
        if image_format != "raw":
            raise UnsupportedError(f"a {image_format} image in an NBD export")
        if size > self.bytes.length:
            raise QmpError("Cannot grow NBD nodes")
        image = self.take_bytes()
        image.write_zeroes(0, min(SECTOR, image.size), unmap=True)  # what it held before is not to be found any more
        return image

    @property
    def limits(self) -> Limits:
        """What the server asks of requests."""
        return self.bytes.export.limits

    def close(self) -> None:
        """Somebody uses it no more; with the last one the connection ends."""
        super().close()
        if not self.users:
            self.bytes.close()
