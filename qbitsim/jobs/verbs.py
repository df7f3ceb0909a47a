"""What clients may ask of a job, and when it refuses (job.c and blockjob.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.jobs.coroutine import Coroutine
from qbitsim.jobs.states import VERBS, JobVerb

if TYPE_CHECKING:
    from qbitsim.jobs.txn import JobTxn


class JobVerbs(Coroutine):
    """The part of a job that clients reach."""

    __slots__ = ("io_status", "speed", "user_paused")

    user_paused: bool
    speed: int
    io_status: str

    if TYPE_CHECKING:
        id: str
        txn: JobTxn
        cancelled: bool

        def _cancel(self, *, force: bool) -> None: ...

        def _complete_driver(self) -> None: ...

        def _do_dismiss(self) -> None: ...

        def _follow_speed(self) -> None: ...

    def _apply_verb(self, verb: JobVerb) -> None:
        if self.status not in VERBS[verb]:
            raise QmpError(f"Job '{self.id}' in state '{self.status}' cannot accept command verb '{verb}'")

    def user_pause(self) -> None:
        """job-pause.

        :raises QmpError: in a state that does not accept it, or if already paused.
        """
        self._apply_verb(JobVerb.PAUSE)
        if self.user_paused:
            raise QmpError("Job is already paused")
        self.user_paused = True
        self.pause()

    def user_resume(self) -> None:
        """job-resume; the checks come in an order of their own (job_user_resume).

        :raises QmpError: if the user did not pause it, or in a state that does not accept it.
        """
        if not self.user_paused:
            raise QmpError("Can't resume a job that was not paused")
        self._apply_verb(JobVerb.RESUME)
        self.io_status = "ok"
        self.user_paused = False
        self.resume()

    def user_cancel(self, *, force: bool) -> None:
        """job-cancel.

        :raises QmpError: in a state that does not accept it.
        """
        self._apply_verb(JobVerb.CANCEL)
        self._cancel(force=force)

    def user_complete(self) -> None:
        """job-complete.

        :raises QmpError: in a state that does not accept it, or for a job that ends by itself.
        """
        self._apply_verb(JobVerb.COMPLETE)
        if self.cancelled:
            raise QmpError(f"The active block job '{self.id}' cannot be completed")
        self._complete_driver()

    def user_finalize(self) -> None:
        """job-finalize.

        :raises QmpError: in a state that does not accept it; or it would wait for a job that is stalled.
        """
        self._apply_verb(JobVerb.FINALIZE)
        for member in self.txn.jobs:
            member.jobs.check_settled(member)
        self.txn.finalize()

    def user_dismiss(self) -> None:
        """job-dismiss.

        :raises QmpError: in a state that does not accept it.
        """
        self._apply_verb(JobVerb.DISMISS)
        self._do_dismiss()

    def set_speed(self, speed: int) -> None:
        """block-job-set-speed, in bytes per second.

        :raises QmpError: in a state that does not accept it, or for a negative speed.
        """
        self._apply_verb(JobVerb.SET_SPEED)
        if speed < 0:
            raise QmpError("Parameter 'speed' expects a non-negative value")
        self.speed = speed
        self._follow_speed()
