"""``blklogwrites``: a filter that writes down every write in a log (block/blklogwrites.c, QEMU 10.0).

The log is what Linux's device mapper target ``log-writes`` makes: a super block in its first sector, then for each
write, discard and flush an entry of one sector and the sectors that were written. Numbers are little-endian.
The super block is written at a flush, and after every ``log-super-update-interval`` entries.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING

from qbitsim.block.limits import Limits
from qbitsim.block.node import Child, Node
from qbitsim.drivers.aligned import AlignedNode
from qbitsim.drivers.driver import driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptions, BlockdevRef
from qbitsim.qapi.schema import UInt32, UInt64
from qbitsim.qapi.structs import struct
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener

_SUPER = Struct("<QQQI")  # magic, version, number of entries, bytes of a sector
_ENTRY = Struct("<QQQQ")  # sector, number of sectors, flags, bytes of data beside them
_MAGIC, _VERSION = 0x6A736677736872, 1
_FLUSH, _DISCARD, _ALL_FLAGS = 1, 4, 15
_LARGEST_SECTOR = 1 << 23
_UPDATE_INTERVAL = 4096


@struct
class BlockdevOptionsBlklogwrites(BlockdevOptions):
    """A filter with a log; the sector size in bytes, the interval in entries."""

    file: BlockdevRef
    log: BlockdevRef
    log_sector_size: UInt32 | None = None
    log_append: bool | None = None
    log_super_update_interval: UInt64 | None = None


@driver(
    "blklogwrites",
    options=BlockdevOptionsBlklogwrites,
    children=["file", "log"],
    strong=["log-append", "log-sector-size"],
    sizes=["log-sector-size"],
)
class BlklogwritesNode(AlignedNode):
    """``blklogwrites``, whose children are ``file`` and ``log``.

    :ivar sector: bytes of a sector of the log; requests are made of whole ones.
    :ivar interval: how many entries there are between super blocks.
    """

    __slots__ = ("_entries", "_next", "_unflushed", "interval", "sector")

    def __init__(self, graph: Graph, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.sector = SECTOR
        self.interval = _UPDATE_INTERVAL
        self._entries = 0
        self._next = 1  # the sector where the next entry goes
        self._unflushed = False

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The children first, then the log as far as it is there."""
        node = cls(opener.graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.open_filter(node, options, "file")
        opener.open_child(node, "log", options)
        sector = options.get("log-sector-size", SECTOR)
        if options.get("log-append"):
            if "log-sector-size" in options:
                raise QmpError("log-append and log-sector-size are mutually exclusive")
            sector = node._read_log()
        if not _is_sector(sector):
            raise QmpError(f"Invalid log sector size {sector}")
        node.sector = sector
        node.interval = options.get("log-super-update-interval", _UPDATE_INTERVAL)
        if not node.interval:
            raise QmpError("Invalid log superblock update interval 0")
        return node

    @property
    def _log(self) -> Node:
        edge = self.child("log")
        assert edge is not None
        return edge.node

    def _read_log(self) -> int:
        """Find the end of a log that is there already, and the size of its sectors.

        :raises QmpError: it is none, in the order of blk_log_writes_open.
        """
        if not self._log.length:
            return SECTOR
        try:
            magic, version, entries, sector = _SUPER.unpack(self._log.read(0, _SUPER.size))
        except OSError as error:
            raise QmpError(f"Could not read log superblock: {os.strerror(errno_of(error))}") from None
        if magic != _MAGIC:
            raise QmpError("Invalid log superblock magic")
        if version != _VERSION:
            raise QmpError(f"Unsupported log version {version}")
        if _is_sector(sector):
            for index in range(entries):
                self._pass_entry(index, sector)
            self._entries = entries
        return int(sector)

    def _pass_entry(self, index: int, sector: int) -> None:
        try:
            _, count, flags, _ = _ENTRY.unpack(self._log.read(self._next * sector, _ENTRY.size))
        except OSError as error:
            raise QmpError(f"Failed to read log entry {index}: {os.strerror(errno_of(error))}") from None
        if flags & ~_ALL_FLAGS:
            raise QmpError(f"Invalid flags 0x{flags:x} in log entry {index}")
        self._next += 1 + (0 if flags & _DISCARD else count)

    def limits_above(self, below: Limits) -> Limits:
        """Whole sectors of the log (blk_log_writes_refresh_limits)."""
        return changed(below, request=self.sector)

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """The log belongs to this node alone, as a format's file does (blk_log_writes_child_perm)."""
        if child.name != "log":
            return super().child_permissions(child, perm, shared)
        if not self.read_only:
            perm |= perms.WRITE | perms.RESIZE
        return perm | perms.CONSISTENT_READ, shared & ~(perms.WRITE | perms.RESIZE)

    @property
    def can_unmap_zeroes(self) -> bool:
        """False: nobody has taught it."""
        return False

    # -- requests: what is asked for happens first, then it is written down

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        super()._write(offset, data, compressed=False)
        self._note(offset, len(data), data=data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        super()._write_zeroes(offset, length, unmap=unmap)
        self._note(offset, length, zeroes=length)

    def _discard(self, offset: int, length: int) -> None:
        super()._discard(offset, length)
        self._note(offset, length, flags=_DISCARD)

    def _flush(self) -> None:
        if self._unflushed:
            self._note(0, 0, flags=_FLUSH)
            self._unflushed = False
        super()._flush()
        self._log.flush()

    def _truncate(self, size: int) -> None:
        super()._truncate(size)
        self._unflushed = True

    def close(self) -> None:
        """Flush what was not flushed (bdrv_close)."""
        if self._unflushed:
            self._flush()

    def _note(self, offset: int, length: int, *, flags: int = 0, data: bytes = b"", zeroes: int = 0) -> None:
        """Put an entry behind the last one, and the super block in front when it is time (blk_log_writes_co_do_log)."""
        unit, place = self.sector, self._next * self.sector
        self._entries += 1
        self._next += 1 + (len(data) + zeroes) // unit
        self._unflushed = True
        entry = _ENTRY.pack(offset // unit, length // unit, flags, 0).ljust(unit, b"\0")
        self._put(place, entry + data)
        if zeroes:
            self._check_room(place + unit + zeroes)
            self._log.write_zeroes(place + unit, zeroes)
        if flags & _FLUSH or self._entries % self.interval == 0:
            self._put(0, _SUPER.pack(_MAGIC, _VERSION, self._entries, unit).ljust(unit, b"\0"))
            self._log.flush()

    def _put(self, offset: int, data: bytes) -> None:
        self._check_room(offset + len(data))
        self._log.write(offset, data)

    def _check_room(self, end: int) -> None:
        """Refuse a log that would have to grow and is no file."""
        if end > self._log.length and self._log.skip_filters().driver not in {"file", "raw"}:
            raise UnsupportedError(f"a log that grows in a node of driver '{self._log.driver}'")


def _is_sector(size: int) -> bool:
    """Whether sectors of a log can have so many bytes (blk_log_writes_sector_size_valid)."""
    return max(_SUPER.size, _ENTRY.size) <= size <= _LARGEST_SECTOR and size & (size - 1) == 0
