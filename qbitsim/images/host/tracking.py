"""Tables that know what of them has changed since they were written to their file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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

    def pop(self, number: int, *default: object) -> Any:  # noqa: ANN401 (as of every dictionary)
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
