"""The timeline of a history as a still picture in SVG: for README files, mails and pages without scripts.

From left to right go the moments, each lane is a band. In the band of a disk or of a bitmap the disk goes from top to
bottom, and what is dirty is dark; in that of a job one sees its status, its end, and how far it came. The picture stays
small however long the history is: what falls into one column is drawn once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from typing import TypeVar

from qbitsim.history.density import Density, cells_of
from qbitsim.jsontypes import Json

_T = TypeVar("_T")

_WIDTH = 960
_LEFT = 170
_RIGHT = 170
_PLOT = _WIDTH - _LEFT - _RIGHT
_TOP = 64
_BAND = {"disk": 40, "bitmap": 40, "successor": 20, "job": 26}
_GAP = 6
_COLUMNS = 200
_PARTS = 16
_MOST_LANES = 24
_MOST_LISTED = 16
_SHADES = 3

_STYLE = """
text{font:12px system-ui,sans-serif;fill:#1b1f24}.dim{fill:#57606a}.small{font-size:10.5px}
.h{font-size:15px;font-weight:600}.paper{fill:#fff}.band{fill:#f1f3f5}
.l1{fill:#a6cee3}.l2{fill:#4c9ad0}.l3{fill:#0b4f8a}.s1{fill:#fbd5a5}.s2{fill:#f0932b}.s3{fill:#a85200}
.d1{fill:#d5d9dd}.d2{fill:#aab1b8}.d3{fill:#7d868f}.job{fill:#009e73}.held{fill:#8fd3bd}.bad{fill:#c0392b}
.mark{stroke:#57606a;stroke-width:1}.no{stroke:#c0392b;stroke-width:2}
.frame{fill:none;stroke:#57606a;stroke-dasharray:3 2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9da7b1}.paper{fill:#0d1117}.band{fill:#1c2128}
.l1{fill:#12395c}.l2{fill:#2f81c7}.l3{fill:#8cc8ff}.s1{fill:#5a3a10}.s2{fill:#c77a1e}.s3{fill:#ffc27a}
.d1{fill:#31373e}.d2{fill:#57606a}.d3{fill:#8b949e}.held{fill:#0a5c46}.bad{fill:#ff7b72}.mark{stroke:#9da7b1}
.no{stroke:#ff7b72}.frame{stroke:#9da7b1}}
""".strip()
_SHADE = {"disk": "d", "bitmap": "l", "successor": "s"}
_SIGN, _NUMBER = 10, 12
"""Pixels that a sign and a number need to be read."""
_STYLES = {"running": "job", "aborting": "bad", "concluded": "d2", "null": "d2"}
"""How the status of a job is drawn; any other is one in which it waits."""


def still(history: Json) -> str:
    """The picture, as the text of an SVG file."""
    return "".join(Still(history).parts())


class Still:
    """One picture in the making."""

    def __init__(self, history: Json) -> None:
        self.history = history
        self.moments: list[Json] = history["moments"]
        self.lanes = _shown(history["lanes"], self.moments)
        self.columns = max(1, min(_COLUMNS, len(self.moments)))
        self._requests = [(i, each) for i, each in enumerate(self.moments) if each["kind"] == "request"]

    def parts(self) -> Iterator[str]:
        """The text, piece by piece."""
        bands = list(self._places())
        bottom = bands[-1][2] + _BAND[bands[-1][1]["kind"]] + _GAP if bands else _TOP
        listed = self._requests[:_MOST_LISTED]
        height = bottom + 22 + 15 * -(-len(listed) // 2) + (15 if len(self._requests) > _MOST_LISTED else 0)
        title = self.history["title"] or "What happened"
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
        yield f"<title>{_text(title)}</title><style>{_STYLE}</style>"
        yield f'<rect class="paper" width="{_WIDTH}" height="{height}"/>'
        yield _label(12, 24, title, "h")
        yield _label(
            12, 42, f"QEMU {self.history['profile']}, {len(self.moments)} moments from left to right", "dim small"
        )
        for number, lane, top in bands:
            yield from self._band(number, lane, top)
        yield from self._asked(bottom)
        yield from self._list(listed, bottom + 20)
        yield "</svg>\n"

    def _places(self) -> Iterator[tuple[int, Json, int]]:
        """Each lane's number, the lane, and where its band begins."""
        top = _TOP
        for number, lane in self.lanes:
            yield number, lane, top
            top += _BAND[lane["kind"]] + (_GAP // 2 if lane["kind"] == "disk" else _GAP)

    def _x(self, moment: int) -> float:
        return round(_LEFT + moment * _PLOT / max(1, len(self.moments)), 1)

    def _states(self, number: int) -> Iterator[tuple[int, Json | None]]:
        """The changes of one lane with their moments."""
        key = str(number)
        for place, moment in enumerate(self.moments):
            changes = moment.get("changes")
            if changes is not None and key in changes:
                yield place, changes[key]

    # -- bands

    def _band(self, number: int, lane: Json, top: int) -> Iterator[str]:
        height = _BAND[lane["kind"]]
        name = lane["name"] if lane["name"] is not None else "(no name)"
        kind = lane.get("type", "job") if lane["kind"] == "job" else lane["kind"]
        yield f'<rect class="band" x="{_LEFT}" y="{top}" width="{_PLOT}" height="{height}"/>'
        first, second = (f"{kind} of {name}", "") if lane["kind"] == "successor" else (name, kind)
        yield _label(12, top + (12 if second else 14), first, "small" if not second else "")
        if second and height > 30:
            yield _label(12, top + 27, _described(lane), "dim small")
        elif second:
            yield _label(12, top + 24, kind, "dim small")
        yield from self._job(number, lane, top) if lane["kind"] == "job" else self._cells(number, lane, top)
        if lane["kind"] == "disk":
            yield from self._writes(lane["name"], top)

    def _by_column(self, states: Iterable[tuple[int, Json | None]]) -> Iterator[list[Json | None]]:
        """The changes of a lane that fall into each column."""
        changes = iter([*states, (len(self.moments), None)])
        place, change = next(changes)
        for column in range(self.columns):
            last = (column + 1) * len(self.moments) // self.columns - 1
            found = []
            while place <= last:
                found.append(change)
                place, change = next(changes)
            yield found

    def _runs(self, values: Iterable[_T]) -> Iterator[tuple[_T, str, float]]:
        """Each run of equal values that are not empty, in columns: the value, where it begins, and how wide it is."""
        column = 0
        for value, run in groupby(values):
            long = len(list(run))
            if value:
                yield (
                    value,
                    f"{round(_LEFT + column * _PLOT / self.columns, 1):g}",
                    round(long * _PLOT / self.columns, 1),
                )
            column += long

    def _cells(self, number: int, lane: Json, top: int) -> Iterator[str]:
        """What is dirty, as one path for each shade, and a frame around the time in which a bitmap is busy."""
        height = _BAND[lane["kind"]]
        density = Density(cells_of(lane, self.moments, number), _PARTS)
        rows: list[list[int]] = []
        exists = False
        note = ""
        flags: list[str] = []
        frames: list[bool] = []
        for changes in self._by_column(self._states(number)):
            for change in changes:
                density.apply(change)
                exists = change is not None
                note = _note(lane, change, note)
                flags = (change or {}).get("flags", flags)
            rows.append(density.levels(_SHADES) if exists else [])
            frames.append(exists and (lane["kind"] == "successor" or "busy" in flags))
        yield from self._paths(rows, len(density.wholes), top, height, _SHADE[lane["kind"]])
        for _, x, wide in self._runs(frames):
            yield f'<path class="frame" d="M{x} {top + 0.5}h{wide:g}v{height - 1}h-{wide:g}z"/>'
        yield _label(_WIDTH - _RIGHT + 8, top + height / 2 + 4, note if exists else "gone", "dim small")

    def _paths(self, rows: list[list[int]], parts: int, top: int, height: int, shade: str) -> Iterator[str]:
        paths: dict[int, list[str]] = {}
        for part in range(parts):
            y, tall = round(top + part * height / parts, 1), round(height / parts, 1)
            for level, x, wide in self._runs(row[part] if row else 0 for row in rows):
                paths.setdefault(level, []).append(f"M{x} {y:g}h{wide:g}v{tall:g}h-{wide:g}z")
        for level, pieces in sorted(paths.items()):
            yield f'<path class="{shade}{level}" d="{"".join(pieces)}"/>'

    def _job(self, number: int, lane: Json, top: int) -> Iterator[str]:
        """The status as a bar, and how it ended, each time; or what it is now."""
        states = list(self._states(number))
        for status, x, wide in self._runs(self._statuses(states)):
            yield f'<path class="{_STYLES.get(status, "held")}" d="M{x} {top + 6}h{wide:g}v14h-{wide:g}z"/>'
        yield from self._outcomes(lane["name"], states, top)

    def _statuses(self, states: list[tuple[int, Json | None]]) -> Iterator[str]:
        """The status of a job in each column; an empty text where it is not there."""
        status = ""
        for changes in self._by_column(states):
            lived = []
            for change in changes:
                status = change.get("status", status) if change is not None else ""
                lived += [status] if status else []
            # A failure counts more than what comes after it in the same column, and any life more than none.
            yield "aborting" if "aborting" in lived else status or (lived[-1] if lived else "")

    def _outcomes(self, job: str, states: list[tuple[int, Json | None]], top: int) -> Iterator[str]:
        """A sign at each end of a job, and the words of the last one; or the status of a job that goes on."""
        ends = list(self._ends(job))
        before = float(-_SIGN)
        for place, words, style in ends:
            if self._x(place) - before >= _SIGN:
                before = self._x(place)
                yield _label(before + 3, top + 17, words[0], f"{style} small")
        alive = states[-1][1] is not None
        now = next((each["status"] for _, each in reversed(states) if each and "status" in each), "")
        words, style = (now, "") if alive or not ends else ends[-1][1:]
        yield _label(_WIDTH - _RIGHT + 8, top + 17, words, f"{style} small")

    def _ends(self, job: str) -> Iterator[tuple[int, str, str]]:
        """How the job ended, each time: where it was gone, the words and their style."""
        ended: tuple[str, str] | None = None
        for place, moment in enumerate(self.moments):
            event = moment.get("data")
            data = event.get("data") if moment["kind"] == "event" and isinstance(event, dict) else None
            before = f"{moment['machine']} " if moment.get("machine") else ""
            if not isinstance(data, dict) or job not in (f"{before}{data.get('device')}", f"{before}{data.get('id')}"):
                continue
            if moment["text"] == "BLOCK_JOB_CANCELLED":
                ended = "⊘ cancelled", "bad"
            elif moment["text"] == "BLOCK_JOB_COMPLETED":
                ended = (f"✗ {data['error']}", "bad") if data.get("error") else ("✓ completed", "")
            elif data.get("status") == "null" and ended is not None:
                yield place + 1, *ended
                ended = None

    def _writes(self, drive: str, top: int) -> Iterator[str]:
        """A mark above the disk for each write of the guest; another one if it failed."""
        marks: dict[str, dict[str, None]] = {}
        for place, moment in enumerate(self.moments):
            data = moment.get("data")
            if moment["kind"] == "write" and isinstance(data, dict) and data.get("drive") == drive:
                column = place * self.columns // len(self.moments)
                x = self._x(-(-column * len(self.moments) // self.columns))
                marks.setdefault("bad" if moment.get("failed") else "dim", {})[f"M{x:g} {top}l-3 -5h6z"] = None
        for style, pieces in marks.items():
            yield f'<path class="{style}" d="{"".join(pieces)}"/>'

    # -- the conversation

    def _asked(self, bottom: int) -> Iterator[str]:
        """A line and a number for each request; a heavy one if it was refused, or not answered as QEMU does."""
        refused = {each.get("of") for each in self.moments if each["kind"] == "error" or "expected" in each}
        paths: dict[str, list[str]] = {}
        before = float(-_NUMBER)
        for number, (place, _) in enumerate(self._requests, 1):
            x, style = self._x(place), "no" if place in refused else "mark"
            line = f"M{x:g} {_TOP - 8}V{bottom}"
            if line not in paths.setdefault(style, [])[-1:]:
                paths[style].append(line)
            if number <= _MOST_LISTED and x - before >= _NUMBER:
                before = x
                yield f'<text class="dim small" x="{x:g}" y="{_TOP - 11}" text-anchor="middle">{number}</text>'
        for style, lines in paths.items():
            yield f'<path class="{style}" d="{"".join(lines)}" stroke-opacity=".45"/>'

    def _list(self, listed: list[tuple[int, Json]], top: int) -> Iterator[str]:
        """What the numbers stand for, in two columns."""
        half = -(-len(listed) // 2)
        for place, (_, moment) in enumerate(listed):
            x = 12 + (_WIDTH - 24) / 2 * (place // half)
            words = moment["text"] if len(moment["text"]) < 78 else f"{moment['text'][:76]}…"
            yield _label(x, top + 15 * (place % half), f"{place + 1}  {words}", "small")
        if len(self._requests) > len(listed):
            yield _label(12, top + 15 * half, f"and {len(self._requests) - len(listed)} more", "dim small")


def _shown(lanes: list[Json], moments: list[Json]) -> list[tuple[int, Json]]:
    """The lanes that are drawn, each disk before its bitmaps, each bitmap before its successor, the jobs at the end."""
    alive = {int(number) for moment in moments for number in moment.get("changes", ())}
    known = [(number, lane) for number, lane in enumerate(lanes) if number in alive and not lane.get("internal")]

    def place(entry: tuple[int, Json]) -> tuple[bool, str, bool, int, int]:
        number, lane = entry
        drive = lane["name"] if lane["kind"] == "disk" else lane.get("drive") or "~"
        bitmap = lane.get("of", number)
        return lane["kind"] == "job", drive if lane["kind"] != "job" else "", lane["kind"] != "disk", bitmap, number

    return sorted(known, key=place)[:_MOST_LANES]


def _described(lane: Json) -> str:
    unit = f"{lane['cell'] // 1024} KiB" if lane["cell"] >= 1024 else f"{lane['cell']} B"
    count = f"{-(-lane['size'] // lane['cell'])} " if lane["size"] else ""
    return f"{lane['kind']}, {count}cells of {unit}"


def _note(lane: Json, change: Json | None, before: str) -> str:
    """What stands behind the band: the number of dirty cells."""
    if change is None or "count" not in change:
        return before
    return f"{change['count']} {'cells hold data' if lane['kind'] == 'disk' else 'dirty cells'}"


def _label(x: float, y: float, text: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:g}" y="{y:g}">{_text(text)}</text>'


def _text(text: str) -> str:
    """Text as XML may have it."""
    return escape("".join(each if each.isprintable() else "\ufffd" for each in text))
