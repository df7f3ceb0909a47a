"""The backup job.

Theory of operation (block/backup.c, QEMU 10.0)
===============================================

1. A copy-before-write filter above the source holds what is still to be copied; the job copies it in the
   background while the filter copies what guests are about to overwrite.
2. A bitmap that is used gets a successor when the job is made. It is settled when the job is finalised, by
   :meth:`BackupJob._settle_bitmap`, never when the copying ends.
3. An error of the source or the target is reported, ignored (tried again), or stops the job until it is resumed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qbitsim.copying.block_copy import MAXIMUM_WORKERS, BlockCopyState, CopyFailure
from qbitsim.copying.copy_call import BlockCopyCall
from qbitsim.drivers.copy_before_write import drop_filter, insert_filter
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.jobs.job import Job
from qbitsim.jobs.job_list import JobList
from qbitsim.jobs.txn import JobTxn
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node
    from qbitsim.drivers.copy_before_write import CopyBeforeWriteNode
    from qbitsim.engine.scheduler import Task
    from qbitsim.files.faults import Stall

INT_MAX = 0x7FFFFFFF
INT64_MAX = (1 << 63) - 1


@record(kw_only=True)
class BackupOptions:
    """What a client may choose.

    :ivar sync: ``full``, ``top``, ``none`` or ``bitmap`` (``incremental`` is ``bitmap`` with ``on-success``).
    :ivar bitmap: the bitmap to use, or None; :ivar bitmap_mode: ``on-success``, ``never`` or ``always``.
    :ivar speed: bytes per second, 0 for no limit.
    :ivar on_source_error: ``report``, ``ignore``, ``enospc``, ``stop`` or ``auto``; :ivar on_target_error: likewise.
    :ivar break_snapshot: a guest's write goes on although what it overwrites could not be copied; so does the job, and
        copies what was written (``on-cbw-error=break-snapshot``).
    :ivar max_workers: chunks in flight; :ivar max_chunk: bytes, 0 for no limit; :ivar min_cluster_size: bytes.
    :ivar filter_node_name: None for a generated name.
    """

    job_id: str | None
    sync: str
    bitmap: DirtyBitmap | None
    bitmap_mode: str
    speed: int
    compress: bool
    on_source_error: str
    on_target_error: str
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None
    discard_source: bool
    break_snapshot: bool
    max_workers: int = MAXIMUM_WORKERS
    max_chunk: int = 0
    min_cluster_size: int = 0
    copy_range: bool


class BackupJob(Job):
    """Copies a node, or what is dirty of it, to another one."""

    kind = "backup"

    __slots__ = ("_call", "_looking", "_waiting", "filter", "options", "state")

    def __init__(
        self, jobs: JobList, identifier: str, options: BackupOptions, filter_: CopyBeforeWriteNode, txn: JobTxn | None
    ) -> None:
        super().__init__(jobs, identifier, txn, auto_finalize=options.auto_finalize, auto_dismiss=options.auto_dismiss)
        assert filter_.copy_state is not None
        self.options = options
        self.filter = filter_
        self.state: BlockCopyState = filter_.copy_state
        self.state.progress = self.progress
        self.state.single_clusters = options.compress or jobs.profile.backup_is_sequential
        self.state.copy_range = "small" if options.copy_range else None
        self._call: BlockCopyCall | None = None
        self._looking: Task | None = None
        self._waiting = False

    # -- the work

    def _run(self) -> None:
        bitmap, sync = self.state.copy_bitmap, self.options.sync
        if sync == "bitmap":
            assert self.options.bitmap is not None
            bitmap.bits.clear_all()
            bitmap.merge_from(self.options.bitmap)
        elif sync == "top":
            self.state.skip_unallocated = True
        self.progress.set_remaining(bitmap.count)
        if sync == "top" and self.state.status_needs_io:
            self._looking = self.jobs.scheduler.soon(self._begin, f"{self.id}: look up what is allocated")
        else:
            self._begin()

    def _begin(self) -> None:
        sync = self.options.sync
        if sync == "top":
            offset = 0
            try:
                while offset < self.state.length:
                    offset = self.state.reset_unallocated(offset)
            except OSError as error:
                self._finish(errno_of(error))
                return
            self.state.skip_unallocated = False
        if sync == "none":
            self._serve_guest()
        else:
            self._copy()

    def _serve_guest(self) -> None:
        """sync=none: only guest writes cause copies, until the job is cancelled."""
        if self.is_cancelled:
            self._finish(0)
        else:
            self._yield(self._serve_guest)

    def _copy(self) -> None:
        options = self.options
        self._call = BlockCopyCall(
            self.state,
            max_workers=options.max_workers,
            max_chunk=options.max_chunk,
            label=self.id,
            done=self._call_finished,
        )
        self._call.start()
        self._await_call()

    def _call_finished(self) -> None:
        if self._waiting:
            self._waiting = False
            self.wake()
        else:
            self.enter()

    def _await_call(self) -> None:
        call = self._call
        assert call is not None
        if not call.finished and not self.is_cancelled:
            self._yield(self._await_call)
            return
        if not call.finished:
            if call.cancel():
                self._cancelled()
            else:
                self._waiting = True
                self._wait_for_io(self._cancelled)
            return
        self._call_ended(call)

    def _cancelled(self) -> None:
        self._finish(0)

    def _call_ended(self, call: BlockCopyCall) -> None:
        if self.is_cancelled:
            self._finish(0)
        elif call.cancelled:
            # Only the call was cancelled, for a pause that is over now; a failure meanwhile is forgotten (backup_loop).
            self._copy()
        elif call.failure is not None:
            self._handle_error(call.failure)
        else:
            self._finish(0)

    def _handle_error(self, failure: CopyFailure) -> None:
        """Do what the policy says (block_job_error_action, blockjob.c, QEMU 10.0)."""
        policy = self.options.on_source_error if failure.reading else self.options.on_target_error
        if policy in ("enospc", "auto"):
            policy = "stop" if failure.number == errno.ENOSPC else "report"
        operation = "read" if failure.reading else "write"
        self.jobs.emit("BLOCK_JOB_ERROR", {"device": self.id, "operation": operation, "action": policy})
        if policy == "report":
            self._finish(failure.number)
            return
        if policy == "stop":
            self.stop_for_error(failure.number)
            self._pause_point(self._copy)
        else:
            self._copy()

    def _cancel_driver(self, force: bool) -> bool:
        """Do not wait for the target's server, if it has gone (backup_cancel)."""
        del force
        self.state.cancel_in_flight()
        return True

    def _pause_driver(self) -> bool:
        call = self._call
        if call is None or call.finished or call.cancel():
            return True
        self._waiting = True
        return False

    @property
    def stall(self) -> Stall | None:
        """What a chunk in flight is stalled by."""
        return self.state.stall

    def finish_in_flight(self) -> None:
        """Complete the look-up, or the chunks, in flight."""
        self.jobs.scheduler.complete(self._looking)
        if self._call is not None:
            self._call.finish_in_flight()

    def _follow_speed(self) -> None:
        self.state.rate_limit.set_speed(self.speed)
        if self._call is not None:
            self._call.kick()

    @property
    def length(self) -> int:
        """Bytes to copy; the length of the disk in QEMU of old."""
        return self.state.length if self.jobs.profile.progress_is_position else super().length

    @property
    def offset(self) -> int:
        """Bytes copied; the place up to which everything is copied in QEMU of old."""
        if not self.jobs.profile.progress_is_position or self.options.sync == "none" or not self.started:
            return super().offset
        return self.state.position()

    # -- the end

    def _commit(self) -> None:
        self._settle_bitmap(succeeded=True)

    def _abort(self) -> None:
        self._settle_bitmap(succeeded=False)

    def _settle_bitmap(self, *, succeeded: bool) -> None:
        """Let the successor take over, or merge it back (backup_cleanup_sync_bitmap)."""
        bitmap, mode = self.options.bitmap, self.options.bitmap_mode
        if bitmap is None:
            return
        synchronise = mode == "always" or (succeeded and mode != "never")
        settled = bitmap.abdicate() if synchronise else bitmap.reclaim()
        if not succeeded and mode == "always":
            settled.merge_from(self.state.copy_bitmap)

    def _clean(self) -> None:
        """Give up the nodes and take the filter out; up to 7.2 this drains what is above the filter."""
        if not self.jobs.profile.graph_changes_drain:
            self.jobs.graph.drain(self.filter)
            self.filter.drained_end()
        self.detach_all()
        drop_filter(self.jobs.graph, self.filter, detached=self.jobs.profile.dropped_filter_detached)


def create_backup(
    jobs: JobList, source: Node, target: Node, options: BackupOptions, txn: JobTxn | None = None
) -> BackupJob:
    """Make a backup job; it is not started.

    :raises QmpError: in the order of backup_job_create (block/backup.c, QEMU 10.0); the bitmap, the graph and
        the list of jobs are as before then.
    """
    if source is target:
        raise QmpError("Source and target cannot be the same")
    if options.compress and not target.takes_compressed_writes:
        raise QmpError(f"Compression is not supported for this drive {target.device_name}")
    source.check_not_blocked("backup-source")
    target.check_not_blocked("backup-target")
    if not 1 <= options.max_workers <= INT_MAX:
        raise QmpError(f"max-workers must be between 1 and {INT_MAX}")
    if options.max_chunk < 0:
        raise QmpError("max-chunk must be zero (which means no limit) or positive")
    if options.min_cluster_size > INT64_MAX:
        raise QmpError(f"min-cluster-size too large: {options.min_cluster_size} > {INT64_MAX}")
    bitmap = options.bitmap
    if bitmap is not None:
        if options.bitmap_mode != "never":
            bitmap.check()
        bitmap.create_successor()
    try:
        if source.length != target.length:
            raise QmpError("Source and target image have different sizes")
        return _create_over_filter(jobs, source, target, options, txn)
    except QmpError:
        if bitmap is not None:
            bitmap.reclaim()
        raise


def _create_over_filter(
    jobs: JobList, source: Node, target: Node, options: BackupOptions, txn: JobTxn | None
) -> BackupJob:
    filter_ = insert_filter(
        jobs.graph,
        source,
        target,
        options.filter_node_name,
        break_snapshot=options.break_snapshot,
        discard_source=options.discard_source,
        minimum_cluster=options.min_cluster_size,
        compress=options.compress,
        on_filter=jobs.profile.backup_bitmap_on_filter,
    )
    try:
        return _create_job(jobs, filter_, target, options, txn)
    except QmpError:
        drop_filter(jobs.graph, filter_, detached=jobs.profile.dropped_filter_detached)
        raise


def _create_job(
    jobs: JobList, filter_: CopyBeforeWriteNode, target: Node, options: BackupOptions, txn: JobTxn | None
) -> BackupJob:
    assert filter_.copy_state is not None
    cluster = filter_.copy_state.cluster_size
    if options.max_chunk and options.max_chunk < cluster:
        raise QmpError(f"Required max-chunk ({options.max_chunk}) is less than backup cluster size ({cluster})")
    identifier = options.job_id if options.job_id is not None else filter_.device_name
    with jobs.graph.change():
        job = BackupJob(jobs, identifier, options, filter_, txn)
        job.use_main_node(filter_)
    if options.speed < 0:
        job.early_fail()
        raise QmpError("Parameter 'speed' expects a non-negative value")
    job.speed = options.speed
    filter_.copy_state.rate_limit.set_speed(options.speed)
    jobs.graph.changing()
    job.use("target", target)
    return job
