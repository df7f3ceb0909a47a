"""How many cells of a lane are dirty in each of a few equal parts, followed from moment to moment."""

from __future__ import annotations

from itertools import pairwise

from qbitsim.history.runs import decode
from qbitsim.jsontypes import Json


class Density:
    """The dirty cells of one lane, by part.

    :param cells: of the whole lane.
    :param parts: into how many it is divided, at most; never more than it has cells.
    :ivar counts: dirty cells of each part; :ivar wholes: its cells.
    """

    __slots__ = ("_cells", "counts", "wholes")

    def __init__(self, cells: int, parts: int) -> None:
        self._cells = max(1, cells)
        bounds = [part * self._cells // min(parts, self._cells) for part in range(min(parts, self._cells) + 1)]
        self.wholes = [stop - start for start, stop in pairwise(bounds)]
        self.counts = [0] * len(self.wholes)

    def apply(self, change: Json | None) -> None:
        """Follow a change; None cleans everything."""
        if change is None or "heat" in change:
            self.counts = [0] * len(self.wholes)
        if change is None:
            return
        heat = change.get("heat", ())
        for part, count in enumerate(heat):
            self.counts[self._part(part * self._cells // len(heat))] += count
        for sign, factor in (("+", 1), ("-", -1)):
            for start, stop in decode(change.get(sign, ())):
                self._add(start, min(stop, self._cells), factor)

    def levels(self, most: int) -> list[int]:
        """For each part 0 if it is clean, ``most`` if it is all dirty, and something between otherwise."""
        return [
            0 if count <= 0 else most if count >= whole else max(1, count * most // whole)
            for count, whole in zip(self.counts, self.wholes, strict=True)
        ]

    def _part(self, cell: int) -> int:
        """The part that a cell is in."""
        part = min(cell, self._cells - 1) * len(self.wholes) // self._cells
        while (part + 1) * self._cells // len(self.wholes) <= cell < self._cells:
            part += 1
        return part

    def _add(self, start: int, stop: int, factor: int) -> None:
        while start < stop:
            part = self._part(start)
            end = min(stop, (part + 1) * self._cells // len(self.wholes))
            self.counts[part] += factor * (end - start)
            start = end


def cells_of(lane: Json, moments: list[Json], number: int) -> int:
    """How many cells a lane has when it is longest."""
    sizes: list[int] = [(moment.get("changes", {}).get(str(number)) or {}).get("size", 0) for moment in moments]
    cell: int = lane["cell"]
    return -(-max([int(lane["size"]), *sizes]) // cell)
