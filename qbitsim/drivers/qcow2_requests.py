"""What a qcow2 node asks of its file, and what it only lets it know.

A file that notices requests, because it has a bitmap, a threshold or a filter that watches, is asked for each place
before the image changes. Others are told how far they were written, and only when somebody wants to know.
"""

from __future__ import annotations

from itertools import islice

from qbitsim.drivers.qcow2_written import WrittenClusters
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.spans import Spans
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qbitsim.block.node import Node
    from qbitsim.images.content import Reader
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.layout import CutOff

END_OF_SNAPSHOT_FIELDS = 72
"""The end of those members of the header that tell of snapshots (``snapshots_offset`` of QCowHeader)."""

MAXIMUM_WRITTEN = 65536
"""So many clusters are written before the file is told of them."""


@record
class Shrinking:
    """A disk that is being cut off.

    :ivar cut_off: what it will give back; :ivar l1: the L1 table, as :attr:`.Tables.l1`.
    """

    cut_off: CutOff
    l1: tuple[int, int]


class FileRequests:
    """The requests on the file below one node.

    :param node: a qcow2 node; its first child is the file.
    :param image: what it has open.
    :ivar written: what the file has not been told of.
    """

    __slots__ = ("_counted", "_flushed", "_image", "_node", "_tables_end", "written")

    def __init__(self, node: Node, image: Qcow2Image) -> None:
        self._node = node
        self._image = image
        self.written = WrittenClusters(image)
        self._tables_end = 0
        self._flushed = len(image.content.allocation_order())
        self._counted = -1  # Allocator.changes when refcounts were written last

    @property
    def _file(self) -> Node:
        return self._node.children[0].node

    @property
    def _data(self) -> Node:
        """Where the disk's clusters are."""
        return self._file if self._image.data_file is None else self._node.children[1].node

    # -- what the file is told

    def note_written(self, offset: int, end: int) -> None:
        """Keep how far each cluster is written, or tell it if there are too many."""
        if len(self.written.reach) > MAXIMUM_WRITTEN:
            self.tell_writes()
        self.written.note(offset, end)

    def note_packed(self, offset: int, length: int) -> None:
        """Let the file know of a compressed cluster, which takes ``length`` bytes of it."""
        start, _ = self._image.layout.active.packed[offset // self._image.cluster_size]
        self._note_end(start + length)

    def tell_writes(self) -> None:
        """Let the file know how far its clusters were written."""
        end, file = self.written.told(), self._data
        if end > file.highest_write:
            file.note_write_end(end)

    def note_tables(self, offset: int) -> None:
        """Let the file know of the tables that a request needs that stores no data."""
        for place, length in self._image.layout.new_table_places(offset):
            self._note_end(place + length)

    def note_tables_of(self, offset: int, length: int) -> None:
        """Let the file know of the tables that a request needs whose data are in another file."""
        reach = self._image.cluster_size * (self._image.cluster_size // TABLE_ENTRY)
        for start in range(offset - offset % reach, offset + length, reach):
            self.note_tables(start)

    def note_tables_in_vain(self, offset: int, length: int) -> None:
        """Let the file know of the tables that were made for data that then could not be stored (l2_allocate)."""
        unit, stored = self._image.cluster_size, self._image.content.allocation_order()
        entries = unit // TABLE_ENTRY
        reach = unit * entries
        for table in range(offset // reach, -(-(offset + length) // reach)):
            place = self._image.layout.active.l2.get(table)
            if place is not None and all(guest // entries != table for guest in stored):
                self._note_end((place + 1) * unit)

    def note_changed_tables(self, offset: int, length: int) -> None:
        """Keep how far the tables go that a request changed in memory, though it stored no data."""
        self._tables_end = max(self._tables_end, self._image.layout.table_end(offset + length - 1))

    def shared_clusters(self, offset: int, length: int) -> list[int]:
        """The guest clusters of a range that a snapshot shares, which get other places when they are written."""
        layout, unit = self._image.layout, self._image.cluster_size
        clusters = range(offset // unit, -(-(offset + length) // unit))
        return [guest for guest in clusters if guest in layout.active.places and not layout.is_own(guest)]

    def note_replaced(self, guests: list[int]) -> None:
        """Guest clusters have got other places, which were counted in the file before the former ones were given back.

        Refcounts that shrink wait for the tables, which have waited for those that grew (qcow2_cache_set_dependency).
        """
        layout, unit = self._image.layout, self._image.cluster_size
        for guest in guests:
            self._note_end((layout.clusters.block_of(layout.active.places[guest]) + 1) * unit)
            self._tables_end = max(self._tables_end, layout.table_end(guest * unit))
        self._flush_refcounts()

    def flush_tables(self) -> None:
        """Write the changed tables, refcounts first (qcow2_write_caches)."""
        self._flush_refcounts()
        end, self._tables_end = self._tables_end, 0
        self._note_end(end)
        self._image.tables_written()

    def _flush_refcounts(self) -> None:
        """Write the refcounts of what was stored since the last time; the tables can be written now."""
        stored, layout = self._image.content.allocation_order(), self._image.layout
        new, self._flushed = list(islice(reversed(stored), max(0, len(stored) - self._flushed))), len(stored)
        is_counted, self._counted = self._counted == layout.clusters.changes, layout.clusters.changes
        # What was only zero has kept its place, so that nothing is counted anew.
        places = () if is_counted else [layout.active.places[guest] for guest in new if guest in layout.active.places]
        for block in sorted({layout.clusters.block_of(place) for place in places}):
            self._note_end((block + 1) * self._image.cluster_size)
        ends = (layout.table_end(guest * self._image.cluster_size) for guest in new)
        self._tables_end = max([self._tables_end, *ends])

    def note_state(self, length: int, before: Mapping[int, int]) -> None:
        """Let the file know of the machine's state, and before it of the L2 tables it needs (qcow2_save_vmstate).

        The first request fills its cluster; the rest is written to its end, and then what is left of the last one.

        :param before: the tables that there were, as :attr:`.Tables.l2`.
        """
        layout, unit = self._image.layout, self._image.cluster_size
        first, stop = layout.state_range(length)
        entries = unit // TABLE_ENTRY
        for table in range(first // entries, -(-stop // entries)):
            place = layout.active.l2[table]
            if place != before.get(table):
                self._note_end((layout.clusters.block_of(place) + 1) * unit)
                self._note_end((place + 1) * unit)
        self._note_end((layout.active.places[first] + 1) * unit)
        for start, size in layout.host_runs(first * unit, length):
            self._note_end(start + size)
        self._note_end((layout.active.places[stop - 1] + 1) * unit)

    def note_snapshot(self) -> None:
        """Let the file know of the L1 table of the newest snapshot, and of the list (qcow2_snapshot_create)."""
        first, entries = self._image.layout.snapshots.saved[-1].l1
        self._note_end(first * self._image.cluster_size + entries * TABLE_ENTRY)
        self.note_shared_tables(2)
        self.note_snapshot_list()
        layout, unit = self._image.layout, self._image.cluster_size
        for place in layout.active.l2.values():  # the machine's state has left these tables
            if layout.clusters.refcount(place) == 1:
                self._note_end((place + 1) * unit)
                self._tables_end = max(self._tables_end, (place + 1) * unit)

    def note_shared_tables(self, references: int) -> None:
        """Write the L2 tables that have come to be shared or to be the disk's own (QCOW_OFLAG_COPIED).

        :param references: those of such a table by now.
        """
        layout, unit = self._image.layout, self._image.cluster_size
        changed = [place for place in layout.active.l2.values() if layout.clusters.refcount(place) == references]
        self._tables_end = max([self._tables_end, *((place + 1) * unit for place in changed)])
        self.flush_tables()

    def note_snapshot_list(self) -> None:
        """Write the list of snapshots part by part, its refcounts first, the header last (qcow2_write_snapshots)."""
        layout, unit = self._image.layout, self._image.cluster_size
        first, length = layout.snapshots.list_place
        if length:
            self._note_end((layout.clusters.block_of(first) + 1) * unit)
        end = first * unit
        for snapshot in self._image.snapshots:
            end = -(-end // 8) * 8
            for part in snapshot.part_lengths:
                end += part
                self._note_end(end)
        self._note_end(END_OF_SNAPSHOT_FIELDS)

    def note_bitmaps(self, names: Iterable[str]) -> None:
        """Let the file know of bitmaps that are stored: of each its data, then its table; then of the directory."""
        bitmaps, unit = self._image.layout.bitmaps, self._image.cluster_size
        for place in (bitmaps.by_name[name] for name in names):
            for offset in place.data.values():
                self._note_end(offset + unit)
            self._note_end(place.table * unit + place.entries * TABLE_ENTRY)
        self.note_bitmap_directory()

    def note_bitmap_directory(self) -> None:
        """Let the file know that the directory of bitmaps is written, and the first cluster, which leads to it."""
        directory = self._image.layout.bitmaps.directory
        if directory is not None:
            self._note_end(sum(directory))
        self._note_end(self._image.cluster_size)

    def _note_end(self, end: int) -> None:
        if end > self._file.noticed_end:
            self._file.note_write_end(end)

    def free_places(self, offset: int, length: int) -> None:
        """The places of the whole clusters in a range, to which nothing else refers, are about to be freed.

        When the last reference is gone QEMU lets the file discard them, neighbours together (update_refcount_discard
        and qcow2_process_discards, block/qcow2-refcount.c, 10.0), if the node passes on what requests free; a 7.2 frees
        clusters of a drive that does not, too.
        """
        self.tell_writes()
        unit, layout = self._image.cluster_size, self._image.layout
        runs = Spans()
        for cluster in range(*self._image.content.whole_clusters(offset, length)):
            place = layout.host_offset(cluster * unit)
            if place is not None and layout.is_own(cluster):
                runs.add(place, place + unit)
        if runs:
            # What the tables waited for is written: refcounts wait for tables from now on (qcow2_cache_set_dependency).
            self._flush_refcounts()
        if not self._node.options.get("pass-discard-request", self._node.unmap):
            return
        for place, stop in runs:
            if self._image.data_file is None:
                self._file.note_discarded(place, stop - place)
            else:
                self._data.discard(place, stop - place)

    def note_freed(self, clusters: Spans) -> None:
        """Let the file count clusters of it that were freed, run by run; they may be in use again already."""
        unit = self._image.cluster_size
        for start, stop in clusters:
            self._file.count_discard(start * unit, (stop - start) * unit)

    def note_grown(self, before: tuple[int, int]) -> None:
        """Let the file know of the L1 table, its refcounts first, if another one has taken its place.

        :param before: the one of the disk when it was smaller, as :attr:`.Tables.l1`.
        """
        layout, unit = self._image.layout, self._image.cluster_size
        first, entries = layout.active.l1
        if (first, entries) != before:
            self._note_end((layout.clusters.block_of(first) + 1) * unit)
            self._note_end(first * unit + entries * TABLE_ENTRY)

    def begin_shrinking(self, size: int, old: int) -> Shrinking:
        """The disk is about to be cut off; refcounts are written before others are discarded."""
        self.tell_writes()
        layout = self._image.layout
        first = -(-size // layout.cluster_size) * layout.cluster_size
        if first < old:
            self.note_tables_of(first, old - first)  # to discard makes a table where there is none
        cut_off = layout.cut_off(size, old)
        if cut_off.data:
            self._flush_refcounts()
        return Shrinking(cut_off, layout.active.l1)

    def end_shrinking(self, shrinking: Shrinking) -> None:
        """Let the file know what the disk has given back, and of the tables (qcow2_co_truncate, block/qcow2.c, 10.0).

        What of the guest is freed is discarded together, each L2 table alone. The rest of the L1 table is zeroed and
        the refcount table written, then refcounts and the last L2 table are when they are flushed.
        """
        layout, unit = self._image.layout, self._image.cluster_size
        freed, cut_off = layout.clusters.unused(shrinking.cut_off.data.numbers()), shrinking.cut_off
        self.note_freed(freed)
        for place in layout.dropped_tables:
            self.note_freed(layout.clusters.unused((place,)))
        first, entries = shrinking.l1
        if layout.dropped_tables:
            self._note_end(first * unit + entries * TABLE_ENTRY)
        self._note_end(sum(layout.clusters.table) * unit)
        for block in sorted(
            {place // layout.clusters.per_block for place in freed.numbers()} & set(layout.clusters.blocks)
        ):
            self._note_end((layout.clusters.blocks[block] + 1) * unit)
        if cut_off.data and cut_off.last_table is not None:
            self._tables_end = max(self._tables_end, (cut_off.last_table + 1) * unit)

    def _note_runs(self, offset: int, length: int) -> None:
        """Let the file know how far each contiguous run of a request goes, for QEMU writes it in one."""
        file, unit, new, run_end = self._data, self._image.cluster_size, self.written.new_clusters(), 0
        stored, layout = self._image.content.allocation_order(), self._image.layout
        for cluster in range(offset // unit, -(-(offset + length) // unit)):
            place = layout.host_offset(cluster * unit)
            if place is None:
                continue
            if place != run_end and run_end > file.noticed_end:
                file.note_write_end(run_end)
            # All of a new cluster is written, for what is around the data is copied.
            is_new = cluster in new or cluster not in stored
            run_end = place + (unit if is_new else self.written.reach.get(cluster, unit))
        if run_end > file.noticed_end:
            file.note_write_end(run_end)

    # -- what the file is asked for

    def write(self, offset: int, data: bytes, below: Reader | None) -> None:
        """Write once the file has let the tables and the data be written to the places that they get there."""
        self._image.check_room(offset, len(data))
        self._file.before_table_change()
        self.ask_for_tables(offset)
        written = False
        try:
            self._image.reserve(offset, len(data))
            below = self._read_around(offset, data, below)
            self.ask_for_runs("write", offset, len(data))
            self._image.write(offset, data, below)
            written = True
        finally:
            self._image.settle(written=written)

    def _read_around(self, offset: int, data: bytes, below: Reader | None) -> Reader | None:
        """As :meth:`.Qcow2Image.read_around`; if that fails, what QEMU has written before is written."""
        try:
            return self._image.read_around(offset, len(data), below)
        except OSError:
            front = self._image.front_of_copied(offset, len(data))
            if front:
                self.ask_for_runs("write", offset, len(data))
            self._image.settle(written=False)
            if front:
                self._image.write(offset, data[:front], below)
            raise

    def ask_for_tables(self, offset: int) -> None:
        """Ask for what is written before the cluster at ``offset`` can be stored or become zero."""
        for place, length in self._image.layout.new_table_places(offset):
            self._file.pwrite(place, length)

    def ask_for_preallocated(self) -> None:
        """Ask for the L2 tables that say that all of a raw data file is in use, which were just written."""
        data, layout = self._image.data_file, self._image.layout
        if data is not None and data.is_raw:
            for place in layout.active.l2.values():
                self._file.pwrite(place * layout.cluster_size, layout.cluster_size)

    def ask_for_runs(self, operation: str, offset: int, length: int) -> None:
        """Ask for those parts of the range that have a place in the file, each as long as it goes on there.

        :param operation: ``read`` or ``write``.
        """
        file = self._data
        request = file.pread if operation == "read" else file.pwrite
        if operation == "write":
            self._note_runs(offset, length)
        for run in list(self._image.layout.host_runs(offset, length)):
            file.debug_event(f"{operation}_aio")
            request(*run)
