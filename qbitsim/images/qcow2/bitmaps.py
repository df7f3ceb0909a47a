"""A bitmap in a qcow2 file, by what it means; :mod:`.bitmap_places` says where it is."""

from __future__ import annotations

from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits


@record(frozen=False)
class StoredBitmap:
    """A bitmap in a qcow2 file.

    :ivar name: unique in the file.
    :ivar granularity: bytes per bit.
    :ivar in_use: it was open for writing and never stored: its bits are not to be trusted.
    :ivar auto: it is enabled when the image is opened.
    :ivar bits: one bit per granule of the disk.
    """

    name: str
    granularity: int
    in_use: bool
    auto: bool
    bits: Bits

    @property
    def records(self) -> bool:
        """Whether writes to the disk set its bits."""
        return self.auto and not self.in_use

    def mark(self, offset: int, length: int) -> None:
        """Set the bits of a range of the disk; it must not be empty."""
        self.bits.set(offset // self.granularity, -(-(offset + length) // self.granularity))

    def shape(self, cluster_size: int) -> tuple[list[int], int]:
        """The entries of its table that lead to data, those in which some bit is set, and how many entries it has."""
        bits_per_cluster = cluster_size * 8
        data: set[int] = set()
        for start, stop in self.bits.ranges():
            data.update(range(start // bits_per_cluster, (stop - 1) // bits_per_cluster + 1))
        return sorted(data), -(-self.bits.length // bits_per_cluster)

    def stored_length(self, cluster_size: int) -> int:
        """Bytes of the file that it takes, with its table."""
        data, entries = self.shape(cluster_size)
        return (len(data) - (-entries * TABLE_ENTRY // cluster_size)) * cluster_size

    def copy(self) -> StoredBitmap:
        """An independent bitmap of the same value."""
        return StoredBitmap(self.name, self.granularity, self.in_use, self.auto, self.bits.copy())
