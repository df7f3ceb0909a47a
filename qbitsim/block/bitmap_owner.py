"""The part of a node that has to do with its dirty bitmaps."""

from __future__ import annotations

from qbitsim.errors import QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap

MAXIMUM_NAME_BYTES = 1023
DEFAULT_CLUSTER = 65536
MINIMUM_DEFAULT_GRANULARITY = 4096


class BitmapOwner:
    """Keeps bitmaps, newest first, and lets them follow what happens to the node."""

    __slots__ = ()

    if TYPE_CHECKING:
        bitmaps: list[DirtyBitmap]
        bitmaps_by_name: dict[str, DirtyBitmap]
        name: str

        @property
        def read_only(self) -> bool: ...

        @property
        def cluster_size(self) -> int: ...

        @property
        def length(self) -> int: ...

        @property
        def device_or_node_name(self) -> str: ...

    @property
    def default_granularity(self) -> int:
        """Bytes: the cluster size clamped to [4 KiB, 64 KiB] (bdrv_get_default_bitmap_granularity)."""
        cluster = self.cluster_size
        return min(max(cluster, MINIMUM_DEFAULT_GRANULARITY), DEFAULT_CLUSTER) if cluster else DEFAULT_CLUSTER

    def mark_dirty(self, offset: int, length: int) -> None:
        """Let every bitmap that records have the range."""
        for bitmap in self.bitmaps:
            if not bitmap.disabled:
                bitmap.mark(offset, length)

    def find_bitmap(self, name: str) -> DirtyBitmap | None:
        """The bitmap of that name on this very node."""
        return self.bitmaps_by_name.get(name)

    def create_bitmap(self, name: str | None, granularity: int) -> DirtyBitmap:
        """Put a new, empty, recording bitmap in front of the list.

        :raises QmpError: with the texts of bdrv_create_dirty_bitmap (block/dirty-bitmap.c, QEMU 10.0).
        """
        if name is not None:
            if self.find_bitmap(name) is not None:
                raise QmpError(f"Bitmap already exists: {name}")
            if len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_NAME_BYTES:
                raise QmpError(f"Bitmap name too long: {name}")
        from qbitsim.block.bitmap import DirtyBitmap  # noqa: PLC0415 - most nodes have no bitmap

        bitmap = DirtyBitmap(self, name, granularity, self.length)
        self.bitmaps.insert(0, bitmap)
        if name is not None:
            self.bitmaps_by_name[name] = bitmap
        return bitmap

    def hand_over_name(self, bitmap: DirtyBitmap, successor: DirtyBitmap) -> None:
        """Let another bitmap have the name of the first, which is anonymous from then on."""
        name, bitmap.name = bitmap.name, None
        successor.name = name
        if name is not None:
            self.bitmaps_by_name[name] = successor

    def release_bitmap(self, bitmap: DirtyBitmap) -> None:
        """Drop a bitmap that nobody uses."""
        assert not bitmap.busy
        assert bitmap.successor is None
        self.bitmaps.remove(bitmap)
        if bitmap.name is not None:
            del self.bitmaps_by_name[bitmap.name]

    def check_can_store(self, name: str, granularity: int) -> None:
        """Refuse if the format cannot store a bitmap of that name and granularity (bytes).

        :raises QmpError: with the text of bdrv_can_store_new_dirty_bitmap (block/dirty-bitmap.c, QEMU 10.0).
        """
        raise QmpError(f"Can't store persistent bitmaps to {self.device_or_node_name}: Operation not supported")

    def remove_stored_bitmap(self, name: str) -> None:
        """Take a persistent bitmap off the image at once."""
        raise AssertionError("only a format that stores bitmaps has persistent ones")
