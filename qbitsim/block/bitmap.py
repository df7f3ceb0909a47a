"""Dirty bitmaps: which parts of a node were written since some moment.

Theory of operation (block/dirty-bitmap.c, QEMU 10.0)
=====================================================

1. A bitmap belongs to one node. It has one bit for each *granule*, a power of two of bytes;
   :attr:`DirtyBitmap.count` is granules times granularity, also when the last granule
   reaches past the end of the disk.
2. A job *freezes* a bitmap with :meth:`DirtyBitmap.create_successor`: the bitmap keeps what it
   had and an anonymous successor, put in front of the node's list, records instead.
3. When the job ends, the successor either takes over the name (:meth:`DirtyBitmap.abdicate`) or
   is merged back (:meth:`DirtyBitmap.reclaim`). No dirty bit is lost either way.
4. The checks of :meth:`DirtyBitmap.check` are made in QEMU's order: busy, readonly,
   inconsistent. Clients see which comes first.
"""

from __future__ import annotations

from qbitsim.bits.bits import Bits
from qbitsim.errors import QmpError
from qbitsim.light_typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MINIMUM_GRANULARITY = 512


def check_granularity(granularity: int) -> None:
    """Refuse a granularity that is not a power of two of at least 512 bytes.

    :raises QmpError: with the text of qmp_block_dirty_bitmap_add (block/monitor/bitmap-qmp-cmds.c).
    """
    if granularity < MINIMUM_GRANULARITY or granularity & (granularity - 1):
        raise QmpError("Granularity must be power of 2 and at least 512")


class BitmapNode(Protocol):
    """What a bitmap, and whoever has one in hand, asks of the node that it belongs to."""

    name: str

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""

    def find_bitmap(self, name: str) -> DirtyBitmap | None:
        """The bitmap of that name on this very node."""

    def hand_over_name(self, bitmap: DirtyBitmap, successor: DirtyBitmap) -> None:
        """Let another bitmap have the name of the first, which is anonymous from then on."""

    def create_bitmap(self, name: str | None, granularity: int) -> DirtyBitmap:
        """Put a new, empty, recording bitmap in front of the list."""

    def release_bitmap(self, bitmap: DirtyBitmap) -> None:
        """Drop a bitmap that nobody uses."""

    def remove_stored_bitmap(self, name: str) -> None:
        """Take a persistent bitmap off the image at once."""


class DirtyBitmap:
    """One bitmap of one node.

    :ivar name: None for internal bitmaps.
    :ivar granularity: bytes per bit, a power of two.
    :ivar size: bytes covered: the size of the node.
    :ivar disabled: does not record; also true while a successor records in its stead.
    :ivar busy: in use by a job, an export, or a removal that may be undone.
    :ivar persistent: stored in the image when it is closed.
    :ivar readonly: the image cannot store changes of it at the moment.
    :ivar inconsistent: was not stored when the image was last in use; can only be removed.
    :ivar skip_store: an image that is being closed must leave it out.
    :ivar on_mark: what is to happen when something was marked: a job waits for it.
    """

    __slots__ = (
        "bits",
        "busy",
        "disabled",
        "granularity",
        "inconsistent",
        "name",
        "node",
        "on_mark",
        "persistent",
        "readonly",
        "shift",
        "size",
        "skip_store",
        "successor",
    )

    def __init__(self, node: BitmapNode, name: str | None, granularity: int, size: int) -> None:
        self.node = node
        self.name = name
        self.granularity = granularity
        self.shift = granularity.bit_length() - 1
        self.size = size
        self.bits = Bits(-(-size // granularity))
        self.disabled = False
        self.busy = False
        self.persistent = False
        self.readonly = False
        self.inconsistent = False
        self.skip_store = False
        self.successor: DirtyBitmap | None = None
        self.on_mark: Callable[[], None] | None = None

    def __repr__(self) -> str:
        flags = [
            word
            for word, on in (
                ("recording", self.recording),
                ("busy", self.busy),
                ("persistent", self.persistent),
                ("inconsistent", self.inconsistent),
            )
            if on
        ]
        return f"<DirtyBitmap {self.name!r} {' '.join(flags)} granularity={self.granularity} count={self.count}>"

    @property
    def count(self) -> int:
        """Bytes: dirty granules times granularity."""
        return self.bits.count << self.shift

    @property
    def recording(self) -> bool:
        """Whether new writes are recorded, by the bitmap or by its successor."""
        return not self.disabled or (self.successor is not None and not self.successor.disabled)

    @property
    def dirty_ranges(self) -> list[tuple[int, int]]:
        """The dirty parts as (offset, length) in bytes, cut at the end of the disk."""
        shift = self.shift
        return [
            (start << shift, min(stop << shift, self.size) - (start << shift)) for start, stop in self.bits.ranges()
        ]

    def check(self, *, allow_readonly: bool = False, allow_inconsistent: bool = False) -> None:
        """Refuse to work on a bitmap that is busy, readonly or inconsistent, in this order.

        :raises QmpError: with the texts of bdrv_dirty_bitmap_check (block/dirty-bitmap.c, QEMU 10.0).
        """
        if self.busy:
            raise QmpError(f"Bitmap '{self.name}' is currently in use by another operation and cannot be used")
        if self.readonly and not allow_readonly:
            raise QmpError(f"Bitmap '{self.name}' is readonly and cannot be modified")
        if self.inconsistent and not allow_inconsistent:
            raise QmpError(f"Bitmap '{self.name}' is inconsistent and cannot be used")

    def mark(self, offset: int, length: int) -> None:
        """Make every granule dirty that overlaps ``length`` > 0 bytes at ``offset``."""
        shift = self.shift
        self.bits.set(offset >> shift, -(-(offset + length) >> shift))
        if self.on_mark is not None:
            self.on_mark()

    def reset(self, offset: int, length: int) -> None:
        """Make the granules clean; the range must be whole granules, or reach the end of the disk."""
        shift = self.shift
        self.bits.clear(offset >> shift, -(-(offset + length) >> shift))

    def next_area(self, offset: int, end: int, max_bytes: int) -> tuple[int, int] | None:
        """The first dirty area in [offset, end) as (offset, length), cut at ``max_bytes`` and ``end``.

        All in bytes; a limit that ends within a granule takes the whole granule, as the callers round up anyway
        (block_copy_task_create, block/block-copy.c, QEMU 10.0). None if everything there is clean.
        """
        shift = self.shift
        stop = -(-min(end, self.size) >> shift)
        area = self.bits.next_area(offset >> shift, stop, -(-max_bytes >> shift))
        if area is None:
            return None
        start = area[0] << shift
        return start, min(area[1] << shift, end) - start

    def any_dirty(self, offset: int, end: int) -> bool:
        """Whether any granule in the bytes [offset, end) is dirty."""
        shift = self.shift
        return self.bits.next_set(offset >> shift, -(-min(end, self.size) >> shift)) >= 0

    def resize(self, size: int) -> None:
        """Follow the node to ``size`` bytes: new granules are clean, cut ones are forgotten."""
        self.size = size
        self.bits.resize(-(-size // self.granularity))
        if self.successor is not None:
            self.successor.resize(size)

    def merge_from(self, source: DirtyBitmap) -> None:
        """Make every granule dirty that overlaps a dirty granule of ``source``; sizes must agree."""
        if source.granularity == self.granularity:
            self.bits.merge(source.bits)
        else:
            self.bits.merge_scaled(source.bits, self.granularity, source.granularity, self.size)

    def merge_checked(self, source: DirtyBitmap) -> None:
        """What block-dirty-bitmap-merge does for one source, with its checks.

        :raises QmpError: in the order of bdrv_merge_dirty_bitmap (block/dirty-bitmap.c, QEMU 10.0).
        """
        self.check()
        source.check_merged_into(self.size)
        self.merge_from(source)

    def check_merged_into(self, size: int) -> None:
        """Refuse to be merged into a bitmap of that many bytes.

        :raises QmpError: this one may not be read, or is of another size.
        """
        self.check(allow_readonly=True)
        if self.size != size:
            raise QmpError(
                f"Bitmaps are of different sizes (destination size is {size}, "
                f"source size is {self.size}) and can't be merged"
            )

    def create_successor(self) -> None:
        """Freeze the bitmap: an anonymous successor in front of the node's list records from now on."""
        assert self.successor is None
        self.check(allow_readonly=True, allow_inconsistent=True)
        child = self.node.create_bitmap(None, self.granularity)
        child.disabled = self.disabled
        self.disabled = True
        self.successor = child
        self.busy = True

    def abdicate(self) -> DirtyBitmap:
        """Let the successor take over the name and drop this bitmap; return the successor."""
        successor = self.successor
        assert successor is not None
        self.node.hand_over_name(self, successor)
        successor.persistent, self.persistent = self.persistent, False
        self.successor = None
        self.busy = False
        self.node.release_bitmap(self)
        return successor

    def reclaim(self) -> DirtyBitmap:
        """Merge the successor back and drop it; return this bitmap."""
        successor = self.successor
        assert successor is not None
        self.bits.merge(successor.bits)
        self.disabled = successor.disabled
        self.busy = False
        self.successor = None
        self.node.release_bitmap(successor)
        return self
