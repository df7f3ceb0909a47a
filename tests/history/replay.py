"""A naive replay of a history: sets of cells, one moment after the other."""

from __future__ import annotations

from typing import Any

from qbitsim.history.runs import decode
from qbitsim.machine.state import bitmap_state

Json = dict[str, Any]


class Replay:
    """The lanes of a history as they are after some moment; lanes may be added meanwhile."""

    def __init__(self, lanes: list[Json]) -> None:
        self.lanes = lanes
        self.states: dict[int, Json] = {}

    def apply(self, moment: Json) -> None:
        for number, change in moment.get("changes", {}).items():
            lane = int(number)
            assert 0 <= lane < len(self.lanes)
            if change is None:
                del self.states[lane]
                continue
            state = self.states.setdefault(lane, {"cells": set()} if self.lanes[lane]["kind"] != "job" else {})
            for start, stop in decode(change.get("-", ())):
                assert set(range(start, stop)) <= state["cells"], "only what is dirty becomes clean"
                state["cells"] -= set(range(start, stop))
            for start, stop in decode(change.get("+", ())):
                assert not set(range(start, stop)) & state["cells"], "only what is clean becomes dirty"
                state["cells"] |= set(range(start, stop))
            state.update({name: value for name, value in change.items() if name not in "+-"})
            if "count" in change:
                assert state["count"] == len(state["cells"])

    def shown(self) -> Json:
        """What is there, by names."""
        shown = {}
        for number, state in self.states.items():
            lane = self.lanes[number]
            if lane["kind"] == "job":
                key = ("job", lane["name"])
                shown[key] = (state["status"], state["done"], state["total"], state["error"])
            elif lane["kind"] != "disk" and not lane.get("internal"):
                shown[lane["kind"], lane["node"], lane["name"]] = (frozenset(state["cells"]), tuple(state["flags"]))
        return shown


def truth(machine: Any) -> Json:
    """The same of a machine, which may be in the middle of a command."""
    found = {}
    for name, node in machine.graph.nodes.items():
        for bitmap in map(bitmap_state, node.bitmaps):
            if bitmap["name"] is not None:
                found["bitmap", name, bitmap["name"]] = _bitmap(bitmap)
                if bitmap["successor"] is not None:
                    found["successor", name, bitmap["name"]] = _bitmap(bitmap["successor"])
    for job in machine.jobs.jobs:
        found["job", job.id] = (str(job.status), job.progress.current, job.progress.total, job.error)
    return found


def _bitmap(bitmap: Json) -> tuple[frozenset[int], tuple[str, ...]]:
    cell = bitmap["granularity"]
    ranges = [range(offset // cell, -(-(offset + length) // cell)) for offset, length in bitmap["dirty"]]
    order = ("busy", "disabled", "persistent", "readonly", "inconsistent")
    flags = [flag for flag in bitmap["flags"] if flag != "disabled" or not _records(bitmap)]
    return frozenset().union(*ranges), tuple(flag for flag in order if flag in flags)


def _records(bitmap: Json) -> bool:
    """Whether a successor records in its stead."""
    return bitmap["successor"] is not None and "disabled" not in bitmap["successor"]["flags"]
