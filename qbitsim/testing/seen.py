"""What a campaign has seen: which states, verbs, faults and moves came up, and what never did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qbitsim.jobs.states import JobVerb
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from qbitsim.testing.surroundings import Surroundings

MOVE, COMMAND, REFUSED = "moves", "commands", "refused"
JOB, BITMAP, FAULT = "job states", "bitmap states", "errors of I/O"
"""The subjects."""

_SUBJECTS = (MOVE, COMMAND, REFUSED, JOB, BITMAP, FAULT)
_FLAGS = ("recording", "busy", "persistent", "inconsistent")
_ALWAYS = {
    JOB: [each.value for each in JobStatus if each not in (JobStatus.UNDEFINED, JobStatus.READY, JobStatus.STANDBY)],
    BITMAP: ["recording", "recording busy", "recording persistent", "disabled", "persistent inconsistent"],
    COMMAND: [f"job-{each.value}" for each in JobVerb if each not in (JobVerb.SET_SPEED, JobVerb.CHANGE)],
}
"""What there is to be seen of backups, where that is known."""

_VERBS = {"block-job-": "job-"}
"""The older names of verbs count as the newer ones."""

Counts = Counter[tuple[str, str]]
"""(subject, what) -> how often."""


class Seen:
    """Counts what happens to state machines.

    :param counts: where to.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._events = 0

    def began(self) -> None:
        """A new run."""
        self._events = 0

    def look(self, state: Surroundings) -> None:
        """Something has happened."""
        machine, counts = state.machine, self.counts
        for event in machine.events.read(self._events):
            name, data = event["event"], event.get("data", {})
            if name == "JOB_STATUS_CHANGE":
                counts[JOB, data["status"]] += 1
            elif name == "BLOCK_JOB_ERROR":
                counts[FAULT, f"{data['operation']} error: {data['action']}"] += 1
        self._events = machine.events.end
        for node in machine.graph.nodes.values():
            for bitmap in node.bitmaps:
                if bitmap.name is not None:
                    flags = [flag for flag in _FLAGS if getattr(bitmap, flag)]
                    counts[BITMAP, " ".join(flags) or "disabled"] += 1

    def executed(self, name: str, *, refused: bool) -> None:
        """A command was run."""
        for old, new in _VERBS.items():
            name = name.replace(old, new) if name.startswith(old) else name
        self.counts[REFUSED if refused else COMMAND, name] += 1

    def moved(self, moves: Iterable[str]) -> None:
        """Moves were made."""
        for name in moves:
            self.counts[MOVE, name] += 1


def summary(counts: Counts, moves: Iterable[str] = ()) -> Iterator[str]:
    """What was seen and what was not, a line for each subject.

    :param moves: those that might have been made.
    """
    always = {**_ALWAYS, MOVE: list(moves)}
    for subject in _SUBJECTS:
        found = {what: count for (about, what), count in counts.most_common() if about == subject}
        if found:
            yield f"{subject}: {', '.join(f'{what} {count}' for what, count in found.items())}"
        never = [each for each in always.get(subject, ()) if each not in found]
        if never:
            yield f"{subject} never seen: {', '.join(never)}"
