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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from qbitsim.block.chain import is_all_zeroes, status_above
from qbitsim.block.drive import Drive
from qbitsim.drivers.job_filters import drop_filter, insert_mirror_top
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jobs.coroutine import Continuation
from qbitsim.jobs.known_zeroes import KnownZeroes
from qbitsim.jobs.loop import LoopJob, grow, restore_read_only, set_writable, use_intermediate_nodes
from qbitsim.jobs.mirror_options import MirrorOptions
from qbitsim.jobs.states import JobVerb
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node
    from qbitsim.drivers.job_filters import MirrorTopNode
    from qbitsim.engine.scheduler import Task
    from qbitsim.jobs.job_list import JobList

MAXIMUM_IO = 1 << 20
MAXIMUM_IN_FLIGHT = 16
REPLACE_BLOCKER = "block device is in use by block-job-complete"
"""Why operations on a node are refused that the target is about to replace."""


class MirrorOperation:
    """A piece that is being copied.

    :ivar offset: bytes, :ivar length: bytes.
    :ivar method: ``copy``, or ``zero`` or ``discard``: that happens to the target, and nothing is read.
    :ivar error: what the target answered to ``zero`` or ``discard``, and it is not yet known to the job.
    """

    __slots__ = ("error", "job", "length", "method", "offset", "task")

    def __init__(self, job: MirrorJob, offset: int, length: int, method: str) -> None:
        self.job = job
        self.offset = offset
        self.length = length
        self.method = method
        self.task: Task | None = None
        self.error: OSError | None = None

    def begin(self) -> None:
        """Ask the target for zeroes or a discard: it takes that before data, which has to be read first."""
        if self.method == "copy":
            return
        job = self.job
        try:
            (job.zero_target if self.method == "zero" else job.discard_target)(self.offset, self.length)
        except OSError as error:
            self.error = error

    def complete(self) -> None:
        """Copy it, and tell the job."""
        self.job.operation_done(self)


class MirrorJob(LoopJob):
    """Keeps a target equal to a source until it is told to stop.

    :ivar user: what writes to the target.
    """

    kind: ClassVar[str] = "mirror"

    __slots__ = (
        *("_completing", "_delay", "_drained", "_ending", "_error_text", "_idle", "_operations", "_position"),
        *("_replaced", "_run_left", "_unflushed", "_waiting", "_zeroes"),
        *("actively_synced", "copy_mode", "dirty", "filter", "options", "source", "target", "user"),
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
        needed = perms.WRITE
        shared = perms.WRITE_UNCHANGED
        if options.is_commit:
            needed |= perms.RESIZE if self.target.length < self.source.length else 0
            shared |= perms.CONSISTENT_READ | perms.WRITE
        self.user = Drive(jobs.graph, "", perm=needed, shared=shared)
        self._position = 0
        self._operations: list[MirrorOperation] = []
        self._run_left: tuple[int, int] | None = None
        self._waiting = False
        self._delay = 0
        self._completing = False
        self._replaced: Node | None = None
        self._drained = False
        self._ending: Task | None = None
        self._unflushed = False
        self._zeroes: KnownZeroes | None = None
        self._idle = False
        self._error_text: str | None = None

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

    def change(self, copy_mode: str | None) -> None:
        """block-job-change: from copying in the background to copying at once.

        :param copy_mode: None, the options of another type of job, is taken for ``background``, as in QEMU.
        :raises QmpError: with the texts of mirror_change.
        """
        self._apply_verb(JobVerb.CHANGE)
        copy_mode = copy_mode if copy_mode is not None else "background"
        if self.options.is_commit:
            raise QmpError("Job type does not support change")
        if self.copy_mode == copy_mode:
            return
        if copy_mode != "write-blocking":
            raise QmpError(f"Change to copy mode '{copy_mode}' is not implemented")
        self.copy_mode = copy_mode
        self._wake_up()

    def _complete_driver(self) -> None:
        name = self.options.replaces
        if not self._completing and name is not None:
            node = self.jobs.graph.nodes.get(name)
            if node is None:
                raise QmpError(f"Node name '{name}' not found")
            node.blockers.insert(0, REPLACE_BLOCKER)
            self._replaced = node
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
        for each in list(self._operations):
            # mirror_wait_on_conflicts
            if each.task is not None and each.offset < offset + length and offset < each.offset + each.length:
                self.jobs.scheduler.run(each.task)
        unit = self.dirty.granularity
        start, stop = -(-offset // unit) * unit, offset + length
        if stop != self.dirty.size:
            stop -= stop % unit
        if start < stop:
            self.dirty.reset(start, stop - start)
        self.progress.total += length
        try:
            if kind == "write":
                self._write_target(offset, data)
            else:
                self.zero_target(offset, length)
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
        failure = grow(target, source.length) if self.options.is_commit else 0
        if not self.options.is_commit and target.length != source.length:
            self._error_text = "Source and target image have different sizes"
            failure = errno.EINVAL
        if failure:
            self._end(failure)
            return
        if source.length == 0:
            self._become_ready()
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
        if not self._prepare_target():
            dirty.mark(0, source.length)
            return
        offset = 0
        while offset < source.length:
            status = status_above(source, self.options.base, offset, source.length - offset)
            if status.allocated:
                dirty.mark(offset, status.length)
            offset += status.length

    def _prepare_target(self) -> bool:
        """Let a target that must become equal read as zeroes where nothing will be copied.

        Return whether it does, or need not; everything is copied otherwise.
        """
        target, length = self.target, self.source.length
        empties = target.detect_zeroes == "unmap" and target.zeroes_by_unmapping  # and so all zeroes are to be written
        zeroes = None
        if self.jobs.profile.mirror_knows_zeroes:
            assert self.dirty is not None
            zeroes = self._zeroes = KnownZeroes(length, self.dirty.granularity)
            # The first look at the source takes a turn, unless it waits for nothing.
            self._unflushed = self.source.waits_for_io("read", 0, 1)
            if (self.options.target_is_zero or is_all_zeroes(target)) and not empties:
                zeroes.learn_all()
                return True
        if not self.options.zero_target:
            return True
        if not target.zeroes_by_unmapping or (empties and zeroes is not None):
            return False
        target.write_zeroes(0, length, unmap=True)
        if zeroes is not None:
            zeroes.learn_all()
        return True

    def _round(self) -> None:
        """The next turn of mirror_run's loop."""
        self._pause_point(self._turn)

    def _turn(self) -> None:
        """Begin to copy as much as may be in flight at once; then wait, unless there is nothing to wait for."""
        dirty = self.dirty
        assert dirty is not None
        while not (self.ret or self.is_cancelled):
            self.progress.set_remaining(dirty.count + sum(each.length for each in self._operations))
            if self.io_status != "ok":
                # An error has stopped the job: the next pause point holds it.
                self._sleep(0, self._round)
                return
            if not dirty.count and not self._operations and self._run_left is None:
                self._caught_up()
                return
            if not self._begin_run():
                self._wait_for_operation(self._round)
                return
            delay = self._delay
            if self.jobs.profile.speed_survives_pauses:
                delay = self.limit.delay(self.jobs.scheduler.now, 0)
            if delay and not (self.ready and not (self._completing or self.cancelled)):
                self._after_quota(self._round, delay)
                return
        if self._operations:
            self._wait_for_operation(self._round)
        else:
            self._end(self.ret)

    def _wait_for_operation(self, then: Continuation) -> None:
        """Go on with ``then`` when something that is in flight is done."""
        self._waiting = True
        self._wait_for_io(then)

    def _pause_driver(self) -> bool:
        """Everything in flight comes to its end first (mirror_pause)."""
        self._waiting = bool(self._operations)
        return not self._operations

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
        self._caught_up()

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
        """Complete what is in flight; come to the end, if it has begun."""
        for each in list(self._operations):
            if each.task is not None and each.task.pending:
                self.jobs.scheduler.run(each.task)
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

    def _begin_run(self) -> bool:
        """Begin to copy one run of dirty chunks (mirror_iteration).

        :return: whether that was possible; if too much is in flight the rest of the run comes later.
        """
        dirty = self.dirty
        assert dirty is not None
        if self._run_left is None:
            if not dirty.count or self._is_full(0):
                return False
            area = dirty.next_area(self._position, self.source.length, self.options.buffer)
            if area is None:
                area = dirty.next_area(0, self.source.length, self.options.buffer)
            assert area is not None
            dirty.reset(*area)
            self._position = area[0] + area[1]
            self._run_left = area
        while self._run_left is not None:
            offset, length = self._run_left
            run, method = self._piece(offset, length)
            if self._is_full(run if method == "copy" else 0):
                return False
            self._begin_operation(offset, run, method)
            free = method != "copy" and self.target.zeroes_by_unmapping
            self._delay = self.limit.delay(self.jobs.scheduler.now, 0 if free else run)
            self._run_left = (offset + run, length - run) if run < length else None
        return True

    def _is_full(self, length: int) -> bool:
        """Whether nothing more can be in flight that needs ``length`` bytes of the buffer."""
        used = sum(each.length for each in self._operations if each.method == "copy")
        return len(self._operations) >= MAXIMUM_IN_FLIGHT or (bool(used) and used + length > self.options.buffer)

    def _piece(self, offset: int, length: int) -> tuple[int, str]:
        """How many bytes are treated alike, and how: ``copy``, ``zero`` or ``discard`` (mirror_iteration)."""
        assert self.dirty is not None
        unit, source = self.dirty.granularity, self.source
        status = status_above(source, None, offset, min(-(-length // unit) * unit, source.length - offset))
        run = status.length
        if status.data:
            run = min(run, max(MAXIMUM_IO, self.options.buffer // MAXIMUM_IN_FLIGHT))
        run -= run % unit
        method = "copy"
        if run < unit:
            run = unit
        elif not status.data and self._fits_clusters(offset, run):
            method = "zero" if status.zero else "discard"
        return min(run, length), method

    def _fits_clusters(self, offset: int, length: int) -> bool:
        """Whether the range is whole clusters of the target (bdrv_round_to_clusters)."""
        cluster = self.target.cluster_size or 1
        return not offset % cluster and not length % cluster

    def _begin_operation(self, offset: int, length: int, method: str) -> None:
        operation = MirrorOperation(self, offset, length, method)
        self._operations.append(operation)
        operation.begin()
        delay = 0
        if method == "copy":
            delay = max(self.source.delay(length, writing=False), self.target.delay(length, writing=True))
        scheduler, label = self.jobs.scheduler, f"{self.id}: copy {offset}+{length}"
        operation.task = (
            scheduler.after(delay, operation.complete, label) if delay else scheduler.soon(operation.complete, label)
        )

    def operation_done(self, operation: MirrorOperation) -> None:
        """What was in flight is done; go on if that was waited for."""
        self._operations.remove(operation)
        self._transfer(operation)
        if self._waiting and not (self._operations and self._pausing):
            self._waiting = False
            self.wake()

    @property
    def _pausing(self) -> bool:
        """Whether the job has come to a pause point, where it waits for all that is in flight."""
        return self._after_pause is not None and self.pause_count > 0

    def _transfer(self, operation: MirrorOperation) -> None:
        assert self.dirty is not None
        offset, length = operation.offset, operation.length
        reading = False
        try:
            if operation.error is not None:
                raise operation.error
            if operation.method == "copy":
                reading = True
                data = self.source.read(offset, length)
                reading = False
                self._write_target(offset, data)
                self._unflushed = True
        except OSError as error:
            self.dirty.mark(offset, length)
            self._failed(error.errno or errno.EIO, reading=reading)
            return
        self.progress.done(length)

    def _write_target(self, offset: int, data: bytes) -> None:
        if self._zeroes is not None:
            self._zeroes.forget(offset, len(data))
        self.target.write(offset, data)

    def discard_target(self, offset: int, length: int) -> None:
        """Let the target forget these bytes (mirror_co_discard).

        :raises OSError: as the target fails.
        """
        if self._zeroes is not None:
            self._zeroes.forget(offset, length)
        self.target.discard(offset, length)

    def zero_target(self, offset: int, length: int) -> None:
        """Write zeroes, unless they are there (mirror_co_zero)."""
        zeroes = self._zeroes
        if zeroes is not None and zeroes.holds(offset, length):
            return
        self.target.write_zeroes(offset, length, unmap=self.options.unmap)
        if zeroes is not None:
            zeroes.learn(offset, length)

    # -- the end

    def prepare(self) -> int:
        """Let the users of the source use the target, if the job was completed (mirror_exit_common)."""
        return self._leave(pivot=self._completing)

    def _clean(self) -> None:
        self._leave(pivot=False)

    def _leave(self, *, pivot: bool) -> int:
        """Give up all nodes, and return 0 or an errno; the second call does nothing."""
        failure = 0
        filter_, graph, source, target = self.filter, self.jobs.graph, self.source, self.target
        if filter_ is None:
            return 0
        self.filter = None
        filter_.watcher, filter_.held = None, False
        if self.dirty is not None:
            self.dirty.node.release_bitmap(self.dirty)
            self.dirty = None
        with graph.kept(source, filter_, target):
            self.user.eject()
            with graph.drained(filter_), graph.drained(target):
                filter_.stopped = True
                graph.refresh_permissions(filter_)
                self._set_backing()
                if pivot and not self._pivot():
                    failure = errno.EPERM
                if self._replaced is not None:
                    self._replaced.blockers.remove(REPLACE_BLOCKER)
                    self._replaced = None
                self.detach_all()
                graph.remove_above(filter_, filter_.children[0].node)
                if self.ret and self.options.restore_read_only:
                    restore_read_only(graph, target)
            if self._drained:
                source.drained_end()
        return failure

    def _pivot(self) -> bool:
        """Let all users of the source, or of the node that it is to replace, use the target; whether it went well."""
        target, graph = self.target, self.jobs.graph
        replaced = self._replaced if self._replaced is not None else self.source
        if target.read_only != replaced.read_only:
            with suppress(QmpError):  # mirror_exit_common does not look whether it worked
                set_writable(graph, target, writable=not replaced.read_only)
        try:
            with graph.drained(replaced):
                if not self.source.can_replace(replaced):
                    return False
                graph.insert_above(replaced, target)
        except QmpError:
            return False
        return True

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
        top.stopped = True
        graph.refresh_permissions(top)
        drop_filter(graph, top, source)
        raise


def _create(jobs: JobList, source: Node, target: Node, options: MirrorOptions, top: MirrorTopNode) -> MirrorJob:
    identifier = options.job_id if options.job_id is not None else top.device_name
    read = perms.CONSISTENT_READ
    with jobs.graph.change():
        job = (ActiveCommitJob if options.is_commit else MirrorJob)(jobs, identifier, options, (source, target), top)
        try:
            job.use("main node", top, read | perms.WRITE_UNCHANGED | perms.WRITE, perm=read)
        except QmpError:
            job.early_fail()
            raise
    job.check_speed(options.speed)
    try:
        job.user.insert(target)
        jobs.graph.changing()
        job.use("source", source, read | perms.WRITE_UNCHANGED | perms.WRITE)
        job.use("target", target)
        if options.is_commit and (below := source.filtered or source.backing) is not None:
            use_intermediate_nodes(job, below, target)
    except QmpError:
        job.user.eject()
        job.early_fail()
        raise
    job.make_bitmap()
    top.watcher = job
    return job
