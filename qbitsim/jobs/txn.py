"""Jobs that succeed or fail together.

A lone job is alone in a transaction of its own; the jobs of a grouped ``transaction`` command share one
(job.c, QEMU 10.0). Members are newest first, and are settled in that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errnos import errno_of
from qbitsim.qapi.job import JobStatus

if TYPE_CHECKING:
    from qbitsim.jobs.job import Job


class JobTxn:
    """What holds the jobs together.

    :ivar jobs: those that are not settled yet, newest first.
    :ivar aborting: one has failed; the job that aborts handles the others.
    """

    __slots__ = ("aborting", "jobs")

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.aborting = False

    def member_succeeded(self) -> None:
        """A job is done; if it was the last one, all become pending (job_completed_txn_success)."""
        members = list(self.jobs)
        if not all(member.completed for member in members):
            return
        for member in members:
            member.transition(JobStatus.PENDING)
            if not member.auto_finalize:
                member.emit_pending()
        if all(member.auto_finalize for member in members):
            self.finalize()

    def finalize(self) -> None:
        """Settle all jobs; if one of them cannot be prepared, all fail (job_do_finalize)."""
        for member in list(self.jobs):
            failure = _prepare(member)
            if failure:
                member.ret = failure
                self.abort(member)
                return
        for member in list(self.jobs):
            member.finalize_single()

    def abort(self, failed: Job) -> None:
        """``failed`` failed or was cancelled: the others are cancelled, and all are settled (job_completed_txn_abort).

        Running members turn to ``aborting`` when something lets them run: waiting for them, or a drained section of
        a member that is being settled. Members that are done turn to it only when it is their turn. Those that were
        never started have nothing to wait for; real QEMU waits for them all the same, and hangs (7.2 and 10.0).
        """
        if self.aborting:
            return
        self.aborting = True
        for member in list(self.jobs):
            if member is not failed:
                member.cancel_async(force=True)
        if failed.jobs.profile.failed_group_order == "failed-first":
            self.jobs.remove(failed)
            self.jobs.insert(0, failed)
        while self.jobs:
            member = self.jobs[0]
            if member.started:
                member.finish_sync()
            member.finalize_single()


def _prepare(member: Job) -> int:
    """Let a job do what may still fail; the number of the error, 0 for none."""
    try:
        return member.prepare()
    except OSError as error:  # of the host, which cannot write a header or tables
        return errno_of(error)
