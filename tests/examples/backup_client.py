"""A small backup client, as people write them: full and incremental backups of all disks, with dirty bitmaps.

It is honest. ``planted_faults.py`` has subclasses with one mistake each, of kinds that were found in real programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qbitsim import Machine, QmpError
from qbitsim.testing.clients import NEXT_EVENT, Chain, Conversation, execute

SPEED = 1 << 20
"""Bytes per second, so that the guest has some of the disk for itself."""

ENDS = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")

PREFIX = "backup-"
"""What the names of the client's bitmaps begin with."""

Json = dict[str, Any]


class BackupError(Exception):
    """A backup failed; the chains are what they were, or those that succeeded are longer."""


@dataclass
class Disk:
    """What the client knows of one disk: its chain, oldest file first, and what records the changes since.

    Commands name the node: a bitmap that is added by the drive's id while a backup runs would go with its filter.
    """

    drive: str
    node: str
    files: list[str] = field(default_factory=list)
    bitmap: str = ""
    size: int = 0


class BackupClient:
    """Backs up disks."""

    def __init__(self, machine: Machine, drives: Iterable[str]) -> None:
        self.machine = machine
        self.disks = [Disk(drive, f"{drive}-node") for drive in drives]
        self.number = 0

    def chains(self) -> Iterator[Chain]:
        """What could be restored."""
        return (Chain(disk.drive, tuple(disk.files), disk.bitmap or None) for disk in self.disks if disk.files)

    # -- the two actions

    def full(self) -> Conversation:
        """Begin a new chain for every disk; an old one is given up when the new one is good."""
        self.number += 1
        nodes = yield from self.look()
        yield from self.remove_bitmaps(nodes)
        files = yield from self.open_targets(self.disks, nodes)
        jobs = {disk.drive: self.job(disk, files[disk.drive], sync="full") for disk in self.disks}
        good = yield from self.copy_all(jobs)
        yield from self.close_targets(files.values())
        for disk in self.disks:
            if disk.drive in good:
                disk.files, disk.bitmap = [files[disk.drive]], self.new_bitmap(disk)
                disk.size = nodes[disk.node]["image"]["virtual-size"]
        yield from self.remove_bitmaps((yield from self.look()))
        self.complain(files, good)

    def incremental(self) -> Conversation:
        """Add what has changed to every chain, all of them or none; where that cannot be, make a full backup."""
        nodes = yield from self.look()
        if not all(self.is_usable(disk, nodes[disk.node]) for disk in self.disks):
            yield from self.full()
            return
        self.number += 1
        files = yield from self.open_targets(self.disks, nodes)
        jobs = {
            disk.drive: self.job(disk, files[disk.drive], sync="incremental", bitmap=disk.bitmap) for disk in self.disks
        }
        try:
            good = yield from self.copy_changes(jobs)
        except ConnectionError:
            self.forget_bitmaps()
            raise
        # What is copied is no more in the bitmap, and until its file is closed it may be lost with QEMU.
        chains = {disk.drive: [*disk.files, files[disk.drive]] for disk in self.disks if disk.drive in good}
        for disk in self.disks:
            disk.files = [] if disk.drive in chains else disk.files
        yield from self.close_targets(files.values())
        for disk in self.disks:
            disk.files = chains.get(disk.drive, disk.files)
        self.complain(files, good)

    # -- their parts

    def look(self) -> Conversation:
        """What QEMU says of each node."""
        nodes = yield execute("query-named-block-nodes", flat=True)
        return {node["node-name"]: node for node in nodes}

    def is_usable(self, disk: Disk, node: Json) -> bool:
        """Whether a chain can be made longer: its bitmap has recorded all since, and the disk is as large as it was."""
        bitmap = bitmaps_of(node).get(disk.bitmap, {"recording": False})
        same_size = node["image"]["virtual-size"] == disk.size
        return bool(disk.files) and bitmap["recording"] and not bitmap.get("inconsistent") and same_size

    def forget_bitmaps(self) -> None:
        """QEMU has ended, perhaps after a job that nobody heard of: then what it copied is in no bitmap any more."""
        for disk in self.disks:
            disk.bitmap = ""

    def new_bitmap(self, disk: Disk) -> str:
        """The name of the bitmap that a full backup begins with."""
        return f"{PREFIX}{self.number}"

    def remove_bitmaps(self, nodes: Mapping[str, Json]) -> Conversation:
        """Remove what failed backups, former chains and a QEMU that was killed have left."""
        for disk in self.disks:
            for name, bitmap in bitmaps_of(nodes[disk.node]).items():
                used = disk.files and name == disk.bitmap and not bitmap.get("inconsistent")
                if name.startswith(PREFIX) and not used and not bitmap["busy"]:
                    yield execute("block-dirty-bitmap-remove", node=disk.node, name=name)

    def open_targets(self, disks: list[Disk], nodes: Mapping[str, Json]) -> Conversation:
        """Make an image for each disk and let QEMU open it; return its name by drive."""
        files = {disk.drive: f"{disk.drive}-{self.number}" for disk in disks}
        for disk in disks:
            name = files[disk.drive]
            self.machine.images.create(name, "qcow2", nodes[disk.node]["image"]["virtual-size"])
            file = {"driver": "file", "filename": name}
            yield execute("blockdev-add", driver="qcow2", node_name=name, file=file)
        return files

    def close_targets(self, files: Iterable[str]) -> Conversation:
        """Let QEMU close them again."""
        for name in files:
            yield execute("blockdev-del", node_name=name)

    def job(self, disk: Disk, file: str, **options: str) -> Json:
        """The action that copies a disk."""
        data = {"job-id": file, "device": disk.drive, "target": file, "speed": SPEED, **options}
        return {"type": "blockdev-backup", "data": data}

    def copy_all(self, jobs: dict[str, Json]) -> Conversation:
        """Begin bitmaps and copies at one moment; return the drives that were copied."""
        bitmaps = [self.action("block-dirty-bitmap-add", disk, persistent=True) for disk in self.disks]
        return (yield from self.run([*bitmaps, *jobs.values()], jobs))

    def copy_changes(self, jobs: dict[str, Json]) -> Conversation:
        """Copy what has changed, of all disks or of none; return the drives that were copied."""
        return (yield from self.run([*jobs.values()], jobs, "grouped"))

    def action(self, name: str, disk: Disk, **more: Any) -> Json:
        """An action about the new bitmap of a disk."""
        return {"type": name, "data": {"node": disk.node, "name": self.new_bitmap(disk), **more}}

    def run(self, actions: list[Json], jobs: dict[str, Json], mode: str = "individual") -> Conversation:
        """Do a transaction and wait for its jobs; return the drives whose jobs succeeded."""
        files = {job["data"]["job-id"]: drive for drive, job in jobs.items()}
        try:
            yield execute("transaction", actions=actions, properties={"completion-mode": mode})
        except QmpError:
            yield from self.close_targets(files)
            raise
        good = yield from self.wait(list(files))
        return {drive for file, drive in files.items() if file in good}

    def wait(self, jobs: list[str]) -> Conversation:
        """Wait for the ends of jobs; return those that succeeded."""
        running, good = list(jobs), set()
        while running:
            event = yield NEXT_EVENT
            if event["event"] in ENDS and event["data"]["device"] in running:
                running.remove(event["data"]["device"])
                if self.succeeded(event):
                    good.add(event["data"]["device"])
        return good

    def succeeded(self, event: Json) -> bool:
        """Whether this is the end of a job that did what it should."""
        return event["event"] == "BLOCK_JOB_COMPLETED" and "error" not in event["data"]

    def complain(self, files: Iterable[str], good: Iterable[str]) -> None:
        """Say which disks were not copied."""
        failed = sorted(set(files) - set(good))
        if failed:
            raise BackupError(f"no backup of {', '.join(failed)}")


def bitmaps_of(node: Json) -> dict[str, Json]:
    """The bitmaps that QEMU tells of, by name."""
    return {bitmap["name"]: bitmap for bitmap in node.get("dirty-bitmaps", []) if bitmap.get("name")}
