"""What of a qcow2 image's tables is not in its file yet, for an image that is kept in memory and is open for writing.

QEMU writes data into the file at once, and keeps L2 tables and refcounts in two caches (block/qcow2-cache.c, 10.0).
Another process that looks into the file, or finds it after ``kill -9``, sees the tables as they were written last. Both
caches are written when the image is flushed, and where an L2 table is made (l2_allocate). Otherwise one waits for the
other (qcow2_cache_set_dependency):

* An L2 entry that leads to a new cluster must not be there before its refcount.
* A refcount must not fall before the L2 entry has gone.

Where the second comes after the first, the refcounts are written before; where the first comes after the second, the
L2 tables are. So a cluster that was freed is never used again while the file still leads to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from qbitsim.images.content import zero_block
from qbitsim.images.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qbitsim.images.content import Content
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.tables import Packed


class Saved(NamedTuple):
    """What the file says of a guest cluster.

    :ivar place: where it leads to, None for nowhere; :ivar block: the data there, None if it holds none.
    :ivar zero: it is ZERO, or would be without its data.
    """

    place: int | Packed | None
    block: bytes | None
    zero: bool


class UnsavedTables:
    """The changes of one image's tables since they were written.

    :param image: it; :meth:`remember` is asked before its content changes.
    :ivar stored_then: how many clusters the content had stored when the tables were written, as long as these have not
        all been placed; otherwise None.
    """

    __slots__ = ("_counts", "_entries", "_holes", "_image", "_waits", "_zeroed", "stored_then")

    def __init__(self, image: Qcow2Image) -> None:
        self._image = image
        self._holes = Spans()  # guest clusters of which the file knows nothing
        self._entries: dict[int, Saved] = {}  # other guest clusters of which it says something else
        self._zeroed = Spans()  # guest clusters that are ZERO and had no place, and are holes in the file
        self._counts: list[tuple[int, int, int]] = []  # clusters of the file, first and behind the last, and 1 or -1
        self._waits: Literal["tables", "refcounts"] | None = None  # the cache that must not be written first
        self.stored_then: int | None = None

    def __bool__(self) -> bool:
        return bool(self._holes or self._entries or self._zeroed or self._counts)

    @property
    def _content(self) -> Content:
        return self._image.content

    # -- what is written

    def save(self) -> None:
        """All is written."""
        self.forget()
        self.stored_then = len(self._content.allocation_order())

    def forget(self) -> None:
        """All that was placed until now is written."""
        self._save_entries()
        self._counts.clear()
        self._waits = None

    def _save_entries(self) -> None:
        if self._holes or self._zeroed:
            self._holes, self._zeroed = Spans(), Spans()
        self._entries.clear()

    def save_refcounts(self) -> None:
        """A refcount block is made: the others are written before, and what they wait for."""
        if self._waits == "refcounts":
            self._save_entries()
            self._waits = None
        self._counts.clear()

    # -- what changes

    def link(self) -> None:
        """L2 entries are about to lead to new clusters; their refcounts have to be written first."""
        if self._waits == "refcounts":
            self._save_entries()
        self._waits = "tables"

    def count(self, first: int, stop: int) -> None:
        """Each cluster of the file from *first* to before *stop* has one reference more."""
        counts = self._counts
        if counts and counts[-1][1:] == (first, 1):
            first = counts.pop()[0]
        counts.append((first, stop, 1))

    def free(self, first: int, stop: int) -> None:
        """Each has one less, once the L2 tables are written."""
        if self._waits == "tables":
            self._counts.clear()
        self._waits = "refcounts"
        self._counts.append((first, stop, -1))

    def remember(self, guest: int, place: int | Packed | None) -> None:
        """The entry of a guest cluster is about to change, which is at *place*."""
        if guest in self._entries or guest in self._holes:
            return
        block = self._content.whole_cluster(guest) if guest in self._content.allocation_order() else None
        zero = self._content.is_zero_below(guest)
        if place is None and not zero:
            self._holes.add(guest, guest + 1)
        else:
            self._entries[guest] = Saved(place, block, zero)

    def remember_stored(self, guests: Iterable[int], places: Mapping[int, int]) -> None:
        """Guest clusters have data since the last look, which they had not before.

        :param places: where those are that were ZERO at a place of their own.
        """
        if not self._entries and not self._content.has_zeroes:
            self._holes.add_runs(guests)
            return
        for guest in guests:
            if guest in self._entries or guest in self._holes:
                continue
            place, zero = places.get(guest), self._content.is_zero_below(guest)
            if place is None and not zero:
                self._holes.add(guest, guest + 1)
            else:
                self._entries[guest] = Saved(place, None, zero)

    def remember_written(
        self, guests: range, moved: Mapping[int, int | Packed | None], places: Mapping[int, int]
    ) -> None:
        """Guest clusters are about to be written.

        :param moved: of those with a new place the old one; :param places: where others are written that have one.
        """
        stored = self._content.allocation_order()
        changed = [guest for guest in guests if guest in moved or guest not in stored]
        if changed:
            self.link()
        for guest in changed:
            self.remember(guest, moved[guest] if guest in moved else places[guest])

    def remember_holes(self, holes: Iterable[tuple[int, int]]) -> None:
        """Guest clusters are about to become ZERO, which are not, and may have no place."""
        for first, stop in holes:
            self._zeroed.add(first, stop)

    # -- what the file says

    def put_back(self, image: Qcow2Image) -> None:
        """Let an image of the same value say what the file says; nothing of it is left to be placed."""
        content, layout = image.content, image.layout
        for first, stop in self._zeroed:
            content.forget_zeroes(first, stop)
        unknown = ((guest, Saved(None, None, zero=False)) for guest in self._holes.numbers())
        for guest, saved in [*unknown, *self._entries.items()]:
            layout.put_back(guest, saved.place)
            block = saved.block
            if block is not None and isinstance(saved.place, int) and image.is_punched(saved.place):
                block = zero_block(len(block))
            content.be_as_saved(guest, block, zero=saved.zero)
        for first, stop, change in reversed(self._counts):
            layout.clusters.put_back(first, stop, change)
        image.take_layout(layout)
