"""Backup clients that are right in unusual ways: nobody may blame them, whatever happens to them.

``python tests/examples/honest_clients.py 200000`` makes so many moves with each of them, and says what it has seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, ClassVar

from backup_client import BackupClient, Disk, Json, bitmaps_of
from hypothesis import Phase, settings
from planted_faults import Honest, machine_of
from pull_client import PullClient

from qbitsim import Machine, QmpError
from qbitsim.testing.clients import Chain, Conversation, execute
from qbitsim.testing.counter_examples import shorten
from qbitsim.testing.hunt import ROUND, Watcher, first_failure
from qbitsim.testing.seen import Counts, summary


class ExplicitClient(BackupClient):
    """It finalizes and dismisses its jobs itself, asks how they are without waiting, and has names of its own."""

    def job(self, disk: Disk, file: str, **options: str) -> Json:
        action = super().job(disk, file, **options)
        action["data"] |= {"auto-finalize": False, "auto-dismiss": False, "filter-node-name": f"filter-{file}"}
        return action

    def wait(self, jobs: list[str]) -> Conversation:
        good = set()
        running = set(jobs)
        while running:
            found = {job["id"]: job for job in (yield execute("query-jobs"))}
            pending = [name for name in running if found[name]["status"] == "pending"]
            for name in [name for name in running if found[name]["status"] == "concluded"]:
                if "error" not in found[name]:
                    good.add(name)
                yield execute("job-dismiss", id=name)
                running.remove(name)
            if pending:
                try:
                    yield execute("job-finalize", id=pending[0])  # those of its group with it
                except QmpError:
                    continue  # somebody has cancelled it meanwhile
        return good


class MergingClient(BackupClient):
    """Each backup begins a bitmap of its own; what is copied is what those since the last good one hold together."""

    def __init__(self, machine: Machine, drives: Iterable[str]) -> None:
        super().__init__(machine, drives)
        self.since: dict[str, list[str]] = {disk.drive: [] for disk in self.disks}

    def chains(self) -> Iterator[Chain]:
        for disk in self.disks:
            if disk.files:
                yield Chain(disk.drive, tuple(disk.files), tuple(self.since[disk.drive]) or None)

    def full(self) -> Conversation:
        self.number += 1
        nodes = yield from self.look()
        files = yield from self.open_targets(self.disks, nodes)
        jobs = {disk.drive: self.job(disk, files[disk.drive], sync="full") for disk in self.disks}
        good = yield from self.copy_all(jobs)
        yield from self.close_targets(files.values())
        for disk in self.disks:
            if disk.drive in good:
                disk.files, self.since[disk.drive] = [files[disk.drive]], [self.new_bitmap(disk)]
                disk.size = nodes[disk.node]["image"]["virtual-size"]
        yield from self.remove_bitmaps((yield from self.look()))
        self.complain(files, good)

    def is_usable(self, disk: Disk, node: Json) -> bool:
        bitmaps = bitmaps_of(node)
        known = [bitmaps.get(name, {"inconsistent": True}) for name in self.since[disk.drive]]
        whole = bool(known) and not any(bitmap.get("inconsistent") for bitmap in known)
        return whole and known[-1]["recording"] and node["image"]["virtual-size"] == disk.size

    def forget_bitmaps(self) -> None:
        self.since = {disk.drive: [] for disk in self.disks}

    def remove_bitmaps(self, nodes: Mapping[str, Json]) -> Conversation:
        for disk in self.disks:
            for name, bitmap in bitmaps_of(nodes[disk.node]).items():
                if name not in self.since[disk.drive] and not bitmap["busy"]:
                    yield execute("block-dirty-bitmap-remove", node=disk.node, name=name)

    def sources(self, disk: Disk) -> list[Any]:
        """What is merged."""
        return list(self.since[disk.drive])

    def actions_before(self, disk: Disk) -> Iterator[Json]:
        """A new bitmap takes over, and a temporary one gets what the others hold."""
        new, temporary = self.new_bitmap(disk), f"temporary-{self.number}"
        for name, data in (
            ("block-dirty-bitmap-add", {"name": new, "persistent": True}),
            ("block-dirty-bitmap-disable", {"name": self.since[disk.drive][-1]}),
            ("block-dirty-bitmap-add", {"name": temporary, "disabled": True}),
            ("block-dirty-bitmap-merge", {"target": temporary, "bitmaps": self.sources(disk)}),
        ):
            yield {"type": name, "data": {"node": disk.node, **data}}

    def copy_changes(self, jobs: dict[str, Json]) -> Conversation:
        actions = [action for disk in self.disks for action in self.actions_before(disk)]
        for job in jobs.values():
            job["data"] |= {"sync": "bitmap", "bitmap": f"temporary-{self.number}", "bitmap-mode": "never"}
        good = yield from self.run([*actions, *jobs.values()], jobs)
        for disk in self.disks:
            new = self.new_bitmap(disk)
            self.since[disk.drive] = [new] if disk.drive in good else [*self.since[disk.drive], new]
        yield from self.remove_bitmaps((yield from self.look()))
        return good


class SnapshotClient(MergingClient):
    """Between two backups it puts an overlay onto each disk, so that the bitmaps of a disk lie on several nodes."""

    def __init__(self, machine: Machine, drives: Iterable[str]) -> None:
        super().__init__(machine, drives)
        self.layers = {disk.drive: [disk.node] for disk in self.disks}
        self.held: dict[str, dict[str, list[str]]] = {}  # drive: name of a bitmap: the layers that have it

    def snapshot(self) -> Conversation:
        """Put an overlay onto each disk; it gets a bitmap that goes on where the one below stops."""
        self.number += 1
        nodes = yield from self.look()
        actions: list[Json] = []
        for disk in self.disks:
            name = f"{disk.drive}-overlay-{self.number}"
            options = {"device": disk.drive, "snapshot-file": name, "snapshot-node-name": name, "format": "qcow2"}
            actions.append({"type": "blockdev-snapshot-sync", "data": options})
            if self.is_usable(disk, nodes[disk.node]):
                data = {"node": name, "name": self.since[disk.drive][-1], "persistent": True}
                actions.append({"type": "block-dirty-bitmap-add", "data": data})
        yield execute("transaction", actions=actions)
        for disk in self.disks:
            disk.node = f"{disk.drive}-overlay-{self.number}"
            self.layers[disk.drive].append(disk.node)

    def look(self) -> Conversation:
        nodes = yield from super().look()
        for drive in (yield execute("query-block")):
            disk = next(each for each in self.disks if each.drive == drive["device"])
            layers = self.layers[disk.drive]
            if drive["inserted"]["node-name"] != disk.node and disk.node not in nodes:
                disk.node = drive["inserted"]["node-name"]
            if not set(layers) <= nodes.keys():  # a QEMU that was started anew has named the layers below anew
                layers[:] = [disk.node]
                self.since[disk.drive] = []
            self.held[disk.drive] = {}
            for layer in layers:
                for name, bitmap in bitmaps_of(nodes[layer]).items():
                    if not bitmap.get("inconsistent"):
                        self.held[disk.drive].setdefault(name, []).append(layer)
        return nodes

    def is_usable(self, disk: Disk, node: Json) -> bool:
        since, held = self.since[disk.drive], self.held[disk.drive]
        known = bool(since) and all(name in held for name in since)
        recording = known and bitmaps_of(node).get(since[-1], {"recording": False})["recording"]
        return recording and node["image"]["virtual-size"] == disk.size

    def sources(self, disk: Disk) -> list[Any]:
        held = self.held[disk.drive]
        return [{"node": layer, "name": name} for name in self.since[disk.drive] for layer in held[name]]


class PullMachine(Honest):
    """A client that pulls."""

    actions = ("pull",)
    client_class: ClassVar[type[PullClient]] = PullClient

    def client(self, machine: Machine) -> Any:
        return self.client_class(machine)


HONEST: dict[str, type[Honest]] = {
    "plain": Honest,
    "explicit": machine_of(ExplicitClient),
    "merging": machine_of(MergingClient),
    "snapshots": machine_of(SnapshotClient, actions=("full", "incremental", "snapshot")),
    "pull": PullMachine,
}


def moves_without_alarm(machine: type[Honest], moves: int, runs: int = ROUND) -> Counts:
    """Make at least so many moves, so many runs from each seed; return what was seen.

    :raises LawBrokenError: an honest client is blamed.
    """
    seen: Counts = Counter()
    made = 0
    for seed in count():
        machine._hypothesis_internal_use_seed = seed  # as @seed does
        machine.observer = watcher = Watcher(machine, ())
        quiet = settings(machine.TestCase.settings, max_examples=runs, database=None, phases=[Phase.generate])
        try:
            error = first_failure(machine, settings=quiet)
        finally:
            machine.observer = None
        if error is not None:
            raise shorten(machine, error)
        made += watcher.round.moves
        seen.update(watcher.round.counts)
        if made >= moves:
            return seen
    raise AssertionError


def main(moves: int, names: Iterable[str]) -> None:
    """Play with all of them."""
    for name in names:
        counts = moves_without_alarm(HONEST[name], moves)
        lines = [f"{name}: nobody is blamed in {moves:,} moves", *summary(counts, HONEST[name].weighted.moves)]
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or HONEST)
