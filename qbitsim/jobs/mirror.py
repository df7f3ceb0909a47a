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
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from qbitsim.block.chain import status_waits
from qbitsim.block.drive import Drive
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.jobs.coroutine import Continuation
from qbitsim.jobs.loop import LoopJob, grow, restore_read_only
from qbitsim.jobs.mirror_dirty import MirrorDirty
from qbitsim.jobs.mirror_exit import give_backing, pivot
from qbitsim.jobs.mirror_operations import MirrorOperation, MirrorOperations
from qbitsim.jobs.mirror_options import MirrorOptions
from qbitsim.jobs.mirror_target import MirrorTarget
from qbitsim.jobs.states import JobVerb
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from qbitsim.block.node import Node
    from qbitsim.drivers.job_filters import MirrorTopNode
    from qbitsim.engine.scheduler import Task
    from qbitsim.files.faults import Stall
    from qbitsim.jobs.job_list import JobList

DEFAULT_BUFFER = 10 << 20
"""Bytes of a run, and of what is in flight, if nobody asks for another length (DEFAULT_MIRROR_BUF_SIZE)."""

REPLACE_BLOCKER = "block device is in use by block-job-complete"
"""Why operations on a node are refused that the target is about to replace."""


class MirrorJob(LoopJob):
    """Keeps a target equal to a source until it is told to stop.

    :ivar user: what writes to the target.
    """

    kind: ClassVar[str] = "mirror"

    __slots__ = (
        *("_buffer", "_completing", "_delay", "_ending", "_error_text", "_failure", "_flushing", "_idle"),
        *("_in_drain", "_looks_first", "_operations", "_replaced", "_run_left", "_waiting", "_waits_for_all"),
        *("actively_synced", "copy_mode", "dirty", "filter", "options", "source", "target", "user"),
    )

    def __init__(
        self, jobs: JobList, identifier: str, options: MirrorOptions, nodes: tuple[Node, Node], top: MirrorTopNode
    ) -> None:
        """``nodes`` are the source and the target, which the source's backing chain may contain."""
        super().__init__(jobs, identifier, auto_finalize=options.auto_finalize, auto_dismiss=options.auto_dismiss)
        self.options = options
        self.source, target = nodes
        self.target = MirrorTarget(target, unmap=options.unmap)
        self.filter: MirrorTopNode | None = top
        self.copy_mode = options.copy_mode
        self.actively_synced = False
        self.dirty: MirrorDirty | None = None
        needed = perms.WRITE
        shared = perms.WRITE_UNCHANGED
        if top.target_is_backing:
            needed |= perms.RESIZE if target.length < self.source.length else 0
            shared |= perms.CONSISTENT_READ | perms.WRITE
        self.user = Drive(jobs.graph, "", perm=needed, shared=shared)
        self._buffer = options.buffer or DEFAULT_BUFFER
        self._operations = MirrorOperations(jobs.scheduler, self._buffer)
        self._run_left: tuple[int, int] | None = None
        self._waiting = self._waits_for_all = False
        self._delay = 0
        self._completing = False
        self._replaced: Node | None = None
        self._in_drain = False
        self._ending: Task | None = None
        self._flushing: Task | None = None
        self._looks_first = False
        self._idle = False
        self._error_text: str | None = None
        self._failure = 0  # an errno; the job has it when its work has ended

    def make_bitmap(self) -> None:
        """Note from now on what guests write; up to 7.2 the bitmap was the source's, see profiles."""
        on_filter = self.jobs.profile.backup_bitmap_on_filter
        owner = self.filter if on_filter else self.source
        assert owner is not None
        granularity = self.options.granularity or self.target.node.default_granularity
        self.target.track_clusters(self.source.length, granularity)
        self.dirty = MirrorDirty(self.source, owner, granularity, self._buffer)
        self.dirty.bitmap.disabled = on_filter or self.copy_mode != "background"
        if not on_filter:
            # Whoever uses the source below the filter writes to its bitmap alone.
            self.dirty.bitmap.on_mark = self._wake_up

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
            node.block(REPLACE_BLOCKER)
            self._replaced = node
        self._completing = True
        if not self.paused:
            self.enter()

    def _cancel_driver(self, force: bool) -> bool:
        """A ready job that is not cancelled by force comes to an end without using the target."""
        force = force or not self.ready
        if force and not self.options.is_commit and self.target.node.cancel_in_flight():
            self._operations.hurry()
        return force

    # -- guest writes

    def guest_wrote(self, kind: str, offset: int, length: int, data: bytes) -> None:
        """The source has a guest's write: copy it at once, or note it."""
        assert self.dirty is not None
        if self.deferred:
            return
        if self.copy_mode == "background":
            self.dirty.mark(offset, length)
            self._wake_up()
        else:
            self._copy_at_once(kind, offset, length, data)

    def _copy_at_once(self, kind: str, offset: int, length: int, data: bytes) -> None:
        assert self.dirty is not None
        self._operations.complete_overlapping(offset, length)
        begin = offset
        offset, length = self.dirty.take_write(offset, length)
        if not length:
            return
        self.progress.total += length
        try:
            if kind == "write":
                self.target.write(offset, data[offset - begin : offset - begin + length])
            else:
                # What a guest allows zeroes to free does not get through the filter (supported_zero_flags).
                self.target.write_zeroes(offset, length, unmap=False)
        except OSError as error:
            self.dirty.mark(offset, length)
            self._failed(errno_of(error), reading=False)
            self._wake_up()
        except StalledError:
            self.dirty.mark(offset, length)
            self.progress.total -= length
            raise
        else:
            self.progress.done(length)

    def _wake_up(self) -> None:
        if self._idle and not self.pause_count:
            self._idle = False
            self._timer = self.jobs.scheduler.soon(self.enter, f"{self.id}: guest write")

    # -- the work

    def _run(self) -> None:
        source, target = self.source, self.target.node
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
            self._end(errno_of(error))
            return
        self._round()

    def _find_dirty(self) -> None:
        """What is to be copied at first (mirror_dirty_init)."""
        dirty, source = self.dirty, self.source
        assert dirty is not None
        self._looks_first = status_waits(source, self.options.base)
        if self.jobs.profile.mirror_knows_zeroes:
            self.target.track_zeroes(source.length, dirty.bitmap.granularity)
            # That may take its time, too, or not: which comes first, the reply or the end of it, is a race on QEMU.
            self._looks_first = self._looks_first or source.skip_filters().waits_for_io("read")
        must, does = self.options.zero_target, self.options.target_is_zero
        if self.target.read_as_zeroes(source.length, must=must, does=does):
            dirty.mark_allocated(self.options.base)
        else:
            dirty.mark(0, source.length)

    def _round(self) -> None:
        """The next turn of mirror_run's loop."""
        self._pause_point(self._turn)

    def _turn(self) -> None:
        """Begin to copy as much as may be in flight at once; then wait, unless there is nothing to wait for."""
        dirty = self.dirty
        assert dirty is not None
        while not (self._failure or self.is_cancelled):
            self.progress.set_remaining(dirty.count + self._operations.bytes)
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
                delay = self.limit.delay(self.jobs.scheduler.now)
            if delay and not (self.ready and not (self._completing or self.cancelled)):
                self._after_quota(self._round, delay)
                return
        if self._operations:
            self._wait_for_operation(self._round)
        else:
            self._end(self._failure)

    def _wait_for_operation(self, then: Continuation) -> None:
        """Go on with ``then`` when something that is in flight is done."""
        self._waiting = True
        self._wait_for_io(then)

    def _pause_driver(self) -> bool:
        """Everything in flight comes to its end first, even if the pause is over before that (mirror_pause)."""
        self._waiting = self._waits_for_all = bool(self._operations)
        return not self._operations

    def _caught_up(self) -> None:
        if not self.ready:
            if self.target.unflushed or self._looks_first:
                # Flushing what was written takes a turn, and so does the first look at the source.
                self.target.unflushed = self._looks_first = False
                self._flushing = self.jobs.scheduler.soon(self._caught_up, f"{self.id}: flush the target")
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

    def _become_ready(self) -> None:
        self.transition(JobStatus.READY)
        data = {"device": self.id, "len": self.length, "offset": self.offset, "speed": self.speed, "type": self.kind}
        self.jobs.emit("BLOCK_JOB_READY", data)

    def _end(self, ret: int) -> None:
        """Keep the source quiet until the job is settled; that takes a turn, so that a reply comes first.

        What a guest writes before that turn is copied first.
        """
        self._failure = ret
        self._ending = self.jobs.scheduler.soon(self._ended, f"{self.id}: drain the source")

    def _ended(self) -> None:
        self.source.drained_begin()
        self._let_requests_end()
        assert self.dirty is not None
        if self.dirty.count and not (self._failure or self.is_cancelled):
            # A guest has written since the last look, which is taken anew (mirror_run, block/mirror.c, QEMU 10.0).
            self.source.drained_end()
            self._round()
        else:
            self._finish(self._failure)

    def _let_requests_end(self) -> None:
        """What others have in flight on the source comes to its end; what a test stalls does so later."""
        self._in_drain = True
        try:
            self.source.drained_poll()
        except StalledError:
            pass
        finally:
            self._in_drain = False

    def drained_poll(self) -> None:
        """As every job, unless it is the one that waits."""
        if not self._in_drain:
            super().drained_poll()

    @property
    def stall(self) -> Stall | None:
        """What something in flight waits for."""
        return self._operations.stall

    def finish_in_flight(self) -> None:
        """Complete what is in flight; come to the end, if it has begun.

        :raises StalledError: something in flight waits.
        """
        self._operations.complete_all()
        self.finish_flush()
        self.jobs.scheduler.complete(self._ending)

    def finish_flush(self) -> None:
        """Flush the target now, if that is what comes next (bdrv_co_flush, block/io.c, waits for active_flush_req)."""
        self.jobs.scheduler.complete(self._flushing)

    def _entered(self) -> None:
        self._idle = False
        super()._entered()

    def _flush(self) -> bool:
        try:
            self.target.flush()
        except OSError as error:
            self._failed(errno_of(error), reading=False)
            return False
        return True

    def _failed(self, number: int, *, reading: bool) -> None:
        """An error of the source or the target: report it, and end unless the policy says otherwise."""
        self.actively_synced = False
        policy = self.options.on_source_error if reading else self.options.on_target_error
        if self._react(policy, number, reading=reading) == "report" and not self._failure:
            self._failure = number

    def _begin_run(self) -> bool:
        """Begin to copy one run of dirty chunks (mirror_iteration).

        :return: whether that was possible; if too much is in flight the rest of the run comes later.
        """
        dirty = self.dirty
        assert dirty is not None
        if self._run_left is None:
            if not dirty.count or self._operations.is_full(1):
                return False
            self._run_left = dirty.take_run()
        while self._run_left is not None:
            offset, length = self._run_left
            run, method = dirty.first_piece(offset, length, self.target)
            if self._operations.is_full(run if method == "copy" else 0):
                return False
            start = offset
            if method == "copy":
                start, run = self.target.widened(offset, run)
            free = method != "copy" and self.target.node.zeroes_by_unmapping
            free = free or (method == "zero" and self.target.is_known_zero(offset, run))
            self._begin_operation(start, run, method)
            run += start - offset  # so far it has come
            self._delay = self.limit.delay(self.jobs.scheduler.now, 0 if free else run)
            self._run_left = (offset + run, length - run) if run < length else None
        return True

    def _begin_operation(self, offset: int, length: int, method: str) -> None:
        outage = self._outage
        if outage:
            method = "copy"
        elif method == "copy" and self.source.reads_nothing(offset, length):
            method = "write"
        operation = MirrorOperation(offset, length, method, self._operation_done)
        try:
            with self._own_requests():
                waits = operation.begin(self.source, self.target)
        except StalledError as error:
            self._operations.suspend(operation, error.stall)
            return
        if not waits:
            self._transfer(operation)
            return
        delay = outage
        if method in {"copy", "write"}:
            delay = max(delay, self.source.delay("read", length), self.target.node.delay("write", length))
        self._add(operation, delay)

    def _add(self, operation: MirrorOperation, delay: int) -> None:
        self._operations.add(operation, delay, f"{self.id}: copy {operation.offset}+{operation.length}")

    @property
    def _outage(self) -> int:
        return max(self.source.outage, self.target.node.outage)

    def _own_requests(self) -> AbstractContextManager[None]:
        """Requests that need not wait for a server that is away, unless somebody waits for them."""
        return nullcontext() if self._operations.awaited else self.jobs.graph.waiting_caller()

    def _waits_for_server(self, operation: MirrorOperation) -> bool:
        """Whether what has failed is made again, as a server that went away meanwhile has time to come back."""
        outage = 0 if self._operations.awaited else self._outage
        if outage:
            operation.begin_anew()
            self._add(operation, outage)
        return outage > 0

    def _operation_done(self, operation: MirrorOperation) -> None:
        """What was in flight is done; go on if that was waited for."""
        self._operations.remove(operation)
        try:
            if not operation.begun:
                with self._own_requests():
                    operation.begin(self.source, self.target)
            self._transfer(operation)
        except StalledError as error:
            self._operations.suspend(operation, error.stall)
        else:
            if self._waiting and not (self._waits_for_all and self._operations):
                self._waiting = self._waits_for_all = False
                self.wake()

    def _transfer(self, operation: MirrorOperation) -> None:
        assert self.dirty is not None
        offset, length = operation.offset, operation.length
        reading = False
        try:
            if operation.error is not None:
                raise operation.error
            if operation.method == "copy":
                with self._own_requests():
                    reading = True
                    data = self.source.read(offset, length)
                    reading = False
                    self.target.write(offset, data)
        except OSError as error:
            if self._waits_for_server(operation):
                return
            self.dirty.mark(offset, length)
            self._failed(errno_of(error), reading=reading)
            return
        self.target.note_copied(offset, length)
        self.progress.done(length)

    # -- the end

    def prepare(self) -> int:
        """Let the users of the source use the target, if the job was completed (mirror_exit_common)."""
        return self._leave(completed=self._completing)

    def _clean(self) -> None:
        self._leave(completed=False)

    def _leave(self, *, completed: bool) -> int:
        """Give up all nodes, and return 0 or an errno; the second call does nothing."""
        failure = 0
        filter_, graph, source, target = self.filter, self.jobs.graph, self.source, self.target.node
        if filter_ is None:
            return failure
        self.filter = None
        self.unfreeze()
        filter_.watcher, filter_.held = None, False
        assert self.dirty is not None
        self.dirty.release()
        with graph.kept(source, filter_, target):
            self.user.eject()
            with graph.drained(filter_), graph.drained(target):
                filter_.stopped = True
                graph.refresh_permissions(filter_)
                if not (self.is_cancelled or self.ret):
                    failure = give_backing(self.jobs, target, self.options)
                if completed and not pivot(graph, source, self._replaced or source, target):
                    failure = errno.EPERM
                if self._replaced is not None:
                    self._replaced.blockers.remove(REPLACE_BLOCKER)
                self.detach_all()
                graph.remove_above(filter_, filter_.children[0].node)
                if self.ret and self.options.restore_read_only:
                    restore_read_only(graph, target)
            source.drained_end()
        return failure


class ActiveCommitJob(MirrorJob):
    """The commit of an active layer: its base takes its place."""

    kind = "commit"

    __slots__ = ()
