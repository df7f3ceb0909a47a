"""Disks, bitmaps and image files as rows of cells in a terminal.

A row shows the whole disk from left to right. In the row of a disk or of a file a letter is what is stored there, the
latest letter if a cell holds several; in the row of a bitmap a cell is clean, partly dirty, or dirty, or unknown if the
bitmap is inconsistent. What a file does not hold, it takes from its backing file.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import NamedTuple, TextIO

from qbitsim.images.image import Image
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import bitmap_state

_OF_LETTERS = ("blue", "green", "magenta", "cyan", "yellow")
_ESCAPES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33"}
_ESCAPES |= {"blue": "34", "magenta": "35", "cyan": "36"}
_NAME_COLUMNS = 17
_NOTE_COLUMNS = 26
_MINIMUM_WIDTH = 24
_MAXIMUM_WIDTH = 120

UNKNOWN = "?"
"""The cell of an inconsistent bitmap: nobody knows what of it is dirty."""


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show.

    :ivar width: columns; :ivar unicode: whether it knows more than ASCII; :ivar colour: whether it knows colours.
    """

    width: int = 80
    unicode: bool = False
    colour: bool = False

    @classmethod
    def of(
        cls, stream: TextIO, environment: Mapping[str, str], *, width: int | None = None, ascii_only: bool = False
    ) -> Style:
        """The style for a stream: plain unless it is a terminal that can do more.

        :param environment: ``TERM``, ``NO_COLOR`` and ``COLUMNS`` count.
        """
        terminal = stream.isatty() and environment.get("TERM") != "dumb"
        rich = terminal and not ascii_only and (stream.encoding or "").lower().replace("-", "") == "utf8"
        columns = width if width is not None else shutil.get_terminal_size().columns
        return cls(
            width=min(max(columns, _MINIMUM_WIDTH), _MAXIMUM_WIDTH),
            unicode=rich,
            colour=terminal and not environment.get("NO_COLOR"),
        )

    @property
    def cells(self) -> int:
        """Cells of a row: a power of two."""
        room = self.width - 4 - (_NAME_COLUMNS + _NOTE_COLUMNS if self.beside else 0)
        return 1 << (room.bit_length() - 1)

    @property
    def beside(self) -> bool:
        """Whether names and notes stand beside the cells and not above them."""
        return self.width >= 4 + _NAME_COLUMNS + 32 + _NOTE_COLUMNS

    @property
    def levels(self) -> tuple[str, str, str]:
        """The characters for nothing, a part, and all."""
        return ("·", "▒", "█") if self.unicode else (".", "+", "#")

    def paint(self, text: str, colour: str) -> str:
        """``text`` in that colour, if there are colours."""
        return f"\033[{_ESCAPES[colour]}m{text}\033[0m" if self.colour else text

    def wrap(self, text: str, first: str = "", rest: str = "") -> str:
        """``text`` in lines that fit, the first one behind ``first`` and the others behind ``rest``."""
        wrapper = textwrap.TextWrapper(self.width, first, rest, break_long_words=False, break_on_hyphens=False)
        together = re.sub(r"(\d) ([KMGT]iB)", "\\1\N{NO-BREAK SPACE}\\2", text)
        return wrapper.fill(together).replace("\N{NO-BREAK SPACE}", " ")


class Row(NamedTuple):
    """One row: its name, its cells, a remark, and the colour of its dirty cells (None: by letter)."""

    name: str
    cells: str
    note: str
    colour: str | None = None


def rows_of_drive(machine: Machine, identifier: str, style: Style) -> list[Row]:
    """A drive on a qcow2 image, its named bitmaps, oldest first, and the successors that record in their stead."""
    node = machine.drive(identifier).node.skip_filters()
    assert node.image is not None
    rows = [Row(identifier, letters(node.image, style), human(node.length))]
    for bitmap in reversed(node.bitmaps):
        if bitmap.name is not None:
            rows += rows_of_bitmap(bitmap_state(bitmap), bitmap.size, style)
    return rows


def row_of_file(image: Image, style: Style) -> Row:
    """An image file and what it holds itself."""
    held = image.content.allocated
    return Row(image.name, letters(image, style), human(held) + (f" over {image.backing}" if image.backing else ""))


def rows_of_state(state: Json, style: Style, *, drives: Collection[str] | None = None) -> list[Row]:
    """The drives of a described machine, the bitmaps of the nodes below each, oldest first, and the jobs.

    :param state: as :func:`qbitsim.machine.state.describe` gives it, or read back from JSON.
    :param drives: only these; all if not given.
    """
    nodes = state["nodes"]
    rows: list[Row] = []
    shown: set[str] = set()
    for identifier, drive in state["drives"].items():
        if drives is not None and identifier not in drives:
            continue
        size = nodes[drive["node"]]["length"] if drive["node"] else 0
        rows.append(Row(identifier, "", human(size) if drive["node"] else "no medium"))
        for name in _below(drive["node"], nodes):
            shown.add(name)
            rows += _rows_of_bitmaps(nodes[name], style)
    if drives is None:
        for name, node in nodes.items():
            if name not in shown and node["bitmaps"]:
                rows += [Row(name, "", human(node["length"])), *_rows_of_bitmaps(node, style)]
    return rows + [row_of_job(job, style) for job in state["jobs"]]


def _below(name: str | None, nodes: Mapping[str, Json]) -> Iterator[str]:
    """The node of that name and what it filters: the nodes that show the same disk."""
    while name is not None:
        yield name
        children = nodes[name]["children"]
        name = children.get("file", children.get("backing")) if nodes[name]["filter"] else None


def _rows_of_bitmaps(node: Json, style: Style) -> Iterator[Row]:
    for bitmap in reversed(node["bitmaps"]):
        yield from rows_of_bitmap(bitmap, node["length"], style)


def bitmap_note(dirty: int, flags: Collection[str]) -> str:
    """What stands beside a bitmap: its dirty bytes and its flags, first those that keep it from being used."""
    if "inconsistent" in flags:
        return "inconsistent"
    return ", ".join([f"{human(dirty)} dirty", *flag_words(flags)])


def flag_words(flags: Collection[str]) -> list[str]:
    """Flags of a bitmap in the words of the replies of QMP, in order: what is ``disabled`` is not ``recording``."""
    return [word for flag, word in _WORDS.items() if flag in flags]


_WORDS = {"busy": "busy", "readonly": "readonly", "disabled": "not recording", "persistent": "persistent"}


Note = Callable[[int, Collection[str]], str]
"""Makes the remark beside a bitmap of its dirty bytes and its flags."""


def rows_of_bitmap(bitmap: Json, size: int, style: Style, note: Note = bitmap_note) -> Iterator[Row]:
    """A bitmap, and the successor that records in its stead, if there is one.

    :param bitmap: as :func:`qbitsim.machine.state.bitmap_state` describes it.
    :param size: bytes of the disk.
    """
    successor, flags = bitmap["successor"], bitmap["flags"]
    if successor is not None and "disabled" not in successor["flags"]:
        flags = [flag for flag in flags if flag != "disabled"]  # the successor records in its stead
    unknown = "inconsistent" in flags
    cells = UNKNOWN * style.cells if unknown else _cells(bitmap["dirty"], size, style)
    yield Row(f" {bitmap['name'] or '(no name)'}", cells, note(_total(bitmap["dirty"]), flags), "yellow")
    if successor is not None:
        yield Row("  successor", _cells(successor["dirty"], size, style), note(_total(successor["dirty"]), ()), "cyan")


def _total(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(length for _, length in ranges)


def row_of_job(job: Json, style: Style) -> Row:
    """A job as a bar that fills up.

    :param job: as :func:`qbitsim.machine.state.describe` gives it.
    """
    done, total = job["progress"]
    full = style.cells if not total and job["status"] in _DONE else style.cells * done // total if total else 0
    cells = style.levels[2] * min(full, style.cells)
    bar = cells + style.levels[0] * (style.cells - len(cells))
    progress = f"{human(done)} of {human(total)}" if total else "nothing to copy"
    return Row(job["id"] or "(no id)", bar, f"{job['status']}, {job['error'] or progress}", "green")


_DONE = ("waiting", "pending", "concluded", "null")


def letters(image: Image, style: Style) -> str:
    """One character for each cell: the latest letter that is stored there."""
    cells = [""] * style.cells
    content, unit = image.content, image.content.cluster_size
    for cluster in content.stored_clusters():
        letter = chr(content.read(cluster * unit, 1)[0])
        end = min((cluster + 1) * unit, image.size)
        for place in range(cluster * unit * style.cells // image.size, -(-end * style.cells // image.size)):
            cells[place] = max(cells[place], letter)
    return "".join(cell if cell.isprintable() and cell else style.levels[0] for cell in cells)


def _cells(ranges: Iterable[tuple[int, int]], size: int, style: Style) -> str:
    return "".join(style.levels[level] for level in levels(ranges, size, style.cells))


def levels(ranges: Iterable[tuple[int, int]], size: int, cells: int) -> list[int]:
    """For each of ``cells`` equal parts of ``size`` bytes: 0, 1 or 2 if nothing, a part, or all is in ``ranges``.

    :param ranges: (offset, length) in bytes, without overlap.
    """
    covered = [0] * cells
    for offset, length in ranges:
        end = offset + length
        for place in range(offset * cells // size, -(-end * cells // size)):
            low, high = place * size // cells, (place + 1) * size // cells
            covered[place] += min(end, high) - max(offset, low)
    whole = size // cells
    return [0 if not part else 2 if part >= whole else 1 for part in covered]


def draw(rows: Iterable[Row], style: Style) -> list[str]:
    """The rows as lines, of at most ``style.width`` columns; a remark that is too long goes on in the next line."""
    lines = []
    for row in rows:
        taken = _NAME_COLUMNS + 1 + len(row.cells) if style.beside else len(row.name)
        room = style.width - taken - 4
        note = row.note if len(row.note) <= room else row.note.partition(" over ")[0]
        if style.beside:
            indent = " " * (taken + 4)
            first, *rest = style.wrap(note, indent, indent).split("\n")
            lines += [f"  {row.name:<{_NAME_COLUMNS}} {_painted(row, style)}  {first[taken + 4 :]}", *rest]
        else:
            lines += [*style.wrap(f"{row.name}  {note}", "  ", "    ").split("\n"), f"  {_painted(row, style)}"]
    return lines


def _painted(row: Row, style: Style) -> str:
    runs = groupby(row.cells, partial(_colour, row, style))
    return "".join(style.paint("".join(run), colour) for colour, run in runs)


def _colour(row: Row, style: Style, cell: str) -> str:
    if cell == style.levels[0]:
        return "dim"
    return row.colour or _OF_LETTERS[ord(cell) % len(_OF_LETTERS)]


def human(size: int) -> str:
    """Bytes as people write them: ``1.5 MiB``."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.{3 if size < 999.5 * unit else 4}g} {name}"
    return f"{size} B" if size else "0"
