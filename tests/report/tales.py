"""Histories for tests of the page: told by hand, drawn at random, and a naive replay of them with sets of cells."""

from __future__ import annotations

from random import Random
from typing import Any

Json = dict[str, Any]

CELL = 65536


class Tale:
    """A history that is told moment by moment."""

    def __init__(self, title: str = "a tale", **header: Any) -> None:
        self.lanes: list[Json] = []
        self.moments: list[Json] = []
        self.header = {
            "kind": "qbitsim-history", "format": 1, "title": title, "profile": "10.0", "epoch": 0, "notes": [],
            "bits": True,
        } | header  # fmt: skip

    def disk(self, name: str, cells: int) -> int:
        return self._lane(kind="disk", name=name, node=f"{name}-node", size=cells * CELL, cell=CELL)

    def bitmap(self, name: str | None, drive: str, cells: int, **more: Any) -> int:
        place = {"node": f"{drive}-node", "drive": drive, "size": cells * CELL, "cell": CELL}
        return self._lane(kind="bitmap", name=name, **place, **more)

    def successor(self, of: int) -> int:
        return self._lane(**{**self.lanes[of], "kind": "successor", "of": of})

    def job(self, name: str) -> int:
        return self._lane(kind="job", name=name, type="backup")

    def _lane(self, **lane: Any) -> int:
        self.lanes.append(lane)
        return len(self.lanes) - 1

    def tell(self, kind: str, text: str, changes: dict[int, Any] | None = None, *, at: int = 0, **more: Any) -> int:
        """Add a moment and return its number."""
        told = {"changes": {str(lane): change for lane, change in changes.items()}} if changes else {}
        self.moments.append({"at": at, "kind": kind, "text": text, **told, **more})
        return len(self.moments) - 1

    def event(self, name: str, changes: dict[int, Any] | None = None, *, at: int = 0, **data: Any) -> int:
        return self.tell("event", name, changes, at=at, data={"event": name, "data": data})

    def done(self) -> Json:
        return {**self.header, "lanes": self.lanes, "moments": self.moments}


def runs_of(cells: set[int]) -> list[int]:
    """Cells as gap, length, gap, length, ..."""
    runs: list[int] = []
    end = 0
    for cell in sorted(cells):
        if runs and cell == end:
            runs[-1] += 1
        else:
            runs += [cell - end, 1]
        end = cell + 1
    return runs


def cells_of(runs: list[int]) -> set[int]:
    """The cells of runs."""
    cells: set[int] = set()
    place = 0
    for gap, length in zip(runs[::2], runs[1::2], strict=True):
        cells.update(range(place + gap, place + gap + length))
        place += gap + length
    return cells


def pieces(cells: set[int]) -> list[int]:
    """Cells as start, length, start, length, ..., as the page tells them."""
    flat: list[int] = []
    place = 0
    runs = runs_of(cells)
    for gap, length in zip(runs[::2], runs[1::2], strict=True):
        flat += [place + gap, length]
        place += gap + length
    return flat


def replay(history: Json) -> list[list[Json | None]]:
    """The state of each lane after each moment, by playing one change after the other."""
    states: list[Json | None] = [None] * len(history["lanes"])
    told = []
    for moment in history["moments"]:
        for number, change in moment.get("changes", {}).items():
            lane = int(number)
            states[lane] = None if change is None else _changed(states[lane], change, history["lanes"][lane])
        told.append([_told(state) for state in states])
    return told


def _changed(state: Json | None, change: Json, lane: Json) -> Json:
    if lane["kind"] == "job":
        return {**(state or {"status": "created", "done": 0, "total": 0, "error": None}), **change}
    state = state or {"cells": set(), "heat": None, "count": 0, "flags": [], "size": lane["size"]}
    cells = state["cells"]
    if "heat" in change:
        return {**state, **change, "cells": set()}
    if state["heat"] is None:
        cells = (cells - cells_of(change.get("-", []))) | cells_of(change.get("+", []))
    kept = {name: change[name] for name in ("count", "flags", "size") if name in change}
    return {**state, **kept, "cells": cells}


def _told(state: Json | None) -> Json | None:
    if state is None or "status" in state:
        return state
    exact = state["heat"] is None
    told = {name: state[name] for name in ("count", "flags", "size", "heat")}
    return {**told, "runs": pieces(state["cells"]) if exact else None}


def random_history(seed: int, *, cells: int, moments: int = 120) -> Json:
    """Bitmaps that appear, change, freeze, turn to sums, are resized, go and come again, and a job."""
    random = Random(seed)
    tale = Tale(f"random {seed}")
    tale.disk("drive0", cells)
    lanes = [tale.bitmap(f"b{i}", "drive0", cells) for i in range(2)]
    lanes.append(tale.successor(lanes[0]))
    job = tale.job("job0")
    live: dict[int, set[int] | None] = {}
    for number in range(moments):
        changes: dict[int, Any] = {0: {"flags": [], "count": 0}} if number == 0 else {}
        for lane in random.sample(lanes, random.randint(0, len(lanes))):
            changes[lane] = _random_change(random, live, lane, cells)
        if random.random() < 0.3:
            changes[job] = random.choice(
                [{"status": "running", "done": number, "total": moments}, {"done": number}, None]
            )
        if changes.get(job, 0) is None and not any(str(job) in each.get("changes", {}) for each in tale.moments):
            del changes[job]
        tale.tell("step", f"step {number}", changes, at=number * random.randint(0, 5))
    return tale.done()


def _random_change(random: Random, live: dict[int, set[int] | None], lane: int, cells: int) -> Json | None:
    dice = random.random()
    if lane in live and dice < 0.05:
        del live[lane]
        return None
    if dice < 0.08:
        live[lane] = None
        heat = [random.randint(0, 3) for _ in range(8)]
        return {"heat": heat, "count": sum(heat)}
    dirty = live.setdefault(lane, set())
    more = {"flags": random.choice([[], ["busy"], ["disabled", "persistent"]])} if dice > 0.8 else {}
    if dirty is None:
        return {"count": random.randint(0, cells), **more}
    start = random.randrange(cells)
    reach = set(range(start, min(cells, start + random.choice([1, 2, 40]))))
    plus = {cell for cell in reach if random.random() < 0.7} - dirty
    minus = set(random.sample(sorted(dirty), len(dirty) // random.choice([2, 7, 50])))
    live[lane] = (dirty - minus) | plus
    size = {"size": cells * CELL - random.randint(0, CELL - 1)} if dice > 0.95 else {}
    return {"+": runs_of(plus), "-": runs_of(minus), "count": len(live[lane] or ()), **more, **size}
