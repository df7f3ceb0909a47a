"""Metadata contexts: what BLOCK_STATUS can tell of an export, range by range (nbd/server.c, QEMU 10.0).

* ``base:allocation``: whether there is data, a hole, and whether it reads as zeroes;
* ``qemu:allocation-depth``: which layer of the chain determines the content, 1 for the topmost, 0 for none;
* ``qemu:dirty-bitmap:NAME``: what is dirty in a bitmap, one context for each bitmap of the export.

Each has an id, which is the same for every client of the export. An extent is (length in bytes, flags).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from qbitsim.block.chain import chain, status_above
from qbitsim.block.status import Status
from qbitsim.nbd.protocol import STATE_DIRTY, STATE_HOLE, STATE_ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node
    from qbitsim.nbd.export import Export

Extent = tuple[int, int]
"""Length in bytes, and flags."""

ALLOCATION = "base:allocation"
DEPTH = "qemu:allocation-depth"
DIRTY_BITMAP = "qemu:dirty-bitmap:"

MAXIMUM_EXTENTS = (1 << 20) // 8
"""Extents of one context in one reply (NBD_MAX_BLOCK_STATUS_EXTENTS)."""


class Extents:
    """A list of extents that grows at its end, up to a limit.

    :ivar most: so many extents at most.
    :ivar numbers: bytes of the first extent and what is so there, of the second one, and so on; 4 bytes each, or 8.
    """

    __slots__ = ("most", "numbers")

    def __init__(self, most: int) -> None:
        self.most = most
        self.numbers = array("Q")

    def __len__(self) -> int:
        return len(self.numbers) // 2

    def add(self, length: int, flags: int) -> bool:
        """Add a range behind the others; False, with nothing added, if there is no room for it."""
        if not length:
            return True
        if self.numbers and self.numbers[-1] == flags:
            self.numbers[-2] += length
        elif len(self) < self.most:
            self.numbers.extend((length, flags))
        else:
            return False
        return True

    def alternate(self, lengths: array[int], first: int) -> None:
        """Take ranges that are clean and dirty in turn, as far as there is room; nothing was added before.

        :param first: the flags of the first one.
        """
        del lengths[self.most :]
        self.numbers = array(lengths.typecode, [0, first, 0, STATE_DIRTY - first]) * (len(lengths) + 1 >> 1)
        del self.numbers[2 * len(lengths) :]
        self.numbers[::2] = lengths


class Context:
    """One thing that can be told.

    :ivar id: as in replies; :ivar name: as in queries.
    """

    __slots__ = ("id", "name")

    def __init__(self, identifier: int, name: str) -> None:
        self.id = identifier
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r}>"

    def describe(self, node: Node, offset: int, length: int, extents: Extents) -> None:
        """Add what is so in ``length`` > 0 bytes at ``offset``, as far as there is room."""
        raise NotImplementedError


class Allocation(Context):
    """``base:allocation``."""

    __slots__ = ()

    def describe(self, node: Node, offset: int, length: int, extents: Extents) -> None:
        """Holes and zeroes of the whole chain (blockstatus_to_extents)."""
        while length:
            status = status_above(node, None, offset, length)
            flags = (0 if status.data else STATE_HOLE) | (STATE_ZERO if status.zero else 0)
            if not extents.add(status.length, flags):
                return
            offset, length = offset + status.length, length - status.length


class Depth(Context):
    """``qemu:allocation-depth``."""

    __slots__ = ()

    def describe(self, node: Node, offset: int, length: int, extents: Extents) -> None:
        """The number of the layer that has it (blockalloc_to_extents)."""
        while length:
            depth, run = depth_above(node, offset, length)
            if not extents.add(run, depth):
                return
            offset, length = offset + run, length - run


class Dirty(Context):
    """``qemu:dirty-bitmap:NAME``."""

    __slots__ = ("bitmap",)

    def __init__(self, identifier: int, bitmap: DirtyBitmap) -> None:
        super().__init__(identifier, f"{DIRTY_BITMAP}{bitmap.name}")
        self.bitmap = bitmap

    def describe(self, node: Node, offset: int, length: int, extents: Extents) -> None:
        """The dirty areas and what lies between them (bitmap_to_extents)."""
        del node
        shift, end = self.bitmap.shift, offset + length
        start, stop = offset >> shift, -(-end >> shift)
        if extents.most == 1:
            self._describe_first(start, stop, offset, end, extents)
            return
        # So many make more extents than there is room for, whatever lies at the end.
        lengths = self.bitmap.bits.run_lengths(start, stop, extents.most + 2, shift)
        first = 0
        if not lengths[0]:
            first = STATE_DIRTY
            del lengths[0]
        lengths[0] -= offset - (start << shift)
        lengths[-1] -= (stop << shift) - end
        extents.alternate(lengths, first)

    def _describe_first(self, start: int, stop: int, offset: int, end: int, extents: Extents) -> None:
        """Add the first area alone; many clients want no more of each request."""
        bits, shift = self.bitmap.bits, self.bitmap.shift
        dirty = bits.get(start)
        found = (bits.next_clear if dirty else bits.next_set)(start, stop)
        extents.add((end if found < 0 else found << shift) - offset, STATE_DIRTY if dirty else 0)


def depth_above(node: Node, offset: int, length: int) -> tuple[int, int]:
    """Which layer has the bytes at ``offset``, counted from 1, and for how many bytes; 0 for none.

    A filter counts as a layer if what it filters does not have them (bdrv_is_allocated_above, block/io.c, QEMU 10.0).
    """
    status = Status(length)
    for depth, layer in enumerate(chain(node), 1):
        if offset >= layer.length:  # a short backing file: what is behind its end counts as its own
            return depth, status.length
        status = layer.layer_status(offset, min(status.length, layer.length - offset))
        if status.allocated:
            return depth, status.length
    return 0, status.length


def contexts_of(export: Export) -> list[Context]:
    """All contexts of an export, by their ids."""
    found: list[Context] = [Allocation(0, ALLOCATION)]
    if export.allocation_depth:
        found.append(Depth(1, DEPTH))
    return [*found, *(Dirty(number, bitmap) for number, bitmap in enumerate(export.bitmaps, 2))]


def matching(contexts: Iterable[Context], query: str, *, listing: bool) -> set[int]:
    """The ids of the contexts that a query names.

    :param listing: ``base:``, ``qemu:`` and ``qemu:dirty-bitmap:`` stand for all that begin so.
    """
    if query in ("base:", "qemu:", DIRTY_BITMAP):
        return {each.id for each in contexts if each.name.startswith(query)} if listing else set()
    return {each.id for each in contexts if each.name == query}
