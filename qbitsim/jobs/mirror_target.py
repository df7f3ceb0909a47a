"""The target of a mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import is_all_zeroes
from qbitsim.jobs.known_chunks import KnownChunks

if TYPE_CHECKING:
    from qbitsim.block.node import Node


class MirrorTarget:
    """A node, and what is known of zeroes in it.

    :ivar node: the node.
    :ivar unflushed: something was written since it was flushed, so that the next flush has to wait.
    """

    __slots__ = ("_unmap", "_whole", "_zeroes", "node", "unflushed")

    def __init__(self, node: Node, *, unmap: bool) -> None:
        self.node = node
        self.unflushed = False
        self._unmap = unmap
        self._zeroes: KnownChunks | None = None
        self._whole: KnownChunks | None = None

    def track_clusters(self, length: int, granularity: int) -> None:
        """Note which chunks the job has filled, if the node cannot fill up clusters from its backing file (cow_bitmap).

        It has none yet, though its header names one.

        :param length: bytes of the source; :param granularity: bytes of a chunk.
        """
        node = self.node
        if node.header_backing is not None and node.backing is None and granularity < node.cluster_size:
            self._whole = KnownChunks(length, granularity)

    def widened(self, offset: int, length: int) -> tuple[int, int]:
        """The range to copy instead, as (offset, length): whole clusters if some would be new (mirror_cow_align)."""
        whole = self._whole
        if whole is None or (whole.holds(offset, 1) and whole.holds(offset + length - 1, 1)):
            return offset, length
        unit = self.node.cluster_size
        start, stop = offset - offset % unit, min(-(-(offset + length) // unit) * unit, whole.length)
        return start, stop - start

    def note_copied(self, offset: int, length: int) -> None:
        """The job has filled the range."""
        if self._whole is not None:
            self._whole.learn(offset, length)

    def track_zeroes(self, length: int, granularity: int) -> None:
        """Note from now on which of its chunks are zeroes, and do not write them again (10.1 and later).

        :param length: bytes of the source; :param granularity: bytes of a chunk.
        """
        self._zeroes = KnownChunks(length, granularity)

    def read_as_zeroes(self, length: int, *, must: bool, does: bool) -> bool:
        """Let a target that must become equal read as zeroes where nothing will be copied (mirror_dirty_init).

        :param must: it must become equal; :param does: the client says that it reads as zeroes.
        :return: whether it does, or need not; everything is to be copied otherwise.
        :raises OSError: as the node fails.
        """
        node, zeroes = self.node, self._zeroes
        empties = node.detect_zeroes == "unmap" and node.zeroes_by_unmapping  # and so all zeroes are to be written
        if zeroes is not None and (does or is_all_zeroes(node)) and not empties:
            zeroes.learn_all()
            return True
        if not must:
            return True
        if not node.zeroes_by_unmapping or (empties and zeroes is not None):
            return False
        node.write_zeroes(0, length, unmap=True)
        if zeroes is not None:
            zeroes.learn_all()
        return True

    def write(self, offset: int, data: bytes) -> None:
        """Write data.

        :raises OSError: as the node fails.
        """
        if self._zeroes is not None:
            self._zeroes.forget(offset, len(data))
        self.node.write(offset, data)
        self._note_write()

    def discard(self, offset: int, length: int) -> bool:
        """Let it forget these bytes, if it was opened so (mirror_co_discard).

        :return: whether that has to wait for I/O.
        :raises OSError: as the node fails.
        """
        if self._zeroes is not None:
            self._zeroes.forget(offset, length)
        self.node.discard(offset, length)
        return self.node.unmap and self.node.waits_for_io("discard")

    def is_known_zero(self, offset: int, length: int) -> bool:
        """Whether zeroes need not be written there: it costs nothing then (mirror_co_zero, since QEMU 10.1)."""
        return self._zeroes is not None and self._zeroes.holds(offset, length)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool | None = None) -> bool:
        """Write zeroes, unless they are there (mirror_co_zero).

        :param unmap: whether they may free clusters; as the job was told if None.
        :return: whether that has to wait for I/O.
        :raises OSError: as the node fails.
        """
        if self.is_known_zero(offset, length):
            return False
        waits = self.node.zeroing_waits_for_io(offset, length)
        self.node.write_zeroes(offset, length, unmap=self._unmap if unmap is None else unmap)
        self._note_write()
        if self._zeroes is not None:
            self._zeroes.learn(offset, length)
        return waits

    def flush(self) -> None:
        """Flush it.

        :raises OSError: as the node fails.
        """
        self.unflushed = False
        self.node.flush()

    def _note_write(self) -> None:
        self.unflushed = self.unflushed or self.node.waits_for_io("write")

    def fits_clusters(self, offset: int, length: int) -> bool:
        """Whether the range is whole clusters of the node (bdrv_round_to_clusters)."""
        cluster = self.node.cluster_size or 1
        return not offset % cluster and not length % cluster
