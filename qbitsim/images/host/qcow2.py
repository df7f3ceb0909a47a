"""A qcow2 image in a file of the host.

Data are in the file at once, at the places that the layout gives them. Tables, refcounts and the bitmap directory are
written by :meth:`HostQcow2Image.save`: when the disk is flushed, an L2 table is made and the file is closed. Otherwise
:class:`.WriteOrder` tells when L2 tables, or refcounts, must be in the file.
"""

from __future__ import annotations

from qbitsim.files.failures import step
from qbitsim.images.host.block_refcounts import BlockRefcounts
from qbitsim.images.host.clusters import PlacedContent
from qbitsim.images.host.holes import HostHoles
from qbitsim.images.host.l2_tables import CachedTables, L2Cache
from qbitsim.images.host.table_writer import TableWriter
from qbitsim.images.qcow2.allocator import TABLE_ENTRY, Allocator
from qbitsim.images.qcow2.image import Qcow2Image, is_cached
from qbitsim.images.qcow2.layout import HostLayout
from qbitsim.images.qcow2.packing import packed_length
from qbitsim.light_library import contextmanager, nullcontext
from qbitsim.records import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from qbitsim.images.content import Content, Reader
    from qbitsim.images.host.file import HostImageFile
    from qbitsim.images.image import Image, Preallocation
    from qbitsim.images.qcow2.bitmaps import StoredBitmap
    from qbitsim.images.qcow2.check import CheckResult
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.images.qcow2.tables import Part, Tables


_CLUSTERS_AT_ONCE = 1 << 16
"""So many clusters of a long range become zero before tables are written."""


class HostQcow2Image(Qcow2Image):
    """A qcow2 image in a file that is open.

    It begins as an empty image of *size* bytes, of which nothing is in the file yet; :func:`.take_parsed` lets it be
    what the file holds.
    """

    __slots__ = ("_writer",)

    content: PlacedContent
    file: HostImageFile

    def __init__(self, file: HostImageFile, size: int, **options: Any) -> None:
        super().__init__(file, size, **options)
        self._writer = TableWriter(self, file.bytes)
        self._holes = HostHoles(file.bytes)
        self.content = self._empty_content(self._layout.active, size)

    def _empty_layout(self, size: int) -> HostLayout:
        file, unit, bits, external = self.file.bytes, self.cluster_size, self.refcount_bits, self.data_file is not None
        clusters = Allocator(unit, bits, BlockRefcounts(file, unit, bits, {}))
        tables = CachedTables(L2Cache(file, unit, external=external, zero_clusters=self.compat != "0.10"))
        return HostLayout(size, unit, bits, external=external, clusters=clusters, tables=tables)

    def _empty_content(self, tables: Tables, size: int) -> PlacedContent:
        assert is_cached(tables)
        file, zeroes = self.data_file or self.file.bytes, self.compat != "0.10"
        return PlacedContent(file, tables, size, zero_clusters=zeroes, compression=self.compression)

    def begin_file(self) -> None:
        """Write a new image into its file, in QEMU's steps (qcow2_co_create).

        :raises StepError: the host refuses that.
        """
        unit, file = self.cluster_size, self._writer.bytes
        with step("Could not write qcow2 header"):
            file.write_at(0, bytes(unit))
        with step("Could not write refcount table"):
            file.write_at(unit, bytes(2 * unit))
        with step("Could not resize image"), step("Failed to grow the L1 table"):
            self.save()
        self._layout.clusters.order = self._writer.order

    def take_up(self) -> None:
        """The image was loaded from its file."""
        self._writer.take_up()
        self._layout.clusters.order = self._writer.order
        counts = self._layout.clusters.counts
        assert isinstance(counts, BlockRefcounts)
        counts.expect_in_use(self._held())

    def _held(self) -> set[int]:
        """The clusters of the file in which tables are that must not be written over."""
        layout, unit = self._layout, self.cluster_size
        end = -(-self._writer.bytes.length // unit)
        (table, length), (l1, entries) = layout.clusters.table, layout.active.l1
        held = {0, layout.snapshots.list_place[0], *layout.clusters.blocks.values()}
        held.update(range(table, min(table + length, end)), range(l1, min(l1 + -(-entries * TABLE_ENTRY // unit), end)))
        for tables in (layout.active, *layout.snapshots.saved):
            held.update(tables.l2.values())
        return {cluster for cluster in held if cluster < end}

    @property
    def layout(self) -> HostLayout:
        """As every qcow2 image; all is placed at once."""
        return self._layout

    # -- what is in the file

    def keep_tables(self) -> None:
        """As every qcow2 image; what is in the file can be read there."""

    def tables_written(self) -> None:
        """As every qcow2 image; :meth:`save` writes them."""

    def release_tables(self) -> None:
        """As every qcow2 image."""

    def lose_unsaved_tables(self) -> None:
        """As every qcow2 image."""
        self.file.forget()

    def save(self) -> None:
        """Write down what of the tables is only in memory."""
        self._writer.write()
        self._writer.discard()
        self.file.note_saved()

    def save_header(self) -> None:
        """As every qcow2 image; with all that has changed, if the header would lead to what is not there."""
        if self._writer.leads_to_the_table:
            self._writer.write_header()
        else:
            self.save()

    def close_written(self) -> None:
        """Store the bitmaps, and write all down."""
        super().close_written()
        self.save()

    def repair(self, found: CheckResult) -> None:
        """As every qcow2 image; the file has it at once."""
        super().repair(found)
        self._writer.write(everything=True)
        self.file.note_saved()

    def end_file(self, end: int) -> None:
        """As every image."""
        super().end_file(end)
        self._writer.bytes.truncate(end)

    def note_given_back(self, offset: int, length: int, *, used: bool) -> None:
        """The file system knows."""

    @property
    def actual_size(self) -> int:
        """What the file system says."""
        return self._writer.bytes.allocated

    # -- the disk

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every image."""
        if self.file.capacity is not None:
            self.check_room(offset, len(data))
        try:
            start, filled = self._filled_up(offset, data, below)
        except OSError:
            self._write_in_vain(offset, data, below)
            raise
        with self.placing() as layout:
            layout.write(
                *self._touched(start, len(filled)), self._storing(start, filled), self._writer.write_within_request
            )

    def _place_in_vain(self, offset: int, length: int) -> None:
        with self.placing():
            super()._place_in_vain(offset, length)

    def _storing(self, offset: int, data: bytes) -> Callable[[int, int, Part], None]:
        """What writes the parts of a request."""
        unit, content = self.cluster_size, self.content

        def store(first: int, stop: int, part: Part) -> None:
            start, end = max(offset, first * unit), min(offset + len(data), stop * unit)
            self._writer.make_room(())
            if start < end:
                try:
                    content.write_placed(start, data[start - offset : end - offset])
                except OSError:
                    part.tables.clear()  # they stay, as in QEMU
                    raise

        return store

    def settle(self, *, written: bool) -> None:
        """As every qcow2 image; what was written before the failing part is there."""
        tables = self.content.tables
        self._layout.settle_reserved(
            stored=lambda guest: written or (guest not in tables.unsettled and tables.holds_data(guest))
        )

    def _filled_up(self, offset: int, data: bytes, below: Reader | None) -> tuple[int, bytes]:
        """The data with what is around them in clusters that are written as a whole (perform_cow, qcow2-cluster.c)."""
        unit, end = self.cluster_size, offset + len(data)
        if offset % unit and not self._is_in_place(offset // unit):
            start = offset // unit * unit
            data = self._cluster_bytes(start, offset - start, below) + data
            offset = start
        if end % unit and not self._is_in_place(end // unit):
            stop = -(-end // unit) * unit
            data += self._cluster_bytes(end, stop - end, below)  # behind the disk, too: it may grow
        return offset, data

    def _is_in_place(self, guest: int) -> bool:
        """Whether what a cluster reads as is where it is to be written: it has a place of its own, and is not ZERO."""
        tables = self.content.tables
        return self._layout.is_own(guest) and guest not in tables.unsettled and tables.holds_data(guest)

    def takes_compressed(self, offset: int) -> bool:
        """As every qcow2 image."""
        with self.placing():
            return super().takes_compressed(offset)

    def write_compressed(self, offset: int, data: bytes) -> int:
        """As every qcow2 image."""
        unit = self.cluster_size
        guest, block = offset // unit, data.ljust(unit, b"\0")
        length = packed_length(block, self.compression)
        assert length is not None
        self.check_room(offset, len(data))
        with self.placing() as layout:
            layout.write_packed(guest, length)
            try:
                self.content.write_packed(guest, block)
            except OSError:
                layout.give_up_packed(guest)
                raise
        return length

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
        *,
        unmap: bool = False,
    ) -> None:
        """As every image, a few L2 tables at a time."""
        self.check_room_for_zeroes(offset, length, below)
        for start, stop in self._bites(offset, length):
            super().write_zeroes(start, stop - start, below, below_is_zero, unmap=unmap)

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """As every image, a few L2 tables at a time."""
        for start, stop in self._bites(offset, length):
            super().discard(start, stop - start, backed=backed)

    def _bites(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """A range in parts after each of which changed tables may be written, as (start, stop)."""
        bite, end = self.cluster_size * _CLUSTERS_AT_ONCE, offset + length
        while offset < end:
            stop = min(end, offset - offset % bite + bite)
            yield offset, stop
            offset = stop

    def _write_zero_bytes(self, offset: int, length: int, below: Reader | None) -> None:
        self.write(offset, bytes(length), below)

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """As every image, by copying the bytes."""
        unit = self.cluster_size
        chosen, stored = list(clusters), source.allocation_order()
        self._check_room_for_clusters(source, chosen)
        for number in chosen:
            start = number * unit
            length = min(unit, self.size - start)
            if number in stored:
                self.write(start, source.read(start, length))
            else:
                self.write_zeroes(start, length)

    def can_share_clusters(self, source: Image, cluster_size: int) -> bool:
        """No: the bytes are in a file."""
        del source, cluster_size
        return False

    @contextmanager
    def placing(self) -> Iterator[HostLayout]:
        """As every qcow2 image.

        Where an L2 table is made, the tables are written down, as QEMU does (l2_allocate, block/qcow2-cluster.c, 10.0).
        What is freed goes back to the host at once, whatever the tables in the file say (qcow2_process_discards).
        """
        if self._writer.is_unsure:
            self._writer.write()
        try:
            yield self._layout
        finally:
            self._layout.settle(self.content)
            self.content.tables.placed_zeroes.clear()
        if self._writer.order.table_made or self._writer.is_crowded:
            self._writer.write()
        self._writer.discard()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Change tables as a whole and write them; if the host refuses that, the image is what it was before."""
        self._writer.begin()
        before = self._layout
        layout, content, snapshots = before.copy(same_file=True), self.content.clone(), list(self.snapshots)
        bitmaps, preallocated = [bitmap.copy() for bitmap in self.bitmaps], self._preallocated_end
        bits = self.refcount_bits
        before.clusters.order = None  # all is written together
        try:
            yield
        except OSError:
            self._writer.undo(layout)
            self._preallocated_end, self.refcount_bits = preallocated, bits
            self._layout, self.content, self.snapshots, self.bitmaps = layout, content, snapshots, bitmaps
            self._use_tables(layout)
            raise
        finally:
            self._layout.clusters.order = self._writer.order
        self._writer.end(before)

    def _use_tables(self, layout: HostLayout) -> None:
        """The disk and the snapshots are where the tables of a layout say, which are new."""
        contents = [self.content, *(each.content for each in self.snapshots)]
        for content, tables in zip(contents, [layout.active, *layout.snapshots.saved], strict=True):
            assert isinstance(content, PlacedContent)
            assert is_cached(tables)
            content.use_tables(tables)

    def resize(
        self, size: int, *, zero_new: bool = False, below: Reader | None = None, preallocation: Preallocation = "off"
    ) -> None:
        """As every image; the file has it at once (qcow2_co_truncate)."""
        self._check_l1(size)
        self._discard_cropped(size)
        steps = {"off": "Failed to grow the L1 table", "metadata": "Allocating clusters failed"}
        name = steps.get(preallocation) if size > self.size else None
        with self._all_or_nothing(), nullcontext() if name is None else step(name):
            super().resize(size, zero_new=zero_new, below=below, preallocation=preallocation)
            self._writer.write(everything=True, cut_off=True)

    def _discard_cropped(self, size: int) -> None:
        """Give up what is behind the new end of the disk, if it becomes smaller; that stays so, whatever fails then."""
        unit = self.cluster_size
        first, last = -(-size // unit), -(-self.size // unit)
        if last - first > self.content.tables.most_new * self.content.tables.cache.per_table:
            return  # so many tables are not made
        with step("Failed to discard cropped clusters"):
            for start, stop in self._bites(first * unit, (last - first) * unit):
                with self.placing() as layout:
                    layout.discard(start // unit, stop // unit)
                    self.content.cut_off(start // unit, stop // unit)

    def _store_preallocated(self, offset: int, stop: int, part: Part, preallocation: Preallocation) -> None:
        if self.data_file is not None:
            preallocation = "metadata"  # the data file has got its bytes already
        for place, length in self.content.take_places(offset // self.cluster_size, stop):
            if preallocation == "falloc":
                with step("Failed to resize underlying file"), step("Could not preallocate new data"):
                    self._writer.bytes.allocate(place, length)
            elif preallocation == "full":
                with step("Failed to resize underlying file"), step("Could not write zeros for preallocation"):
                    self._writer.bytes.write_zeroes(place, length)
        if preallocation == "metadata":
            self._writer.make_room(part.tables)
        if self._writer.is_crowded:
            self._writer.write()

    def change_refcount_bits(self, bits: int) -> int:
        """As every qcow2 image; the file has it at once (qcow2_change_refcount_order)."""
        with self._all_or_nothing():
            walks = super().change_refcount_bits(bits)
            with step("Failed to write the new reftable"):
                self._writer.write()
        return walks

    def make_empty(self) -> None:
        """As every qcow2 image.

        A file that becomes as short as a new one is marked as dirty meanwhile, as QEMU does it, if its tables move:
        they may come to lie on old ones.
        """
        with self._all_or_nothing():
            dirty = self.kept_header.dirty
            if self.can_be_reset:
                self._mark_dirty(dirty or not self._layout.is_where_it_begins)
                self._writer.forget_disk()
            super().make_empty()
            self._layout.settle(self.content)
            self._writer.write(everything=True, cut_off=True)
            self._mark_dirty(dirty)

    def _mark_dirty(self, dirty: bool) -> None:
        if self.kept_header.dirty != dirty:
            self.kept_header = changed(self.kept_header, dirty=dirty)
            self._writer.write_header()

    # -- bitmaps

    def store_bitmaps(self, bitmaps: Iterable[StoredBitmap]) -> None:
        """As every qcow2 image; the file has them at once."""
        with self._all_or_nothing():
            super().store_bitmaps(bitmaps)
            self._writer.write()

    def remove_bitmap(self, name: str) -> None:
        """As every qcow2 image; the file has lost it at once."""
        with self._all_or_nothing():
            super().remove_bitmap(name)
            self._writer.write()

    # -- internal snapshots

    def create_snapshot(
        self, name: str, date: int, clock: int, state_size: int = 0, *, icount: int = -1
    ) -> StoredSnapshot:
        """As every qcow2 image; the file has it at once."""
        with self._all_or_nothing():
            made = super().create_snapshot(name, date, clock, state_size, icount=icount)
            self._use_tables(self._layout)
            self._writer.write(everything=True)
        return made

    def apply_snapshot(self, snapshot: StoredSnapshot) -> None:
        """As every qcow2 image; the file has it at once."""
        with self._all_or_nothing():
            super().apply_snapshot(snapshot)
            self._use_tables(self._layout)
            self._writer.write(everything=True)

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """As every qcow2 image; the file has lost it at once."""
        with self._all_or_nothing():
            super().delete_snapshot(snapshot)
            self._writer.write(everything=True)
