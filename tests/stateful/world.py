"""A machine and, beside it, a naive model of what it must be: sets of granules and plain byte arrays.

Every public method of :class:`World` does one thing to both and then compares all that can be seen: the lists of
bitmaps with their states and counts, their hashes, the contents of the disks, the states of the jobs, and, when a job
ends, the content of its target. What the model cannot know, because it depends on which chunk happened to fail first,
it takes from the machine and checks for what must be true of it.

The law of incremental backup is checked after each step: a bitmap's last good backup, with the granules that are dirty
copied over it from the disk, is the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from qbitsim.engine.scheduler import Policy, first_in_first_out
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536
STEP_LIMIT = 5000


class RefusedError(Exception):
    """The model's word that a command must be refused, with the text."""


@dataclass(eq=False)
class Bitmap:
    """One entry of a node's list; ``name`` is None for a successor.

    :ivar base: the image that, with the dirty granules copied over it, is the disk; None if there is none.
    :ivar anchor: the id of a running full backup that becomes ``base`` if it succeeds.
    """

    name: str | None
    granularity: int
    enabled: bool
    dirty: set[int] = field(default_factory=set)
    successor: Bitmap | None = None
    removing: bool = False
    base: str | None = None
    anchor: str | None = None

    @property
    def busy(self) -> bool:
        return self.successor is not None or self.removing

    @property
    def recording(self) -> bool:
        return self.successor.enabled if self.successor else self.enabled

    def all_dirty(self) -> set[int]:
        """What is dirty if the job that uses the bitmap fails now."""
        return self.dirty | (self.successor.dirty if self.successor else set())


@dataclass(eq=False)
class Disk:
    """A drive, its node and the node's bitmaps, newest first."""

    drive: str
    node: str
    file: str
    passes_discards: bool = False
    backing: str | None = None
    content: bytearray = field(default_factory=bytearray)
    bitmaps: list[Bitmap] = field(default_factory=list)

    def find(self, name: str) -> Bitmap | None:
        return next((each for each in self.bitmaps if each.name == name), None)

    def mark(self, offset: int, length: int) -> None:
        """The guest has written."""
        for bitmap in self.bitmaps:
            if bitmap.enabled and not bitmap.successor:
                first, last = offset // bitmap.granularity, (offset + length - 1) // bitmap.granularity
                bitmap.dirty.update(range(first, last + 1))
            elif bitmap.name is not None and not bitmap.recording:
                bitmap.base = bitmap.anchor = None


@dataclass(eq=False)
class Job:
    """A backup.

    :ivar content: the disk when the job was made.
    :ivar work: job clusters to be copied, None if the model cannot tell.
    :ivar ended: BLOCK_JOB_COMPLETED or BLOCK_JOB_CANCELLED has come.
    """

    id: str
    disk: Disk
    bitmap: Bitmap | None
    sync: str
    mode: str
    target: str
    cluster: int
    content: bytes
    work: set[int] | None
    group: list[Job]
    base: str | None
    ignores: bool
    auto_dismiss: bool
    status: str = "undefined"
    ended: bool = False
    error: str | None = None


@dataclass(frozen=True)
class BackupPlan:
    """What a backup is asked for with; ``bitmap`` is None for a backup without."""

    disk: int
    sync: str = "full"
    bitmap: str | None = None
    mode: str | None = None
    cluster: int = CLUSTER
    speed: int = 0
    max_workers: int = 64
    on_source_error: str = "report"
    on_target_error: str = "report"
    auto_finalize: bool = True
    auto_dismiss: bool = True
    by_drive: bool = False


def ranges_of(granules: set[int], granularity: int, size: int) -> list[tuple[int, int]]:
    """The bytes of granules as (offset, end)."""
    return [(each * granularity, min((each + 1) * granularity, size)) for each in sorted(granules)]


def scaled(granules: set[int], granularity: int, other: int, size: int) -> set[int]:
    """The granules of size ``other`` that overlap ``granules``."""
    out: set[int] = set()
    for start, end in ranges_of(granules, granularity, size):
        out.update(range(start // other, (end - 1) // other + 1))
    return out


class World:
    """The machine and the model."""

    def __init__(
        self, profile: str = "10.0", policy: Policy = first_in_first_out, size: int = 20 * CLUSTER + 3584
    ) -> None:
        self.size = size
        self.machine = Machine(profile, policy=policy)
        self.machine.images.create("base.qcow2", "qcow2", size)
        self.machine.images.lookup("base.qcow2").write(3 * CLUSTER, b"\xbb" * (2 * CLUSTER + 1000))
        self.disks = [
            Disk("drive0", "node0", "drive0.qcow2", passes_discards=True, content=bytearray(size)),
            Disk("drive1", "node1", "drive1.qcow2", backing="base.qcow2", content=bytearray(size)),
        ]
        self.disks[1].content[3 * CLUSTER : 5 * CLUSTER + 1000] = b"\xbb" * (2 * CLUSTER + 1000)
        for disk in self.disks:
            self.machine.add_disk(
                disk.drive, size, node_name=disk.node, backing=disk.backing, discard=disk.passes_discards
            )
        self.jobs: list[Job] = []
        self.trace: list[Any] = []
        self.always_failing = False
        self._events_seen = 0
        self._files = 0
        self.check()

    # -- bitmap commands: each as a plain command or as an action

    def plain(self, name: str, /, **data: Any) -> bool:
        """Run one bitmap command on both; whether it was accepted."""
        return self.transaction([(name, data)], plain=True)

    def _predict(self, name: str, data: dict[str, Any]) -> None:
        disk = next(each for each in self.disks if each.node == data["node"])
        if name == "add":
            if disk.find(data["name"]) is not None:
                raise RefusedError(f"Bitmap already exists: {data['name']}")
            granularity = data.get("granularity", CLUSTER)
            disk.bitmaps.insert(0, Bitmap(data["name"], granularity, not data.get("disabled", False)))
            return
        bitmap = disk.find(data["target" if name == "merge" else "name"])
        if bitmap is None:
            raise RefusedError(f"Dirty bitmap '{data['target' if name == 'merge' else 'name']}' not found")
        if name == "merge":
            self._predict_merge(bitmap, disk, data["bitmaps"])
            return
        _check_free(bitmap)
        if name == "remove":
            bitmap.removing = True
        elif name == "clear":
            bitmap.dirty = set()
            bitmap.base = bitmap.anchor = None
        else:
            bitmap.enabled = name == "enable"

    def _predict_merge(self, target: Bitmap, disk: Disk, sources: list[Any]) -> None:
        for given in sources:
            node, name = (disk.node, given) if isinstance(given, str) else (given["node"], given["name"])
            owner = next(each for each in self.disks if each.node == node)
            source = owner.find(name)
            if source is None:
                raise RefusedError(f"Dirty bitmap '{name}' not found")
            _check_free(target)
            _check_free(source)
            target.dirty |= scaled(source.dirty, source.granularity, target.granularity, self.size)

    # -- transactions and backups

    def transaction(self, steps: list[tuple[str, Any]], *, grouped: bool = False, plain: bool = False) -> bool:
        """Run several steps on both, all or nothing; whether they were accepted.

        Its drained sections let running jobs go on, so that one may end before the first action. The model does not
        know when, so what is due happens before.

        :param steps: bitmap commands with their arguments, ``("backup", BackupPlan)``, or ``("abort", {})``.
        """
        if not plain and self.jobs:
            self.run()
            # A job that sleeps, for the sake of its speed, with nothing left to do ends in the next drained section.
            self.machine.execute("transaction", {"actions": []})
            self.run()
        saved = self._save()
        actions, jobs, expected = [], [], None
        for name, data in steps:
            if name == "backup":
                job, arguments = self._plan(data)
                actions.append({"type": "drive-backup", "data": arguments})
            else:
                job = None
                actions.append({"type": "abort" if name == "abort" else f"block-dirty-bitmap-{name}", "data": data})
            if expected is None:
                try:
                    if job is not None:
                        self._predict_backup(job, data)
                        jobs.append(job)
                    elif name == "abort":
                        raise RefusedError("Transaction aborted using Abort action")
                    else:
                        self._predict(name, data)
                except RefusedError as refusal:
                    expected = str(refusal)
        reply = self._send(actions, grouped=grouped, plain=plain)
        assert reply == expected, (reply, expected)
        if expected is not None:
            self._restore(saved)
            self._undo_always(jobs, steps)
        else:
            self._accept(jobs, grouped=grouped)
        self.check()
        return expected is None

    def _send(self, actions: list[dict[str, Any]], *, grouped: bool, plain: bool) -> str | None:
        """The text of the refusal, or None."""
        if plain:
            name, arguments = actions[0]["type"], actions[0]["data"]
        else:
            name, arguments = "transaction", {"actions": actions}
            if grouped:
                arguments["properties"] = {"completion-mode": "grouped"}
        try:
            assert self.machine.execute(name, arguments) == {}
        except QmpError as error:
            self.trace.append(error.desc)
            return error.desc
        self.trace.append({})
        return None

    def _save(self) -> list[list[tuple[Bitmap, Bitmap]]]:
        copies = [[(each, replace(each, dirty=set(each.dirty))) for each in disk.bitmaps] for disk in self.disks]
        for disk in copies:
            for original, _copy in disk:
                assert not original.removing
        return copies

    def _restore(self, saved: list[list[tuple[Bitmap, Bitmap]]]) -> None:
        for disk, entries in zip(self.disks, saved, strict=True):
            disk.bitmaps = [original for original, _copy in entries]
            for original, copy in entries:
                vars(original).update(vars(copy))

    def _undo_always(self, jobs: list[Job], steps: list[tuple[str, Any]]) -> None:
        """A backup with mode always that never started leaves its bitmap in front and all dirty, as on real QEMU.

        Unless an earlier action has changed the bits, whose undoing brings them back. (Real QEMU crashes then.)
        """
        for job in jobs:
            bitmap, disk = job.bitmap, job.disk
            if job.mode != "always" or bitmap not in disk.bitmaps:
                continue
            assert bitmap is not None
            disk.bitmaps.remove(bitmap)
            disk.bitmaps.insert(0, bitmap)
            changes = [("clear", bitmap.name), ("merge", bitmap.name)]
            on_it = [(verb, data) for verb, data in steps if self._is_on(disk, verb, data)]
            touched = [(verb, data.get("target", data.get("name"))) for verb, data in on_it]
            if not any(change in touched for change in changes):
                bitmap.dirty = set(range(-(-self.size // bitmap.granularity)))

    @staticmethod
    def _is_on(disk: Disk, verb: str, data: Any) -> bool:
        return verb not in ("backup", "abort") and data["node"] == disk.node

    def _accept(self, jobs: list[Job], *, grouped: bool) -> None:
        for disk in self.disks:
            disk.bitmaps = [each for each in disk.bitmaps if not each.removing]
        for job in jobs:
            if grouped:
                job.group = jobs
            if job.sync in ("full", "top"):
                # A bitmap that is empty at the moment at which the backup is made follows it.
                for bitmap in job.disk.bitmaps:
                    if bitmap.name and bitmap is not job.bitmap and bitmap.recording and not bitmap.dirty:
                        bitmap.anchor = job.id
        self.jobs += jobs

    def _plan(self, plan: BackupPlan) -> tuple[Job, dict[str, Any]]:
        """Make the target; return the job as the model sees it, and the arguments of drive-backup."""
        disk = self.disks[plan.disk]
        bitmap = disk.find(plan.bitmap) if plan.bitmap is not None else None
        self._files += 1
        target, identifier = f"t{self._files}.qcow2", f"j{self._files}"
        base = bitmap.base if bitmap is not None else None
        backing = base if plan.sync in ("bitmap", "incremental") else disk.backing if plan.sync == "top" else None
        self.machine.images.create(
            target, "qcow2", self.size, cluster_size=plan.cluster, backing=backing, backing_format=backing and "qcow2"
        )
        arguments = {
            "device": disk.drive if plan.by_drive else disk.node,
            "job-id": identifier,
            "target": target,
            "mode": "existing",
            "format": "qcow2",
            "sync": plan.sync,
            "speed": plan.speed,
            "on-source-error": plan.on_source_error,
            "on-target-error": plan.on_target_error,
            "auto-finalize": plan.auto_finalize,
            "auto-dismiss": plan.auto_dismiss,
            "x-perf": {"max-workers": plan.max_workers},
        }
        if plan.bitmap is not None:
            arguments["bitmap"] = plan.bitmap
        if plan.mode is not None:
            arguments["bitmap-mode"] = plan.mode
        job = Job(
            identifier,
            disk,
            bitmap,
            "bitmap" if plan.sync == "incremental" else plan.sync,
            "on-success" if plan.sync == "incremental" else plan.mode or "on-success",
            target,
            plan.cluster,
            bytes(disk.content),
            None,
            [],
            base,
            "ignore" in (plan.on_source_error, plan.on_target_error),
            plan.auto_dismiss,
        )
        job.group = [job]
        return job, arguments

    def _predict_backup(self, job: Job, plan: BackupPlan) -> None:
        disk = job.disk
        # A bitmap that an earlier action of the same transaction added.
        bitmap = disk.find(plan.bitmap) if plan.bitmap is not None else None
        job.bitmap = bitmap
        if plan.by_drive and self.active_on(disk):
            # The drive shows the filter of the other job; the node itself could be backed up once more.
            raise RefusedError(f"Node '{disk.drive}' is busy: block device is in use by block job: backup")
        if plan.bitmap is not None:
            if bitmap is None:
                raise RefusedError(f"Bitmap '{plan.bitmap}' could not be found")
            _check_free(bitmap)
            bitmap.successor = Bitmap(None, bitmap.granularity, bitmap.enabled)
            disk.bitmaps.insert(0, bitmap.successor)
        if job.sync == "full":
            job.work = set(range(-(-self.size // job.cluster)))
        elif job.sync == "bitmap":
            assert bitmap is not None
            job.work = scaled(bitmap.dirty, bitmap.granularity, job.cluster, self.size)

    def active_on(self, disk: Disk) -> Job | None:
        """The backup that runs on a disk."""
        return next((job for job in self.jobs if job.disk is disk and not job.ended), None)

    # -- the guest

    def _guest(self, disk: Disk, request: Any, *arguments: Any, **options: Any) -> bool:
        """Whether the guest's request went well; only copying before writing can make it fail here."""
        try:
            request(*arguments, **options)
        except OSError as error:
            assert self.active_on(disk)
            self.trace.append(error.errno)
            return False
        return True

    def write(self, number: int, offset: int, length: int, pattern: int) -> None:
        """The guest writes."""
        disk = self.disks[number]
        data = bytes([pattern]) * length
        if self._guest(disk, self.machine.drive(disk.drive).write, offset, data) and length:
            disk.content[offset : offset + length] = data
            disk.mark(offset, length)
        self.check()

    def write_zeroes(self, number: int, offset: int, length: int, unmap: bool) -> None:
        """The guest zeroes."""
        disk = self.disks[number]
        zeroed = self._guest(disk, self.machine.drive(disk.drive).write_zeroes, offset, length, unmap=unmap)
        if zeroed and length:
            disk.content[offset : offset + length] = bytes(length)
            disk.mark(offset, length)
        self.check()

    def discard(self, number: int, offset: int, length: int) -> None:
        """The guest discards: whole clusters, unless the node or the filter of a running backup drops it."""
        disk = self.disks[number]
        dropped = not disk.passes_discards or self.active_on(disk)
        assert self._guest(disk, self.machine.drive(disk.drive).discard, offset, length)
        if length and not dropped:
            end = offset + length
            start = -(-offset // CLUSTER) * CLUSTER
            stop = end if end == self.size else end // CLUSTER * CLUSTER
            if start < stop:
                disk.content[start:stop] = bytes(stop - start)
            disk.mark(offset, length)
        self.check()

    # -- jobs and time

    def verb(self, name: str, job: Job, **arguments: Any) -> None:
        """A command on a job; it may be refused in its state, and the model changes by events only."""
        key = "device" if name == "block-job-set-speed" else "id"
        try:
            self.machine.execute(name, {key: job.id, **arguments})
            self.trace.append(name)
        except QmpError as error:
            self.trace.append(error.desc)
        self.check()

    def steps(self, count: int) -> None:
        """Let some things happen that are due."""
        for _ in range(count):
            self.machine.step()
        self.check()

    def run(self) -> None:
        """Let everything happen that is due."""
        for _ in range(STEP_LIMIT):
            if not self.machine.step():
                break
        else:
            raise AssertionError("the machine does not become idle")
        self.check()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.machine.advance(seconds)
        self.check()

    # -- faults

    def fail(self, file: str, operation: str, errno: int, offset: int, length: int, *, once: bool) -> None:
        """Let requests on an image fail; not for ever while somebody tries again for ever."""
        if not once:
            if self.ignoring():
                return
            self.always_failing = True
        self.machine.inject_error(file, operation, errno, offset, length, once=once)

    def limit(self, file: str, capacity: int) -> None:
        """Let an image have no more room."""
        if not self.ignoring():
            self.always_failing = True
            self.machine.limit_capacity(file, capacity)

    def heal(self) -> None:
        """Take all faults away."""
        for name in self.machine.images.names():
            self.machine.limit_capacity(name, None)
            faults = self.machine.images.lookup(name).file.faults
            if faults is not None:
                faults.rules.clear()
        self.always_failing = False

    def ignoring(self) -> bool:
        """Whether a job ignores errors."""
        return any(job.ignores for job in self.jobs)

    # -- events

    def _read_events(self) -> None:
        log = self.machine.events
        events, self._events_seen = log.read(self._events_seen), log.end
        known = {job.id: job for job in self.jobs}
        strangers: dict[str, list[str]] = {}
        for event in events:
            self.trace.append({key: value for key, value in event.items() if key != "timestamp"})
            data = event["data"]
            identifier = data.get("id", data.get("device"))
            job = known.get(identifier)
            if job is None:
                strangers.setdefault(identifier, []).append(data.get("status", event["event"]))
            else:
                self._follow(job, event["event"], data)
        for statuses in strangers.values():
            assert statuses == ["created", "aborting", "concluded", "null"]

    def _follow(self, job: Job, event: str, data: dict[str, Any]) -> None:
        if event == "JOB_STATUS_CHANGE":
            job.status = data["status"]
            if job.status == "null":
                self.jobs.remove(job)
        elif event in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
            job.ended = True
            job.error = data.get("error", "Operation canceled" if event == "BLOCK_JOB_CANCELLED" else None)
            if not job.error:
                assert all(member.ended or member.status == "pending" for member in job.group)
                assert not any(member.error for member in job.group)
            self._settle(job, data["len"], data["offset"])

    def _settle(self, job: Job, length: int, offset: int) -> None:
        """The job has ended: what became of its target and its bitmap."""
        if job.work is not None:
            assert length == len(job.work) * job.cluster or (job.error and length == 0)
        if job.error is None:
            assert length == offset or job.sync == "none"
            self._check_target(job)
        for other in job.disk.bitmaps:
            if other.anchor == job.id:
                other.anchor = None
                if job.error is None:
                    other.base = job.target
        bitmap = job.bitmap
        if bitmap is None:
            return
        child = bitmap.successor
        assert child is not None
        synced = job.mode == "always" or (job.mode == "on-success" and job.error is None)
        if not synced:
            bitmap.dirty |= child.dirty
            bitmap.successor = None
            job.disk.bitmaps.remove(child)
            return
        left = self._left(job, child, length - offset) if job.error else set()
        lost = not child.enabled and job.disk.content != job.content
        has_base = job.sync != "bitmap" or job.base is not None
        child.name, child.dirty = bitmap.name, child.dirty | left
        child.base = job.target if has_base and not lost and (not job.error or offset or length) else None
        job.disk.bitmaps.remove(bitmap)

    def _left(self, job: Job, child: Bitmap, length: int) -> set[int]:
        """The granules that a failed job put back: whole job clusters that it had not copied, of its work set."""
        bitmap = self.machine.graph.nodes[job.disk.node].find_bitmap(job.bitmap.name if job.bitmap else "")
        assert bitmap is not None
        now = {granule for start, stop in bitmap.bits.ranges() for granule in range(start, stop)}
        assert now >= child.dirty
        clusters = scaled(now - child.dirty, child.granularity, job.cluster, self.size)
        if job.work is None or job.status == "undefined" or (not length and job.sync != "bitmap"):
            return now - child.dirty
        assert clusters <= job.work
        assert len(clusters) * job.cluster <= length
        left = now - child.dirty
        whole = scaled(clusters, job.cluster, child.granularity, self.size)
        assert left >= whole - child.dirty
        return left

    def _check_target(self, job: Job) -> None:
        content = self.read(job.target)
        if job.sync in ("full", "top") or (job.sync == "bitmap" and job.base is not None):
            assert content == job.content, f"{job.id}: the backup is not the disk at its start"
        elif job.sync == "bitmap":
            assert job.work is not None
            for start, end in ranges_of(job.work, job.cluster, self.size):
                assert content[start:end] == job.content[start:end]

    # -- comparing

    def read(self, file: str) -> bytes:
        """What an image reads as, through its backing files."""
        return self.machine.images.read_chain(file, 0, self.size)

    def check(self) -> None:
        """Compare everything that can be seen."""
        # What a guest's request has brought to its end is told when the next command has run.
        self.machine.execute("query-name", {})
        self._read_events()
        shown = {each["node-name"]: each for each in self.machine.execute("query-named-block-nodes", {"flat": True})}
        for disk in self.disks:
            assert self.read(disk.file) == disk.content
            self._check_bitmaps(disk, shown[disk.node].get("dirty-bitmaps", []))
        statuses = [(each["id"], each["status"]) for each in self.machine.execute("query-jobs", {})]
        assert sorted(statuses) == sorted((job.id, job.status) for job in self.jobs)

    def _check_bitmaps(self, disk: Disk, shown: list[dict[str, Any]]) -> None:
        wanted = [
            {
                **({"name": each.name} if each.name is not None else {}),
                "granularity": each.granularity,
                "count": len(each.dirty) * each.granularity,
                "recording": each.recording,
                "busy": each.busy,
                "persistent": False,
            }
            for each in disk.bitmaps
        ]
        if not self.machine.profile.backup_bitmap_on_filter:
            wanted, shown = [[each for each in entries if "name" in each] for entries in (wanted, shown)]
        assert shown == wanted
        for bitmap in disk.bitmaps:
            if bitmap.name is not None:
                self._check_bits(disk, bitmap)

    def _check_bits(self, disk: Disk, bitmap: Bitmap) -> None:
        arguments = {"node": disk.node, "name": bitmap.name}
        granules = -(-self.size // bitmap.granularity)
        bits = bytearray(8 * max(1, -(-granules // 64)))
        for each in bitmap.dirty:
            bits[each // 8] |= 1 << each % 8
        digest = self.machine.execute("x-debug-block-dirty-bitmap-sha256", arguments)
        assert digest == {"sha256": hashlib.sha256(bits).hexdigest()}
        if bitmap.base is not None:
            rebuilt = bytearray(self.read(bitmap.base))
            for start, end in ranges_of(bitmap.all_dirty(), bitmap.granularity, self.size):
                rebuilt[start:end] = disk.content[start:end]
            assert rebuilt == disk.content, f"{bitmap.name}: {bitmap.base} and the dirty bits do not make the disk"


def _check_free(bitmap: Bitmap) -> None:
    if bitmap.busy:
        raise RefusedError(f"Bitmap '{bitmap.name}' is currently in use by another operation and cannot be used")
