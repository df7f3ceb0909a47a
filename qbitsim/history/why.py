"""Why a granule is dirty: what set it, what cleared it before, and which backup copied it last.

The answer is read off a history, moment by moment, so that nothing has to be kept for it beforehand:

1. What changes a bit belongs to the latest request, guest's write, NBD request or step of a job before it.
2. A merge has reasons of its own: those that its sources had.
3. When a backup gives its bitmap back, what it kept has the reasons from before the backup, and what the successor
   recorded has those of the successor. A backup that completes has cleared what it took.
4. A granule was copied by a backup if it copied any byte of it. Only one that completes counts.

Where so much changed at once that the history has only numbers (see ``heat`` in :mod:`qbitsim.history.file`), it can
be unknown whether a granule is dirty. The script of the page does the same (``why.js``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qbitsim.argument_types import Size
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.history.runs import PARTS
from qbitsim.history.words import actions_of
from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.sizes import human_size, parse_size

_CONTEXTS = ("start", "request", "write", "nbd", "step", "fault", "look")
"""The kinds of moments that cause what follows."""
_CANCELLED = re.compile(r"cancell?ed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cause:
    """What changed a bit.

    :ivar moment: its number in the history; :ivar at: nanoseconds of virtual time.
    :ivar kind: ``write``, ``merge``, ``job`` (a job's own write), ``backup`` (a backup came to its end), ``command``,
        ``loaded`` (it was dirty when the bitmap appeared), ``look`` or ``unknown``.
    :ivar text: what happened, in words.
    :ivar sources: why the bit was dirty where it came from: in the bitmap that was merged, or before the backup.
    """

    moment: int
    at: int
    kind: str
    text: str
    sources: tuple[Cause, ...] = ()

    def __str__(self) -> str:
        return f"moment {self.moment}, {self.at / NANOSECONDS:g} s: {self.text}"

    def lines(self, indent: int) -> Iterator[str]:
        """The cause, and below it those of its sources."""
        yield f"{'  ' * indent}{self}"
        for source in self.sources:
            yield from source.lines(indent + 1)


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup that has copied the granule.

    :ivar moment: when it did so; :ivar at: nanoseconds.
    :ivar job: its id; :ivar sync: ``full``, ``bitmap``, ...; :ivar target: a file or a node.
    :ivar outcome: ``completed``, ``cancelled``, ``failed: ...``, or the status of a job that is not over.
    """

    moment: int
    at: int
    job: str
    sync: str
    target: str
    outcome: str

    def __str__(self) -> str:
        what = f"backup {self.job} (sync={self.sync}, to {self.target})"
        return f"moment {self.moment}, {self.at / NANOSECONDS:g} s: {what}: {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer for one granule of one bitmap; as a text it is for people.

    :ivar node: the node of the bitmap; :ivar drive: the drive that shows it, or None.
    :ivar offset: bytes, where the granule begins; :ivar length: bytes.
    :ivar dirty: whether the bitmap has it; None if that is not known.
    :ivar causes: why it is dirty; if it is clean, why it was dirty last. Empty if it never was.
    :ivar successor: why the successor has it, while a job holds the bitmap.
    :ivar cleared: what made it clean before that, such as the addition of the bitmap.
    :ivar copied: the last backup that copied it and completed.
    :ivar unfinished: one that copied it since then and has not completed.
    """

    bitmap: str
    node: str
    drive: str | None
    offset: int
    length: int
    dirty: bool | None
    causes: tuple[Cause, ...]
    successor: tuple[Cause, ...]
    cleared: Cause | None
    copied: Copy | None
    unfinished: Copy | None

    def __str__(self) -> str:
        state = {True: "dirty", False: "clean", None: "dirty or not, that is not known"}[self.dirty]
        where = f"{human_size(self.length)} at {self.offset}"
        return "\n".join([f"{self.bitmap} of {self.drive or self.node}, {where}: {state}", *self._reasons()])

    def _reasons(self) -> Iterator[str]:
        cleared = [f"  {'clean before' if self.dirty else 'clean'} since {self.cleared}"] if self.cleared else []
        if not self.dirty:
            yield from cleared
        if self.causes:
            yield f"  {'dirty' if self.dirty else 'dirty before'} since"
        for cause in self.causes:
            yield from cause.lines(2)
        if self.successor:
            yield "  dirty in its successor since"
        for cause in self.successor:
            yield from cause.lines(2)
        if self.dirty:
            yield from cleared
        if self.copied:
            yield f"  last good copy at {self.copied}"
        else:
            yield "  no backup that was seen here has copied it and completed"
        if self.unfinished:
            yield f"  {'copied again' if self.copied else 'copied'} at {self.unfinished}"


def why(history: Json, bitmap: str, offset: Size, *, node: str | None = None, moment: int | None = None) -> Why:
    """Why a granule is dirty, or clean.

    :param history: as :meth:`.History.to_json` gives it, or :func:`.history.file.loads`.
    :param offset: any byte of the granule, as a number or such as ``"64k"``.
    :param node: the node, or the drive, that the bitmap is on, if several have one of that name.
    :param moment: the number of the moment after which it is asked; the last one if not given.
    :raises ValueError: there is no such bitmap then, or no such byte; or the history does not know bits.
    """
    if not history["bits"]:
        raise ValueError("this history does not tell which bits were dirty: it was made of messages")
    moments = history["moments"] if moment is None else history["moments"][: moment + 1]
    lanes = history["lanes"]
    number = _lane_called(bitmap, node, lanes, _sizes(moments))
    byte, size = parse_size(offset, "offset"), _sizes(moments)[number]
    if byte >= size:
        raise ValueError(f"offset {offset!r} is behind the end of {bitmap!r}, which covers {size} bytes")
    granularity = lanes[number]["cell"]
    start = byte // granularity * granularity
    trace = _Trace(lanes, start, min(start + granularity, size))
    for index, each in enumerate(moments):
        trace.add(index, each)
    return trace.answer(number)


def _sizes(moments: list[Json]) -> dict[int, int]:
    """The lanes that exist after the moments, but those of jobs: their sizes in bytes."""
    sizes: dict[int, int] = {}
    for moment in moments:
        for number, change in moment.get("changes", {}).items():
            if change is None:
                sizes.pop(int(number), None)
            elif "size" in change:
                sizes[int(number)] = change["size"]
    return sizes


def _lane_called(name: str, node: str | None, lanes: list[Json], sizes: dict[int, int]) -> int:
    there = [number for number in sizes if lanes[number]["kind"] == "bitmap"]
    found = [number for number in there if lanes[number]["name"] == name and _is_on(lanes[number], node)]
    if not found:
        known = [str(lanes[number]["name"]) for number in there if lanes[number]["name"] is not None]
        place = f" on {node!r}" if node is not None else ""
        raise ValueError(f"there is no bitmap {name!r}{place}{nearest(name, known)}")
    if len(found) > 1:
        nodes = ", ".join(lanes[number]["node"] for number in found)
        raise ValueError(f"several nodes have a bitmap {name!r}: say with 'node' which of {nodes}")
    return found[0]


def _is_on(lane: Json, node: str | None) -> bool:
    return node is None or node in (lane["node"], lane.get("drive"))


@dataclass(slots=True)
class _Bitmap:
    """The cells of a bitmap, or a successor, that overlap the granule: why each dirty one is dirty."""

    lane: Json
    first: int
    stop: int
    size: int
    exists: bool = False
    known: bool = True
    causes: dict[int, tuple[Cause, ...]] = field(default_factory=dict)
    former: dict[int, tuple[Cause, ...]] = field(default_factory=dict)
    cleared: Cause | None = None

    def all_causes(self) -> tuple[Cause, ...]:
        """Why any of it is dirty; if nothing is, why it was last."""
        every = [cause for causes in (self.causes or self.former).values() for cause in causes]
        return tuple(dict.fromkeys(every))

    def cells_of(self, flat: list[int]) -> set[int]:
        """The cells of runs that overlap the granule."""
        place = 0
        found: set[int] = set()
        for gap, length in zip(flat[::2], flat[1::2], strict=True):
            start = place + gap
            place = start + length
            found.update(range(max(start, self.first), min(place, self.stop)))
            if place >= self.stop:
                break
        return found


@dataclass(slots=True)
class _Backup:
    """A backup, and what it did to the granule."""

    lane: Json
    about: Json
    copied: tuple[int, int] | None = None
    aborted: bool = False
    exists: bool = True

    @property
    def outcome(self) -> str:
        error, status = self.about.get("error"), self.about.get("status", "created")
        if self.aborted and (not error or _CANCELLED.search(error)):
            return "cancelled"
        if self.aborted or error:
            return f"failed: {error or 'aborted'}"
        over = not self.exists or status in ("waiting", "pending", "concluded", "null")
        return "completed" if over else str(status)

    @property
    def failed(self) -> bool:
        return self.aborted or bool(self.about.get("error"))

    def copy(self) -> Copy:
        assert self.copied is not None
        sync, target = str(self.about.get("sync", "")), str(self.about.get("target", ""))
        return Copy(*self.copied, self.lane["name"], sync, target, self.outcome)


class _Trace:
    """Goes through the moments with all that may have changed the granule in [start, stop)."""

    def __init__(self, lanes: list[Json], start: int, stop: int) -> None:
        self._lanes = lanes
        self._start, self._stop = start, stop
        self._bitmaps = {
            number: _Bitmap(lane, start // lane["cell"], -(-stop // lane["cell"]), lane["size"])
            for number, lane in enumerate(lanes)
            if lane["kind"] in ("bitmap", "successor")
        }
        self._successors = {lanes[each]["of"]: each for each in self._bitmaps if "of" in lanes[each]}
        self._backups: list[_Backup] = []
        self._moments: list[Json] = []
        self._context = 0

    def add(self, index: int, moment: Json) -> None:
        """Go on by one moment."""
        self._moments.append(moment)
        if moment["kind"] in _CONTEXTS:
            self._context = index
        context = min(moment.get("of", self._context), index)
        changes = {int(number): change for number, change in moment.get("changes", {}).items()}
        for number, change in changes.items():
            if self._lanes[number]["kind"] == "job":
                self._change_backup(self._lanes[number], change, self._context)
        updates = [
            self._changed(number, change, changes, context, index)
            for number, change in changes.items()
            if number in self._bitmaps
        ]
        for bitmap, causes, cleared in updates:
            bitmap.former |= {cell: why for cell, why in bitmap.causes.items() if cell not in causes}
            bitmap.causes = causes
            bitmap.cleared = cleared

    # -- jobs

    def _change_backup(self, lane: Json, change: Json | None, context: int) -> None:
        if lane.get("type") != "backup":
            return
        backup = next((each for each in reversed(self._backups) if each.lane is lane and each.exists), None)
        if change is None:
            if backup is not None:
                backup.exists = False
            return
        if backup is None:
            backup = _Backup(lane, {})
            self._backups.append(backup)
        backup.about |= {name: value for name, value in change.items() if name != "copied"}
        backup.aborted |= change.get("status") == "aborting"
        if _overlaps(change.get("copied", []), self._start, self._stop):
            backup.copied = context, self._moments[context]["at"]

    # -- bitmaps

    def _changed(
        self, number: int, change: Json | None, changes: dict[int, Json | None], context: int, index: int
    ) -> tuple[_Bitmap, dict[int, tuple[Cause, ...]], Cause | None]:
        """What a bitmap is after a change: why its cells are dirty, and what cleared it last."""
        bitmap = self._bitmaps[number]
        born, bitmap.exists = not bitmap.exists, change is not None
        if change is None:
            return bitmap, {}, None
        if born:
            bitmap.known, bitmap.former = True, {}
        added, removed = bitmap.cells_of(change.get("+", [])), bitmap.cells_of(change.get("-", []))
        causes = {} if born else {cell: why for cell, why in bitmap.causes.items() if cell not in removed}
        cleared = self._cause(context, "command") if born or removed - added else bitmap.cleared
        causes |= {cell: (self._reason(bitmap, cell, context, born=born),) for cell in added}
        bitmap.size = change.get("size", bitmap.size)
        if "heat" in change:
            causes = self._blurred(bitmap, change, causes, context)
        elif added | removed:
            bitmap.known = True
        successor = self._bitmaps.get(self._successors.get(number, -1))
        if successor is not None and successor.exists and changes.get(self._successors[number], change) is None:
            causes, cleared = self._handed_over(number, successor, set(causes), cleared, index)
        return bitmap, causes, cleared

    def _blurred(
        self, bitmap: _Bitmap, change: Json, causes: dict[int, tuple[Cause, ...]], context: int
    ) -> dict[int, tuple[Cause, ...]]:
        """What is known of the cells if only the number of dirty ones in each part is."""
        cells = -(-bitmap.size // bitmap.lane["cell"])
        found = {}
        bitmap.known = True
        for cell in range(bitmap.first, bitmap.stop):
            part = ((cell + 1) * PARTS - 1) // cells
            size = (part + 1) * cells // PARTS - part * cells // PARTS
            dirty = change["heat"][part] if part < len(change["heat"]) else 0
            bitmap.known &= dirty in (0, size)
            if dirty:
                found[cell] = causes.get(cell, bitmap.causes.get(cell, (self._cause(context, "unknown"),)))
        return found

    def _handed_over(
        self, number: int, successor: _Bitmap, dirty: set[int], cleared: Cause | None, index: int
    ) -> tuple[dict[int, tuple[Cause, ...]], Cause | None]:
        """The end of the job that held a bitmap, whose successor goes."""
        before = self._bitmaps[number].causes
        job = next((each for each in reversed(self._backups) if each.about.get("bitmap") == number), None)
        name = f"backup {job.lane['name']}" if job is not None else "the job that held the bitmap"
        failed = job.failed if job is not None else bool(before.keys() & dirty)
        mode = job.about.get("mode") if job is not None else None
        keeps = mode == "never" or (failed and mode != "always")
        outcome = job.outcome if job is not None else "is over"
        end = self._cause(index, "backup", f"{name} {outcome}")
        why_kept = "with bitmap-mode=never it takes nothing" if mode == "never" else "its bits stay"
        text = f"{end.text}: {why_kept if keeps else 'not copied'}"
        causes = {}
        for cell in dirty:
            recorded = successor.causes.get(cell, ())
            kept = (Cause(end.moment, end.at, "backup", text, before.get(cell, ())),)
            causes[cell] = (*(kept if (keeps and cell in before) or not recorded else ()), *recorded)
        took = before.keys() - (dirty if keeps else set())
        return causes, end if took and not failed else cleared

    def _reason(self, bitmap: _Bitmap, cell: int, context: int, *, born: bool) -> Cause:
        """Why a cell has become dirty."""
        moment = self._moments[context]
        kind = {"write": "write", "nbd": "write", "step": "job", "request": "command"}.get(moment["kind"], "look")
        if kind == "command":
            sources = tuple(self._merged(bitmap, moment))
            if sources:
                return self._cause(context, "merge", sources=sources)
        if born and kind != "write":
            return self._cause(context, "loaded", f"it was dirty when it appeared: {moment['text']}")
        return self._cause(context, kind, sources=bitmap.former.get(cell, ()) if kind == "look" else ())

    def _merged(self, target: _Bitmap, request: Json) -> Iterator[Cause]:
        """Why the sources of a merge into this bitmap were dirty."""
        data = request.get("data")
        if not isinstance(data, dict):
            return
        for name, given in actions_of(data.get("execute", data.get("exec-oob")), data.get("arguments", {})):
            if name != "block-dirty-bitmap-merge" or given.get("target") != target.lane["name"]:
                continue
            for source in self._sources(given, target):
                if source is not target and source.exists and source.causes:
                    yield from source.all_causes()

    def _sources(self, given: Json, target: _Bitmap) -> Iterable[_Bitmap]:
        named = given.get("bitmaps", given.get("src_name"))
        for each in named if isinstance(named, list) else []:
            name, node = (each.get("name"), each.get("node")) if isinstance(each, dict) else (each, given.get("node"))
            called = [bitmap for bitmap in self._bitmaps.values() if bitmap.lane["name"] == name]
            yield from [bitmap for bitmap in called if node in (bitmap.lane["node"], bitmap.lane["drive"])] or [
                bitmap for bitmap in called if bitmap.lane["node"] == target.lane["node"]
            ]

    def _cause(self, index: int, kind: str, text: str | None = None, sources: tuple[Cause, ...] = ()) -> Cause:
        moment = self._moments[index]
        return Cause(index, moment["at"], kind, moment["text"] if text is None else text, sources)

    # -- the end

    def answer(self, number: int) -> Why:
        """What is known of a bitmap now."""
        bitmap = self._bitmaps[number]
        successor = self._bitmaps.get(self._successors.get(number, -1))
        copies = [each.copy() for each in self._backups if each.copied and _is_of(each, bitmap.lane)]
        copies.sort(key=lambda copy: copy.moment)
        completed = next((copy for copy in reversed(copies) if copy.outcome == "completed"), None)
        return Why(
            bitmap=bitmap.lane["name"],
            node=bitmap.lane["node"],
            drive=bitmap.lane["drive"],
            offset=self._start,
            length=self._stop - self._start,
            dirty=bool(bitmap.causes) if bitmap.known else None,
            causes=bitmap.all_causes(),
            successor=successor.all_causes() if successor is not None and successor.causes else (),
            cleared=bitmap.cleared,
            copied=completed,
            unfinished=copies[-1] if copies and copies[-1] is not completed else None,
        )


def _overlaps(flat: list[int], start: int, stop: int) -> bool:
    place = 0
    for gap, length in zip(flat[::2], flat[1::2], strict=True):
        place += gap + length
        if place > start:
            return place - length < stop
    return False


def _is_of(backup: _Backup, lane: Json) -> bool:
    """Whether a backup is of the disk that a bitmap is on."""
    drive = backup.lane.get("drive")
    return backup.about.get("node") == lane["node"] or (drive is not None and drive == lane.get("drive"))
