"""Protocol nodes: a file of the image store, and the bottomless ``null-co``."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qbitsim.block import permissions as perms
from qbitsim.block.drive import io_error
from qbitsim.block.node import Node
from qbitsim.block.permissions import Child
from qbitsim.block.status import Status
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.content import Kind

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.files.faults import Faults
    from qbitsim.images.image import Image

STATUS_OF = {Kind.HOLE: (False, False), Kind.ZERO: (False, True), Kind.DATA: (True, False)}
"""Kind of content -> (data, zero) of a format that may have a backing file."""


class FileNode(Node):
    """``file``: one file.

    The bytes of a qcow2 file itself are not modelled: the format node above works on the disk in it and
    accounts here for where in the file they would be.
    """

    driver = "file"

    __slots__ = ("force_share", "image", "opened_as")

    def __init__(
        self,
        graph: Graph,
        image: Image,
        filename: str,
        *,
        read_only: bool = False,
        unmap: bool = False,
        force_share: bool = False,
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.image = image
        self.opened_as = filename
        self.force_share = force_share
        image.reopen()

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self.image.file_length

    @property
    def filename(self) -> str:
        """As it was given."""
        return self.opened_as

    def on_permissions(self, perm: int, shared: int) -> None:
        """Take the locks on the file that these permissions stand for (raw_check_perm, block/file-posix.c)."""
        if self.force_share:
            return
        conflict = self.image.locks.acquire(self, perm, shared)
        if conflict is not None:
            raise QmpError(conflict)

    def close(self) -> None:
        """Give up the locks."""
        self.image.locks.release(self)

    def abandon(self) -> None:
        """Give up the locks."""
        self.close()

    def own_faults(self) -> Faults | None:
        """Those of the image."""
        return self.image.faults

    def plain_image(self, *, writing: bool) -> Image | None:
        """The file, if it is a raw image and nobody watches."""
        watched = self.image.faults is not None or (writing and bool(self.bitmaps))
        limited = writing and self.image.capacity is not None
        return None if watched or limited or self.image.format != "raw" else self.image

    def _check(self, operation: str, offset: int, length: int) -> None:
        if self.image.format != "raw":
            raise UnsupportedError(f"I/O on the bytes of the {self.image.format} file '{self.opened_as}'")
        if self.image.faults is not None:
            self.image.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        end = min(offset + length, self.image.size)
        return self.image.content.read(offset, max(0, end - offset)).ljust(length, b"\0")

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        assert not compressed
        self._check("write", offset, len(data))
        if offset + len(data) > self.image.size:
            self.image.resize(offset + len(data))
        self.image.write(offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check("write-zeroes", offset, length)
        if offset + length > self.image.size:
            self.image.resize(offset + length)
        self.image.write_zeroes(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self._check("discard", offset, length)
        self.image.discard(offset, length)

    def _flush(self) -> None:
        if self.image.faults is not None:
            self.image.faults.check("flush", 0, 0)

    def _status(self, offset: int, length: int) -> Status:
        if offset >= self.image.size:
            return Status(length, zero=True)
        kind, run = self.image.content.status(offset, length)
        data = kind is Kind.DATA
        return Status(run, data=data, zero=not data)

    def _truncate(self, size: int) -> None:
        self.image.resize(size)

    def _account(self, operation: str, offset: int, length: int) -> None:
        """Nothing: the file itself is fine, the disk in it has faults of its own."""


class NullNode(Node):
    """``null-co``: as long as wished; forgets what is written and reads as zeroes.

    :param read_zeroes: whether reading zeroes is promised (``read-zeroes``).
    """

    driver = "null-co"

    __slots__ = ("faults", "latency", "read_zeroes", "size")

    def __init__(
        self, graph: Graph, size: int, *, read_zeroes: bool = False, latency: int = 0, read_only: bool = False
    ) -> None:
        super().__init__(graph, read_only=read_only)
        self.size = size
        self.read_zeroes = read_zeroes
        self.latency = latency
        self.faults: Faults | None = None

    @property
    def length(self) -> int:
        """Bytes."""
        return self.size

    @property
    def knows_cluster_size(self) -> bool:
        """False: the driver has no bdrv_get_info."""
        return False

    @property
    def filename(self) -> str:
        """``null-co://``."""
        return f"{self.driver}://"

    @property
    def forgets(self) -> bool:
        """It does, without faults and bitmaps."""
        return self.faults is None and not self.bitmaps

    @property
    def reads_plainly(self) -> bool:
        """It does, without faults."""
        return self.faults is None

    @property
    def needs_no_io(self) -> bool:
        """Unless it is made to be slow the driver is a coroutine that runs through (null_co_common, block/null.c)."""
        return not self.latency and self.faults is None

    def zeroes_without_io(self, offset: int, length: int) -> bool:
        """As any request."""
        del offset, length
        return self.needs_no_io

    def own_faults(self) -> Faults | None:
        """Its own."""
        return self.faults

    def _check(self, operation: str, offset: int, length: int) -> None:
        if self.faults is not None:
            self.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return bytes(length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        assert not compressed
        self._check("write", offset, len(data))

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check("write-zeroes", offset, length)

    def _discard(self, offset: int, length: int) -> None:
        raise io_error(errno.ENOTSUP)

    def _flush(self) -> None:
        self._check("flush", 0, 0)

    def _status(self, offset: int, length: int) -> Status:
        return Status(length, zero=self.read_zeroes)

    def _truncate(self, size: int) -> None:
        raise QmpError("Image format driver does not support resize")


class NullAioNode(NullNode):
    """``null-aio``: the same with another way to answer requests."""

    driver = "null-aio"

    __slots__ = ()

    @property
    def needs_no_io(self) -> bool:
        """False: the answer comes later."""
        return False


class RawNode(Node):
    """``raw``: the bytes of its file, or a part of them.

    :param offset: where in the file it begins.
    :param size: bytes; None for up to the end of the file.
    """

    driver = "raw"
    is_format = True

    __slots__ = ("offset", "size")

    def __init__(
        self,
        graph: Graph,
        *,
        offset: int = 0,
        size: int | None = None,
        read_only: bool = False,
        unmap: bool = False,
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.offset = offset
        self.size = size

    @property
    def _file(self) -> Node:
        return self.children[0].node

    @property
    def _is_part(self) -> bool:
        return bool(self.offset) or self.size is not None

    @property
    def length(self) -> int:
        """Bytes."""
        return self.size if self.size is not None else self._file.length - self.offset

    @property
    def cluster_size(self) -> int:
        """That of the file: usually none."""
        return self._file.cluster_size

    @property
    def knows_cluster_size(self) -> bool:
        """Whether the file knows."""
        return self._file.knows_cluster_size

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Pass them on as a filter does; the file of a part must keep its length (raw_child_perm)."""
        del child
        return perm, shared & ~perms.RESIZE if self._is_part else shared

    @property
    def needs_no_io(self) -> bool:
        """Whether the file needs none."""
        return self._file.needs_no_io

    def zeroes_without_io(self, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.zeroes_without_io(self.offset + offset, length)

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.fails_without_io(operation, self.offset + offset, length)

    def own_faults(self) -> Faults | None:
        """Those of the file."""
        return self._file.own_faults()

    def plain_image(self, *, writing: bool) -> Image | None:
        """That of the file, if it is all of it."""
        if self._is_part or (writing and self.bitmaps):
            return None
        return self._file.plain_image(writing=writing)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.debug_event("read_aio")
        return self._file.read(self.offset + offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._file.debug_event("write_aio")
        self._file.write(self.offset + offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._file.write_zeroes(self.offset + offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._file.discard(self.offset + offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._file.status(self.offset + offset, length)

    def _truncate(self, size: int) -> None:
        if self.size is not None:
            raise QmpError("Cannot resize fixed-size raw disks")
        self._file.truncate(size + self.offset)
