"""Tables that know what of them has changed since they were written to their file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qbitsim.images.qcow2.allocator import Allocator
from qbitsim.images.spans import Spans


class TrackedDict(dict[int, Any]):
    """A table by number; *per_part* numbers in a row are written as one part.

    Only what layouts call is tracked: setting, deleting and :meth:`pop` of single numbers.

    :ivar changed: the parts in which something changed.
    """

    __slots__ = ("_per_part", "changed")

    def __init__(self, values: dict[int, Any], per_part: int) -> None:
        super().__init__(values)
        self._per_part = per_part
        self.changed: set[int] = set()

    def __setitem__(self, number: int, value: object) -> None:
        super().__setitem__(number, value)
        self.changed.add(number // self._per_part)

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        self.changed.add(number // self._per_part)

    def pop(self, number: int, *default: object) -> Any:
        """As of every dictionary."""
        self.changed.add(number // self._per_part)
        return super().pop(number, *default)


class TrackedSpans(Spans):
    """A set of numbers; *per_part* numbers in a row are written as one part.

    :ivar changed: the parts in which something changed.
    :ivar removed: the numbers that were taken out since the set was last forgotten.
    """

    __slots__ = ("_per_part", "changed", "removed")

    def __init__(self, spans: Iterable[tuple[int, int]], per_part: int) -> None:
        self._per_part = per_part
        self.changed: set[int] = set()
        self.removed = Spans()
        super().__init__(spans)
        self.changed.clear()

    def add(self, start: int, stop: int) -> None:
        """As of every set of spans."""
        if start < stop:
            super().add(start, stop)
            self._note(start, stop)

    def remove(self, start: int, stop: int) -> None:
        """As of every set of spans."""
        if start < stop:
            super().remove(start, stop)
            self.removed.add(start, stop)
            self._note(start, stop)

    def _note(self, start: int, stop: int) -> None:
        self.changed.update(range(start // self._per_part, (stop - 1) // self._per_part + 1))

    def forget_changes(self) -> None:
        """What has changed was written."""
        self.changed.clear()
        if self.removed:
            self.removed = Spans()


class TrackedCounts(TrackedDict):
    """A table of counts that also knows which have risen, and whether one has fallen.

    :ivar raised: by how much they have risen, without regard to falls.
    :ivar fallen: whether one has.
    """

    __slots__ = ("fallen", "raised")

    def __init__(self, values: dict[int, Any], per_part: int) -> None:
        super().__init__(values, per_part)
        self.raised: dict[int, int] = {}
        self.fallen = False

    def __setitem__(self, number: int, value: Any) -> None:
        more = value - self.get(number, 0)
        if more > 0:
            self.raised[number] = self.raised.get(number, 0) + more
        self.fallen = self.fallen or more < 0
        super().__setitem__(number, value)

    def __delitem__(self, number: int) -> None:
        self.fallen = True
        super().__delitem__(number)

    def forget_changes(self) -> None:
        """What has changed was written."""
        self.changed.clear()
        self.raised.clear()
        self.fallen = False


class TrackedAllocator(Allocator):
    """An allocator that knows which of its refcount blocks have changed.

    :param other: what it is from now on.
    """

    __slots__ = ()

    _used: TrackedSpans
    _extra: TrackedCounts

    def __init__(self, other: Allocator) -> None:
        super().__init__(other.cluster_size, other.refcount_bits)
        self.take_over(other)
        self._used = TrackedSpans(other.used(), self.per_block)
        self._extra = TrackedCounts(self._extra, self.per_block)

    @property
    def changed_blocks(self) -> set[int]:
        """The numbers of the refcount blocks in which something has changed; some may not exist any more."""
        return self._used.changed | self._extra.changed

    @property
    def has_freed(self) -> bool:
        """Whether clusters have become free."""
        return bool(self._used.removed)

    @property
    def has_fallen(self) -> bool:
        """Whether there are fewer references to some clusters than there were."""
        return self.has_freed or self._extra.fallen

    @property
    def raised(self) -> dict[int, int]:
        """The clusters that have got more references than one, and how many were added."""
        return self._extra.raised

    def forget_changes(self) -> None:
        """What has changed was written."""
        self._used.forget_changes()
        self._extra.forget_changes()
