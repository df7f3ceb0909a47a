"""What is known of a machine that nobody watched: the events in its log, and what it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.history.lanes import Lanes
from qbitsim.history.told import Told

if TYPE_CHECKING:
    from qbitsim.commands.parts import MachineLike

_NOTE = "The machine was not watched: only its events and its last state are known. Call watch() first to see more."


def history_of_events(machine: MachineLike) -> Told:
    """The history of the events that are still in the log, with the disks and the bitmaps at the end."""
    told = Told("", machine.profile.name)
    told.bits = True
    told.notes.append(_NOTE)
    for event in machine.events.read(machine.events.start):
        told.event(event)
    told.move_clock(machine.clock.time_of_day())
    seen = Lanes()
    changes = {}
    for number, change in seen.look(machine).items():
        lane = seen.lanes[int(number)]
        if lane["kind"] == "job":
            continue
        if "of" in lane:
            lane["of"] += len(told.lanes)
        changes[str(int(number) + len(told.lanes))] = change
    told.lanes += seen.lanes
    told.remark("end", "this is what the machine is now", changes=changes)
    return told
