"""What ``qemu-img check`` finds in a qcow2 file (qcow2_check_refcounts, block/qcow2-refcount.c, QEMU 10.0).

All references that the tables make are counted, cluster by cluster, and compared with the refcounts in the file; then
the COPIED flags of the active tables are compared with these. Nothing is written: a repair is what the caller makes of
:attr:`CheckResult.repaired`.
"""

from __future__ import annotations

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.metadata import (
    MAXIMUM_L1,
    MAXIMUM_REFCOUNT_TABLE,
    Metadata,
    read_entries,
    read_metadata,
    read_padded,
    read_snapshots,
)
from qbitsim.images.qcow2.rebuilding import RebuiltRefcounts
from qbitsim.images.qcow2.references import References
from qbitsim.images.qcow2.structures import COPIED, OFFSET_MASK, SnapshotEntry
from qbitsim.images.qcow2.table_reader import read_bitmaps
from qbitsim.light_library import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qbitsim.files.tree import ByteSource
    from qbitsim.images.qcow2.allocator import Allocator
    from qbitsim.images.qcow2.layout import HostLayout

MAXIMUM_TABLES_READ = 1 << 18
"""So many L2 tables are looked at, one that is used twice counted twice."""
_AT_ONCE = 1 << 16
"""So many refcounts are compared at once."""
_ROOM = 8 << 20
"""So many bytes of refcount blocks are kept."""


class CheckResult:
    """What was found.

    :ivar lines: what is said of each fault.
    :ivar corruptions: how many faults endanger data; :ivar leaks: how many clusters nothing refers to so often.
    :ivar errors: how many faults kept the check from looking further.
    :ivar corruptions_fixed: faults that the repair does away with; :ivar leaks_fixed: likewise.
    :ivar gave_up: what is wrong is more than this repair can do.
    :ivar repaired: cluster -> the refcount that it is to have.
    :ivar rebuilt: the refcount table and blocks that are to take the place of those of the file; None if these stay.
    :ivar allocated: guest clusters; :ivar fragmented: those that do not follow the one before;
        :ivar compressed: those that are compressed.
    :ivar end: offset behind the last cluster in use.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.corruptions = self.leaks = self.errors = 0
        self.corruptions_fixed = self.leaks_fixed = 0
        self.gave_up = False
        self.repaired: dict[int, int] = {}
        self.rebuilt: RebuiltRefcounts | None = None
        self.allocated = self.fragmented = self.compressed = 0
        self.end = 0

    def corrupt(self, line: str) -> None:
        """Note a corruption."""
        self.lines.append(line)
        self.corruptions += 1


def check_file(file: ByteSource, *, leaks: bool = False, errors: bool = False) -> CheckResult:
    """Check a file.

    :param leaks: leaked clusters are to be freed; :param errors: and other faults repaired.
    :raises QmpError: QEMU refuses to open it; :raises UnsupportedError: the repair is one that is not emulated.
    """
    metadata = read_metadata(file, checking=True)
    read_bitmaps(file, metadata)  # whoever opens the file refuses bad ones
    return _Check(file, metadata, leaks=leaks, errors=errors).run()


def repair(layout: HostLayout, result: CheckResult) -> None:
    """Give the clusters of a file the refcounts that *result* has for them."""
    if result.rebuilt is not None:
        _exchange(layout.clusters, result.rebuilt)
    for cluster, count in result.repaired.items():
        layout.clusters.set_refcount(cluster, count)
        layout.clusters.discard(cluster)


def _exchange(clusters: Allocator, rebuilt: RebuiltRefcounts) -> None:
    counts = clusters.counts.emptied()
    last = 0
    for last, count in rebuilt.counts.items():
        counts.set(last, count)
    end = (last + 1) * clusters.cluster_size
    clusters.load(rebuilt.table, rebuilt.blocks, max(clusters.end, end), counts)
    clusters.changes += 1


class _Check:
    def __init__(self, file: ByteSource, metadata: Metadata, *, leaks: bool, errors: bool) -> None:
        self._file = file
        self._metadata = metadata
        self._external = bool(metadata.header.incompatible & structures.DATA_FILE)
        self._unit = metadata.cluster_size
        self._clusters = -(-file.length // self._unit)
        self._fix_leaks, self._fix_errors = leaks or errors, errors
        self._most = (1 << metadata.refcount_bits) - 1
        self._references = References()
        self._rebuilt: RebuiltRefcounts | None = None
        self._blocks_read: dict[int, Sequence[int]] = {}
        self._left = MAXIMUM_TABLES_READ
        self._rebuild = False
        self._result = CheckResult()

    def run(self) -> CheckResult:
        result, header = self._result, self._metadata.header
        try:
            snapshots, length = read_snapshots(self._file, header)
        except QmpError as error:
            result.lines.append(f"ERROR failed to read the snapshot table: {error.desc}")
            result.errors += 1
            return result
        incomplete = self._incomplete(snapshots)
        self._count_references(snapshots, length)
        found = result.corruptions
        wrong = list(self._mismatches())
        self._report(wrong, fix=False)
        if self._rebuild and self._fix_errors:
            self._rebuild_refcounts(snapshots, length)
        elif self._rebuild and self._fix_leaks:
            result.lines.append("ERROR need to rebuild refcount structures")
            result.errors += 1
            result.gave_up = True
            return result
        elif self._fix_leaks and wrong:
            result.corruptions, result.leaks = found, 0
            self._report(wrong, fix=True)
        self._check_copied()
        result.corruptions += incomplete
        return result

    def _incomplete(self, snapshots: list[SnapshotEntry]) -> int:
        """How many entries of the snapshot table have less extra data than version 3 wants."""
        if self._metadata.header.format_version < 3:
            return 0
        short = [number for number, entry in enumerate(snapshots) if entry.extra_length < 16]
        self._result.lines += [f"ERROR snapshot table entry {number} is incomplete" for number in short]
        if short and self._fix_errors:
            raise UnsupportedError("the repair of a snapshot table")
        return len(short)

    def _rebuild_refcounts(self, snapshots: list[SnapshotEntry], length: int) -> None:
        """Make refcount table and blocks anew, and free what that leaves behind."""
        result, per_block = self._result, self._unit * 8 // self._metadata.refcount_bits
        if self._clusters > MAXIMUM_REFCOUNT_TABLE // 8 * per_block:
            raise UnsupportedError("the repair of a file that no refcount table can count")
        result.lines.append("Rebuilding refcount structure")
        corruptions, leaks = result.corruptions, result.leaks
        self._rebuilt = result.rebuilt = rebuilt = RebuiltRefcounts(self._references, self._clusters, self._metadata)
        self._clusters = rebuilt.clusters
        self._references, self._rebuild = References(), False
        self._blocks_read.clear()
        result.corruptions = result.leaks = result.allocated = result.fragmented = result.compressed = 0
        self._count_references(snapshots, length)
        still, fixed = result.corruptions, (result.corruptions_fixed, result.leaks_fixed)
        self._report(list(self._mismatches()), fix=True)
        for cluster, count in result.repaired.items():
            rebuilt.counts[cluster] = count
        result.repaired = {}
        result.corruptions, result.leaks = still, 0
        result.corruptions_fixed = fixed[0] + max(0, corruptions - still)
        result.leaks_fixed = fixed[1] + leaks

    # -- references

    def _count_references(self, snapshots: list[SnapshotEntry], length: int) -> None:
        header, metadata = self._metadata.header, self._metadata
        self._refer(0, self._unit)
        self._check_l1(header.l1_offset, header.l1_entries, metadata.l1, active=True)
        for entry in snapshots:
            self._check_snapshot(entry)
        self._refer(header.snapshots_offset, length)
        first, count = header.refcount_table_offset // self._unit, header.refcount_table_clusters
        if self._rebuilt is not None:
            first, count = self._rebuilt.table
        self._refer(first * self._unit, count * self._unit)
        self._refer_to_bitmaps()
        self._check_blocks()

    def _refer(self, offset: int, length: int) -> None:
        """Count a reference to each cluster of a range (qcow2_inc_refcounts_imrt)."""
        if not length:
            return
        if offset + length - max(self._file.length, self._rebuilt_length) >= self._unit:
            self._result.corrupt(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                f"offset {offset:#x} size {length:#x}"
            )
            return
        for cluster in range(offset // self._unit, (offset + length - 1) // self._unit + 1):
            count = self._references[cluster]
            if count == self._most:
                self._result.corrupt(f"ERROR: overflow cluster offset={cluster * self._unit:#x}")
                self._result.lines.append(
                    "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean "
                    "copy if the image cannot be opened for writing"
                )
            else:
                self._references[cluster] = count + 1
                self._clusters = max(self._clusters, cluster + 1)

    @property
    def _rebuilt_length(self) -> int:
        """How long the file becomes by what was made anew."""
        return 0 if self._rebuilt is None else self._rebuilt.clusters * self._unit

    def _check_snapshot(self, entry: SnapshotEntry) -> None:
        about = f"ERROR snapshot {entry.id.decode(errors='replace')} ({entry.name.decode(errors='replace')}) "
        if entry.l1_offset % self._unit:
            self._result.corrupt(
                f"{about}l1_offset={entry.l1_offset:#x}: L1 table is not cluster aligned; "
                "snapshot table entry corrupted"
            )
        elif entry.l1_entries > MAXIMUM_L1 // 8:
            self._result.corrupt(
                f"{about}l1_size={entry.l1_entries:#x}: L1 table is too large; snapshot table entry corrupted"
            )
        else:
            entries = structures.unpack_table(read_entries(self._file, entry.l1_offset, entry.l1_entries))
            self._check_l1(entry.l1_offset, entry.l1_entries, entries, active=False)

    def _check_l1(self, offset: int, count: int, entries: Sequence[int], *, active: bool) -> None:
        self._refer(offset, count * 8)
        for entry in entries:
            if not entry:
                continue
            if entry & structures.L1_RESERVED_MASK:
                self._result.corrupt(f"ERROR found L1 entry with reserved bits set: {entry:x}")
            place = entry & OFFSET_MASK
            self._refer(place, self._unit)
            if place % self._unit:
                self._result.corrupt(f"ERROR l2_offset={place:x}: Table is not cluster aligned; L1 entry corrupted")
            self._check_l2(place, active=active)

    def _check_l2(self, offset: int, *, active: bool) -> None:
        expected, result = 0, self._result
        for entry, count in self._l2_runs(offset):
            if entry & structures.COMPRESSED:
                self._check_compressed(entry, active=active)
                continue
            if entry & structures.L2_RESERVED_MASK:
                result.corrupt(f"ERROR found l2 entry with reserved bits set: {entry:x}")
            place = entry & OFFSET_MASK
            if not place and not (self._external and entry & (COPIED | structures.ZERO) == COPIED):
                continue
            if active:
                result.allocated += count
                result.fragmented += bool(expected) and place != expected
                expected = place + count * self._unit
            if place % self._unit:
                self._note_unaligned(entry, place)
            if not self._external:
                self._refer_to_data(place, count)

    def _refer_to_data(self, place: int, count: int) -> None:
        """Count references to clusters that follow each other; most are in the file, and referred to only once."""
        first, skip = divmod(place, self._unit)
        at = first
        if not skip:
            stop = min(first + count, self._file.length // self._unit)
            while at < stop:
                at = self._references.take(at, stop)
                if at < stop:
                    self._refer(at * self._unit, self._unit)
                    at += 1
        for number in range(at - first, count):
            self._refer(place + number * self._unit, self._unit)

    def _l2_runs(self, offset: int) -> Iterator[tuple[int, int]]:
        """The entries of an L2 table that are not 0: the first of those that lead to clusters in a row; how many."""
        self._left -= 1
        if self._left < 0:
            raise UnsupportedError(f"the check of more than {MAXIMUM_TABLES_READ} L2 tables")
        data = read_padded(self._file, offset, self._unit)
        used = -(-len(data.rstrip(b"\0")) // 8)
        return _ascending_runs(structures.unpack_table(data[: used * 8]), self._unit) if used else iter(())

    def _check_compressed(self, entry: int, *, active: bool) -> None:
        offset, length = structures.compressed_place(entry, self._metadata.header.cluster_bits)
        if entry & COPIED:
            self._result.corrupt(f"ERROR: coffset={offset:#x}: copied flag must never be set for compressed clusters")
        self._refer(offset, length)
        if active:
            self._result.allocated += 1
            self._result.compressed += 1
            self._result.fragmented += 1

    def _note_unaligned(self, entry: int, place: int) -> None:
        if entry & structures.ZERO:
            if self._fix_errors:
                raise UnsupportedError("the repair of an L2 entry that is not aligned")
            what = "Preallocated cluster"
        else:
            what = "Data cluster"
        self._result.corrupt(f"ERROR offset={place:x}: {what} is not properly aligned; L2 entry corrupted.")

    def _refer_to_bitmaps(self) -> None:
        extension = self._metadata.bitmaps_extension
        if extension is None:
            return
        self._refer(extension.directory_offset, extension.directory_length)
        for bitmap in self._metadata.bitmaps:
            self._refer(bitmap.table_offset, bitmap.table_entries * 8)
            table = read_entries(self._file, bitmap.table_offset, bitmap.table_entries)
            for entry in structures.unpack_table(table):
                offset = entry & OFFSET_MASK
                if offset:
                    self._refer(offset, self._unit)

    def _check_blocks(self) -> None:
        """The refcount blocks (check_refblocks)."""
        if self._rebuilt is not None:
            for place in self._rebuilt.blocks.values():
                self._refer(place * self._unit, self._unit)
            return
        for number, entry in enumerate(self._metadata.refcount_table):
            if not entry:
                continue  # most of them
            place = entry & structures.BLOCK_OFFSET_MASK
            cluster = place // self._unit
            if entry & structures.BLOCK_RESERVED_MASK:
                self._rebuild_after(f"ERROR refcount table entry {number} has reserved bits set")
            elif place % self._unit:
                raise UnsupportedError("the check of a file with refcount blocks that are not aligned")
            elif cluster >= self._clusters:
                if self._fix_errors:
                    raise UnsupportedError("the repair of refcount blocks behind the end of the file")
                self._result.corrupt(f"ERROR refcount block {number} is outside image")
            elif place:
                self._refer(place, self._unit)
                count = self._references[cluster]
                if count != 1:
                    self._rebuild_after(f"ERROR refcount block {number} refcount={count}")

    def _rebuild_after(self, line: str) -> None:
        self._result.corrupt(line)
        self._rebuild = True

    # -- refcounts

    def _block(self, number: int) -> Sequence[int]:
        """The refcounts in a block, zeroes if there is none."""
        table, bits = self._metadata.refcount_table, self._metadata.refcount_bits
        if self._rebuilt is not None:
            per_block = self._unit * 8 // bits
            return self._rebuilt.counts.counts(number * per_block, (number + 1) * per_block)
        place = table[number] & structures.BLOCK_OFFSET_MASK if number < len(table) else 0
        data = read_padded(self._file, place, self._unit) if place else bytes(self._unit)
        return structures.unpack_refcounts(data, bits)

    def _note_unreadable(self, clusters: range, error: OSError) -> None:
        """The block that counts these clusters cannot be read (compare_refcounts)."""
        self._result.lines += [f"Can't get refcount for cluster {each}: {error.strerror}" for each in clusters]
        self._result.errors += len(clusters)

    def _mismatches(self) -> Iterator[tuple[int, int, int]]:
        """The clusters of which refcount and references differ, with both; sets the end of the image."""
        per_block, last = self._unit * 8 // self._metadata.refcount_bits, 0
        blocks = {number for number, entry in enumerate(self._metadata.refcount_table) if entry}
        if self._rebuilt is not None:
            blocks = set(self._rebuilt.blocks)
        for low, high in self._references.pieces():
            blocks.update(range(low // per_block, -(-high // per_block)))
        for number in sorted(blocks):
            first = number * per_block
            stop = min(first + per_block, self._clusters)
            if first >= stop:
                break
            try:
                block = self._block(number)
            except OSError as error:
                self._note_unreadable(range(first, stop), error)
                continue
            for begin in range(first, stop, _AT_ONCE):
                end = min(begin + _AT_ONCE, stop)
                counts, references = list(block[begin - first : end - first]), self._references.counts(begin, end)
                if any(counts) or any(references):
                    last = begin + max(at for at in range(end - begin) if counts[at] or references[at])
                if counts != references:
                    yield from self._differences(begin, counts, references)
        self._result.end = (last + 1) * self._unit

    def _differences(self, first: int, counts: list[int], references: list[int]) -> Iterator[tuple[int, int, int]]:
        for cluster, (count, found) in enumerate(zip(counts, references, strict=True), first):
            if count != found:
                self._rebuild |= not count
                yield cluster, count, found

    def _report(self, wrong: list[tuple[int, int, int]], *, fix: bool) -> None:
        """Say what is wrong with refcounts, and in case of *fix* what is done about it (compare_refcounts)."""
        result = self._result
        for cluster, count, references in wrong:
            too_low = count < references
            repaired = fix and (self._fix_errors if too_low else self._fix_leaks)
            word = "Repairing" if repaired else "ERROR" if too_low else "Leaked"
            result.lines.append(f"{word} cluster {cluster} refcount={count} reference={references}")
            if repaired:
                result.repaired[cluster] = references
                result.corruptions_fixed += too_low
                result.leaks_fixed += not too_low
            else:
                result.corruptions += too_low
                result.leaks += not too_low

    # -- COPIED

    def _check_copied(self) -> None:
        """Compare the COPIED flags of the active tables with the refcounts (check_oflag_copied)."""
        result = self._result
        repairs = self._fix_errors or (self._fix_leaks and not (result.errors or result.corruptions or result.leaks))
        for number, entry in enumerate(self._metadata.l1):
            place = entry & OFFSET_MASK
            if not place:
                continue
            what = f"L2 cluster: l1_index={number} l1_entry"
            self._compare_copied(what, entry, self._refcount(place // self._unit), repairs=repairs)
            for found, length in self._l2_runs(place):
                if found & OFFSET_MASK and not found & structures.COMPRESSED:
                    self._check_copied_run(found, length, repairs=repairs)

    def _check_copied_run(self, entry: int, length: int, *, repairs: bool) -> None:
        """Compare the COPIED flags of entries that lead to clusters in a row; nobody counts those of a data file."""
        first = (entry & OFFSET_MASK) // self._unit
        if length > 1 and entry & COPIED and (self._external or self._is_used_once(first, length)):
            return
        for number in range(length):
            count = 1 if self._external else self._refcount(first + number)
            self._compare_copied("data cluster: l2_entry", entry + number * self._unit, count, repairs=repairs)

    def _compare_copied(self, what: str, entry: int, count: int | None, *, repairs: bool) -> None:
        if count is None or (count == 1) is bool(entry & COPIED):
            return
        word = "Repairing" if repairs else "ERROR"
        self._result.lines.append(f"{word} OFLAG_COPIED {what}={entry:x} refcount={count}")
        if repairs:
            self._result.corruptions_fixed += 1
        else:
            self._result.corruptions += 1

    def _refcount(self, cluster: int) -> int | None:
        """The refcount of a cluster; None if it cannot be read, as was said before."""
        if cluster in self._result.repaired:
            return self._result.repaired[cluster]
        number, place = divmod(cluster, self._unit * 8 // self._metadata.refcount_bits)
        block = self._read_block(number)
        return None if block is None else block[place]

    def _is_used_once(self, first: int, length: int) -> bool:
        """Whether the refcounts of all clusters of a range are 1, and stay so."""
        per_block = self._unit * 8 // self._metadata.refcount_bits
        number, low = divmod(first, per_block)
        if self._result.repaired or low + length > per_block:
            return False
        block = self._read_block(number)
        return block is not None and block[low : low + length].count(1) == length

    def _read_block(self, number: int) -> Sequence[int] | None:
        """The refcounts in a block, one of the last that were wanted; None if it cannot be read."""
        if number not in self._blocks_read:
            try:
                found = self._block(number)
            except OSError:
                return None
            if len(self._blocks_read) >= max(4, _ROOM // self._unit):
                del self._blocks_read[next(iter(self._blocks_read))]
            self._blocks_read[number] = found
        return self._blocks_read[number]


def _ascending_runs(entries: array[int], step: int) -> Iterator[tuple[int, int]]:
    """Entries that are not 0: the first of each run in which every one is *step* more than the one before; how many."""
    end, at, first = len(entries), 0, entries[0]
    plain = first and not first & structures.COMPRESSED
    if plain and entries[-1] == first + (end - 1) * step and entries == _row(first, end, step):
        yield first, end
        return
    while at < end:
        start, entry = at, entries[at]
        at += 1
        if not entry:
            continue
        if not entry & structures.COMPRESSED:
            while at < end and entries[at] == entry + (at - start) * step:
                at += 1
        yield entry, at - start


def _row(first: int, count: int, step: int) -> array[int]:
    return array("Q", range(first, first + count * step, step))
