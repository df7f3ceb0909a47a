"""A small backup client, as people write them: full and incremental backups of all disks, with dirty bitmaps.

It can be told to make three mistakes that were found in real programs; without them it is honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qbitsim import Machine, QmpError
from qbitsim.testing.clients import NEXT_EVENT, Chain, Conversation, execute

SPEED = 1 << 20
"""Bytes per second, so that the guest has some of the disk for itself."""


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


class BackupClient:
    """Backs up disks.

    :param clears_bitmap: a new full backup clears the old chain's bitmap in the transaction that begins the copy.
    :param any_job: the end of any job counts as the end of the one that is waited for.
    :param cleans_early: after the first failure it cleans up at once, although another job still runs.
    """

    def __init__(
        self,
        machine: Machine,
        drives: Iterable[str],
        *,
        clears_bitmap: bool = False,
        any_job: bool = False,
        cleans_early: bool = False,
    ) -> None:
        self.machine = machine
        self.disks = [Disk(drive, f"{drive}-node") for drive in drives]
        self.clears_bitmap = clears_bitmap
        self.any_job = any_job
        self.cleans_early = cleans_early
        self.number = 0

    def chains(self) -> Iterator[Chain]:
        """What could be restored."""
        return (Chain(disk.drive, tuple(disk.files), disk.bitmap) for disk in self.disks if disk.files)

    # -- the two actions

    def full(self) -> Conversation:
        """Begin a new chain for every disk; an old one is given up when the new one is good."""
        self.number += 1
        actions, fresh = [], {}
        for disk in self.disks:
            if self.clears_bitmap and disk.bitmap:
                actions.append(_action("block-dirty-bitmap-clear", node=disk.node, name=disk.bitmap))
            else:
                fresh[disk.drive] = f"bitmap{self.number}"
                actions.append(_action("block-dirty-bitmap-add", node=disk.node, name=fresh[disk.drive]))
        files = yield from self._open_targets(self.disks)
        good = yield from self._copy(files, actions, {drive: {"sync": "full"} for drive in files})
        superfluous = []
        for disk in self.disks:
            bitmap = fresh.get(disk.drive, disk.bitmap)
            if disk.drive in good:
                disk.files, disk.bitmap, bitmap = [files[disk.drive]], bitmap, disk.bitmap
            if disk.drive in fresh and bitmap:
                superfluous.append(_action("block-dirty-bitmap-remove", node=disk.node, name=bitmap)["data"])
        yield from self._close_targets(files.values())
        for names in superfluous:
            yield execute("block-dirty-bitmap-remove", **names)
        _complain(files, good)

    def incremental(self) -> Conversation:
        """Add what has changed to every chain, all of them or none."""
        disks = [disk for disk in self.disks if disk.files]
        if not disks:
            raise BackupError("there is no full backup")
        self.number += 1
        files = yield from self._open_targets(disks)
        options = {disk.drive: {"sync": "incremental", "bitmap": disk.bitmap} for disk in disks}
        good = yield from self._copy(files, [], options, grouped=True)
        for disk in disks:
            if disk.drive in good:
                disk.files.append(files[disk.drive])
        yield from self._close_targets(files.values())
        _complain(files, good)

    # -- their parts

    def _open_targets(self, disks: list[Disk]) -> Conversation:
        """Make an image for each disk and let QEMU open it; return its name by drive."""
        files = {disk.drive: f"{disk.drive}-{self.number}" for disk in disks}
        for drive, name in files.items():
            self.machine.images.create(name, "qcow2", self.machine.drive(drive).size)
            file = {"driver": "file", "filename": name}
            yield execute("blockdev-add", driver="qcow2", node_name=name, file=file)
        return files

    def _close_targets(self, files: Iterable[str]) -> Conversation:
        for name in files:
            yield execute("blockdev-del", node_name=name)

    def _copy(
        self, files: dict[str, str], actions: list[Any], options: dict[str, dict[str, str]], *, grouped: bool = False
    ) -> Conversation:
        """Copy drives to files at one moment; return those drives that were copied."""
        for drive, name in files.items():
            job = {"job-id": name, "device": drive, "target": name, "speed": SPEED, **options[drive]}
            actions.append({"type": "blockdev-backup", "data": job})
        mode = "grouped" if grouped else "individual"
        try:
            yield execute("transaction", actions=actions, properties={"completion-mode": mode})
        except QmpError:
            yield from self._close_targets(files.values())
            raise
        failed = yield from self._wait(list(files.values()))
        return {drive for drive, name in files.items() if name not in failed}

    def _wait(self, jobs: list[str]) -> Conversation:
        """Wait for the ends of jobs; return those that failed."""
        running, failed = list(jobs), set()
        while running:
            event = yield NEXT_EVENT
            if event["event"] not in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
                continue
            job = running[0] if self.any_job else event["data"]["device"]
            if job not in running:
                continue
            running.remove(job)
            if event["event"] == "BLOCK_JOB_CANCELLED" or "error" in event["data"]:
                failed.add(job)
                if self.cleans_early:
                    return failed | set(running)
        return failed


def _action(name: str, /, **data: str) -> dict[str, Any]:
    return {"type": name, "data": data}


def _complain(files: Iterable[str], good: Iterable[str]) -> None:
    failed = sorted(set(files) - set(good))
    if failed:
        raise BackupError(f"no backup of {', '.join(failed)}")
