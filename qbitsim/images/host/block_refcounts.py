"""The refcounts of a file of the host, block by block: each is read when it is wanted.

What has changed since it was written is known, so that counts can grow in the file before they fall.
"""

from __future__ import annotations

import errno

from qbitsim.files.failures import io_error, step
from qbitsim.images.host.table_cache import TableCache
from qbitsim.images.qcow2 import structures
from qbitsim.images.qcow2.refcounts import Refcounts
from qbitsim.images.spans import Spans
from qbitsim.light_library import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qbitsim.files.tree import ByteFile

_CODES = {1: "B", 2: "B", 4: "B", 8: "B", 16: "H", 32: "I", 64: "Q"}


class BlockRefcounts(Refcounts):
    """The refcounts in the blocks of a file.

    :param file: open.
    :param cluster_size: bytes; :param bits: of one count.
    :param in_file: the refcount blocks that the file has: number -> cluster; the writer keeps it true.
    :ivar in_file: it.
    :ivar cache: the blocks, by their numbers.
    :ivar raised: of the blocks that have changed since they were written: by how much each count has risen, without
        regard to falls; a block of which none has is left out.
    :ivar fallen: the blocks in which some count has fallen since then.
    :ivar discarded: clusters that the host is to have back as soon as nothing in the file leads there.
    """

    __slots__ = (
        *("_bits", "_file", "_full", "_stop", "_trusted", "_unit", "cache", "fallen", "in_file"),
        *("discarded", "raised"),
    )

    def __init__(self, file: ByteFile, cluster_size: int, bits: int, in_file: dict[int, int]) -> None:
        self._file = file
        self._unit, self._bits = cluster_size, bits
        self.in_file = in_file
        self.cache = TableCache(self.read, self._table_length)
        self._stop = max(in_file, default=-1) + 1  # behind the last block in which something may be counted
        self._full: set[int] = set()  # blocks in which no cluster is free
        self._trusted: dict[int, set[int]] = {}  # see expect_in_use
        self.raised: dict[int, array[int]] = {}
        self.fallen: set[int] = set()
        self.discarded = Spans()

    @property
    def _most(self) -> int:
        """References that can be counted."""
        return (1 << self._bits) - 1

    @property
    def _per_block(self) -> int:
        return self._unit * 8 // self._bits

    @property
    def _table_length(self) -> int:
        return self._per_block * array(_CODES[self._bits]).itemsize

    def expect_in_use(self, clusters: Iterable[int]) -> None:
        """These clusters hold tables: a block that says that one of them is free is not to be trusted.

        QEMU finds that out when such a cluster is about to be written (qcow2_check_metadata_overlap); here whoever
        needs that block gets EIO.
        """
        for cluster in clusters:
            number, place = divmod(cluster, self._per_block)
            self._trusted.setdefault(number, set()).add(place)
            self._stop = max(self._stop, number + 1)

    def read(self, number: int) -> array[int]:
        """A block as the file has it; OSError also if it is not to be trusted."""
        block = self._read(number)
        if not all(block[place] for place in self._trusted.get(number, ())):
            raise io_error(errno.EIO)
        self._trusted.pop(number, None)  # from now on they can be freed
        return block

    def _read(self, number: int) -> array[int]:
        place, code = self.in_file.get(number), _CODES[self._bits]
        if place is None:
            return array(code, bytes(self._table_length))
        data = self._file.read_at(place * self._unit, self._unit).ljust(self._unit, b"\0")
        counts = structures.unpack_refcounts(data, self._bits)
        return counts if isinstance(counts, array) else array(code, counts)

    def forget_changes(self) -> None:
        """All is written."""
        self.cache.changed.clear()
        self.raised.clear()
        self.fallen.clear()

    # -- counts

    def get(self, cluster: int) -> int:
        """As of every file."""
        number, place = divmod(cluster, self._per_block)
        return self.cache.get(number)[place] if number < self._stop else 0

    def counts(self, first: int, count: int) -> Sequence[int]:
        """As of every file."""
        found = array(_CODES[self._bits])
        for number, low, high in self._parts(first, first + count):
            found += self.cache.get(number)[low:high]
        return found

    def _parts(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """A range block by block: the number of the block, where in it the part begins, and ends."""
        per_block = self._per_block
        while first < stop:
            number, low = divmod(first, per_block)
            high = min(per_block, low + stop - first)
            yield number, low, high
            first += high - low

    def add(self, first: int, stop: int) -> None:
        """As of every file; OSError if there are more references than can be counted (update_refcount)."""
        for number, low, high in self._parts(first, stop):
            block = self.cache.change(number)
            self._stop = max(self._stop, number + 1)
            before = block[low:high]
            some_are_used = any(before)
            if some_are_used and max(before) == self._most:
                raise io_error(errno.EINVAL)
            block[low:high] = array(block.typecode, [count + 1 for count in before])
            if some_are_used:
                raised = self._raised(number)
                for place, count in enumerate(before, low):
                    if count:
                        self._raise(raised, place, 1)
            if self.cache.is_crowded:
                self._write_risen()

    def _raised(self, number: int) -> array[int]:
        found = self.raised.get(number)
        if found is None:
            found = self.raised[number] = array(_CODES[self._bits], bytes(self._table_length))
        return found

    def _raise(self, raised: array[int], place: int, more: int) -> None:
        """Note that a count has risen; by more than a count can say it need not be known."""
        raised[place] = min(raised[place] + more, self._most)

    def _write_risen(self) -> None:
        """Write the blocks in which nothing has fallen, which can be done at any time."""
        for number in [each for each in self.cache.changed if each in self.in_file and each not in self.fallen]:
            block = structures.pack_refcounts(self.cache.get(number), self._bits)
            self._file.write_at(self.in_file[number] * self._unit, block)
            self.cache.written(number)
            self.raised.pop(number, None)

    def drop(self, first: int, stop: int) -> int | None:
        """As of every file."""
        freed = None
        for number, low, high in self._parts(first, min(stop, self._stop * self._per_block)):
            block = self.cache.change(number)
            self.fallen.add(number)
            before = block[low:high]
            block[low:high] = array(block.typecode, [count - 1 if count else 0 for count in before])
            if 1 in before:
                self._full.discard(number)
                freed = number * self._per_block + low + before.index(1) if freed is None else freed
        return freed

    def set(self, cluster: int, count: int) -> None:
        """As of every file."""
        number, place = divmod(cluster, self._per_block)
        block = self.cache.change(number)
        self._stop = max(self._stop, number + 1)
        before, block[place] = block[place], count
        if count > before:
            self._raise(self._raised(number), place, count - before)
        elif count < before:
            self.fallen.add(number)
            if not count:
                self._full.discard(number)

    def note_discarded(self, first: int, stop: int) -> None:
        """As of every file."""
        self.discarded.add(first, stop)

    def emptied(self) -> BlockRefcounts:
        """As of every file."""
        return BlockRefcounts(self._file, self._unit, self._bits, {})

    def undo(self) -> None:
        """As :meth:`.TableCache.undo`."""
        self.cache.undo()
        self.fallen |= self.cache.changed  # the file may count more
        self._full.clear()

    def with_bits(self, bits: int, blocks: Mapping[int, int]) -> BlockRefcounts:
        """As of every file; the blocks are written, of which nothing in the file knows yet.

        :raises StepError: the host refuses that.
        """
        twin = BlockRefcounts(self._file, self._unit, bits, dict(blocks))
        for number, place in blocks.items():
            counts = structures.pack_refcounts(self.counts(number * twin._per_block, twin._per_block), bits)
            with step("Failed to write refblock"):
                self._file.write_at(place * self._unit, counts)
        return twin

    # -- looking for free clusters

    def first_gap(self, number: int, length: int) -> int:
        """As of every file."""
        while True:
            end = self.free_end(number, number + length)
            if end == number + length:
                return number
            number = self._first_free(end)

    def free_end(self, first: int, limit: int) -> int:
        """As of every file."""
        for number, low, high in self._parts(first, limit):
            if number >= self._stop:
                return limit
            counts = self.cache.get(number)[low:high]
            if any(counts):
                return number * self._per_block + low + next(place for place, count in enumerate(counts) if count)
        return limit

    def _first_free(self, cluster: int) -> int:
        """The first free cluster, from one on."""
        number, low = divmod(cluster, self._per_block)
        while number < self._stop:
            if number not in self._full:
                block = self.cache.get(number)
                try:
                    return number * self._per_block + block.index(0, low)
                except ValueError:
                    if not low:
                        self._full.add(number)
            number, low = number + 1, 0
        return number * self._per_block + low

    def _blocks(self) -> list[int]:
        """The numbers of the blocks in which something may be counted, ascending."""
        return sorted(self.in_file.keys() | self.cache.changed)

    @property
    def last(self) -> int:
        """As of every file."""
        for number in reversed(self._blocks()):
            block = self.cache.get(number)
            used = block.tobytes().rstrip(b"\0")
            if used:
                return number * self._per_block + (len(used) - 1) // block.itemsize
        return -1

    def in_use(self, first: int, stop: int) -> int:
        """As of every file."""
        found, per_block = 0, self._per_block
        numbers = range(first // per_block, -(-stop // per_block))
        for number in numbers if len(numbers) <= len(self.in_file) else self._blocks():
            low, high = max(first - number * per_block, 0), min(stop - number * per_block, per_block)
            if low < high:
                found += high - low - self.cache.get(number)[low:high].count(0)
        return found

    def spans(self) -> Iterator[tuple[int, int]]:
        """As of every file."""
        start = stop = 0
        for number in self._blocks():
            first = number * self._per_block
            for place, count in enumerate(self.cache.get(number)):
                if not count:
                    continue
                if first + place != stop:
                    if start < stop:
                        yield start, stop
                    start = first + place
                stop = first + place + 1
        if start < stop:
            yield start, stop

    def copy(self) -> BlockRefcounts:
        """As of every file."""
        twin = BlockRefcounts(self._file, self._unit, self._bits, self.in_file.copy())
        twin.cache = self.cache.copy(twin.read)
        twin._stop = self._stop
        twin._trusted = self._trusted.copy()
        return twin
