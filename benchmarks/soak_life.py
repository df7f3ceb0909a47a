"""One life of a machine for :mod:`benchmarks.soak_lives`: what comes when is drawn from its number, and nothing else.

A guest writes, by itself and over NBD. A client that is right in everything it does makes a chain of backups, takes
snapshots in running backups, commits, streams and mirrors the disk, and takes what its bitmaps know from layer to
layer, as libvirt does. Requests fail or are slow, jobs are paused and cancelled, QEMU ends or is killed. The laws:

* the disk reads as what the guest wrote, whatever is done with its layers;
* the bitmap ``ref``, which nobody clears, knows all writes;
* a backup that has succeeded holds the disk as it was when it began; the chain and the dirty bits make the disk;
* a machine that is put back to a snapshot is what it was;
* at the end nothing is left: jobs, tasks, timers, bitmaps without names, connections.

Every exception that is neither a refusal nor an error of a disk is a bug, an assertion's above all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any

from qbitsim import HostImageStore, Machine, QmpError
from qbitsim.engine.policies import Seeded
from qbitsim.images.chain import read_chain
from qbitsim.profiles import PROFILES
from qbitsim.testing.chains import any_dirty, differing, disk_of, files_of, find_bitmaps

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.countdown import Countdown
    from qbitsim.nbd.local import LocalClient

GRANULE = 65536
SIZE = 8 * GRANULE
"""Bytes of the disk."""

_BITMAPS = ("ref", "chain")
_LONGEST_CHAIN = 4
_MOST_LAYERS = 6
_TIMES = 200
"""So often time may pass until all jobs have ended."""


class LawBrokenError(Exception):
    """What must hold does not."""


@dataclass
class Backup:
    """A backup under way.

    :ivar moment: the disk when it began.
    """

    job: str
    file: str
    full: bool
    moment: bytes


@dataclass
class Life:
    """A machine, and what the guest and the client know of it.

    :ivar number: decides which release it is, on which tree its files are, and all that happens.
    :ivar folder: where its files are if they are the host's.
    :ivar model: what the disk must read as; :ivar written: the granules that were written as long as ``ref`` lives.
    :ivar chain: the files of the last good chain of backups, oldest first.
    :ivar tally: how often things happened; :ivar moves: their names, in order.
    """

    number: int
    folder: str
    model: bytearray = field(default_factory=lambda: bytearray(SIZE))
    written: set[int] = field(default_factory=set)
    chain: list[str] = field(default_factory=list)
    attempt: Backup | None = None
    tally: Counter[str] = field(default_factory=Counter)
    moves: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        releases = list(PROFILES)
        self.random = Random(self.number)
        self.is_on_host = bool(self.number // len(releases) % 2)
        self.profile = releases[self.number % len(releases)]
        self.machine = Machine(
            self.profile,
            policy=Seeded(self.number),
            images=HostImageStore(self.folder) if self.is_on_host else None,
        )
        self._names = iter(range(1 << 30))
        self._faults: list[Countdown] = []
        self._seen = 0
        self._targets: dict[str, str] = {}  # of mirrors: job -> node
        self._pivots: set[str] = set()  # mirrors that were told to complete
        self._moves: dict[str, tuple[str, set[str]]] = {}  # commits, mirrors: job -> to which node, of which layers
        self._persistent = self._has("block-dirty-bitmap-merge") and self.random.random() < 0.5
        self.machine.add_disk("drive0", SIZE, node_name="base", discard=True)
        self._ensure_bitmaps()
        self._kinds: tuple[tuple[Callable[[], None], int], ...] = (
            (self._write, 30),
            (self._steps, 20),
            (self._time_passes, 8),
            (self._back_up, 10),
            (self._verb, 10),
            (self._take_snapshot, 5),
            (self._commit, 5),
            (self._stream, 3),
            (self._mirror, 4),
            (self._fail, 4),
            (self._use_nbd, 3),
            (self._restart, 2),
            (self._keep_and_put_back, 2),
        )

    def run(self, moves: int) -> str:
        """Live through so many moves, and end; return a digest of all that happened.

        :raises LawBrokenError: a law does not hold.
        """
        kinds, weights = zip(*self._kinds, strict=True)
        for kind in self.random.choices(kinds, weights, k=moves):
            self.moves.append(kind.__name__.strip("_"))
            with suppress(QmpError):  # a refusal is an answer
                kind()
                self.tally[self.moves[-1].replace("_", " ")] += 1
            self._listen()
            self._check()
        self._end()
        said = json.dumps([self.moves, self.machine.events.read(0), self.machine.state()], default=str)
        self.machine.close()
        return blake2b(said.replace(self.folder, "").encode(), digest_size=8).hexdigest()

    # -- the guest

    @property
    def _top(self) -> Node:
        """The active layer."""
        return self.machine.drive("drive0").node.skip_filters()

    def _content(self) -> bytes:
        return read_chain(disk_of(self.machine.drive("drive0").node), 0, SIZE)

    def _place(self) -> tuple[int, int]:
        length = self.random.choice((512, 4096, GRANULE, GRANULE))
        return self.random.randrange(SIZE // length) * length, length

    def _write(self) -> None:
        drive = self.machine.drive("drive0")
        (offset, length), kind = self._place(), self.random.randrange(8)
        data = bytes([self.random.randrange(1, 256)]) * length
        try:
            if kind == 0:
                drive.write_zeroes(offset, length, unmap=self.random.random() < 0.5)
            elif kind == 1:
                drive.discard(offset, length)
            else:
                drive.write(offset, data)
        except OSError:
            self.tally["guest's requests that failed"] += 1
            self._adopt(offset, length)
            return
        if kind == 1:
            self._adopt(offset, length)  # what it reads as is the disk's choice
        else:
            self._wrote(offset, data if kind else bytes(length))

    def _wrote(self, offset: int, data: bytes) -> None:
        self.model[offset : offset + len(data)] = data
        self.written |= set(range(offset // GRANULE, (offset + len(data) - 1) // GRANULE + 1))

    def _adopt(self, offset: int = 0, length: int = SIZE) -> None:
        """Nobody but the disk can know what it reads as there."""
        self.model[offset : offset + length] = self._content()[offset : offset + length]

    def _use_nbd(self) -> None:
        """A client of NBD reads, writes, and asks for the dirty bits."""
        bitmaps = ["ref"] if self._top is self.machine.drive("drive0").node and self.profile != "2.5" else []
        export = self.machine.export_nbd("drive0", writable=True, bitmaps=bitmaps)
        try:
            contexts = [f"qemu:dirty-bitmap:{name}" for name in bitmaps]
            with self.machine.connect_nbd("drive0", contexts) as client, suppress(OSError):
                self._talk_nbd(client, bitmaps)
        finally:
            with suppress(QmpError):
                self.machine.exports.remove(export, hard=True)
            self.machine.run_until_idle()

    def _talk_nbd(self, client: LocalClient, bitmaps: list[str]) -> None:
        for _ in range(self.random.randrange(1, 6)):
            offset, length = self._place()
            if self.random.random() < 0.5:
                read = client.read(offset, length)
                if read != self.model[offset : offset + length]:
                    raise LawBrokenError(f"NBD reads something else at {offset}")
            else:
                data = bytes([self.random.randrange(1, 256)]) * length
                try:
                    client.write(offset, data)
                except OSError:
                    self.machine.settle()  # it may still be on its way
                    self._adopt(offset, length)
                    raise
                self._wrote(offset, data)
            self.tally["requests over NBD"] += 1
        for name in bitmaps:
            client.extents(f"qemu:dirty-bitmap:{name}")

    # -- the client

    def _has(self, name: str) -> bool:
        return self.machine.find(name) is not None

    def _execute(self, name: str, /, **arguments: Any) -> Any:
        return self.machine.execute(name, {key.replace("_", "-"): value for key, value in arguments.items()})

    def _new(self, prefix: str) -> str:
        return f"{prefix}{next(self._names)}"

    def _job(self) -> dict[str, str]:
        """The argument with a new id; without, it is the drive's (2.5)."""
        return {"job-id": self._new("job")} if self.machine.profile.jobs_have_ids else {}

    @staticmethod
    def _id(job: dict[str, str]) -> str:
        return job.get("job-id", "drive0")

    def _layers(self) -> Iterator[Node]:
        """The active layer, and all that are below it."""
        node: Node | None = self._top
        while node is not None:
            yield node
            node = node.backing_chain_next

    def _ensure_bitmaps(self) -> None:
        """The active layer has the client's bitmaps; one that a crash has left inconsistent is made anew."""
        top = self._top
        for name in _BITMAPS:
            bitmap = top.find_bitmap(name)
            if bitmap is not None and bitmap.inconsistent:
                self._execute("block-dirty-bitmap-remove", node=top.name, name=name)
                bitmap = None
            if bitmap is None:
                self._execute("block-dirty-bitmap-add", **self._bitmap(top.name, name))

    def _bitmap(self, node: str, name: str) -> dict[str, Any]:
        return {"node": node, "name": name, "granularity": GRANULE} | ({"persistent": True} if self._persistent else {})

    @staticmethod
    def _merges(layers: Sequence[Node], target: str) -> list[dict[str, Any]]:
        """Actions that take what the bitmaps of these layers know to the node ``target``.

        Nothing is known by those that a crash has left inconsistent, nor asked of them: all began anew then.
        """
        found = []
        for name in _BITMAPS:
            known = ((node, node.find_bitmap(name)) for node in layers)
            sources = [
                {"node": node.name, "name": name} for node, bitmap in known if bitmap and not bitmap.inconsistent
            ]
            if sources:
                data = {"node": target, "target": name, "bitmaps": sources}
                found.append({"type": "block-dirty-bitmap-merge", "data": data})
        return found

    def _forget_bits(self) -> None:
        """What the bitmaps knew is lost, by nobody's fault."""
        self.written.clear()
        self.chain.clear()
        self.attempt = None  # an increment that is of no use by itself

    def _back_up(self) -> None:
        if self.attempt is not None:
            return
        full = not self.chain or len(self.chain) == _LONGEST_CHAIN or self.random.random() < 0.1
        actions = [] if full else self._merges(list(self._layers())[1:], self._top.name)
        if full:
            actions = [{"type": "block-dirty-bitmap-clear", "data": {"node": self._top.name, "name": "chain"}}]
        elif actions and not self._has("block-dirty-bitmap-merge"):
            return
        job, file = self._job(), self._new("backup")
        data: dict[str, Any] = {"device": "drive0", "target": file, "format": "qcow2", **job}
        data |= {"sync": "full"} if full else {"sync": "incremental", "bitmap": "chain"}
        data |= {"speed": GRANULE} if self.random.random() < 0.2 else {}
        if job and self.random.random() < 0.3:
            data |= {"auto-finalize": False, "auto-dismiss": False}
        moment = bytes(self.model)
        self._execute("transaction", actions=[*actions, {"type": "drive-backup", "data": data}])
        if full:
            self.chain.clear()
        self.attempt = Backup(self._id(job), file, full, moment)
        if self.random.random() < 0.3:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        """A new layer, with the client's bitmaps; while a backup runs QEMU refuses most."""
        if len(list(self._layers())) >= _MOST_LAYERS:
            return
        name = self._new("layer")
        data = {"device": "drive0", "snapshot-file": name, "snapshot-node-name": name, "format": "qcow2"}
        actions = [
            {"type": "blockdev-snapshot-sync", "data": data},
            *({"type": "block-dirty-bitmap-add", "data": self._bitmap(name, each)} for each in _BITMAPS),
        ]
        self._execute("transaction", actions=actions)
        self.tally["snapshots in running backups"] += self.attempt is not None

    def _commit(self) -> None:
        """Of the active layer, or of some below it, if the release can name them; the base has the bitmaps first."""
        layers, more = list(self._layers()), {}
        top, bottom = 0, len(layers) - 1
        if len(layers) > 2 and self.random.random() < 0.5 and self.machine.profile.jobs_have_ids:
            top = self.random.randrange(1, len(layers) - 1)
            bottom = self.random.randrange(top + 1, len(layers))
            more = {"top-node": layers[top].name, "base-node": layers[bottom].name}
        base = layers[bottom]
        for name in _BITMAPS:
            bitmap = base.find_bitmap(name)
            if bitmap is None:
                self._execute("block-dirty-bitmap-add", node=base.name, name=name, granularity=GRANULE)
            elif bitmap.inconsistent:
                return
        job = self._job()
        more |= {"auto-finalize": False} if self._has("job-finalize") else {}
        self._execute("block-commit", device="drive0", **job, **more)
        self._moves[self._id(job)] = base.name, {node.name for node in layers[top:bottom]}

    def _stream(self) -> None:
        """The client first takes what is known of the layers that will go to the active one."""
        top, *below = self._layers()
        if not below:
            return
        actions = self._merges(below, top.name)
        if self._has("block-dirty-bitmap-merge"):
            self._execute("transaction", actions=actions)
        job = self._job()
        self._execute("block-stream", device="drive0", **job)
        if not self._has("block-dirty-bitmap-merge"):
            self._forget_bits()

    def _mirror(self) -> None:
        """To a new file, with the client's bitmaps on it; the guest's disk may move there."""
        if not self._has("blockdev-mirror") or not self._has("block-dirty-bitmap-merge"):
            return
        node, job = self._new("mirror"), self._job()
        self.machine.images.create(node, "qcow2", SIZE)
        self._execute("blockdev-add", driver="qcow2", node_name=node, file={"driver": "file", "filename": node})
        try:
            for each in _BITMAPS:
                self._execute("block-dirty-bitmap-add", **self._bitmap(node, each))
            more: dict[str, Any] = {"copy-mode": "write-blocking"} if self.random.random() < 0.3 else {}
            more |= {"sync": "full", "auto-finalize": False}
            self._execute("blockdev-mirror", device="drive0", target=node, **job, **more)
        except QmpError:
            self._execute("blockdev-del", node_name=node)
            raise
        self._targets[self._id(job)] = node
        self._moves[self._id(job)] = node, {layer.name for layer in self._layers()}

    def _verb(self) -> None:
        """Something is asked of a job."""
        jobs = self.machine.jobs.jobs
        if not jobs:
            return
        job = self.random.choice(jobs)
        if job.status == "ready":
            self._complete(job.id, cancel=self.random.random() < 0.3)
        elif job.status == "pending":
            self._finalize(job.id)
        elif job.status == "concluded":
            self._execute("job-dismiss", id=job.id)
        elif self.random.random() < 0.15:
            self._execute("block-job-cancel", device=job.id)
        elif self.random.random() < 0.3:
            self._execute("block-job-set-speed", device=job.id, speed=self.random.choice((0, GRANULE)))
        else:
            self._execute(f"block-job-{self.random.choice(('pause', 'resume', 'resume'))}", device=job.id)

    def _finalize(self, job: str) -> None:
        """If a job has moved what was written to another node, its bitmaps get to know it first.

        Their own record is not enough: zeroes are not written where the node reads as zeroes already (11.1). No guest's
        write comes between: the active layer is drained until the job is finalized.
        """
        node, names = self._moves.pop(job, ("", set()))
        if names and self._has("block-dirty-bitmap-merge"):
            merges = self._merges([layer for layer in self._layers() if layer.name in names], node)
            self._execute("transaction", actions=merges)
        self._execute("job-finalize", id=job)

    def _complete(self, job: str, *, cancel: bool) -> None:
        if cancel:
            self._execute("block-job-cancel", device=job)
        else:
            self._execute("block-job-complete", device=job)
            self._pivots.add(job)

    # -- what happens to them

    def _steps(self) -> None:
        for _ in range(self.random.choice((1, 3, 10, 40))):
            self.machine.step()

    def _time_passes(self) -> None:
        self.machine.advance(self.random.choice((0.001, 0.1, 3.0)))

    def _fail(self) -> None:
        operation = self.random.choice(("read", "write", "write", "flush"))
        where = self.random.choice((self._top.name, "drive0", *(name for name, _ in self.machine.images.items())))
        if self.random.random() < 0.3:
            self._faults.append(self.machine.delay_io(where, "read", 0.05))
            return
        with suppress(ValueError):  # a file that nobody has open
            errno, times = self.random.choice(("EIO", "ENOSPC")), self.random.randrange(1, 4)
            self._faults.append(self.machine.inject_error(where, operation, errno, times=times))

    def _restart(self) -> None:
        """The guest has flushed before QEMU is killed, or nobody can know what has been kept."""
        crash, flushed = self.random.random() < 0.5, True
        if crash:
            try:
                self.machine.drive("drive0").flush()
            except OSError:
                flushed = False
        was_struck = any(fault.times != 0 for fault in self._faults)
        self._heal()
        self.machine.restart(crash=crash)
        self.tally["crashes" if crash else "clean restarts"] += 1
        for told in (self._targets, self._pivots, self._moves):
            told.clear()
        self.attempt, self._seen = None, self.machine.events.end
        self.chain.clear()
        if crash or was_struck or not self._persistent:
            self.written.clear()
        self._ensure_bitmaps()
        if not flushed or was_struck:
            self._adopt()

    def _heal(self) -> None:
        for fault in self._faults:
            fault.lift()
        self._faults.clear()

    def _keep_and_put_back(self) -> None:
        """A snapshot of the whole machine; then other things happen, and are undone."""
        if self.is_on_host:
            return
        machine = self.machine
        kept, before = machine.snapshot(), machine.state()
        with suppress(QmpError, OSError):
            machine.drive("drive0").write(0, b"?" * SIZE)
        machine.run_until_idle(1000)
        machine.restore(kept)
        if machine.state() != before:
            raise LawBrokenError("a machine that was put back is not what it was")

    def _listen(self) -> None:
        """The client hears what has happened to its jobs."""
        while self._seen < self.machine.events.end:
            event = self.machine.events.at(self._seen)
            self._seen += 1
            data = event.get("data", {})
            if event["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
                good = event["event"] == "BLOCK_JOB_COMPLETED" and "error" not in data
                self.tally[f"{data['type']} jobs that {'succeeded' if good else 'did not'}"] += 1
                self._job_ended(data["device"], data["type"], good=good)
            elif data.get("status") == "pending" and data["id"] in self._moves:
                self._finalize(data["id"])

    def _job_ended(self, job: str, kind: str, *, good: bool) -> None:
        target = self._targets.pop(job, None)
        if target is not None and not (good and job in self._pivots):
            with suppress(QmpError):  # it is in use until the job has gone
                self._execute("blockdev-del", node_name=target)
        attempt = self.attempt
        if attempt is None or (attempt.job, "backup") != (job, kind):
            return
        self.attempt = None
        if good:
            self.chain.append(attempt.file)
            if read_chain(files_of(self.machine, self.chain), 0, SIZE) != attempt.moment:
                raise LawBrokenError(f"{' + '.join(self.chain)} is not the disk as it was")

    # -- the laws

    def _check(self) -> None:
        content = self._content()
        if content != self.model:
            places = [slice(at, at + GRANULE) for at in range(0, SIZE, GRANULE)]
            wrong = [place.start // GRANULE for place in places if content[place] != self.model[place]]
            raise LawBrokenError(f"the disk does not read as what was written, in granules {wrong}")
        node = self.machine.drive("drive0").node
        known = list(find_bitmaps(node, "ref"))
        if lost := [each for each in sorted(self.written) if not any_dirty(known, each * GRANULE)]:
            raise LawBrokenError(f"granules {lost} were written, and are not dirty")
        if self.chain:
            files, dirty = files_of(self.machine, self.chain), list(find_bitmaps(node, "chain"))
            differs = differing(files, disk_of(node), GRANULE)
            if lost := [each for each in differs if not any_dirty(dirty, each * GRANULE)]:
                raise LawBrokenError(f"{' + '.join(self.chain)} and the dirty bits lack granules {lost}")

    def _end(self) -> None:
        """All faults are lifted, all jobs come to their ends, and nothing is left."""
        machine = self.machine
        self._heal()
        for _ in range(_TIMES):
            machine.settle()
            if not machine.jobs.jobs:
                break
            for job in list(machine.jobs.jobs):
                with suppress(QmpError):
                    self._end_job(job.id, str(job.status))
        self._listen()
        self._check()
        bitmaps = [bitmap for node in machine.graph.nodes.values() for bitmap in node.bitmaps]
        left = {
            "jobs": machine.jobs.jobs,
            "tasks": machine.scheduler.ready(),
            "timers": [machine.next_deadline] if machine.next_deadline is not None else [],
            "anonymous bitmaps": [bitmap for bitmap in bitmaps if bitmap.name is None],
            "busy bitmaps": [bitmap for bitmap in bitmaps if bitmap.busy],
            "connections": machine.exports.connections,
            "exports": machine.exports.exports,
        }
        if found := [f"{what}: {things}" for what, things in left.items() if things]:
            raise LawBrokenError(f"at the end there are {'; '.join(found)}")

    def _end_job(self, job: str, status: str) -> None:
        if status == "pending":
            self._finalize(job)
        elif status == "concluded":
            self._execute("job-dismiss", id=job)
        elif status == "ready":
            self._complete(job, cancel=False)
        else:
            with suppress(QmpError):
                self._execute("block-job-set-speed", device=job, speed=0)
            with suppress(QmpError):
                self._execute("block-job-resume", device=job)
