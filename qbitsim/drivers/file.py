"""``file``: a node that is a file of the image store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.node import Node
from qbitsim.block.status import Status
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.locks import in_use_hint
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

    __slots__ = ("discarded_bytes", "discards", "force_share", "image", "opened_as")

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
        self.discards = 0
        self.discarded_bytes = 0
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
            raise QmpError(conflict, hint=in_use_hint(self.opened_as))

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
        self.note_discarded(offset, length)

    @property
    def copies_ranges(self) -> bool:
        """Yes: the host has copy_file_range."""
        return True

    def note_discarded(self, offset: int, length: int) -> None:
        """Count it (raw_account_discard), if discards are passed on."""
        del offset
        if self.unmap:
            self.discards += 1
            self.discarded_bytes += length

    def discard_stats(self) -> tuple[int, int, int]:
        """None fails here."""
        return self.discards, 0, self.discarded_bytes

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
