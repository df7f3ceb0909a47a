"""The requests that a node takes, and what they leave behind: bits in its bitmaps, the end of what was written.

Theory of operation
===================

1. Requests enter at :meth:`Requests.write` and its siblings, which call the driver's hook (``_write``) and then mark
   the node's bitmaps. A write that reaches the node and fails below it marks the bits all the same; one that is
   refused above it never arrives (bdrv_co_write_req_finish, block/io.c, QEMU 10.0).
2. Failures of I/O are :class:`OSError` with an errno.
3. Offsets and lengths are bytes. Callers above the graph have checked them against the length.
"""

from __future__ import annotations

import errno

from qbitsim.block.bitmap_owner import BitmapOwner
from qbitsim.block.driver_hooks import DriverHooks
from qbitsim.block.status import Status
from qbitsim.block.write_end import WriteEnd
from qbitsim.files.failures import io_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.limits import Limits
    from qbitsim.block.roles import Layer

MAXIMUM_BOUNCE = 16 << 20
"""Bytes that copy-on-read moves at once (MAX_BOUNCE_BUFFER, block/io.c, QEMU 10.0)."""


class Requests(DriverHooks, BitmapOwner, WriteEnd):
    """The part of a node that requests enter.

    :ivar unmap: discards are passed on (``discard=unmap``).
    :ivar detect_zeroes: ``on``: writes of nothing but zeroes become zero-writes; ``unmap``: which may discard; ``off``.
    :ivar has_readonly_bitmaps: nothing can be written, though the node is not read-only, as its bitmaps could not
        follow (bdrv_has_readonly_bitmaps).
    :ivar copy_on_read: what is read from the backing file is kept (``-drive copy-on-read=on``).
    :ivar unflushed: something was written since the last flush.
    """

    __slots__ = ("copy_on_read", "detect_zeroes", "has_readonly_bitmaps", "unflushed", "unmap")

    if TYPE_CHECKING:

        @property
        def backing(self) -> Layer | None: ...

        @property
        def frees_zeroes(self) -> bool: ...

        limits: Limits

        def follow_length(self) -> None: ...

    def __init__(self, *, unmap: bool) -> None:
        super().__init__()
        self.unmap = unmap
        self.detect_zeroes = "off"
        self.copy_on_read = False
        self.has_readonly_bitmaps = False
        self.unflushed = False

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``.

        :raises OSError: as the driver, or a fault, says.
        """
        if self.copy_on_read:
            self.copy_up(offset, length)
        inside = self.length - offset
        if length > inside:
            # The filter above is longer (bdrv_aligned_preadv, block/io.c, QEMU 10.0).
            return (self._read(offset, inside) if inside > 0 else b"").ljust(length, b"\0")
        return self._read(offset, length)

    def copy_up(self, offset: int, length: int) -> None:
        """Write here what this layer does not have of the range, as it reads now (bdrv_co_do_copy_on_readv).

        Whole clusters are copied, and without a backing file holes become clusters of zeroes. The disk stays the same,
        so that no bitmap is marked.

        :raises OSError: as reading below, or writing, fails.
        """
        cluster = self.cluster_size or 1
        position, end = offset - offset % cluster, min(-(-(offset + length) // cluster) * cluster, self.length)
        while position < end:
            status = self.layer_status(position, min(end - position, MAXIMUM_BOUNCE))
            run = min(end - position, MAXIMUM_BOUNCE, status.length)
            if not status.allocated:
                data = self._read(position, run)
                self.debug_event("cor_write")
                self.write_unchanged(position, data)
            position += run

    def write(self, offset: int, data: bytes, *, compressed: bool = False) -> None:
        """Write ``data``, which is not empty.

        :raises OSError: as the driver, or a fault, says; the bits are marked all the same. EPERM if they cannot be.
        """
        if self.has_readonly_bitmaps:
            raise io_error(errno.EPERM)
        if offset + len(data) > self.noticed_end:
            self.note_write_end(offset + len(data))
        self.unflushed = True
        try:
            if self.detect_zeroes != "off" and data.count(0) == len(data):
                # bdrv_aligned_pwritev (block/io.c, QEMU 10.0)
                self._zero(offset, len(data), unmap=self.detect_zeroes == "unmap")
            elif compressed and not self.supports_compression:
                raise io_error(errno.ENOTSUP)
            else:
                self._write(offset, data, compressed=compressed)
        finally:
            if self.bitmaps:
                self._mark_written(offset, len(data))

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Make ``length`` > 0 bytes zero.

        :raises OSError: as :meth:`write`.
        """
        if self.has_readonly_bitmaps:
            raise io_error(errno.EPERM)
        if offset + length > self.noticed_end:
            self.note_write_end(offset + length)
        self.unflushed = True
        try:
            self._zero(offset, length, unmap=unmap)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            # What cannot be zeroed is written (bdrv_co_do_pwrite_zeroes, block/io.c, QEMU 10.0).
            self._write(offset, bytes(length), compressed=False)
        finally:
            if self.bitmaps:
                self._mark_written(offset, length)

    def zero_fast(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Make ``length`` > 0 bytes zero, but fail where that would mean to write them (BDRV_REQ_NO_FALLBACK).

        A cluster that is touched in part is a request of its own (bdrv_co_do_pwrite_zeroes, block/io.c, QEMU 10.0).

        :raises OSError: ENOTSUP, with a part of it done; or as :meth:`write`.
        """
        if self.has_readonly_bitmaps:
            raise io_error(errno.EPERM)
        unit, end, place = self.limits.zeroes or 1, offset + length, offset
        if end > self.noticed_end:
            self.note_write_end(end)
        self.unflushed = True
        try:
            while place < end:
                in_part = place % unit or end - place < unit
                stop = min(place - place % unit + unit, end) if in_part else end - end % unit
                if not self.zeroes_fast(place, stop - place):
                    raise io_error(errno.ENOTSUP)
                self._zero(place, stop - place, unmap=unmap)
                place = stop
        finally:
            if self.bitmaps:
                self._mark_written(offset, length)

    def _zero(self, offset: int, length: int, *, unmap: bool) -> None:
        """Let the driver zero the range; only some nodes may free it then (bdrv_co_do_pwrite_zeroes, block/io.c)."""
        self._write_zeroes(offset, length, unmap=unmap and self.frees_zeroes)

    def discard(self, offset: int, length: int) -> None:
        """Forget ``length`` > 0 bytes, if the node was opened to pass discards on.

        Otherwise nothing happens, not even to the bitmaps. What says that it cannot discard has done enough: a discard
        is a hint (bdrv_co_pdiscard, block/io.c, QEMU 10.0).

        :raises OSError: as the driver, or a fault, says; the bits are marked all the same.
        """
        if not self.unmap:
            return
        if self.has_readonly_bitmaps:
            raise io_error(errno.EPERM)
        self.note_discard_end(offset + length)
        self.unflushed = True
        try:
            self._discard(offset, length)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, length)

    def flush(self) -> None:
        """Flush down to the files.

        :raises OSError: if a fault says so.
        """
        self._flush()

    def status(self, offset: int, length: int) -> Status:
        """What is known of the bytes from ``offset``, for at most ``length`` of them."""
        inside = self.length - offset
        if inside <= 0:
            return Status(length, zero=True)
        status = self._status(offset, min(length, inside))
        if not status.allocated and self.supports_backing:
            backing = self.backing
            if backing is None or offset >= backing.length:
                status.zero = True
        return status

    def layer_status(self, offset: int, length: int) -> Status:
        """What this layer itself has there, whatever its backing file adds (bdrv_co_is_allocated)."""
        return self._status(offset, length)

    def write_unchanged(self, offset: int, data: bytes) -> None:
        """Store what the range reads as already; no bitmap is marked, and none that cannot be is in the way.

        :raises OSError: as the driver, or a fault, says.
        """
        self.unflushed = True
        if data.count(0) == len(data):
            self._write_zeroes(offset, len(data), unmap=False)
        else:
            self._write(offset, data, compressed=False)

    # -- of the format above, about its file

    def pread(self, offset: int, length: int) -> None:
        """The format above reads its tables or data at that place of its file (bdrv_pread).

        A format keeps the working state of its file itself, so that no bytes are handed over here.

        :raises OSError: as the driver, or a rule of ``blkdebug``, says.
        """
        self._format_request("read", offset, length)

    def pwrite(self, offset: int, length: int) -> None:
        """The format above writes its tables or data at that place, which may be behind the end (bdrv_pwrite).

        :raises OSError: as :meth:`pread`; the bits are marked all the same.
        """
        if offset + length > self.noticed_end:
            self.note_write_end(offset + length)
        try:
            self._format_request("write", offset, length)
        finally:
            if self.bitmaps:
                self._mark_written(offset, length)

    def _mark_written(self, offset: int, length: int) -> None:
        """Mark a range in the bitmaps, which become longer first if the write made the node longer."""
        if offset + length > self.bitmaps[0].size:
            self.follow_length()
            length = min(length, self.length - offset)
        if length > 0:
            self.mark_dirty(offset, length)
