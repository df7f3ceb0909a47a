"""A job.

Theory of operation (job.c and blockjob.c, QEMU 10.0)
=====================================================

1. A job moves between the states of :mod:`qbitsim.jobs.states` in :meth:`Job.transition` only, which
   also emits the event.
2. The work of a job is a :class:`~qbitsim.jobs.coroutine.Coroutine`, which stops for pauses.
3. When the work ends, the rest happens in a bottom half (:meth:`Job._exit`): before the reply of a command
   that is running, but after the command itself.
4. Every job is in a :class:`~qbitsim.jobs.txn.JobTxn`, which decides when it is settled.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, ClassVar

from qbitsim.block.node import Child
from qbitsim.copying.block_copy import Progress
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.jobs.states import COMPLETED, TRANSITIONS, JobVerb
from qbitsim.jobs.txn import JobTxn
from qbitsim.jobs.verbs import JobVerbs
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.files.faults import Stall
    from qbitsim.jobs.job_list import JobList


class Job(JobVerbs):
    """The common part of all jobs.

    :cvar is_block_job: it works on nodes, and the older commands know it.
    :ivar id: what clients call it.
    :ivar ret: 0, or the errno with which it failed.
    :ivar speed: bytes per second; 0 is no limit.
    :ivar io_status: ``ok``, ``failed`` or ``nospace``.
    :raises QmpError: if the id is ill-formed or taken; nothing has happened then.
    """

    kind: ClassVar[str]
    is_block_job: ClassVar[bool] = True

    __slots__ = (
        "_frozen",
        "auto_dismiss",
        "auto_finalize",
        "cancelled",
        "edges",
        "force_cancel",
        "id",
        "jobs",
        "progress",
        "ret",
        "status",
        "txn",
    )

    def __init__(
        self,
        jobs: JobList,
        identifier: str,
        txn: JobTxn | None = None,
        *,
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
    ) -> None:
        jobs.check_new_id(identifier)
        self.jobs = jobs
        self.id = identifier
        self.auto_finalize = auto_finalize
        self.auto_dismiss = auto_dismiss
        self.status = JobStatus.UNDEFINED
        self.ret = 0
        self._wait_for_start()
        self.cancelled = False
        self.force_cancel = False
        self.user_paused = False
        self.speed = 0
        self.io_status = "ok"
        self.progress = Progress()
        self.edges: list[Child] = []
        self._frozen: list[Child] = []
        self.transition(JobStatus.CREATED)
        jobs.jobs.insert(0, self)
        self.txn = txn if txn is not None else JobTxn()
        self.txn.jobs.insert(0, self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self.status} {self.progress.current}/{self.progress.total}>"

    # -- what kinds of jobs provide

    def _run(self) -> None:
        """Begin the work; ends in :meth:`_finish`."""
        raise NotImplementedError

    def _pause_driver(self) -> bool:
        """Stop own I/O before a pause; False if it must first come to its end, which calls :meth:`wake`."""
        return True

    @property
    def stall(self) -> Stall | None:
        """What own I/O that is in flight is stalled by; None if it will come to its end by itself."""
        return None

    def finish_in_flight(self) -> None:
        """Let own I/O that is in flight come to its end."""

    def prepare(self) -> int:
        """The last chance to fail before all jobs of the transaction are settled: 0, or an errno."""
        return 0

    def _commit(self) -> None:
        """Keep the result."""

    def _abort(self) -> None:
        """Undo what can be undone."""

    def _clean(self) -> None:
        """Give up what the job used."""
        self.detach_all()

    def _cancel_driver(self, force: bool) -> bool:
        """React to a cancel request; return whether it is a forced one."""
        del force
        return True

    def _complete_driver(self) -> None:
        raise QmpError(f"The active block job '{self.id}' cannot be completed")

    def _follow_speed(self) -> None:
        """React to a new :attr:`speed`."""

    # -- states

    def transition(self, status: JobStatus) -> None:
        """Go to ``status``, which must be possible, and tell the clients."""
        assert status in TRANSITIONS[self.status], (self.id, self.status, status)
        changed = status is not self.status
        self.status = status
        if changed:
            self.jobs.emit("JOB_STATUS_CHANGE", {"status": str(status), "id": self.id})

    @property
    def completed(self) -> bool:
        """Whether it does no more work (job_is_completed)."""
        return self.status in COMPLETED

    @property
    def ready(self) -> bool:
        """Whether a job that runs until it is told to complete has caught up."""
        return False

    @property
    def length(self) -> int:
        """``len`` in replies and events, in bytes."""
        return self.progress.total

    @property
    def offset(self) -> int:
        """``offset`` in replies and events, in bytes."""
        return self.progress.current

    def extra_info(self) -> dict[str, Any]:
        """What query-block-jobs shows of this kind of job only."""
        return {}

    def change(self, copy_mode: str | None) -> None:
        """block-job-change.

        :raises QmpError: this kind of job has nothing to change.
        """
        del copy_mode
        self._apply_verb(JobVerb.CHANGE)
        raise QmpError("Job type does not support change")

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled by force; a soft cancel only asks it to come to an end."""
        return self.cancelled and self.force_cancel

    # -- the nodes it uses

    def start(self) -> None:
        """Begin to run; from now on it notices when its nodes are drained."""
        self.jobs.graph.watch(self.edges)
        super().start()

    def use_main_node(self, node: Node, shared: int = perms.ALL, *, perm: int = 0) -> None:
        """Hold the node that the job is about; a job that may not have it is given up (block_job_create).

        :raises QmpError: as :meth:`use`.
        """
        try:
            self.use("main node", node, shared, perm=perm)
        except QmpError:
            self.early_fail()
            raise

    def use(self, name: str, node: Node, shared: int = perms.ALL, *, perm: int = 0) -> None:
        """Hold ``node`` and block operations on it, before the job starts (block_job_add_bdrv).

        :param shared: what others may have meanwhile; :param perm: what the job itself has to have.
        :raises QmpError: somebody else does not allow it, or has more; nothing has changed then.
        """
        edge = self.jobs.graph.attach(self, name, node, perm, shared, stays=True)
        self.edges.append(edge)
        node.block(self.blocker)

    @staticmethod
    def check_can_freeze(node: Node, base: Node) -> None:
        """Refuse to rely on the chain from ``node`` to ``base`` where another job will take out a filter.

        :raises QmpError: there is such a filter (bdrv_freeze_backing_chain).
        """
        while node is not base:
            edge = next(each for each in node.children if each.node is node.filter_or_cow)
            if edge.node.never_freeze:
                raise QmpError(f"Cannot freeze '{edge.name}' link to '{edge.node.name}'")
            node = edge.node

    def freeze(self, node: Node, base: Node) -> None:
        """Forbid that the chain from ``node`` to ``base`` is led elsewhere (bdrv_freeze_backing_chain)."""
        while node is not base:
            edge = next(each for each in node.children if each.node is node.filter_or_cow)
            edge.frozen += 1
            self._frozen.append(edge)
            node = edge.node

    def unfreeze(self) -> None:
        """Allow it again, once the job is over."""
        for edge in self._frozen:
            edge.frozen -= 1

    def detach_all(self) -> None:
        """Let all nodes go (block_job_remove_all_bdrv)."""
        with self.jobs.graph.change():
            edges, self.edges = self.edges, []
            for edge in reversed(edges):
                edge.node.blockers.remove(self.blocker)
                self.jobs.graph.detach(edge)

    @property
    def blocker(self) -> str:
        """Why operations on its nodes are refused."""
        return f"block device is in use by block job: {self.kind}"

    @property
    def parent_description(self) -> str:
        """How permission messages call it."""
        return f"{self.kind} job '{self.id}'"

    @property
    def device_name(self) -> str:
        """Empty: a job is no drive."""
        return ""

    def drained_begin(self) -> None:
        """Pause for a drained section."""
        self.pause()

    def drained_end(self) -> None:
        """Go on after a drained section."""
        self.resume()

    def drained_poll(self) -> None:
        """Wait until it has come to its pause point (child_job_drained_poll, blockjob.c).

        Who waits runs the bottom halves that there are before any I/O is done (aio_poll).
        """
        while self.busy and not self.completed:
            self.jobs.scheduler.run_before_io()
            self.finish_in_flight()

    def finish_flush(self) -> None:
        """Complete a flush that is in flight, for which another flush of that node waits: there is none."""

    def wake_if_due(self) -> None:
        """Nothing: it does not sleep."""

    # -- the work

    def _finish(self, ret: int) -> None:
        """The work has ended with ``ret``, 0 or an errno."""
        assert self.busy
        self.ret = ret
        self.deferred = True
        self.jobs.scheduler.bottom_half(self._exit)

    def stop_for_error(self, number: int) -> None:
        """Pause as if the user had asked, because I/O failed with that errno (block_job_error_action)."""
        if not self.user_paused:
            self.pause()
            self.user_paused = True
        if self.io_status == "ok":
            self.io_status = "nospace" if number == errno.ENOSPC else "failed"

    # -- the end

    def cancel_sync(self) -> None:
        """Cancel by force and wait until it is done (job_cancel_sync)."""
        self._cancel(force=True)
        self.finish_sync()

    def early_fail(self) -> None:
        """Give up a job that was never started and never worked (job_early_fail)."""
        assert self.status is JobStatus.CREATED
        self._leave_txn()
        self.transition(JobStatus.NULL)
        self._leave_list()

    def _cancel(self, *, force: bool) -> None:
        if self.status is JobStatus.CONCLUDED:
            self._do_dismiss()
            return
        self.cancel_async(force=force)
        if not self.started:
            self._completed()
        elif self.deferred:
            if self.is_cancelled:
                self.txn.abort(self)
        else:
            self.enter()

    def cancel_async(self, *, force: bool) -> None:
        """Ask the job to stop, without letting it run (job_cancel_async)."""
        force = self._cancel_driver(force)
        if self.user_paused:
            # The caller enters the job; here it only stops being paused.
            self.io_status = "ok"
            self.user_paused = False
            self.pause_count -= 1
        if force or not self.deferred:
            self.cancelled = True
            self.force_cancel = self.force_cancel or force

    def finish_sync(self) -> None:
        """Wait until the work has ended (job_finish_sync)."""
        self.enter()
        while not self.completed:
            self.jobs.scheduler.run_bottom_halves()
            self.finish_in_flight()

    def _exit(self) -> None:
        try:
            if self.ends_alone:
                self.jobs.check_settled(self)
        except StalledError:
            self.jobs.scheduler.bottom_half(self._exit)
            raise
        self.busy = False
        if not self.completed:
            self._completed()

    def _completed(self) -> None:
        self._update_ret()
        if self.ret:
            self.txn.abort(self)
        else:
            self.transition(JobStatus.WAITING)
            self.txn.member_succeeded()

    def _update_ret(self) -> None:
        """Settle with what result the job ends; a failure shows as ``aborting`` (job_update_rc)."""
        if not self.ret and self.is_cancelled:
            self.ret = errno.ECANCELED
        if self.ret:
            self.transition(JobStatus.ABORTING)

    @property
    def ends_alone(self) -> bool:
        """Whether the end of the work is the end of the job: no other and no client is to be waited for."""
        return bool(self.ret or self.is_cancelled) or all(
            member.auto_finalize and (member is self or member.completed) for member in self.txn.jobs
        )

    @property
    def error(self) -> str | None:
        """The text of the failure, or None."""
        return os.strerror(self.ret) if self.ret else None

    def finalize_single(self) -> None:
        """Settle the job, tell the client and drop it (job_finalize_single)."""
        self._update_ret()
        if self.ret:
            self._abort()
        else:
            self._commit()
        self._clean()
        if self.started:
            self._emit_end()
        self._leave_txn()
        self.transition(JobStatus.CONCLUDED)
        if self.auto_dismiss or not self.started:
            self._do_dismiss()

    def emit_pending(self) -> None:
        """Tell the clients that they have to finalize the job."""
        self.jobs.emit("BLOCK_JOB_PENDING", {"type": self.kind, "id": self.id})

    def _emit_end(self) -> None:
        """BLOCK_JOB_CANCELLED or BLOCK_JOB_COMPLETED."""
        data: dict[str, Any] = {
            "device": self.id,
            "len": self.length,
            "offset": self.offset,
            "speed": self.speed,
            "type": self.kind,
        }
        if self.is_cancelled:
            self.jobs.emit("BLOCK_JOB_CANCELLED", data)
            return
        if self.error is not None:
            data["error"] = self.error
        self.jobs.emit("BLOCK_JOB_COMPLETED", data)

    def _leave_txn(self) -> None:
        if self in self.txn.jobs:
            self.txn.jobs.remove(self)

    def _do_dismiss(self) -> None:
        self.transition(JobStatus.NULL)
        self._leave_list()

    def _leave_list(self) -> None:
        """Forget the job (job_unref)."""
        self.jobs.jobs.remove(self)
        self.detach_all()
