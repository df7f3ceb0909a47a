"""The pictures of the tour: disks, bitmaps, successors, jobs and files, with marks where a cell has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.block.node import Node
from qbitsim.history.words import end_of_job
from qbitsim.jsontypes import Json
from qbitsim.machine.state import bitmap_state
from qbitsim.terminal.picture import (
    UNKNOWN,
    Row,
    Style,
    draw,
    flag_words,
    human,
    letters,
    row_of_file,
    row_of_job,
    rows_of_bitmap,
)
from qbitsim.tour.lesson import CELL, CELLS
from qbitsim.tour.view import View, levels_of

Rows = Iterator[tuple[str, Row]]
"""Rows, each with what it is a row of: two pictures are compared by that."""


class Drawing:
    """Draws a machine again and again.

    A row whose cells are others than in the picture before has marks below it, but not one whose cells are unknown.

    :ivar before: the cells of the picture before, by what they are the row of.
    """

    def __init__(self, style: Style) -> None:
        self.style = style
        self.before: dict[str, str] = {}

    def lines(self, view: View, drives: Sequence[str], files: Sequence[str]) -> list[str]:
        """The picture."""
        rows = [*self._rows(view, drives, files)]
        unknown = UNKNOWN * self.style.cells
        lines = []
        for about, row in rows:
            lines += [line.rstrip() for line in draw([row], self.style)]
            before = self.before.get(about, row.cells)
            if before != row.cells and unknown not in (before, row.cells) and not about.startswith("job "):
                lines.append(self._marks(before, row.cells))
        self.before = {about: row.cells for about, row in rows}
        return lines

    def _marks(self, before: str, now: str) -> str:
        marks = "".join("^" if one != other else " " for one, other in zip(before, now, strict=True))
        _, _, line = draw([Row("", marks, "", "dim")], self.style)[-1].rpartition("\n")
        return line.rstrip()

    def _rows(self, view: View, drives: Sequence[str], files: Sequence[str]) -> Rows:
        machine = view.machine
        yield "", Row("cell", self._numbers(), "", "dim")
        if not machine.closing:
            for drive in drives:
                yield from self._rows_of_drive(view, drive)
            for job in machine.state()["jobs"]:
                done, total = job["progress"]
                yield self._row_of_job(job, f"{job['status']}, {_cells(done)} of {_cells(total)} copied", "green")
        for event in view.events:
            if end := end_of_job(event):
                yield self._row_of_ended(event["data"], end)
        for name in files:
            if name in machine.images:
                row = row_of_file(machine.images.lookup(name), self.style)
                yield f"file {name}", row

    def _numbers(self) -> str:
        """A ruler: the numbers of cells, of every other cell where it is narrow."""
        width = self.style.cells // CELLS
        ruler = ""
        for cell in range(CELLS):
            if len(str(cell)) < width or cell % 2 == 0:
                ruler = f"{ruler:<{cell * width}}{cell}"
        return ruler

    def _rows_of_drive(self, view: View, drive: str) -> Rows:
        for node in reversed([*levels_of(view.machine, drive)]):
            if node.image is not None:
                yield drive, Row(drive, letters(node.image, self.style), human(node.length))
            note = partial(_note, on_filter=node.is_filter)
            for bitmap in self._in_order(drive, node):
                about = f"{drive} {bitmap.name}"
                rows = rows_of_bitmap(bitmap_state(bitmap), bitmap.size, self.style, note)
                yield from zip((about, f"{about} successor"), rows, strict=False)

    def _in_order(self, drive: str, node: Node) -> list[DirtyBitmap]:
        """The named bitmaps, each where it was in the picture before, new ones below; a backup moves them in QEMU."""
        places = {about: place for place, about in enumerate(self.before)}
        named = [bitmap for bitmap in reversed(node.bitmaps) if bitmap.name is not None]
        return sorted(named, key=lambda bitmap: places.get(f"{drive} {bitmap.name}", len(places)))

    def _row_of_ended(self, data: Json, end: str) -> tuple[str, Row]:
        """A job that ended in this step."""
        error = data.get("error")
        job = {"id": data["device"], "progress": [data["offset"], data["len"]], "status": end, "error": error}
        good = end == "completed" and error is None
        return self._row_of_job(job, error or end, "green" if good else "red")

    def _row_of_job(self, job: Json, note: str, colour: str) -> tuple[str, Row]:
        row = row_of_job(job, self.style)
        return f"job {job['id']}", row._replace(name=f" job {job['id']}", note=note, colour=colour)


def _note(dirty: int, flags: Collection[str], *, on_filter: bool) -> str:
    if "inconsistent" in flags:
        return "inconsistent"
    shown = flag_words(flags) + ["on the filter"] * on_filter
    return ", ".join([human(dirty) if dirty else "clean", *shown])


def _cells(size: int) -> int:
    return size // CELL
