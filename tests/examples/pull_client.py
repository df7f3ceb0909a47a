"""A backup client that reads a disk over NBD itself (pull mode): what has changed, as it was at one moment.

A job with ``sync: none`` keeps what the guest overwrites in a scratch image, whose node reads as the disk did when the
job began; the client cancels the job when it has read all. It is honest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from backup_client import PREFIX, BackupError, Json, bitmaps_of

from qbitsim import Machine, QmpError
from qbitsim.testing.clients import Chain, Conversation, Sleep, execute

DRIVE, NODE = "drive0", "drive0-node"
GRANULE = 65536
DIRTY = "qemu:dirty-bitmap:"


class PullClient:
    """Backs up one disk.

    :ivar bitmaps: those that have recorded, one after the other, what was written since the last good backup.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.files: list[str] = []
        self.bitmaps: list[str] = []
        self.scratch = ""
        self.size = 0
        self.number = 0

    def chains(self) -> Iterator[Chain]:
        """What could be restored."""
        if self.files:
            yield Chain(DRIVE, tuple(self.files), tuple(self.bitmaps) or None, began=self.scratch)

    def pull(self) -> Conversation:
        """Read what has changed since the last time, or everything."""
        node = yield from self.look()
        size = node["image"]["virtual-size"]
        yield from self.remove_bitmaps(node)
        changes = f"{PREFIX}changes" if self.is_usable(node) else ""
        self.number += 1
        new, scratch, file = (f"{word}-{self.number}" for word in (f"{PREFIX}since", "scratch", "pulled"))
        try:
            yield from self.begin(new, scratch, size, changes)
            if changes:
                self.bitmaps.append(new)
            found = yield from self.read(scratch, changes)
            yield from self.end(scratch)
        except ConnectionError:  # QEMU has ended; whether the new bitmap had begun then is not known
            self.bitmaps = []
            raise
        if found is None:
            raise BackupError("not all could be read")
        content = self.machine.images.create(file, "qcow2", size).content
        for offset, data in found.items():
            content.write(offset, data)
        self.files = [*self.files, file] if changes else [file]
        self.bitmaps, self.scratch, self.size = [new], scratch, size
        yield from self.remove_bitmaps((yield from self.look()))

    # -- its parts

    def look(self) -> Conversation:
        """What QEMU says of the disk's node."""
        nodes = yield execute("query-named-block-nodes", flat=True)
        return next(node for node in nodes if node["node-name"] == NODE)

    def is_usable(self, node: Json) -> bool:
        """Whether the bitmaps have recorded all since the last backup."""
        bitmaps = bitmaps_of(node)
        known = [bitmaps.get(name, {"inconsistent": True}) for name in self.bitmaps]
        whole = bool(known) and not any(bitmap.get("inconsistent") for bitmap in known)
        return whole and known[-1]["recording"] and node["image"]["virtual-size"] == self.size

    def remove_bitmaps(self, node: Json) -> Conversation:
        """Remove what failed backups and former chains have left."""
        for name, bitmap in bitmaps_of(node).items():
            if name not in self.bitmaps and not bitmap["busy"]:
                yield execute("block-dirty-bitmap-remove", node=NODE, name=name)

    def begin(self, new: str, scratch: str, size: int, changes: str) -> Conversation:
        """Keep the disk as it is now; a new bitmap takes over, and ``changes`` gets what the others hold."""
        self.machine.images.create(scratch, "qcow2", size)
        file = {"driver": "file", "filename": scratch}
        yield execute("blockdev-add", driver="qcow2", node_name=scratch, file=file, backing=NODE)
        actions: list[Any] = [_action("block-dirty-bitmap-add", name=new, persistent=True)]
        if changes:
            actions += [
                _action("block-dirty-bitmap-disable", name=self.bitmaps[-1]),
                _action("block-dirty-bitmap-add", name=changes, disabled=True),
                _action("block-dirty-bitmap-merge", target=changes, bitmaps=self.bitmaps),
            ]
        job = {"job-id": scratch, "device": NODE, "target": scratch, "sync": "none"}
        try:
            yield execute("transaction", actions=[*actions, {"type": "blockdev-backup", "data": job}])
        except QmpError:
            yield execute("blockdev-del", node_name=scratch)
            raise

    def read(self, scratch: str, changes: str) -> Conversation:
        """Read what is dirty in ``changes``, or everything, in pieces, between which other things happen.

        Return the pieces by offset; None if one cannot be read.
        """
        found: dict[int, bytes] = {}
        context = [f"{DIRTY}{changes}"] if changes else []
        self.machine.export_nbd(scratch, bitmaps=[changes] if changes else [])
        with self.machine.connect_nbd(scratch, context) as client:
            extents = client.extents(context[0]) if changes else [(0, client.size, 1)]
            for start, length, dirty in extents:
                for offset in range(start, start + length if dirty else start, GRANULE):
                    yield Sleep(0.001)
                    try:
                        found[offset] = client.read(offset, min(GRANULE, start + length - offset))
                    except OSError:  # QEMU hangs up on who reads what it cannot read
                        return None
        return found if (yield from self.still_runs(scratch)) else None

    def still_runs(self, scratch: str) -> Conversation:
        """Whether the job has kept the disk of its moment until now; somebody may have cancelled it."""
        jobs = yield execute("query-jobs")
        return any(job["id"] == scratch and "error" not in job for job in jobs)

    def end(self, scratch: str) -> Conversation:
        """End the job, and close what was opened."""
        exports = yield execute("query-block-exports")
        if any(export["id"] == scratch for export in exports):
            yield execute("block-export-del", id=scratch, mode="hard")
        yield from self.end_job(scratch)
        while any(export["id"] == scratch for export in (yield execute("query-block-exports"))):
            yield Sleep(0.01)
        yield execute("blockdev-del", node_name=scratch)

    def end_job(self, scratch: str) -> Conversation:
        """Cancel the job and wait until it is gone."""
        with suppress(QmpError):  # it has ended by itself
            yield execute("job-cancel", id=scratch)
        while any(job["id"] == scratch for job in (yield execute("query-jobs"))):
            yield Sleep(0.01)


class ReadsLate(PullClient):
    """It ends the job before it has read all, and does not look whether it still runs."""

    def read(self, scratch: str, changes: str) -> Conversation:
        yield from self.end_job(scratch)
        return (yield from super().read(scratch, changes))

    def still_runs(self, scratch: str) -> Conversation:
        return True
        yield


def _action(name: str, /, **data: Any) -> Json:
    return {"type": name, "data": {"node": NODE, **data}}
