"""Writing the tables of a qcow2 image into its file, as far as they have changed, in a safe order.

Refcounts that grow come first, with what leads to them, then tables, then the header, then refcounts that fall: where
it stops half-way, the file has leaked clusters at worst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.host.tracking import TrackedAllocator, TrackedDict
from qbitsim.images.qcow2 import rendering, structures
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.structures import with_refcounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qbitsim.files.tree import OpenFile
    from qbitsim.images.host.qcow2 import HostQcow2Image
    from qbitsim.images.qcow2.bitmap_places import BitmapPlace
    from qbitsim.images.qcow2.layout import HostLayout


class TableWriter:
    """What of an image's tables is in its file, and what is not yet.

    :param file: open; for writing when something is to be written.
    :ivar bytes: the file.
    """

    __slots__ = ("_bitmaps", "_blocks", "_image", "_refcount_bits", "_roomy", "_structures", "_tables", "bytes")

    def __init__(self, image: HostQcow2Image, file: OpenFile) -> None:
        self.bytes = file
        self._image = image
        self._structures: dict[str, tuple[int, bytes]] = {}  # what the file has of those that are always compared
        self._blocks: dict[int, int] = {}  # the refcount blocks in the file
        self._refcount_bits = image.refcount_bits
        self._bitmaps: dict[str, BitmapPlace] = {}
        self._roomy: set[int] = set()  # refcount blocks for which there is room, which are not written yet
        self._tables = 0  # how many L2 tables the file has

    def take_up(self) -> None:
        """The file holds what the image says; note changes from now on."""
        layout = self._image.layout
        self._track(layout)
        self._blocks = dict(layout.clusters.blocks)
        self._tables = len(layout.active.l2)
        self._bitmaps = dict(layout.bitmaps.by_name)
        self._structures = {name: (offset, data) for name, offset, data in self._compared(layout)}
        self._structures["refcount table"] = self._refcount_table(layout)

    @property
    def has_freed(self) -> bool:
        """Whether clusters are free that the tables in the file may still refer to."""
        clusters = self._image.layout.clusters
        return isinstance(clusters, TrackedAllocator) and clusters.has_freed

    @property
    def lacks_tables(self) -> bool:
        """Whether there are L2 tables that the file does not have."""
        return len(self._image.layout.active.l2) > self._tables

    def make_room(self, tables: Iterable[int]) -> None:
        """Let the file have room for new L2 tables and refcount blocks before data take it.

        So does QEMU, which writes them when it makes them (l2_allocate and alloc_refcount_block, 10.0).

        :param tables: numbers of L2 tables to which nothing in the file refers yet.
        """
        layout = self._image.layout
        unit, blocks = layout.cluster_size, layout.clusters.blocks
        for table in tables:
            self.bytes.write_at(layout.active.l2[table] * unit, bytes(unit))
        if len(blocks) > len(self._blocks) + len(self._roomy):
            for number in blocks.keys() - self._blocks.keys() - self._roomy:
                self.bytes.write_at(blocks[number] * unit, bytes(unit))
                self._roomy.add(number)

    def write(self, *, everything: bool = False, cut_off: bool = False) -> None:
        """Write what has changed since the last time.

        :param everything: write all, after a change that nobody noted.
        :param cut_off: what is behind the end of the image in the file goes.
        """
        layout = self._image.layout
        everything = everything or not self._is_tracked(layout)
        if self.bytes.length < layout.end:
            self.bytes.truncate(layout.end)
        falling = list(self._write_refcounts(layout, everything=everything))
        self._write_structure("refcount table", *self._refcount_table(layout, self._blocks))
        self._write_refcount_header()
        self._write_bitmaps(layout)
        self._write_l2_tables(layout, everything=everything)
        for name, offset, data in self._compared(layout):
            self._write_structure(name, offset, data)
        self._write_structure("refcount table", *self._refcount_table(layout))
        for place, block in falling:
            self.bytes.write_at(place, block)
        self._blocks = dict(layout.clusters.blocks)
        self._roomy.clear()
        self._tables = len(layout.active.l2)
        self._track(layout)
        if cut_off:
            self.bytes.truncate(layout.end)

    def _write_refcount_header(self) -> None:
        """Let the header lead to a refcount table that has moved, and to nothing else that is new."""
        if "header" in self._structures:
            _, header = self._structures["header"]
            self._write_structure("header", 0, with_refcounts(header, rendering.header_cluster(self._image)))

    def write_header(self) -> None:
        """Write nothing but the header."""
        self._write_structure("header", 0, rendering.header_cluster(self._image))

    def forget_disk(self) -> None:
        """Let the L1 table in the file lead nowhere."""
        first, entries = self._image.layout.active.l1
        unit = self._image.layout.cluster_size
        self._write_structure("L1 table", first * unit, bytes(entries * TABLE_ENTRY))

    def _write_structure(self, name: str, offset: int, data: bytes) -> None:
        if self._structures.get(name) != (offset, data):
            self.bytes.write_at(offset, data)
            self._structures[name] = offset, data

    def _is_tracked(self, layout: HostLayout) -> bool:
        return (
            isinstance(layout.clusters, TrackedAllocator)
            and layout.clusters.refcount_bits == self._refcount_bits
            and bool(self._tracked_tables(layout))
            and self._image.content.is_tracked
        )

    def _tracked_tables(self, layout: HostLayout) -> list[TrackedDict]:
        """The tables of the disk, if changes of them are noted."""
        active = layout.active
        return [table for table in (active.l2, active.places, active.packed) if isinstance(table, TrackedDict)]

    def _track(self, layout: HostLayout) -> None:
        """Note changes from now on."""
        per_table, active = layout.cluster_size // TABLE_ENTRY, layout.active
        bits = layout.clusters.refcount_bits
        if isinstance(layout.clusters, TrackedAllocator) and bits == self._refcount_bits:
            layout.clusters.forget_changes()
        else:
            layout.clusters, self._refcount_bits = TrackedAllocator(layout.clusters), bits
        if self._tracked_tables(layout):
            for table in self._tracked_tables(layout):
                table.changed.clear()
        else:
            active.l2 = TrackedDict(active.l2, 1)
            active.places = TrackedDict(active.places, per_table)
            active.packed = TrackedDict(active.packed, per_table)
        self._image.content.track()

    # -- refcounts

    def _write_refcounts(self, layout: HostLayout, *, everything: bool) -> Iterator[tuple[int, bytes]]:
        """Write the refcount blocks with no count lower than it is in the file.

        :returns: offset and bytes of those that are to be written once more, when the tables are.
        """
        clusters = layout.clusters
        numbers, fallen = set(clusters.blocks), True
        if isinstance(clusters, TrackedAllocator) and not everything:
            numbers, fallen = clusters.changed_blocks, clusters.has_fallen
        for number in sorted(numbers):
            if number not in clusters.blocks:
                continue
            offset = clusters.blocks[number] * layout.cluster_size
            block = rendering.refcount_block(clusters, number)
            if self._blocks.get(number) != clusters.blocks[number] or clusters.refcount_bits != self._refcount_bits:
                self.bytes.write_at(offset, block)
                continue
            old = self.bytes.read_at(offset, layout.cluster_size).ljust(layout.cluster_size, b"\0")
            grown = self._highest(number, old, block) if fallen else block
            if grown != old:
                self.bytes.write_at(offset, grown)
            if grown != block:
                yield offset, block

    def _highest(self, number: int, old: bytes, new: bytes) -> bytes:
        """Refcount block *number* with counts that are right while some tables are *old*, and some *new*."""
        clusters = self._image.layout.clusters
        bits, per_block = clusters.refcount_bits, clusters.per_block
        before = structures.unpack_refcounts(old, bits)
        counts = [max(pair) for pair in zip(before, structures.unpack_refcounts(new, bits), strict=True)]
        raised = clusters.raised if isinstance(clusters, TrackedAllocator) else {}
        for cluster, more in raised.items():
            block, place = divmod(cluster, per_block)
            if block == number:
                counts[place] = min(max(counts[place], before[place] + more), (1 << bits) - 1)
        return structures.pack_refcounts(counts, bits)

    # -- tables

    def _write_l2_tables(self, layout: HostLayout, *, everything: bool) -> None:
        active, content = layout.active, self._image.content
        numbers = set(active.l2) if everything else self._changed_tables(layout)
        for number in sorted(numbers & active.l2.keys()):
            self._write_l2_table(layout, active.l2[number], rendering.l2_table(layout, active, content, number))
        if not everything:
            return
        written = set(active.l2.values())
        for tables, snapshot in zip(layout.snapshots.saved, self._image.snapshots, strict=True):
            for number, place in tables.l2.items():
                if place not in written:
                    self._write_l2_table(layout, place, rendering.l2_table(layout, tables, snapshot.content, number))

    def _changed_tables(self, layout: HostLayout) -> set[int]:
        return self._image.content.changed_tables.union(*(table.changed for table in self._tracked_tables(layout)))

    def _write_l2_table(self, layout: HostLayout, place: int, table: bytes) -> None:
        self.bytes.write_at(place * layout.cluster_size, table)

    def _write_bitmaps(self, layout: HostLayout) -> None:
        """Write the data and the tables of the bitmaps that were stored anew."""
        unit, places = layout.cluster_size, layout.bitmaps
        for bitmap in self._image.bitmaps:
            place = places.by_name.get(bitmap.name)
            if place is None or self._bitmaps.get(bitmap.name) is place:
                continue
            for number, entry in place.data.items():
                if entry >= unit:
                    self.bytes.write_at(entry, rendering.bitmap_data(bitmap, number, unit))
            self.bytes.write_at(place.table * unit, rendering.bitmap_table(places, bitmap.name))
        self._bitmaps = dict(places.by_name)

    # -- structures of which there is one

    def _compared(self, layout: HostLayout) -> Iterator[tuple[str, int, bytes]]:
        """Name, offset and bytes of what is written when it differs from what the file has, in the order of writing."""
        unit = layout.cluster_size
        for tables, snapshot in zip(layout.snapshots.saved, self._image.snapshots, strict=True):
            yield f"L1 table of snapshot {snapshot.id}", tables.l1[0] * unit, rendering.l1_table(layout, tables)
        first, length = layout.snapshots.list_place
        if length:
            yield "snapshot table", first * unit, rendering.snapshot_table(self._image)
        if layout.bitmaps.directory is not None:
            yield "bitmap directory", layout.bitmaps.directory[0], rendering.bitmap_directory(self._image)
        yield "L1 table", layout.active.l1[0] * unit, rendering.l1_table(layout, layout.active)
        yield "header", 0, rendering.header_cluster(self._image)

    def _refcount_table(self, layout: HostLayout, old: Mapping[int, int] | None = None) -> tuple[int, bytes]:
        """Offset and bytes of the refcount table.

        :param old: the blocks that are in the file; it goes on to lead to those that are no more.
        """
        clusters = layout.clusters
        blocks = clusters.blocks
        if old is not None and clusters.refcount_bits == self._refcount_bits:
            blocks = {**old, **blocks}
        return clusters.table[0] * layout.cluster_size, rendering.refcount_table(clusters, blocks)
