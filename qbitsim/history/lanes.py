"""The lanes of a history: each disk, each bitmap, each successor and each job that a machine has, or had.

:meth:`Lanes.look` compares the machine with what it was at the last look. Bits are compared chunk by chunk, and what
two copies share is not looked at, so that a look costs what has changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from qbitsim.bits.bits import Bits
from qbitsim.history.runs import PARTS, encode, heat
from qbitsim.jobs.backup import BackupJob
from qbitsim.jsontypes import Json

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node
    from qbitsim.commands.parts import MachineLike
    from qbitsim.copying.block_copy import BlockCopyState
    from qbitsim.jobs.job import Job

_T = TypeVar("_T")
Key = tuple[object, ...]

CELL = 65536
"""Bytes of a cell of a disk's lane."""
MOST_RUNS = 20_000
"""A change of more runs becomes heat."""
_FINE = 512
"""The progress of a job counts in so many parts where small progress does not count."""
_FLAGS = ("busy", "disabled", "persistent", "readonly", "inconsistent")


class Lanes:
    """The lanes, and what they were at the last look.

    :ivar lanes: in the order in which they appeared; see :mod:`qbitsim.history.file` for their members.
    """

    def __init__(self) -> None:
        self.lanes: list[Json] = []
        self._numbers: dict[Key, int] = {}
        self._states: dict[int, Json] = {}  # by number, of the lanes that exist now
        self._bits: dict[int, Bits] = {}
        self._disks: dict[str, Bits] = {}
        self._copied: dict[int, list[tuple[int, int]]] = {}  # by the id of what copies, since the last look

    def forget(self) -> None:
        """What was seen of the machine is no longer true: another one takes its place, on the same files."""
        self._disks.clear()

    def look(self, machine: MachineLike, *, fine: bool = True) -> dict[str, Json | None]:
        """What is different from the last look, by the lane's number.

        :param fine: otherwise small progress of jobs does not count.
        """
        changes: dict[str, Json | None] = {}
        seen, left_out = set(), False
        for number, state, bits in self._found(machine):
            seen.add(number)
            if not fine and bits is None and _is_near(state, self._states.get(number)):
                left_out = True
                continue
            change = self._change(number, state, bits)
            if change:
                changes[str(number)] = change
        for number in [each for each in self._states if each not in seen]:
            del self._states[number]
            self._bits.pop(number, None)
            changes[str(number)] = None
        if not left_out:
            self._copied.clear()
        return changes

    def touched(self, machine: MachineLike, drive: Drive, operation: str, offset: int, length: int) -> str | None:
        """Keep in mind that the guest has written to a disk, and return its name.

        :param drive: one without a name stands for the drive that shows the same node.
        """
        named = drive.id or _id_of(machine, drive)
        bits = self._disks.get(named)
        if bits is None or length < 1:
            return named or None
        first, last = offset // CELL, -(-(offset + length) // CELL)
        if operation != "discard":
            bits.set(first, min(last, bits.length))
        elif -(-offset // CELL) < (offset + length) // CELL:
            bits.clear(-(-offset // CELL), (offset + length) // CELL)
        return named

    def copied(self, copy: BlockCopyState, offset: int, length: int) -> None:
        """Keep in mind that a job has copied so many bytes to its target."""
        self._copied.setdefault(id(copy), []).append((offset, offset + length))

    # -- what there is

    def _found(self, machine: MachineLike) -> Iterator[tuple[int, Json, Bits | None]]:
        """Everything that has a lane: its number, its state, its bits."""
        drives = {id(node): name for name, drive in machine.graph.drives.items() for node in drive.levels()}
        for name, drive in machine.graph.drives.items():
            if drive.root is not None:
                yield self._disk(name, drive)
        for node in machine.graph.nodes.values():
            yield from self._bitmaps(node, drives.get(id(node)))
        for number, job in _numbered(reversed(machine.jobs.jobs), lambda job: job.id):
            of = next((drives[id(edge.node)] for edge in job.edges if id(edge.node) in drives), None)
            lane = {"kind": "job", "name": job.id or job.kind, "type": job.kind, "drive": of}
            lane_number = self._number(("job", job.id, job.kind, number), lane)
            yield lane_number, {**_job(job), **self._backup(job, self._states.get(lane_number))}, None

    def _backup(self, job: Job, before: Json | None) -> Json:
        """What a backup is of, as it was when it began; and what it has copied since the last look."""
        if not isinstance(job, BackupJob):
            return {}
        options, bitmap = job.options, job.options.bitmap
        about = {name: before[name] for name in ("sync", "mode", "bitmap", "node", "target")} if before else None
        if about is None:
            target = job.state.target
            incremental = (options.sync, options.bitmap_mode) == ("bitmap", "on-success")  # two words for one thing
            about = {
                "sync": "incremental" if incremental else options.sync,
                "mode": options.bitmap_mode,
                "bitmap": None,
            }
            about |= {"node": job.state.source.name, "target": target.filename or target.name}
            if bitmap is not None:
                key = ("bitmap", bitmap.node.name, bitmap.name, 0, bitmap.granularity)
                about["bitmap"] = self._numbers.get(key)
        copied = self._copied.get(id(job.state))
        return {**about, "copied": encode(_joined(copied))} if copied else about

    def _disk(self, name: str, drive: Drive) -> tuple[int, Json, Bits]:
        size = drive.size
        lane = {"kind": "disk", "name": name, "node": drive.node.name, "size": size, "cell": CELL}
        bits = self._disks.get(name)
        if bits is None:
            bits = self._disks[name] = _stored(drive)
        elif bits.length != -(-size // CELL):
            bits.resize(-(-size // CELL))
        return self._number(("disk", name), lane), {"size": size}, bits

    def _bitmaps(self, node: Node, drive: str | None) -> Iterator[tuple[int, Json, Bits]]:
        if not node.bitmaps:
            return
        successors = {id(bitmap.successor) for bitmap in node.bitmaps if bitmap.successor is not None}
        own = [bitmap for bitmap in reversed(node.bitmaps) if id(bitmap) not in successors]
        for count, bitmap in _numbered(own, lambda bitmap: bitmap.name):
            key = (node.name, bitmap.name, count, bitmap.granularity)
            number = self._numbers.get(("bitmap", *key))
            if number is None:
                internal = {} if bitmap.name is not None else {"internal": True}
                lane = {"kind": "bitmap", "name": bitmap.name, **internal, **_place(bitmap, drive)}
                number = self._number(("bitmap", *key), lane)
            yield number, _bitmap(bitmap), bitmap.bits
            if bitmap.successor is not None:
                lane = {"kind": "successor", "of": number, "name": bitmap.name, **_place(bitmap, drive)}
                yield self._number(("successor", *key), lane), _bitmap(bitmap.successor), bitmap.successor.bits

    def _number(self, key: Key, lane: Json) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.lanes)
            self.lanes.append(lane)
        return number

    # -- what has changed

    def _change(self, number: int, state: Json, bits: Bits | None) -> Json:
        before = self._states.get(number)
        changed_bits = {} if bits is None else self._change_of_bits(number, bits)
        if state == before:
            return changed_bits
        change = state if before is None else {name: state[name] for name in state if state[name] != before.get(name)}
        self._states[number] = {name: value for name, value in state.items() if name != "copied"}
        return {**change, **changed_bits}

    def _change_of_bits(self, number: int, bits: Bits) -> Json:
        before = self._bits.get(number)
        if before is not None and bits == before:
            return {}
        known = before.copy() if before is not None else Bits(bits.length)
        self._bits[number] = bits.copy()
        change: Json = {"count": bits.count}
        known, lost = _fitted(known, bits.length)
        added, removed = bits.copy(), known
        added.subtract(known)
        removed.subtract(bits)
        runs = {"+": encode(added.ranges()), "-": encode([*removed.ranges(), *lost])}
        if sum(map(len, runs.values())) > 2 * MOST_RUNS and bits.length > PARTS:
            return {**change, "heat": heat(bits)}
        return {**change, **{sign: flat for sign, flat in runs.items() if flat}}


def _fitted(bits: Bits, length: int) -> tuple[Bits, list[tuple[int, int]]]:
    """``bits`` with that length, and the ranges that it has lost."""
    if bits.length == length:
        return bits, []
    lost = list(bits.ranges(length)) if length < bits.length else []
    bits.resize(length)
    return bits, lost


def _place(bitmap: DirtyBitmap, drive: str | None) -> Json:
    return {"node": bitmap.node.name, "drive": drive, "size": bitmap.size, "cell": bitmap.granularity}


def _bitmap(bitmap: DirtyBitmap) -> Json:
    flags = [flag for flag in _FLAGS if getattr(bitmap, flag) and (flag != "disabled" or not bitmap.recording)]
    return {"flags": flags, "size": bitmap.size}


def _is_near(state: Json, before: Json | None) -> bool:
    """Whether a job has come little further, and that is all."""
    if before is None or any(before[name] != state[name] for name in before if name != "done"):
        return False
    done: int = state["done"] - before["done"]
    total: int = state["total"]
    return 0 <= done * _FINE < total


def _job(job: Job) -> Json:
    progress = job.progress
    return {"status": str(job.status), "done": progress.current, "total": progress.total, "error": job.error}


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch or overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def _numbered(things: Iterable[_T], name: Callable[[_T], str | None]) -> Iterator[tuple[int, _T]]:
    """Each thing with how many of its name came before it."""
    counts: Counter[str | None] = Counter()
    for thing in things:
        called = name(thing)
        yield counts[called], thing
        counts[called] += 1


def _id_of(machine: MachineLike, drive: Drive) -> str:
    """The id of a drive that shows the same node as this one, or an empty text."""
    shown = {id(node) for node in drive.levels()}
    for name, other in machine.graph.drives.items():
        if any(id(node) in shown for node in other.levels()):
            return name
    return ""


def _stored(drive: Drive) -> Bits:
    """The cells of a disk that hold data in the topmost image. (To ask the node for its status is I/O.)"""
    bits = Bits(-(-drive.size // CELL))
    image = drive.node.disk_image
    if image is None:
        return bits
    content = image.content
    for cluster in content.stored_clusters():
        first = cluster * content.cluster_size // CELL
        last = -(-(cluster + 1) * content.cluster_size // CELL)
        bits.set(min(first, bits.length), min(last, bits.length))
    return bits
