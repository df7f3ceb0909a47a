"""Writing the tables of a qcow2 image into its file, as far as they have changed, in a safe order.

Refcounts that grow come first, with what leads to them, then tables, then the header, then refcounts that fall: where
it stops half-way, the file has leaked clusters at worst.
"""

from __future__ import annotations

from qbitsim.images.host.block_refcounts import BlockRefcounts
from qbitsim.images.host.write_order import WriteOrder
from qbitsim.images.qcow2 import rendering, structures
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.image import is_cached
from qbitsim.images.qcow2.structures import COMPRESSED, COPIED, OFFSET_MASK, with_refcounts
from qbitsim.images.spans import Spans
from qbitsim.light_library import array, contextmanager, suppress
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qbitsim.files.tree import OpenFile
    from qbitsim.images.host.l2_tables import CachedTables, L2Cache
    from qbitsim.images.host.qcow2 import HostQcow2Image
    from qbitsim.images.qcow2.bitmap_places import BitmapPlace
    from qbitsim.images.qcow2.layout import HostLayout


_PER_SECTOR = SECTOR // TABLE_ENTRY
_COUNTS_AT_ONCE = 256
"""Refcounts that are compared as a whole: of a block mostly a few have changed."""


class TableWriter:
    """What of an image's tables is in its file, and what is not yet.

    :param file: open; for writing when something is to be written.
    :ivar bytes: the file.
    :ivar order: tells when only a part is written.
    """

    __slots__ = (
        *(
            "_bitmaps",
            "_blocks",
            "_everything",
            "_hidden",
            "_image",
            "_l1",
            "_refcount_bits",
            "_roomy",
            "_saved",
            "_structures",
        ),
        *("_undoable", "bytes", "order"),
    )

    def __init__(self, image: HostQcow2Image, file: OpenFile) -> None:
        self.bytes = file
        self.order = WriteOrder(image, self)
        self._image = image
        self._structures: dict[str, tuple[int, bytes]] = {}  # what the file has of those that are always compared
        self._blocks: dict[int, int] = {}  # the refcount blocks in the file
        self._refcount_bits = image.refcount_bits
        self._bitmaps: dict[str, BitmapPlace] = {}
        self._roomy: set[int] = set()  # refcount blocks for which there is room, which are not written yet
        self._saved: set[int] = set()  # where the L1 tables of the snapshots in the file begin
        self._l1 = 0, 0  # where the file has the L1 table
        self._everything = False
        self._undoable = False
        self._hidden: dict[int, dict[int, int]] = {}  # slices -> entries that are not written yet, as they were

    def take_up(self) -> None:
        """The file holds what the image says; note changes from now on."""
        layout = self._image.layout
        self._note_written(layout)
        self._structures = {name: (offset, data) for name, offset, data in self._compared(layout)}
        self._structures["header"] = 0, rendering.header_cluster(self._image)
        self._structures["refcount table"] = self._refcount_table(layout)

    def _note_written(self, layout: HostLayout) -> None:
        """The file has all that the image says."""
        tables = self._cached(layout)
        tables.cache.slices.changed.intersection_update(self._hidden)
        tables.l1_changed.clear()
        self._counts(layout).forget_changes()
        self._note_blocks(layout)
        self._refcount_bits = layout.clusters.refcount_bits
        self._saved = {saved.l1[0] for saved in layout.snapshots.saved}
        self._l1 = tables.l1
        self._bitmaps = dict(layout.bitmaps.by_name)
        self._everything = False
        self.order.save()

    def _note_blocks(self, layout: HostLayout) -> None:
        """The file has all refcount blocks."""
        self._blocks = dict(layout.clusters.blocks)
        self._counts(layout).in_file = self._blocks
        self._roomy.clear()

    @staticmethod
    def _cached(layout: HostLayout) -> CachedTables:
        assert is_cached(layout.active)
        return layout.active

    @staticmethod
    def _counts(layout: HostLayout) -> BlockRefcounts:
        assert isinstance(layout.clusters.counts, BlockRefcounts)
        return layout.clusters.counts

    @property
    def is_unsure(self) -> bool:
        """Whether something was taken back of which the file may have a part."""
        return self._everything

    @property
    def is_crowded(self) -> bool:
        """Whether so much has changed that it should be written."""
        layout = self._image.layout
        return self._cached(layout).cache.slices.is_crowded or self._counts(layout).cache.is_crowded

    # -- all or nothing

    def begin(self) -> None:
        """Write all; from now on :meth:`undo` can take the changes of tables and refcounts back."""
        self.write()
        self._undoable = True
        self._cached(self._image.layout).cache.slices.begin()
        self._counts(self._image.layout).cache.begin()

    def end(self, layout: HostLayout) -> None:
        """The changes since :meth:`begin`, when *layout* was the image's, stay."""
        self._cached(layout).cache.slices.end()
        self._counts(layout).cache.end()
        self._undoable = False
        self.discard()

    def undo(self, layout: HostLayout) -> None:
        """Take the changes of tables and refcounts back; the file may have some of them, and is written anew later."""
        self._undoable = False
        self._cached(layout).cache.slices.undo()
        self._counts(layout).undo()
        self._everything = True

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

    def write_within_request(self) -> None:
        """Write what has changed, but for entries that lead to places whose data are not there yet."""
        with self._hiding():
            self.write()

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        self._hidden = self._cached(self._image.layout).unsettled_slices()
        try:
            yield
        finally:
            self._hidden = {}

    def write_tables(self) -> None:
        """Write the L2 tables within a request; all that they lead to is counted in the file."""
        with self._hiding():
            self._write_l2_tables(self._image.layout)

    def write_refcounts(self) -> None:
        """Write the refcounts; of a request whose entries the file does not have yet, only those that have grown."""
        layout = self._image.layout
        falling = list(self._write_refcounts(layout))
        self._write_structure("refcount table", *self._refcount_table(layout, self._blocks))
        self._write_refcount_header(rendering.header_cluster(self._image))
        self._note_blocks(layout)
        if not self._cached(layout).unsettled:
            self._write_structure("refcount table", *self._refcount_table(layout))
            for number in falling:
                self._write_block(layout, number)
            self._counts(layout).forget_changes()

    def write(self, *, everything: bool = False, cut_off: bool = False) -> None:
        """Write what has changed since the last time.

        :param everything: what the refcounts of many clusters are has changed: all COPIED flags are looked at.
        :param cut_off: what is behind the end of the image in the file goes.
        """
        layout, header = self._image.layout, rendering.header_cluster(self._image)
        self._everything = self._everything or everything
        if self.bytes.length < layout.end:
            self.bytes.truncate(layout.end)
        falling = list(self._write_refcounts(layout))
        self._write_structure("refcount table", *self._refcount_table(layout, self._blocks))
        self._write_refcount_header(header)
        self._write_bitmaps(layout)
        self._write_l2_tables(layout)
        self._write_snapshots(layout)
        self._write_l1_table(layout)
        self._write_structure("header", 0, header)
        self._write_structure("refcount table", *self._refcount_table(layout))
        for number in falling:
            self._write_block(layout, number)
        self._note_written(layout)
        if cut_off:
            self.bytes.truncate(layout.end)

    def discard(self) -> None:
        """Let the host have the clusters that were freed and discarded, unless they may still be wanted again.

        Call :meth:`write` before.
        """
        counts = self._counts(self._image.layout)
        if not self._undoable and counts.discarded:
            unit, clusters = self._image.layout.cluster_size, counts.discarded
            counts.discarded = Spans()
            for start, stop in self._image.layout.clusters.unused(clusters.numbers()):
                with suppress(OSError):  # as in QEMU (qcow2_process_discards, block/qcow2-refcount.c, 10.0)
                    self.bytes.punch(start * unit, (stop - start) * unit)

    def _write_refcount_header(self, header: bytes) -> None:
        """Let the header lead to a refcount table that has moved, and to nothing else that is new."""
        if "header" in self._structures:
            _, before = self._structures["header"]
            self._write_structure("header", 0, with_refcounts(before, header))

    @property
    def leads_to_the_table(self) -> bool:
        """Whether the refcount table that the header names is in the file."""
        layout = self._image.layout
        place, _ = self._structures["refcount table"]
        return place == layout.clusters.table[0] * layout.cluster_size

    def write_header(self) -> None:
        """Write nothing but the header."""
        self._write_structure("header", 0, rendering.header_cluster(self._image))

    def forget_disk(self) -> None:
        """Let the L1 table in the file lead nowhere."""
        first, entries = self._image.layout.active.l1
        self.bytes.write_at(first * self._image.layout.cluster_size, bytes(entries * TABLE_ENTRY))
        self._l1 = 0, 0

    def _write_structure(self, name: str, offset: int, data: bytes) -> None:
        if self._structures.get(name) != (offset, data):
            self.bytes.write_at(offset, data)
            self._structures[name] = offset, data

    # -- refcounts

    def _write_refcounts(self, layout: HostLayout) -> Iterator[int]:
        """Write the refcount blocks with no count lower than it is in the file.

        :returns: the numbers of those that are to be written once more, when the tables are.
        """
        clusters, counts = layout.clusters, self._counts(layout)
        is_old = clusters.refcount_bits == self._refcount_bits
        for number in sorted(
            (counts.cache.changed | (clusters.blocks.keys() - counts.in_file.keys())) & clusters.blocks.keys()
        ):
            place = clusters.blocks[number]
            if not is_old or self._blocks.get(number) != place:
                self._write_block(layout, number)
                continue
            block = counts.cache.get(number)
            old = counts.read(number)
            grown = self._highest(old, block, counts.raised.get(number)) if number in counts.fallen else block
            if grown != old:
                self._write_block(layout, number, grown)
            if grown != block:
                yield number

    def _write_block(self, layout: HostLayout, number: int, counts: array[int] | None = None) -> None:
        """Write a refcount block, with other *counts* than it has."""
        clusters = layout.clusters
        found = self._counts(layout).cache.get(number) if counts is None else counts
        block = structures.pack_refcounts(found, clusters.refcount_bits)
        self.bytes.write_at(clusters.blocks[number] * layout.cluster_size, block)

    def _highest(self, old: array[int], new: array[int], raised: array[int] | None) -> array[int]:
        """Counts that are right while some tables are old, and some new.

        :param raised: by how much each count has risen, without regard to falls.
        """
        most = (1 << self._image.layout.clusters.refcount_bits) - 1
        found = new[:]
        for start in range(0, len(new), _COUNTS_AT_ONCE):
            part = slice(start, start + _COUNTS_AT_ONCE)
            before, more = old[part], raised[part] if raised is not None else ()
            if any(more):
                risen = (min(count + rise, most) for count, rise in zip(before, more, strict=True))
                found[part] = array(new.typecode, map(max, risen, new[part]))
            elif before != new[part]:
                found[part] = array(new.typecode, map(max, before, new[part]))
        return found

    # -- tables

    def _write_l2_tables(self, layout: HostLayout) -> None:
        """Write what of them has changed.

        COPIED flags are right where a cluster was given a place; they change otherwise only with internal snapshots.
        """
        active = self._cached(layout)
        cache, unsure = active.cache, self._everything or bool(layout.snapshots.saved)
        changed = {key // cache.in_table for key in cache.slices.changed}
        for cluster in sorted(each for each in active.l2.values() if self._everything or each in changed):
            self._write_slices(layout, cache, cluster, unsure=unsure)
        for saved in layout.snapshots.saved if self._everything else ():
            for cluster in saved.l2.values():
                self._write_slices(layout, cache, cluster, unsure=False)

    def _write_slices(self, layout: HostLayout, cache: L2Cache, cluster: int, *, unsure: bool) -> None:
        """Write what of one L2 table has changed.

        :param unsure: or has COPIED flags that are wrong.
        """
        slices, found = cache.slices, dict[int, bytes]()
        for key in cache.keys(cluster):
            if not unsure and key not in slices.changed:
                continue
            entries = slices.get(key)
            if unsure and (flagged := self._with_flags(layout, entries)) != entries:
                slices.changed.add(key)
                entries[:] = flagged
            if key in slices.changed:
                found[key] = structures.pack_table(self._without_hidden(key, entries))
        for keys in _in_a_row(found):
            self.bytes.write_at(keys[0] * cache.per_slice * TABLE_ENTRY, b"".join(found[key] for key in keys))
            for key in keys:
                if key not in self._hidden:
                    slices.written(key)

    def _without_hidden(self, key: int, table: array[int]) -> array[int]:
        """A slice of an L2 table as it is to be written."""
        if key not in self._hidden:
            return table
        found = table[:]
        for index, entry in self._hidden[key].items():
            found[index] = entry
        return found

    def _with_flags(self, layout: HostLayout, table: array[int]) -> array[int]:
        """An L2 table with COPIED flags that are as the refcounts say."""
        if layout.external or not any(table):
            return table  # nothing shares clusters there
        unit, refcount = layout.cluster_size, layout.clusters.refcount
        return array(
            "Q",
            [
                entry
                if entry & COMPRESSED or not entry & ~COPIED
                else entry & ~COPIED
                if not entry & OFFSET_MASK or refcount((entry & OFFSET_MASK) // unit) != 1
                else entry | COPIED
                for entry in table
            ],
        )

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

    # -- structures of which there is one

    def _compared(self, layout: HostLayout) -> Iterator[tuple[str, int, bytes]]:
        """Name, offset and bytes of tables that are written whole when they differ from what the file has, in order."""
        unit = layout.cluster_size
        first, length = layout.snapshots.list_place
        if length:
            yield "snapshot table", first * unit, rendering.snapshot_table(self._image)
        if layout.bitmaps.directory is not None:
            yield "bitmap directory", layout.bitmaps.directory[0], rendering.bitmap_directory(self._image)

    def _write_snapshots(self, layout: HostLayout) -> None:
        """Write the L1 tables of internal snapshots that are new, and the tables of snapshots and bitmaps."""
        for tables in layout.snapshots.saved:
            assert is_cached(tables)
            if tables.l1_changed or tables.l1[0] not in self._saved:
                self.bytes.write_at(tables.l1[0] * layout.cluster_size, rendering.l1_table(layout, tables))
                tables.l1_changed.clear()
        found = {name: (offset, data) for name, offset, data in self._compared(layout)}
        for name, (offset, data) in found.items():
            self._write_structure(name, offset, data)
        for name in {"snapshot table", "bitmap directory"} - found.keys():
            self._structures.pop(name, None)  # its clusters can be used for something else

    def _write_l1_table(self, layout: HostLayout) -> None:
        """Write the sectors of the L1 table that have changed (qcow2_write_l1_entry)."""
        active, place = self._cached(layout), layout.active.l1[0] * layout.cluster_size
        if self._everything or active.l1 != self._l1:
            self.bytes.write_at(place, rendering.l1_table(layout, active))
            return
        for sector in sorted({number // _PER_SECTOR for number in active.l1_changed}):
            data = rendering.l1_table(layout, active, sector * _PER_SECTOR, (sector + 1) * _PER_SECTOR)
            self.bytes.write_at(place + sector * SECTOR, data)

    def _refcount_table(self, layout: HostLayout, old: Mapping[int, int] | None = None) -> tuple[int, bytes]:
        """Offset and bytes of the refcount table.

        :param old: the blocks that are in the file; it goes on to lead to those that are no more.
        """
        clusters = layout.clusters
        blocks = clusters.blocks
        if old is not None and clusters.refcount_bits == self._refcount_bits:
            blocks = {**old, **blocks}
        return clusters.table[0] * layout.cluster_size, rendering.refcount_table(clusters, blocks)


def _in_a_row(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers in runs of those that follow each other."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
