"""What a mirror still has to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.bits.iterator import BitIterator
from qbitsim.block.chain import status_above
from qbitsim.block.status import Status
from qbitsim.jobs.mirror_operations import MAXIMUM_IN_FLIGHT

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.jobs.mirror_target import MirrorTarget

MAXIMUM_IO = 1 << 20


class MirrorDirty:
    """The dirty chunks of a source.

    :param owner: the node that has the bitmap: the filter, or up to 7.2 the source.
    :param granularity: bytes of a chunk.
    :param buffer: bytes of the longest run.
    :ivar bitmap: the anonymous bitmap.
    """

    __slots__ = ("_buffer", "_iterator", "_source", "bitmap")

    def __init__(self, source: Node, owner: Node, granularity: int, buffer: int) -> None:
        self._source = source
        self._buffer = buffer
        self.bitmap = owner.create_bitmap(None, granularity)
        self._iterator = BitIterator(self.bitmap.bits)

    @property
    def count(self) -> int:
        """Bytes that are dirty."""
        return self.bitmap.count

    def mark(self, offset: int, length: int) -> None:
        """A guest wrote these bytes, or copying them failed."""
        self.bitmap.mark(offset, length)

    def mark_allocated(self, base: Node | None) -> None:
        """Mark what the layers of the source above ``base`` hold (mirror_dirty_init)."""
        source, offset = self._source, 0
        while offset < source.length:
            status = status_above(source, base, offset, source.length)
            if status.allocated:
                self.bitmap.mark(offset, status.length)
            offset += status.length

    def take_write(self, offset: int, length: int) -> tuple[int, int]:
        """What of a guest's write is to be copied at once, as (offset, length): the whole chunks in it are clean then.

        The part of a chunk that is dirty already is left to the job (do_sync_target_write, block/mirror.c, QEMU 10.0).
        """
        unit, bits, stop = self.bitmap.granularity, self.bitmap.bits, offset + length
        if offset % unit and bits.get(offset // unit):
            offset = min(offset - offset % unit + unit, stop)
        if stop % unit and bits.get(stop // unit):
            stop = max(stop - stop % unit, offset)
        first, last = -(-offset // unit) * unit, stop - stop % unit
        if first < last:
            self.bitmap.reset(first, last - first)
        return offset, stop - offset

    def take_run(self) -> tuple[int, int]:
        """Take out the next run of dirty chunks, of which there must be one: offset and length in bytes."""
        unit, length = self.bitmap.granularity, self._source.length
        first, end = self._iterator.next_run(-(-length // unit), -(-self._buffer // unit))
        offset = first * unit
        run = offset, min(end * unit, length) - offset
        self.bitmap.reset(*run)
        return run

    def first_piece(self, offset: int, length: int, target: MirrorTarget) -> tuple[int, str]:
        """How many bytes of a run are treated alike, and how: ``copy``, ``zero`` or ``discard`` (mirror_iteration)."""
        unit, source = self.bitmap.granularity, self._source
        wanted = -(-length // unit) * unit
        try:
            status = status_above(source, None, offset, wanted)
        except OSError:
            status = Status(wanted, data=True)  # what cannot be told is copied, and that may fail
        piece = status.length
        if status.data:
            piece = min(piece, max(MAXIMUM_IO, self._buffer // MAXIMUM_IN_FLIGHT))
        piece -= piece % unit
        method = "copy"
        if piece < unit:
            piece = unit
        elif not status.data and target.fits_clusters(offset, piece):
            method = "zero" if status.zero else "discard"
        return min(piece, length), method

    def release(self) -> None:
        """Give up the bitmap."""
        self.bitmap.node.release_bitmap(self.bitmap)
