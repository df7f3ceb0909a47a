"""``raw``: the bytes of a file as they are (block/raw-format.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.limits import Limits
from qbitsim.block.node import Child, Node
from qbitsim.block.own_length import OwnLengthNode
from qbitsim.block.status import Status
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.files.faults import FaultOwner
    from qbitsim.images.image import Image


_OTHER_FORMATS = (
    (0, b"QFI\xfb"),
    (0, b"QED\0"),
    (0, b"KDMV"),
    (0, b"COWD"),
    (0, b"# Disk DescriptorFile"),
    (0, b"LUKS\xba\xbe"),
    (0, b"conectix"),
    (0, b"vhdxfile"),
    (0, b"WithoutFreeSpace"),
    (0, b"WithouFreSpacExt"),
    (0, b"Bochs Virtual HD Image"),
    (64, b"\x7f\x10\xda\xbe"),
)
"""What the first sector of files of other formats has at which byte."""


@struct
class BlockdevOptionsRaw(BlockdevOptionsGenericFormat):
    """A window of a file; offset and size in bytes."""

    offset: Int64 | None = None
    size: Int64 | None = None


@driver(
    "raw",
    options=BlockdevOptionsRaw,
    format=True,
    creates=True,
    strong=["offset", "size"],
    sizes=["offset", "size"],
    reopens=["offset", "size"],
)
class RawNode(DriverNode, OwnLengthNode):
    """``raw``: the bytes of its file, or a part of them.

    :param offset: where in the file it begins.
    :param size: bytes; None for up to the end of the file.
    """

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

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Any file is a raw image."""
        file = opener.open_file_child(options)
        node = cls(
            opener.graph,
            offset=options.get("offset", 0),
            size=options.get("size"),
            read_only=flag(options, "read-only"),
            unmap=passes_discards(options),
        )
        length = file.length
        opener.open_format(node, file, options)
        check_window(length, options)
        return node

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse a negative place or length."""
        for name in ("offset", "size"):
            if options.get(name, 0) < 0:
                raise QmpError(f"Value '{options[name]}' is out of range for parameter '{name}'")

    @property
    def _file(self) -> Node:
        return self.children[0].node

    @property
    def _is_part(self) -> bool:
        return bool(self.offset) or self.size is not None

    @property
    def _shown(self) -> Node:
        return self._file

    @property
    def shown_length(self) -> int:
        """Bytes of the file, or of the part."""
        return self.size if self.size is not None else self._file.length - self.offset

    def limits_above(self, below: Limits) -> Limits:
        """Those of the file; sectors if it was only guessed that this is raw (raw_refresh_limits)."""
        return changed(below, request=512 if self.probed else 1)

    @property
    def cluster_size(self) -> int:
        """That of the file: usually none."""
        return self._file.cluster_size

    @property
    def is_zero_when_new(self) -> bool:
        """As of its file."""
        return self._file.is_zero_when_new

    @property
    def knows_cluster_size(self) -> bool:
        """Whether the file knows."""
        return self._file.knows_cluster_size

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Pass them on as a filter does; the file of a part must keep its length (raw_child_perm)."""
        del child
        return perm, shared & ~perms.RESIZE if self._is_part else shared

    def waits_for_io(self, operation: str) -> bool:
        """Whether the file does."""
        return self._file.waits_for_io(operation)

    def zeroing_waits_for_io(self, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.zeroing_waits_for_io(self.offset + offset, length)

    def delay(self, operation: str, length: int) -> int:
        """As long as the file."""
        return self._file.delay(operation, length)

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether the file does."""
        return self._file.fails_without_io(operation, self.offset + offset, length)

    def cancel_in_flight(self) -> bool:
        """As the file."""
        return self._file.cancel_in_flight()

    @property
    def copies_ranges(self) -> bool:
        """Whether the file does."""
        return self._file.copies_ranges

    @property
    def can_unmap_zeroes(self) -> bool:
        """As the file."""
        return self._file.can_unmap_zeroes

    @property
    def disk_image(self) -> Image | None:
        """That of the file."""
        return self._file.disk_image

    @property
    def fault_owner(self) -> FaultOwner | None:
        """That of the file."""
        return self.children[0].node.fault_owner

    def reopen_commit(self, options: Mapping[str, Any]) -> None:
        """Show another part of the file."""
        self.offset, self.size = options.get("offset", 0), options.get("size")
        self.ask_for_length()
        self.follow_length()

    @property
    def plain_image(self) -> Image | None:
        """That of the file, if it is all of it."""
        return None if self._is_part else self._file.plain_image

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Let the file take them, if it is all of it."""
        if self._is_part or self.bitmaps:
            return False
        return self._file.take_clusters(source, chosen, cluster_size)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.debug_event("read_aio")
        return self._read_shown(self.offset + offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._check_end(offset, len(data))
        if self.probed and offset < SECTOR:
            self._check_first_sector(offset, data)
        self._file.debug_event("write_aio")
        self._file.write(self.offset + offset, data)

    def _check_first_sector(self, offset: int, data: bytes) -> None:
        """Refuse what would be taken for another format the next time (raw_co_pwritev, block/raw-format.c, 10.0).

        :raises OSError: EPERM.
        """
        rest = SECTOR - offset - len(data)
        block = self._read(0, offset) + data + (self._read(SECTOR - rest, rest) if rest > 0 else b"")
        if any(block.startswith(magic, place) for place, magic in _OTHER_FORMATS):
            raise io_error(errno.EPERM)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check_end(offset, length)
        self._file.write_zeroes(self.offset + offset, length, unmap=unmap and self._file.unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._check_end(offset, length)
        self._file.discard(self.offset + offset, length)

    def _status(self, offset: int, length: int) -> Status:
        return self._file.status(self.offset + offset, length)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """As the file."""
        return self._file.zeroes_fast(self.offset + offset, length)

    def _truncate(self, size: int) -> None:
        if self.size is not None:
            raise QmpError("Cannot resize fixed-size raw disks")
        self._file.truncate(size + self.offset)


def check_window(length: int, options: Mapping[str, Any]) -> None:
    """Refuse a raw node that does not fit into its file of ``length`` bytes.

    :raises QmpError: in the order of raw_apply_options (block/raw-format.c, QEMU 10.0).
    """
    offset, size = options.get("offset", 0), options.get("size")
    if offset > length:
        raise QmpError(f"Offset ({offset}) cannot be greater than size of the containing file ({length})")
    if size is None:
        return
    if size > length - offset:
        raise QmpError(
            f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  actual size of the "
            f"containing file ({length})"
        )
    if size % SECTOR:
        raise QmpError(f"Specified size is not multiple of {SECTOR}")
