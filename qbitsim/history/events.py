"""What is known of a machine that nobody watched: the events in its log, and what it is now."""

from __future__ import annotations

from qbitsim.commands.parts import MachineLike
from qbitsim.history.lanes import Lanes
from qbitsim.history.messages import MessageHistory

_NOTE = "The machine was not watched: only its events and its last state are known. Call watch() first to see more."


def history_of_events(machine: MachineLike) -> MessageHistory:
    """The history of the events that are still in the log, with the disks and the bitmaps at the end."""
    history = MessageHistory("", machine.profile.name)
    history.bits = True
    history.notes.append(_NOTE)
    for event in machine.events.read(machine.events.start):
        history.event(event)
    history.move_clock(machine.clock.time_of_day())
    seen = Lanes()
    changes = {}
    for number, change in seen.look(machine).items():
        lane = seen.lanes[int(number)]
        if lane["kind"] == "job":
            continue
        if "of" in lane:
            lane["of"] += len(history.lanes)
        changes[str(int(number) + len(history.lanes))] = change
    history.lanes += seen.lanes
    history.remark("end", "this is what the machine is now", changes=changes)
    return history
