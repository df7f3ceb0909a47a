"""The laws of incremental backup, and a witness who watches a machine and says which one was broken.

Theory of operation: a :class:`Witness` hears of, or does itself, all that happens to a machine: guest writes, commands,
and that something has run. It remembers little: where the guest wrote, what the disks were when a backup began, which
jobs belong together. Each law is looked at where it could break, so that watching costs little:

* *no dirty bit lost*: what the guest writes is dirty in every bitmap that records; and what it wrote since the last
  backup of a client's chain began is dirty in the chain's bitmap;
* *a chain restores*: the disk as it was when the last backup of the chain began;
* *a chain and the dirty bits rebuild the disk*: whatever the chain restores differently is dirty;
* *grouped: all or nothing*: the jobs of a grouped transaction all succeed or all fail;
* *a refusal changes nothing*: neither the graph, nor the bitmaps, the drives, the disks, nor the list of jobs;
* *busy until the job is over*: a bitmap that a backup uses is busy as long as the job is not concluded;
* *nothing left* and *no waiting for ever*: an action comes to an end, and then its jobs and nodes are gone; the machine
  that plays it looks for these, and a client may be let off the first (``tidy``).

QEMU itself loses bits: those of bitmaps that are not stored when it ends, of all of them when it is killed, and of what
is cut off a disk that gets smaller. No client is blamed for that; what it makes of its chain afterwards must be right.

Some are QEMU's, so that qbitsim must keep them whatever is done to it; those about chains are the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from qbitsim.errors import QmpError
from qbitsim.history.words import actions_of, end_of_job
from qbitsim.jobs.backup import BackupJob
from qbitsim.qapi.job import JobStatus
from qbitsim.testing.chains import any_dirty, differing, disk_of, files_of, find_bitmaps, image_of

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node
    from qbitsim.images.content import Content
    from qbitsim.jsontypes import JsonObject
    from qbitsim.machine.machine import Machine
    from qbitsim.testing.clients import Chain

NO_BIT_LOST = "no dirty bit is lost"
RESTORES = "a chain restores the disk as it was when its last backup began"
REBUILDS = "a chain and the dirty bits rebuild the disk"
ALL_OR_NOTHING = "a grouped transaction is all or nothing"
REFUSED = "a refused command changes nothing"
BUSY = "a busy bitmap stays busy until its job is over"
NOTHING_LEFT = "a client that has ended leaves no job and no node behind"
NEVER_HANGS = "a client does not wait for ever"

_BACKUPS = ("blockdev-backup", "drive-backup")
OVER = (JobStatus.CONCLUDED, JobStatus.NULL)
"""The states of a job that has let go of everything."""
_QUIET = ("running", "paused", "ready", "standby")


class LawBrokenError(AssertionError):
    """Something happened that must never happen.

    :ivar law: which law, one of the texts of this module.
    :ivar detail: what was found.
    """

    def __init__(self, law: str, detail: str) -> None:
        self.law = law
        self.detail = detail
        super().__init__(f"{law}: {detail}")


class Moment(NamedTuple):
    """The disk of a drive when a backup of it began.

    :ivar disk: its contents, the active one first.
    :ivar written: how many guest writes the witness had seen.
    """

    disk: list[Content]
    written: int


class Witness:
    """Watches one machine from now on.

    :ivar writes: (drive, offset, length) of each write of the guest, oldest first.
    :ivar commands: how many commands were run.
    :ivar executed: is told the name of each command that was run, and whether it was refused.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.writes: list[tuple[str, int, int]] = []
        self.commands = 0
        self.executed: Callable[..., None] | None = None
        self._moments: dict[str, Moment] = {}
        self._restored: set[tuple[str, tuple[str, ...]]] = set()
        self._disturbed: dict[str, int] = {}  # drive: how many commands were run before what its bitmaps knew was lost
        self._begun: dict[str, int] = {}  # file: how many commands were run before it was begun
        self._groups: list[dict[str, str | None]] = []  # how each job of a grouped transaction ended, None: not yet
        self._events = machine.events.end
        self._checked: tuple[object, ...] = ()

    # -- what happens

    def wrote(self, drive: str, offset: int, length: int) -> None:
        """The guest has written ``length`` > 0 bytes, or zeroes, at ``offset``.

        :raises LawBrokenError: a bitmap that records does not know of it.
        """
        self.writes.append((drive, offset, length))
        node: Node | None = self._node(drive)
        while node is not None:
            for bitmap in node.bitmaps:
                if bitmap.name is not None and bitmap.recording:
                    _check_marked([bitmap], drive, offset, length)
            node = node.filtered

    def execute(self, name: str, arguments: JsonObject) -> Any:
        """Run a command as :meth:`.Machine.execute` does.

        :raises QmpError: it was refused.
        :raises LawBrokenError: it was refused and yet has changed something.
        """
        machine = self.machine
        self.commands += 1
        before, events = fingerprint(machine), machine.events.end
        begun = [(file, self._moment(device)) for device, file in self._targets(name, arguments)]
        try:
            reply = machine.execute(name, arguments)
        except QmpError as error:
            if self.executed is not None:
                self.executed(name, refused=True)
            if all(_is_pause(event) for event in machine.events.read(events)):
                _check_unchanged(before, fingerprint(machine), f"{name} was refused ({error.desc})")
            raise
        if self.executed is not None:
            self.executed(name, refused=False)
        for file, moment in begun:
            self._moments[file] = moment
            self._begun[file] = self.commands
            self._restored = {each for each in self._restored if file not in each[1]}
        if name == "transaction":
            self._note_group(arguments)
        return reply

    def look(self) -> None:
        """Something has happened: see whether the laws about jobs hold.

        :raises LawBrokenError: they do not.
        """
        machine = self.machine
        for job in machine.jobs.jobs:
            if isinstance(job, BackupJob) and job.status not in OVER:
                bitmap = job.options.bitmap
                if bitmap is not None and not bitmap.busy:
                    raise LawBrokenError(BUSY, f"job {job.id!r} is {job.status}, but {bitmap!r} is not busy")
        if machine.events.end != self._events:
            if self._groups:
                for event in machine.events.read(self._events):
                    self._note_end(event)
            self._events = machine.events.end

    def disturbed(self, drives: Iterable[str]) -> None:
        """What bitmaps of these drives knew is lost, by no fault of a client's.

        Until a further backup of a chain has begun nothing is expected of its bitmaps; what that backup makes of the
        chain must then be right.
        """
        self._disturbed |= dict.fromkeys(drives, self.commands)

    def restart(self, *, crash: bool) -> None:
        """QEMU ends and is started anew: see :meth:`.Machine.restart`. Persistent bitmaps outlive a clean end."""
        machine = self.machine
        lost = [drive for drive in machine.graph.drives if crash or not _all_persistent(self._node(drive))]
        machine.restart(crash=crash)
        self._groups.clear()
        self._events = machine.events.end
        self.disturbed(lost)

    # -- what a client holds for good

    def check(self, chains: Iterable[Chain]) -> None:
        """See whether the chains of a client keep what they promise. Only to be asked while the client does nothing.

        :raises LawBrokenError: they do not.
        """
        chains = tuple(chains)
        state = (chains, len(self.writes), self.commands, self.machine.events.end)
        if state == self._checked:
            return
        for chain in chains:
            self._check_chain(chain)
        self._checked = state

    def _check_chain(self, chain: Chain) -> None:
        node = self._node(chain.drive)
        try:
            files = files_of(self.machine, chain.files)
        except OSError as error:
            raise LawBrokenError(RESTORES, f"{' + '.join(chain.files)}: {error.filename} is missing") from None
        began = chain.began or chain.files[-1]
        moment = self._moments.get(began)
        key = (chain.drive, chain.files)
        if moment is not None and key not in self._restored:
            self._check_restores(chain, files, moment)
            self._restored.add(key)
        begun = self._begun.setdefault(began, self.commands)
        if not chain.bitmaps or begun <= self._disturbed.get(chain.drive, -1):
            return
        bitmaps = self._bitmaps_of(chain, node)
        if moment is not None:
            for drive, offset, length in self.writes[moment.written :]:
                if drive == chain.drive:
                    _check_marked(bitmaps, drive, offset, length, f" after {chain.files[-1]} began")
        granularity = min(bitmap.granularity for bitmap in bitmaps)
        differs = differing(files, disk_of(node), granularity)
        clean = [each for each in differs if not any_dirty(bitmaps, each * granularity)]
        if clean:
            raise LawBrokenError(
                REBUILDS,
                f"{' + '.join(chain.files)} + dirty bits of {' and '.join(map(repr, chain.bitmaps))} is not "
                f"{chain.drive}: {_ranges(clean, granularity)}",
            )

    def _bitmaps_of(self, chain: Chain, node: Node) -> list[DirtyBitmap]:
        """Those that a chain names, on the drive's nodes and on those below them, as snapshots leave them there.

        :raises LawBrokenError: there are none, or those of the active node record nothing.
        """
        found = [bitmap for name in chain.bitmaps for bitmap in find_bitmaps(node, name)]
        active = [bitmap for name in chain.bitmaps for bitmap in find_bitmaps(node, name, below=False)]
        if not any(bitmap.recording for bitmap in active):
            names = " and ".join(map(repr, chain.bitmaps))
            what = "does not record" if found else "does not exist"
            raise LawBrokenError(NO_BIT_LOST, f"bitmap {names} of {chain.drive} {what}")
        return found

    @staticmethod
    def _check_restores(chain: Chain, files: list[Content], moment: Moment) -> None:
        wrong = list(differing(files, moment.disk))
        if wrong:
            raise LawBrokenError(
                RESTORES,
                f"{' + '.join(chain.files)} is not {chain.drive} as it was: {_ranges(wrong, 65536)}",
            )

    # -- what the witness remembers

    def _node(self, drive: str) -> Node:
        """The topmost node of a drive, or the node of that name."""
        found = self.machine.graph.drives.get(drive)
        return found.node if found is not None else self.machine.graph.nodes[drive]

    def _moment(self, device: str) -> Moment:
        return Moment([content.clone() for content in disk_of(self._node(device))], len(self.writes))

    def _targets(self, name: str, arguments: JsonObject) -> Iterator[tuple[str, str]]:
        """(device, image file) of each backup that a command is to begin, where that is known."""
        graph = self.machine.graph
        for kind, data in actions_of(name, arguments):
            device, target = data.get("device"), data.get("target")
            if kind not in _BACKUPS or not isinstance(target, str):
                continue
            if device not in graph.drives and device not in graph.nodes:
                continue
            assert isinstance(device, str)
            if kind == "drive-backup":
                yield device, target
            elif (node := graph.nodes.get(target)) is not None and (image := image_of(node)) is not None:
                yield device, image.name

    def _note_group(self, arguments: JsonObject) -> None:
        properties = arguments.get("properties")
        if isinstance(properties, dict) and properties.get("completion-mode") == "grouped":
            actions = actions_of("transaction", arguments)
            jobs = [str(data.get("job-id", data.get("device"))) for kind, data in actions if kind in _BACKUPS]
            if len(jobs) > 1:
                self._groups.append(dict.fromkeys(jobs))

    def _note_end(self, event: JsonObject) -> None:
        end, data = end_of_job(event), event.get("data")
        if end is None or not isinstance(data, dict):
            return
        success = end == "completed" and "error" not in data
        for group in self._groups:
            if data["device"] in group:
                group[str(data["device"])] = "succeeded" if success else "failed"
                if len(set(group.values()) - {None}) > 1:
                    raise LawBrokenError(ALL_OR_NOTHING, f"the jobs ended so: {group}")
        self._groups = [group for group in self._groups if None in group.values()]


def _all_persistent(node: Node) -> bool:
    return all(bitmap.persistent for bitmap in node.skip_filters().bitmaps if bitmap.name is not None)


def _check_marked(bitmaps: list[DirtyBitmap], drive: str, offset: int, length: int, when: str = "") -> None:
    """See whether all of a range is dirty, each part of it in one of the bitmaps."""
    shift = min(bitmap.shift for bitmap in bitmaps)
    for granule in range(offset >> shift, ((offset + length - 1) >> shift) + 1):
        if not any_dirty(bitmaps, granule << shift):
            names = " and ".join(dict.fromkeys(repr(bitmap.name) for bitmap in bitmaps))
            raise LawBrokenError(
                NO_BIT_LOST,
                f"the guest wrote {length} bytes at {offset} of {drive}{when}, but {names} has them clean",
            )


def _ranges(granules: list[int], granularity: int) -> str:
    """``65536 bytes at 0 and at 131072 differ``."""
    places = ", ".join(str(each * granularity) for each in granules[:3])
    more = f" and {len(granules) - 3} more" if len(granules) > 3 else ""
    return f"{granularity} bytes at {places}{more} differ"


# -- what a refused command must not change


Part = tuple[str, ...]
"""Of which part of a machine something is told: the kind of thing, its name, and that of what it is on."""


def fingerprint(machine: Machine) -> dict[Part, object]:
    """What a refused command must not change, by what it is; cheap to make and to compare.

    Three things do not belong to it, because QEMU changes them all the same: how far a job is, and what it has written,
    for a command that is refused late lets running jobs finish their requests in flight; and image files that no node
    has open, for ``drive-backup`` and its like make the file before they look at the rest (qmp_drive_backup,
    blockdev.c, QEMU 10.0).
    """
    graph, jobs = machine.graph, machine.jobs.jobs
    written = {edge.node for job in jobs for edge in job.edges if edge.name in _WRITTEN}
    found: dict[Part, object] = {("jobs",): [(job, job.speed) for job in jobs]}
    for name, node in graph.nodes.items():
        found["node", name] = _node(node)
        for bitmap in node.bitmaps:
            if bitmap.name is not None:  # those without are of jobs
                found["bitmap", bitmap.name, name] = _bitmap(bitmap, bits=node not in written)
    for name, drive in graph.drives.items():
        found["drive", name] = _drive(drive)
    return found


_WRITTEN = ("target", "base")
"""What a job calls the nodes that it writes to."""


_CHILD = attrgetter("name", "node")


def _node(node: Node) -> tuple[object, ...]:
    children = [*map(_CHILD, node.children)]
    if node.opened_as is not None:
        return (node, children)  # it grows as somebody writes
    stored = len(node.image.bitmaps) if node.image is not None else 0
    return (node, node.length, node.read_only, children, node.header_backing, stored)


def _bitmap(bitmap: DirtyBitmap, *, bits: bool) -> tuple[object, ...]:
    flags = (bitmap.granularity, bitmap.disabled, bitmap.busy, bitmap.persistent, bitmap.inconsistent)
    if not bits:
        return flags
    return (*flags, bitmap.bits.copy(), bitmap.successor.bits.copy() if bitmap.successor is not None else None)


def _drive(drive: Drive) -> tuple[object, ...]:
    """A drive's node, and what is stored of its active image: blocks that did not change are the same objects."""
    if drive.root is None:
        return (None,)
    node = drive.root.node
    image = image_of(node)
    if image is None:
        return (node,)
    content = image.content
    unit, size, stored = content.cluster_size, content.size, content.stored_clusters()
    return (node, [(each, content.read(each * unit, min(unit, size - each * unit))) for each in stored])


def _check_unchanged(before: dict[Part, object], after: dict[Part, object], what: str) -> None:
    if before != after:
        changed = [_described(*part) for part in before | after if before.get(part) != after.get(part)]
        raise LawBrokenError(REFUSED, f"{what}, but changed: {', '.join(changed)}")


def _described(kind: str, name: str | None = None, of: str | None = None) -> str:
    if name is None:
        return kind
    return f"{kind} {name}" if of is None else f"{kind} {name!r} of {of}"


def _is_pause(event: JsonObject) -> bool:
    """Whether an event says no more than that a running job was paused for a moment."""
    data = event.get("data")
    return event["event"] == "JOB_STATUS_CHANGE" and isinstance(data, dict) and data.get("status") in _QUIET
