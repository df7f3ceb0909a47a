"""What of a qcow2 image's tables is not in its file yet, for an image that is kept in memory and is open for writing.

QEMU writes data into the file at once, and keeps L2 tables and refcounts in two caches (:mod:`.cache_order`). Another
process that looks into the file, or finds it after ``kill -9``, sees the tables as they were written last.
"""

from __future__ import annotations

from qbitsim.images.content import zero_block
from qbitsim.images.qcow2.cache_order import CacheOrder
from qbitsim.images.spans import Spans
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qbitsim.images.content import Content
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.tables import Packed


@record
class Saved:
    """What the file says of a guest cluster.

    :ivar place: where it leads to, None for nowhere; :ivar block: the data there, None if it holds none.
    :ivar zero: it is ZERO, or would be without its data.
    """

    place: int | Packed | None
    block: bytes | None
    zero: bool


class UnsavedTables(CacheOrder):
    """The changes of one image's tables since they were written.

    :param image: it; :meth:`remember` is asked before its content changes.
    """

    __slots__ = ("_counts", "_entries", "_holes", "_image", "_zeroed")

    def __init__(self, image: Qcow2Image) -> None:
        super().__init__()
        self._image = image
        self._holes = Spans()  # guest clusters of which the file knows nothing
        self._entries: dict[int, Saved] = {}  # other guest clusters of which it says something else
        self._zeroed = Spans()  # guest clusters that are ZERO and had no place, and are holes in the file
        self._counts: list[tuple[int, int, int]] = []  # clusters of the file, first and behind the last, and 1 or -1

    def __bool__(self) -> bool:
        return bool(self._holes or self._entries or self._zeroed or self._counts)

    @property
    def _content(self) -> Content:
        return self._image.content

    # -- what is written

    def save(self) -> None:
        """As of every order."""
        self.forget()
        self.stored_then = len(self._content.allocation_order())

    def forget(self) -> None:
        """As of every order."""
        super().forget()
        self._save_entries()
        self._save_counts()

    def _save_entries(self) -> None:
        if self._holes or self._zeroed:
            self._holes, self._zeroed = Spans(), Spans()
        self._entries.clear()

    def _save_counts(self) -> None:
        self._counts.clear()

    # -- what changes

    def count(self, first: int, stop: int) -> None:
        """As of every order."""
        counts = self._counts
        if counts and counts[-1][1:] == (first, 1):
            first = counts.pop()[0]
        counts.append((first, stop, 1))

    def free(self, first: int, stop: int) -> None:
        """As of every order."""
        super().free(first, stop)
        self._counts.append((first, stop, -1))

    def remember(self, guest: int, place: int | Packed | None) -> None:
        """As of every order."""
        if guest in self._entries or guest in self._holes:
            return
        block = self._content.whole_cluster(guest) if guest in self._content.allocation_order() else None
        zero = self._is_zero_in_file(guest)
        if place is None and not zero:
            self._holes.add(guest, guest + 1)
        else:
            self._entries[guest] = Saved(place, block, zero)

    def remember_stored(self, guests: Iterable[int], places: Mapping[int, int]) -> None:
        """As of every order."""
        if not self._entries and not self._content.has_zeroes:
            self._holes.add_runs(guests)
            return
        for guest in guests:
            if guest in self._entries or guest in self._holes:
                continue
            place, zero = places.get(guest), self._is_zero_in_file(guest)
            if place is None and not zero:
                self._holes.add(guest, guest + 1)
            else:
                self._entries[guest] = Saved(place, None, zero)

    def _is_zero_in_file(self, guest: int) -> bool:
        """Whether a cluster that has not changed, or has become ZERO only, is ZERO in the file."""
        return guest not in self._zeroed and self._content.is_zero_below(guest)

    def remember_written(
        self, guests: range, moved: Mapping[int, int | Packed | None], places: Mapping[int, int]
    ) -> None:
        """As of every order."""
        stored = self._content.allocation_order()
        changed = [guest for guest in guests if guest in moved or guest not in stored]
        if changed:
            self.link()
        for guest in changed:
            self.remember(guest, moved[guest] if guest in moved else places[guest])

    def remember_holes(self, first: int, stop: int) -> None:
        """As of every order; they may have no place."""
        if self._content.zero_clusters:
            for run in self._content.not_zero(first, stop):
                self._zeroed.add(*run)

    # -- what the file says

    def put_back(self, image: Qcow2Image) -> None:
        """As of every order."""
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
