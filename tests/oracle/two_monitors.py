"""A player whose machine has a second monitor with a client of its own."""

from __future__ import annotations

import json
from typing import Any

from dangers import FilesSeen, device_node, has_data, range_begin, range_end

from qbitsim.block.chain import chain, status_above
from qbitsim.block.node import Node
from qbitsim.drivers.qcow2 import Qcow2Node
from qbitsim.history.normal import normal
from qbitsim.jobs.mirror import MirrorJob
from qbitsim.machine.machine import Machine
from qbitsim.profiles import Profile
from qbitsim.qmp.session import Session
from qbitsim.scenario.messages import without_time
from qbitsim.scenario.player import Player

Step = dict[str, Any]


class TwoMonitors(Player):
    """Plays the steps of scenarios, and ``{"second": {...}}``: a message of the client of the second monitor.

    :ivar second_records: what that client saw since its first question.
    :ivar files: what became of files.
    """

    def __init__(self, release: str | Profile) -> None:
        super().__init__(release)
        self.second_records: list[Step] = []
        self.files = FilesSeen()
        self._second: Session | None = None

    def play(self, steps: list[Step]) -> list[Step]:
        """Play all steps and return the records of the first client."""
        for step in steps:
            self.files.zeroed_in_place.update(self._zeroed_in_place(step))
            if "second" in step:
                self._ask_second(step["second"])
            else:
                super().play([step])
            self._read_second()
            self._note_files()
            if "-z" in str(step.get("io")):
                self.files.zeroed.update(self._mirrored_files())
            if "read" in str(step.get("io")):
                self.files.zeroed.update(self._read_files(step["io"][0]))
            if "settle" in step:
                self.second_records.append({"type": "settled"})
        return self.records

    def _work(self) -> None:
        """Turn by turn, to see what is on the way at once."""
        self._note_files()
        while self._machine().step():
            self._note_files()
        super()._work()

    def _note_files(self) -> None:
        if self.machine is None:
            return
        for node in self.machine.graph.nodes.values():
            if isinstance(node, Qcow2Node) and node.image.layout.active.packed:
                self.files.compressed.add(node.filename)
        for job in self.machine.jobs.jobs:
            if isinstance(job, MirrorJob) and not job.target.node.skip_filters().supports_backing:
                self.files.mirrored.add(job.target.node.filename)
            placed = _placed(job, self.machine) if isinstance(job, MirrorJob) else []
            if len(placed) > 1:
                ends = {each for offset, length in placed for each in (offset, offset + length)}
                self.files.scattered.setdefault(job.target.node.skip_filters().filename, set()).update(ends)

    def _read_files(self, device: str) -> list[str]:
        """The plain files in which a mirror may have zeroed something that is read now, which hides it as a hole."""
        node = device_node(device, self.machine) if self.machine is not None else None
        return [layer.filename for layer in chain(node) if layer.filename in self.files.mirrored]

    def _zeroed_in_place(self, step: Step) -> list[str]:
        """The plain files in which a guest zeroes data whose room they keep.

        To ext4 those are holes if the data had been written to the disk, and none if they were in its cache.
        """
        command = str(step["io"][1]) if "io" in step else ""
        if self.machine is None or not command.startswith("write") or "-z" not in command:
            return []
        node, end = device_node(step["io"][0], self.machine), range_end(step)
        gives_up = "-u" in command and node is not None and (node.unmap or self.machine.profile.drives_unmap_zeroes)
        if node is None or end is None or gives_up:
            return []
        if not has_data(node, range_begin(step), min(end, node.length)):
            return []
        return [layer.filename for layer in chain(node) if not layer.supports_backing]

    def _mirrored_files(self) -> list[str]:
        """The plain files to which mirrors copy writes at once."""
        jobs = self.machine.jobs.jobs if self.machine is not None else []
        targets = [job.target.node for job in jobs if isinstance(job, MirrorJob) and job.copy_mode == "write-blocking"]
        return [target.filename for target in targets if not target.skip_filters().supports_backing]

    def _ask_second(self, message: Step) -> None:
        machine = self._machine()
        if self._second is None:
            self._second = Session(machine, name="second")
            self._second.connect()
            self._second.feed(b'{"execute": "qmp_capabilities"}\n')
        self._note_second(self._second.feed(json.dumps(message).encode() + b"\n"))
        self._work()

    def _read_second(self) -> None:
        if self.machine is None:
            self._second = None
        if self._second is not None:
            self._note_second(self._second.pump())

    def _note_second(self, data: bytes) -> None:
        for line in data.splitlines():
            message = json.loads(line)
            if "event" in message:
                self.second_records.append(normal({"type": "event", **without_time(message)}))
            else:
                self.second_records.append(normal({"step": 0, "type": "reply", "reply": message}))


def _placed(job: MirrorJob, machine: Machine) -> list[tuple[int, int]]:
    """What a mirror has on the way that needs a place in the target, as (offset, length)."""
    begin = f"{job.id}: copy "
    labels = [task.label.removeprefix(begin) for task in machine.scheduler.ready() if task.label.startswith(begin)]
    pieces = [(int(offset), int(length)) for offset, length in (label.split("+") for label in labels)]
    target = job.target.node.skip_filters()
    if not isinstance(target, Qcow2Node):
        return []
    return [piece for piece in pieces if _has_data(job.source, piece[0]) and not target.status(piece[0], 1).data]


def _has_data(source: Node, offset: int) -> bool:
    try:
        return status_above(source, None, offset, 1).data
    except OSError:
        return True  # what cannot be told is copied
