"""The mirror job, which is also the commit of an active layer.

Theory of operation (block/mirror.c, QEMU 10.0)
===============================================

1. A ``mirror_top`` filter above the source notes what guests write in a dirty bitmap; the job copies what is dirty to
   the target. When nothing is left the job is *ready*, and stays so until it is told to complete, or cancelled.
2. One round takes a run of dirty chunks, up to the size of the buffer, out of the bitmap and copies it. The speed
   limit holds the next round back, and does not apply once the job is ready.
3. With copy mode ``write-blocking`` a guest's write goes to the target too before it ends.
4. Completing lets all users of the source use the target instead; a soft cancel of a ready job does not.
5. An active commit is a mirror whose target is the base; the base is made writable and grows if it is shorter.

QEMU looks for new writes every 100 ms while ready; here a write wakes the job.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from qbitsim.block.drive import Drive
from qbitsim.block.status import status_above
from qbitsim.drivers.job_filters import drop_job_filter, insert_mirror_top
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jobs.loop import LoopJob, set_writable
from qbitsim.jobs.mirror_options import MirrorOptions
from qbitsim.jobs.states import JobStatus, JobVerb

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node
    from qbitsim.drivers.job_filters import MirrorTopNode
    from qbitsim.engine.scheduler import Task
    from qbitsim.jobs.job_list import JobList

MAXIMUM_IO = 1 << 20


class MirrorJob(LoopJob):
    """Keeps a target equal to a source until it is told to stop."""

    kind: ClassVar[str] = "mirror"

    __slots__ = (
        *("_completing", "_drained", "_ending", "_error_text", "_idle", "_position", "_unflushed", "_user"),
        *("actively_synced", "copy_mode", "dirty", "filter", "options", "source", "target"),
    )

    def __init__(
        self, jobs: JobList, identifier: str, options: MirrorOptions, nodes: tuple[Node, Node], top: MirrorTopNode
    ) -> None:
        """``nodes`` are the source and the target."""
        super().__init__(jobs, identifier, auto_finalize=options.auto_finalize, auto_dismiss=options.auto_dismiss)
        self.options = options
        self.source, self.target = nodes
        self.filter: MirrorTopNode | None = top
        self.copy_mode = options.copy_mode
        self.actively_synced = False
        self.dirty: DirtyBitmap | None = None
        self._user: Drive | None = None
        self._position = 0
        self._completing = False
        self._drained = False
        self._ending: Task | None = None
        self._unflushed = False
        self._idle = False
        self._error_text: str | None = None

    def take_target(self) -> None:
        """Hold the target for writing.

        :raises QmpError: somebody else does not allow it.
        """
        below = self.options.is_commit
        shared = perms.WRITE_UNCHANGED | (perms.CONSISTENT_READ | perms.WRITE if below else 0)
        needed = perms.WRITE | (perms.RESIZE if below else 0)
        user = Drive(self.jobs.graph, "", perm=needed, shared=shared)
        user.insert(self.target)
        self._user = user

    def make_bitmap(self) -> None:
        """Note from now on what guests write; up to 7.2 the bitmap was the source's, see profiles."""
        on_filter = self.jobs.profile.backup_bitmap_on_filter
        owner = self.filter if on_filter else self.source
        assert owner is not None
        self.dirty = owner.create_bitmap(None, self.options.granularity or self.target.default_granularity)
        self.dirty.disabled = on_filter or self.copy_mode != "background"

    # -- what queries and clients see

    @property
    def ready(self) -> bool:
        """Whether it has caught up and waits to be completed."""
        return self.status in (JobStatus.READY, JobStatus.STANDBY)

    @property
    def error(self) -> str | None:
        """The text of the failure."""
        return self._error_text if self._error_text is not None else super().error

    def extra_info(self) -> dict[str, Any]:
        """``actively-synced`` of query-block-jobs."""
        if self.jobs.profile.mirror_shows_actively_synced and not self.options.is_commit:
            return {"actively-synced": self.actively_synced}
        return {}

    def change(self, kind: str, copy_mode: str | None) -> None:
        """block-job-change: from copying in the background to copying at once.

        :raises QmpError: with the texts of mirror_change.
        """
        self._apply_verb(JobVerb.CHANGE)
        if self.options.is_commit or kind != "mirror":
            raise QmpError("Job type does not support change")
        if self.copy_mode == copy_mode:
            return
        if copy_mode != "write-blocking":
            raise QmpError(f"Change to copy mode '{copy_mode}' is not implemented")
        self.copy_mode = copy_mode
        self._wake_up()

    def _complete_driver(self) -> None:
        self._completing = True
        if not self.paused:
            self.enter()

    def _cancel_driver(self, force: bool) -> bool:
        """A ready job that is not cancelled by force comes to an end without using the target."""
        return force or not self.ready

    # -- guest writes

    def guest_wrote(self, kind: str, offset: int, length: int, data: bytes) -> None:
        """The source has a guest's write: copy it at once, or note it."""
        dirty = self.dirty
        if dirty is None or self.deferred:
            return
        if self.copy_mode == "background":
            self.actively_synced = False
            dirty.mark(offset, length)
            self._wake_up()
            return
        self._copy_at_once(kind, offset, length, data)

    def _copy_at_once(self, kind: str, offset: int, length: int, data: bytes) -> None:
        assert self.dirty is not None
        unit = self.dirty.granularity
        start, stop = -(-offset // unit) * unit, offset + length
        if stop != self.dirty.size:
            stop -= stop % unit
        if start < stop:
            self.dirty.reset(start, stop - start)
        self.progress.total += length
        try:
            if kind == "write":
                self.target.write(offset, data)
            elif kind == "zero":
                self.target.write_zeroes(offset, length, unmap=self.options.unmap)
            else:
                self.target.discard(offset, length)
        except OSError as error:
            self.dirty.mark(offset, length)
            self._failed(error.errno or errno.EIO, reading=False)
        self.progress.done(length)

    def _wake_up(self) -> None:
        if self._idle and not self.pause_count:
            self._idle = False
            self._timer = self.jobs.scheduler.soon(self._due, f"{self.id}: guest write")

    # -- the work

    def _run(self) -> None:
        source, target = self.source, self.target
        if source.length == 0:
            self._become_ready()
        elif self.options.is_commit and target.length < source.length:
            target.truncate(source.length)
        elif target.length != source.length and not self.options.is_commit:
            self._error_text = "Source and target image have different sizes"
            self._end(errno.EINVAL)
            return
        try:
            if source.length and not self.options.copy_nothing:
                self._find_dirty()
        except OSError as error:
            self._end(error.errno or errno.EIO)
            return
        self._round()

    def _find_dirty(self) -> None:
        """What is to be copied at first (mirror_dirty_init)."""
        dirty, source = self.dirty, self.source
        assert dirty is not None
        if self.options.zero_target:
            if not self.target.unmap:
                dirty.mark(0, source.length)
                return
            self.target.write_zeroes(0, source.length, unmap=True)
        offset = 0
        while offset < source.length:
            status = status_above(source, self.options.base, offset, source.length - offset)
            if status.allocated:
                dirty.mark(offset, status.length)
            offset += status.length

    def _round(self) -> None:
        """One turn of mirror_run's loop."""
        dirty = self.dirty
        assert dirty is not None
        if self.ret or self.is_cancelled:
            self._end(self.ret)
            return
        self.progress.set_remaining(dirty.count)
        copied = bool(dirty.count) and self.io_status == "ok"
        delay = self._copy_run() if copied else 0
        if copied:
            self._after_copy(delay)
        elif dirty.count:
            # An error has stopped the job: the next pause point holds it.
            self._sleep(0, self._round)
        else:
            self._caught_up()

    def _after_copy(self, delay: int) -> None:
        if self.ready and not (self._completing or self.cancelled):
            self._sleep(0, self._round)
        elif self.jobs.profile.speed_survives_pauses:
            self._wait_for_quota(self._round)
        else:
            self._sleep(delay, self._round)

    def _caught_up(self) -> None:
        if not self.ready:
            if self._unflushed:
                # Flushing what was written takes a turn.
                self._unflushed = False
                self._ending = self.jobs.scheduler.soon(self._flushed, f"{self.id}: flush the target")
                return
            if not self._flush():
                self._round()
                return
            self._become_ready()
        if self.copy_mode != "background":
            self.actively_synced = True
        if not (self._completing or self.cancelled):
            self._idle = True
            self._yield(self._round)
        elif self._flush():
            self._end(0)
        else:
            self._round()

    def _flushed(self) -> None:
        self._ending = None
        self._round()

    def _become_ready(self) -> None:
        self.transition(JobStatus.READY)
        data = {"device": self.id, "len": self.length, "offset": self.offset, "speed": self.speed, "type": self.kind}
        self.jobs.emit("BLOCK_JOB_READY", data)

    def _end(self, ret: int) -> None:
        """Keep the source quiet until the job is settled; that takes a turn, so that a reply comes first."""
        self.ret = ret
        self._ending = self.jobs.scheduler.soon(self._ended, f"{self.id}: drain the source")

    def _ended(self) -> None:
        self._ending = None
        self._drained = True
        self.source.drained_begin()
        self._finish(self.ret)

    def finish_in_flight(self) -> None:
        """Come to the end, if it has begun."""
        if self._ending is not None:
            self.jobs.scheduler.run(self._ending)

    def _entered(self) -> None:
        self._idle = False
        super()._entered()

    def _flush(self) -> bool:
        try:
            self.target.flush()
        except OSError as error:
            self._failed(error.errno or errno.EIO, reading=False)
            return False
        return True

    def _failed(self, number: int, *, reading: bool) -> None:
        """An error of the source or the target: report it, and end unless the policy says otherwise."""
        self.actively_synced = False
        policy = self.options.on_source_error if reading else self.options.on_target_error
        if self._react(policy, number, reading=reading) == "report" and not self.ret:
            self.ret = number

    def _copy_run(self) -> int:
        """Copy one run of dirty chunks; return for how many nanoseconds the speed limit holds the next one back."""
        dirty = self.dirty
        assert dirty is not None
        area = dirty.next_area(self._position, self.source.length, self.options.buffer)
        if area is None:
            area = dirty.next_area(0, self.source.length, self.options.buffer)
        assert area is not None
        offset, length = area
        dirty.reset(offset, length)
        self._position = offset + length
        delay = 0
        while length and not self.ret:
            done, delay = self._copy_piece(offset, length)
            offset, length = offset + done, length - done
        if length:
            dirty.mark(offset, length)
        return delay

    def _copy_piece(self, offset: int, length: int) -> tuple[int, int]:
        """Copy a piece of like status; return (bytes, nanoseconds of delay)."""
        assert self.dirty is not None
        unit = self.dirty.granularity
        status = status_above(self.source, None, offset, length)
        run = min(status.length, length)
        if run < length:
            run = max(run - run % unit, min(unit, length))
        if status.data or status.length < run:
            run = min(run, max(MAXIMUM_IO, unit))
        self._transfer(offset, run, zero=status.length >= run and not status.data)
        paid = run if status.data else 0
        return run, self.limit.delay(self.jobs.scheduler.now, paid)

    def _transfer(self, offset: int, length: int, *, zero: bool) -> None:
        assert self.dirty is not None
        reading = False
        try:
            if zero:
                self.target.write_zeroes(offset, length, unmap=self.options.unmap)
            else:
                reading = True
                data = self.source.read(offset, length)
                reading = False
                self.target.write(offset, data)
                self._owe(self.source, self.target, length)
                self._unflushed = True
        except OSError as error:
            self.dirty.mark(offset, length)
            self._failed(error.errno or errno.EIO, reading=reading)
            return
        self.progress.done(length)

    # -- the end

    def prepare(self) -> int:
        """Let the users of the source use the target, if the job was completed (mirror_exit_common)."""
        self._leave(pivot=self._completing)
        return 0

    def _clean(self) -> None:
        self._leave(pivot=False)
        self.detach_all()
        if self.ret and self.options.restore_read_only:
            set_writable(self.target, writable=False)

    def _leave(self, *, pivot: bool) -> None:
        filter_, graph = self.filter, self.jobs.graph
        if filter_ is None:
            return
        self.filter = None
        filter_.watcher = None
        keeper = Drive(graph, "")
        keeper.insert(self.target)
        if self.dirty is not None:
            self.dirty.node.release_bitmap(self.dirty)
            self.dirty = None
        self.detach_all()
        if self._user is not None:
            self._user.eject()
        self._set_backing()
        new = self.target if pivot else self.source
        if pivot and self.target.read_only != self.source.read_only:
            set_writable(self.target, writable=not self.source.read_only)
        graph.drain(self.target)
        drop_job_filter(graph, filter_, new)
        self.target.drained_end()
        if self._drained:
            self.source.drained_end()
        keeper.eject()

    def _set_backing(self) -> None:
        """Give the target the backing file that its header names, as a node of this graph."""
        backing, target = self.options.new_backing, self.target.skip_filters()
        if backing is None or self.is_cancelled or self.ret or target.backing is backing:
            return
        if target.supports_backing and target.backing is None:
            self.jobs.graph.attach(target, "backing", backing, 0, perms.ALL)


class ActiveCommitJob(MirrorJob):
    """The commit of an active layer: its base takes its place."""

    kind = "commit"

    __slots__ = ()


def create_mirror(jobs: JobList, source: Node, target: Node, options: MirrorOptions) -> MirrorJob:
    """Make a mirror job; it is not started.

    :raises QmpError: in the order of mirror_start_job; graph and jobs are as before then.
    """
    if options.buffer < 0:
        raise QmpError("Invalid parameter 'buf-size'")
    if source.skip_filters() is target.skip_filters():
        raise QmpError("Can't mirror node into itself")
    graph = jobs.graph
    top = insert_mirror_top(graph, source, options.filter_node_name, is_commit=options.is_commit)
    try:
        return _create(jobs, source, target, options, top)
    except QmpError:
        drop_job_filter(graph, top, source)
        raise


def _create(jobs: JobList, source: Node, target: Node, options: MirrorOptions, top: MirrorTopNode) -> MirrorJob:
    identifier = options.job_id if options.job_id is not None else top.device_name
    job = (ActiveCommitJob if options.is_commit else MirrorJob)(jobs, identifier, options, (source, target), top)
    job.use("main node", top)
    job.check_speed(options.speed)
    try:
        job.take_target()
    except QmpError:
        job.early_fail()
        raise
    job.make_bitmap()
    top.watcher = job
    job.use("source", source)
    job.use("target", target)
    if options.is_commit:
        layer = source.filtered or source.backing
        while layer is not None and layer is not target:
            job.use("intermediate node", layer)
            layer = layer.filtered or layer.backing
    return job
