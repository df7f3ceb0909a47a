"""What becomes of the persistent bitmaps of a qcow2 node (block/qcow2-bitmap.c, QEMU 10.0).

1. Opening loads the stored bitmaps in file order, each in front of the list. While the image is writable the file's
   copies carry ``in-use``; those that carry it when the image is opened were never stored: they are inconsistent.
2. Closing, and reopening read-only, stores the persistent bitmaps: known ones keep their place in the file, new ones
   are appended, newest first. Inconsistent ones stay in the file as they are.
3. On a read-only node they are ``readonly``; new ones may be added but are stored only once it is writable.
"""

from __future__ import annotations

import errno
import os

from qbitsim.block.bitmap_owner import MAXIMUM_NAME_BYTES
from qbitsim.errors import QmpError
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.light_library import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.node import Node
    from qbitsim.drivers.qcow2_requests import FileRequests
    from qbitsim.images.qcow2.image import Qcow2Image

MAXIMUM_BITMAP_BYTES = 0x20000000
MAXIMUM_TABLE_ENTRIES = 0x8000000
MAXIMUM_GRANULARITY = 1 << 31


class PersistentBitmaps:
    """The bitmaps of a node and those in its image.

    :param node: a qcow2 node.
    :param image: what it has open.
    :param requests: what its file is told.
    """

    __slots__ = ("_image", "_node", "_requests")

    def __init__(self, node: Node, image: Qcow2Image, requests: FileRequests) -> None:
        self._node = node
        self._image = image
        self._requests = requests

    def load(self) -> None:
        """Take up what the file has stored (qcow2_load_dirty_bitmaps)."""
        taken_up = False
        for stored in self._image.bitmaps:
            if stored.in_use and self._node.find_bitmap(stored.name) is not None:
                continue  # it was not stored because it was to migrate, and is here still
            bitmap = self._node.create_bitmap(stored.name, stored.granularity)
            bitmap.persistent = True
            bitmap.readonly = self._node.read_only
            if stored.in_use:
                bitmap.inconsistent = bitmap.disabled = True
                continue
            bitmap.bits = stored.bits.copy()
            bitmap.disabled = not stored.auto
            stored.in_use = taken_up = not self._node.read_only
        self._update_directory("Can't", changed=taken_up)

    def make_readonly(self) -> None:
        """The node becomes read-only: store them."""
        if self.store():
            for bitmap in self._node.bitmaps:
                bitmap.readonly = bitmap.persistent

    def make_writable(self) -> None:
        """The node becomes writable: those in the file are in use again."""
        taken_up = False
        for stored in self._image.bitmaps:
            found = self._node.find_bitmap(stored.name)
            if found is not None and found.readonly:
                found.readonly = False
                stored.in_use = taken_up = True
        self._update_directory("Cannot", changed=taken_up)

    def _update_directory(self, cannot: str, *, changed: bool) -> None:
        """Write it where it is, with the flags of now (update_ext_header_and_dir_in_place)."""
        try:
            self._image.save()
        except OSError as error:
            raise QmpError(f"{cannot} update bitmap directory: {error.strerror}") from None
        if changed:
            self._requests.note_bitmap_directory()

    @property
    def lacks_some(self) -> bool:
        """Whether there are persistent bitmaps that are to be stored."""
        return bool(self._to_store())

    def store(self) -> bool:
        """Write the persistent bitmaps into the file (qcow2_store_persistent_dirty_bitmaps); whether it worked.

        All are lost if there is no room for one of them: those that the file has stay in use. The bitmaps of an empty
        disk are lost, too: their tables have no entries, and QEMU takes the NULL that stands for no entries for a lack
        of memory (store_bitmap_data, block/qcow2-bitmap.c, QEMU 10.0).
        """
        wanted = self._to_store()
        if not wanted:
            return True
        if self._is_stored_already(wanted):
            return False
        if not self._node.length or self._without_room(wanted) is not None:
            return False
        try:
            with self._noting_freed():
                self._image.store_bitmaps(wanted.values())
                self._requests.note_bitmaps(name for name, stored in wanted.items() if not stored.in_use)
        except OSError:  # of the host; QEMU goes on, and says so on its standard error
            return False
        return True

    def remove(self, name: str) -> None:
        """Take one out of the file (qcow2_co_remove_persistent_dirty_bitmap).

        :raises KeyError: the file has none of that name.
        """
        with self._noting_freed():
            self._image.remove_bitmap(name)
            self._requests.note_bitmap_directory()

    @contextmanager
    def _noting_freed(self) -> Iterator[None]:
        """Let the file know of each cluster of a bitmap's data that is freed meanwhile (clear_bitmap_table).

        Of tables and directories it is told if ``pass-discard-other`` says so.
        """
        layout = self._image.layout
        data, others = layout.bitmaps.runs(layout.clusters)
        yield
        for first, count in data + (others if self._node.options.get("pass-discard-other") else []):
            self._requests.note_freed(layout.clusters.unused(range(first, first + count)))

    def _is_stored_already(self, wanted: dict[str, StoredBitmap]) -> bool:
        """Whether the file has a bitmap of such a name that is not in use.

        So it is when a job replaced the bitmap while the node was read-only: it could not be made writable again.
        """
        found = (self._image.find_bitmap(name) for name in wanted)
        return any(stored is not None and not stored.in_use for stored in found)

    def check_room(self) -> None:
        """Refuse to become read-only if there is no room for the bitmaps that would be stored.

        :raises QmpError: with the text of qcow2_store_persistent_dirty_bitmaps (block/qcow2-bitmap.c, QEMU 10.0).
        """
        name = self._without_room(self._to_store())
        if name is not None:
            raise QmpError(f"Failed to write bitmap '{name}' to file: {os.strerror(errno.ENOSPC)}")

    def _to_store(self) -> dict[str, StoredBitmap]:
        """What is to be in the file, by name, in its order; empty if nothing of it is new."""
        wanted = [
            StoredBitmap(
                bitmap.name,
                bitmap.granularity,
                in_use=False,
                auto=not (bitmap.disabled or bitmap.successor),
                bits=bitmap.bits.copy(),
            )
            for bitmap in self._node.bitmaps
            if bitmap.persistent
            and bitmap.name is not None
            and not (bitmap.inconsistent or bitmap.readonly or bitmap.skip_store)
        ]
        kept = {stored.name: stored for stored in self._image.bitmaps} if wanted else {}
        return kept | {stored.name: stored for stored in wanted}

    def _without_room(self, wanted: dict[str, StoredBitmap]) -> str | None:
        """The first of these bitmaps that the image's capacity does not allow to be written beside what is there."""
        if self._image.file.capacity is None:
            return None
        room = self._image.file.capacity - self._image.content.allocated
        for stored in wanted.values():
            room -= 0 if stored.in_use else stored.stored_length(self._image.cluster_size)
            if room < 0:
                return stored.name
        return None

    def check_can_store(self, name: str, granularity: int) -> None:
        """Refuse a bitmap that cannot be stored in this image.

        :raises QmpError: in the order of qcow2_co_can_store_new_dirty_bitmap (block/qcow2-bitmap.c, QEMU 10.0).
        """
        if self._node.find_bitmap(name) is not None:
            raise QmpError(f"Bitmap already exists: {name}")
        reason = self._why_not_stored(name, granularity)
        if reason is not None:
            raise QmpError(f"Can't make bitmap '{name}' persistent in '{self._node.device_or_node_name}': {reason}")

    def _why_not_stored(self, name: str, granularity: int) -> str | None:
        if self._image.compat == "0.10":
            return "Cannot store dirty bitmaps in qcow2 v2 files"
        if granularity > MAXIMUM_GRANULARITY:
            return f"Granularity exceeds maximum ({MAXIMUM_GRANULARITY} bytes)"
        if len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_NAME_BYTES:
            return f"Name length exceeds maximum ({MAXIMUM_NAME_BYTES} characters)"
        granules = -(-self._node.length // granularity)
        needed = -(-granules // 8)
        if needed > MAXIMUM_BITMAP_BYTES or needed > MAXIMUM_TABLE_ENTRIES * self._image.cluster_size:
            return "Too much space will be occupied by the bitmap. Use larger granularity"
        return None
