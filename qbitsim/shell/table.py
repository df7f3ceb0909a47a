"""The reply of a query as a table: a row for each object, a column for each of its members that has a plain value.

Members of members have columns, too. Those by which people know things come first; what does not fit is left out, and
said.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from qbitsim.jsontypes import Json

_FIRST = (
    *("id", "name", "device", "node-name", "qdev", "type", "status", "drv", "file", "virtual-size", "ro"),
    *("current-progress", "total-progress", "offset", "len", "error", "dirty-bitmaps"),
)
_DEPTH = 2
_GAP = 2
_WIDEST = 40


def table_of(value: object, width: int) -> Table | None:
    """The table of a reply; None if it is no list of objects, or not even two columns fit.

    :param width: columns of the terminal.
    """
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return None
    rows = [dict(_cells(each, "", _DEPTH)) for each in value]
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=_rank)
    chosen = _fitting(names, rows, width)
    if len(chosen) < min(2, len(names)):
        return None
    left = len(names) - len(chosen)
    rest = f"; {left} more {'column does' if left == 1 else 'columns do'} not fit" if left else ""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        header_style="bold",
        caption_style="dim",
        caption=f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}{rest}; ':json' shows all",
        caption_justify="left",
    )
    for name in chosen:
        table.add_column(Text(_title(name, names)), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row.get(name, "")) for name in chosen))
    return table


def _cells(value: Json, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        if isinstance(each, dict) and depth > 1:
            yield from _cells(each, f"{prefix}{key}.", depth - 1)
        else:
            yield f"{prefix}{key}", _cell(each)


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "null"
        case dict():
            return f"{{{len(value)}}}"
        case list():
            return f"[{len(value)}]"
    return str(value)


def _rank(name: str) -> int:
    last = name.rpartition(".")[2]
    return _FIRST.index(last) if last in _FIRST else len(_FIRST)


def _fitting(names: list[str], rows: list[dict[str, str]], width: int) -> list[str]:
    """The columns that fit, without those of which no value is short enough for a table."""
    chosen = []
    for name in names:
        cells = max(len(_title(name, names)), *(len(row.get(name, "")) for row in rows))
        if cells <= _WIDEST and cells <= width:
            chosen.append(name)
            width -= cells + _GAP
    return chosen


def _title(name: str, among: list[str]) -> str:
    """The last part of a column's name, if no other column has it."""
    last = name.rpartition(".")[2]
    return name if sum(other.rpartition(".")[2] == last for other in among) > 1 else last
