"""The sparse bytes of one file or virtual disk.

A content is a table from cluster numbers to immutable ``bytes`` of exactly one cluster. Absent clusters cost nothing,
so a disk of 1 PiB is an empty table. A write of one aligned cluster stores the object it was given and a read of one
returns the stored object: copying a cluster from one content to another is copying a reference, and a clone shares all.

Every cluster is of one :class:`Kind`. Formats differ in what they can say:

* *qcow2 version 3* knows all three kinds. Zero clusters are spans beside the table; a stored cluster hides the span
  under it, so that the write of a cluster never touches the spans.
* *qcow2 version 2* (``zero_clusters=False``) has no zero clusters: writing zeroes makes holes, or stores bytes if there
  is a backing file (block/qcow2-cluster.c, qcow2_subcluster_zeroize, 10.0).
* *a plain file* is a :class:`.PlainContent`.

The run length of a kind is found with an index of the stored clusters, see :class:`.ClusterIndex`.
"""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.images.cluster_index import PROBES, ClusterIndex
from qbitsim.images.spans import Spans
from qbitsim.light_library import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _collections_abc import dict_keys
    from collections.abc import Callable, Iterable, Iterator
    from typing import ClassVar, TypeAlias

Reader: TypeAlias = "Callable[[int, int], bytes]"
"""``reader(offset, length)``: the bytes that a backing chain reads as.

Where it is known without a look at bytes that they are zeroes, it returns :func:`known_zeroes`.
"""


class Kind(StrEnum):
    """What a range of a content is.

    HOLE: not here; reads as the backing file, or as zeroes without one. ZERO: here, known to read as zeroes, no bytes
    stored. DATA: bytes are stored, be they zeroes or not.
    """

    HOLE = "hole"
    ZERO = "zero"
    DATA = "data"


@lru_cache(maxsize=16)
def zero_block(length: int) -> bytes:
    """*length* zero bytes; the same object each time for the common sizes."""
    return bytes(length)


@lru_cache(maxsize=16)
def known_zeroes(length: int) -> bytes:
    """*length* zero bytes, an object that stands for what is zero without a look at bytes."""
    return bytes(length)


class Content:
    """Sparse bytes; see the module's description.

    :param size: bytes, any number.
    :param cluster_size: bytes per stored object, a power of two (qcow2: its cluster size).
    :param zero_clusters: whether a cluster can be of kind ZERO.
    :cvar holes_are_zero: what is a HOLE of the last content of a chain reads as zeroes.
    """

    holes_are_zero: ClassVar[bool] = True

    __slots__ = ("_index", "_stored", "_zero", "cluster_size", "size", "zero_clusters")

    def __init__(self, size: int, cluster_size: int, *, zero_clusters: bool = True) -> None:
        self.size = size
        self.cluster_size = cluster_size
        self.zero_clusters = zero_clusters
        self._stored: dict[int, bytes] = {}
        self._zero = Spans()
        self._index = ClusterIndex()

    # -- reading

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range; what is not stored reads as zeroes. The range must lie inside the content."""
        unit = self.cluster_size
        if length == unit and not offset % unit:
            return self._stored.get(offset // unit) or self._within(offset, length)
        return self._within(offset, length)

    def _within(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size, (offset, length, self.size)
        unit, end, parts = self.cluster_size, offset + length, []
        while offset < end:
            index, skip = divmod(offset, unit)
            block = self._stored.get(index)
            if block is None:
                stop = min(self._index.next(self._stored, index, -(-end // unit)) * unit, end)
                parts.append(zero_block(stop - offset) if stop - offset <= unit else bytes(stop - offset))
            else:
                stop = min((index + 1) * unit, end)
                parts.append(block if stop - offset == unit else block[skip : skip + stop - offset])
            offset = stop
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """The kind at *offset* and how many bytes from there, at most *length*, are of the same kind.

        *offset* must be below the size and *length* above 0. The run stops at the end of the content.
        """
        assert 0 <= offset < self.size
        assert length > 0
        end = min(offset + length, self.size)
        unit = self.cluster_size
        first, last = offset // unit, -(-end // unit)
        if first in self._stored:
            kind, stop = Kind.DATA, self._index.run_end(self._stored, first, last)
        else:
            kind = Kind.ZERO if first in self._zero else Kind.HOLE
            stop = self._index.next(self._stored, first, self._zero.next_border(first, last))
        return kind, min(stop * unit, end) - offset

    def ranges(self, kind: Kind) -> Iterator[tuple[int, int]]:
        """All ``(offset, length)`` of *kind*, ascending, maximal. The content must not change meanwhile."""
        offset = 0
        while offset < self.size:
            found, run = self.status(offset, self.size - offset)
            if found is kind:
                yield offset, run
            offset += run

    def stored_clusters(self) -> list[int]:
        """The numbers of the clusters that have stored bytes, ascending; not to be changed by the caller."""
        return self._index.ascending()

    def allocation_order(self) -> dict_keys[int, bytes]:
        """The numbers of the clusters that have stored bytes, in the order in which they were first written."""
        return self._stored.keys()

    @property
    def allocated(self) -> int:
        """Bytes in units of allocation that are of kind DATA."""
        return len(self._stored) * self.cluster_size

    def growth(self, offset: int, length: int) -> int:
        """By how many bytes :attr:`allocated` would grow if the range were written."""
        unit = self.cluster_size
        touched = range(offset // unit, -(-(offset + length) // unit) if length else 0)
        return sum(unit for index in touched if index not in self._stored)

    def whole_clusters(self, offset: int, length: int) -> tuple[int, int]:
        """The clusters ``[first, last)`` that lie in the range as a whole; the last one of the disk counts as whole."""
        unit, end = self.cluster_size, offset + length
        assert 0 <= offset <= end <= self.size, (offset, length, self.size)
        first = -(-offset // unit)
        last = -(-end // unit) if end == self.size else end // unit
        return first, max(first, last)

    def whole_cluster(self, number: int) -> bytes:
        """The bytes of a cluster, with what may be stored behind the end of the disk."""
        return self._stored.get(number) or zero_block(self.cluster_size)

    def unwritten(self, offset: int, length: int) -> tuple[bool, int]:
        """Whether the file has only room for the byte at *offset*, which is stored, and for how many that goes on."""
        del offset
        return False, length

    def is_hole(self, cluster: int) -> bool:
        """Whether a cluster reads as what is below."""
        return cluster not in self._stored and cluster not in self._zero

    def is_zero_below(self, cluster: int) -> bool:
        """Whether a cluster is ZERO, or would be without its data."""
        return cluster in self._zero

    @property
    def has_zeroes(self) -> bool:
        """Whether :meth:`is_zero_below` says so of any cluster."""
        return bool(self._zero)

    def not_zero(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The clusters from *first* to before *last* that would not be ZERO without their data, as (start, stop)."""
        while first < last:
            stop = self._zero.next_border(first, last)
            if first not in self._zero:
                yield first, stop
            first = stop

    # -- writing

    def store_cluster(self, number: int, block: bytes) -> None:
        """Store a cluster, which may reach behind the end of the disk."""
        assert len(block) == self.cluster_size
        self._put(number, block)

    def store_part(self, number: int, skip: int, piece: bytes) -> None:
        """Store a part of a cluster, which may be behind the end of the disk."""
        assert skip + len(piece) <= self.cluster_size
        self._put_part(number, skip, piece, None)

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """Store *data*. The range must lie inside the content.

        :param below: what the backing chain reads as. A cluster that was a hole and is written in part is filled up
            from it (copy on write, block/qcow2-cluster.c, perform_cow, 10.0); without it, with zeroes.
        """
        unit, end = self.cluster_size, offset + len(data)
        assert 0 <= offset <= end <= self.size, (offset, len(data), self.size)
        if len(data) == unit and not offset % unit:
            self._put(offset // unit, data)
            return
        position = offset
        while position < end:
            index, skip = divmod(position, unit)
            stop = min((index + 1) * unit, end)
            piece = data[position - offset : stop - offset]
            if stop - position == unit:
                self._put(index, piece)
            else:
                self._put_part(index, skip, piece, below)
            position = stop

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> None:
        """Make the range read as zeroes.

        Whole clusters become ZERO (qcow2 version 2: holes, or bytes if there is something *below*). The part of a
        cluster is written as data, unless the cluster has none and its rest is known to read as zeroes too: then all of
        it becomes ZERO (block/qcow2.c, qcow2_co_pwrite_zeroes, 10.0). The disk's last cluster counts as whole.

        :param below: as for :meth:`write`.
        :param below_is_zero: whether the backing chain is *known* to read as zeroes in a range, without a look at its
            bytes; by default it is, exactly when there is no *below*.
        """
        for start, stop, as_zero in self.zero_pieces(offset, length, below, below_is_zero):
            if as_zero:
                self.zero_clusters_in(start // self.cluster_size, -(-stop // self.cluster_size))
            else:
                self._write_zero_bytes(start, stop - start, below)

    def zero_pieces(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> Iterator[tuple[int, int, bool]]:
        """The range of :meth:`write_zeroes` in pieces ``(start, stop, whether their clusters become ZERO)``."""
        for start, stop in self._pieces(offset, length):
            can_say = self.zero_clusters or below is None
            yield start, stop, can_say and self._can_be_zero(start, stop, below, below_is_zero)

    def zero_clusters_in(self, first: int, last: int) -> None:
        """Make the clusters from *first* to before *last* ZERO, or holes if there are no ZERO clusters."""
        self._drop(first, last)
        if self.zero_clusters:
            self._zero.add(first, last)

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Give up what is stored in the range.

        Only whole clusters are given up. In qcow2 version 3 a cluster that has data, or any
        if there is a backing file (*backed*), becomes ZERO so that nothing shines through (block/qcow2-cluster.c,
        discard_in_l2_slice, 10.0); in version 2 it becomes a HOLE, or with a backing file is left alone
        (block/qcow2.c, qcow2_co_pdiscard, 10.0).
        """
        first, last = self.whole_clusters(offset, length)
        if not self.zero_clusters:
            if not backed:
                self._drop(first, last)
        elif backed:
            self._drop(first, last)
            self._zero.add(first, last)
        else:
            self._zero.add_all(self._drop(first, last))

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """Change the size to *size* bytes. Whole clusters that are cut off are gone for good.

        :param zero_new: make the new whole clusters ZERO, for a disk whose longer backing file would otherwise show up
            (block/io.c, bdrv_co_truncate, 10.0).
        """
        unit, old = self.cluster_size, self.size
        last = -(-size // unit)
        if size < old:
            self._drop(last, -(-old // unit))
            self._zero.remove(last, -(-old // unit))
        elif zero_new and self.zero_clusters:
            self._zero.add(-(-old // unit), last)
        self.size = size

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """Make *clusters* (numbers, all different) read as they do in *source*, by reference.

        Both must have the same size and cluster size, and *source* no backing file. The result is that of reading each
        cluster and writing it, or writing zeroes where the source has nothing stored: absent clusters become ZERO
        (holes in qcow2 version 2).
        """
        assert (self.size, self.cluster_size) == (source.size, source.cluster_size)
        chosen = clusters if isinstance(clusters, list | tuple | range) else list(clusters)
        stored, theirs = self._stored, source._stored
        try:
            blocks = list(map(theirs.__getitem__, chosen))
        except KeyError:
            self._zero_clusters_at([index for index in chosen if index not in theirs])
            chosen = [index for index in chosen if index in theirs]
            blocks = [theirs[index] for index in chosen]
        self._index.fresh.extend([index for index in chosen if index not in stored] if stored else chosen)
        stored.update(zip(chosen, blocks, strict=True))

    def be_as_saved(self, cluster: int, block: bytes | None, *, zero: bool) -> None:
        """Let a cluster be as it was: it held *block*, or nothing; it was ZERO, or would have been without its data."""
        self._drop(cluster, cluster + 1)
        if block is not None:
            self._put(cluster, block)
        if zero:
            self._zero.add(cluster, cluster + 1)
        else:
            self.forget_zeroes(cluster, cluster + 1)

    def forget_zeroes(self, first: int, last: int) -> None:
        """The clusters from *first* to before *last* are not ZERO, and would not be without their data."""
        self._zero.remove(first, last)

    def expand_zeroes(self, stored: Iterable[int]) -> None:
        """From now on there are no ZERO clusters: those among *stored* hold zero bytes, the others are holes."""
        for number in stored:
            if number not in self._stored:
                self._put(number, zero_block(self.cluster_size))
        self._zero, self.zero_clusters = Spans(), False

    def clone(self) -> Content:
        """An independent content that is the same in everything; the stored bytes are shared."""
        twin = Content(self.size, self.cluster_size, zero_clusters=self.zero_clusters)
        self._share_with(twin)
        return twin

    def _share_with(self, twin: Content) -> None:
        twin._stored, twin._zero, twin._index = self._stored.copy(), self._zero.copy(), self._index.copy()

    # -- the table

    def _put(self, index: int, block: bytes) -> None:
        if index not in self._stored:
            self._index.fresh.append(index)
        self._stored[index] = block

    def _put_part(self, index: int, skip: int, piece: bytes, below: Reader | None) -> None:
        old = self._stored.get(index)
        if old is None:
            old = self._new_cluster(index, below)
        self._put(index, old[:skip] + piece + old[skip + len(piece) :])

    def _new_cluster(self, index: int, below: Reader | None) -> bytes:
        """What a new cluster holds around what is written."""
        unit = self.cluster_size
        if below is None or index in self._zero:
            return known_zeroes(unit)
        return below(index * unit, unit)  # behind the disk, too: it may grow

    def _drop(self, first: int, last: int) -> list[int]:
        """Forget the stored bytes of clusters [first, last); their numbers."""
        gone = self._index.pop(first, last)
        for number in gone:
            del self._stored[number]
        return gone

    # -- zeroes

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """The range cut into a part of a cluster, whole clusters, a part of a cluster."""
        unit, end = self.cluster_size, offset + length
        assert 0 <= offset <= end <= self.size, (offset, length, self.size)
        middle = min(-(-offset // unit) * unit, end)
        tail = end if end == self.size else max(end // unit * unit, middle)
        return ((a, b) for a, b in ((offset, middle), (middle, tail), (tail, end)) if a < b)

    def _can_be_zero(
        self, start: int, stop: int, below: Reader | None, below_is_zero: Callable[[int, int], bool] | None
    ) -> bool:
        unit = self.cluster_size
        whole = start // unit * unit, min(-(-stop // unit) * unit, self.size)
        index = start // unit
        if (start, stop) == whole or (index in self._zero and index not in self._stored):
            return True
        if index in self._stored:
            return False
        if below_is_zero is None:
            return below is None
        return all(a == b or below_is_zero(a, b - a) for a, b in ((whole[0], start), (stop, whole[1])))

    def _write_zero_bytes(self, offset: int, length: int, below: Reader | None) -> None:
        unit, end = self.cluster_size, offset + length
        while offset < end:
            stop = min((offset // unit + 1) * unit, end)
            self.write(offset, zero_block(stop - offset), below)
            offset = stop

    def _zero_clusters_at(self, numbers: list[int]) -> None:
        doomed = [number for number in numbers if number in self._stored]
        if len(doomed) <= PROBES:
            for number in doomed:
                self._drop(number, number + 1)
        else:
            for number in set(doomed):
                del self._stored[number]
            self._index = ClusterIndex(self._stored)
        if self.zero_clusters:
            self._zero.add_all(numbers)
