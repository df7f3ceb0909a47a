"""The commands on jobs: ``job-*`` (job-qmp.c) and the older ``block-job-*`` (blockdev.c, QEMU 10.0).

The two families name a job differently (``id``, ``device``) and have two texts for one that is unknown.
"""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jobs.job import Job
from qbitsim.jsontypes import Json
from qbitsim.qapi.block import BlockJobChangeOptions
from qbitsim.qapi.job import BlockJobInfo, JobInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Feature, Int64
from qbitsim.qapi.structs import struct


@struct
class JobPause:
    """Arguments of job-pause."""

    id: str


@struct
class JobResume:
    """Arguments of job-resume."""

    id: str


@struct
class JobCancel:
    """Arguments of job-cancel."""

    id: str


@struct
class JobComplete:
    """Arguments of job-complete."""

    id: str


@struct
class JobFinalize:
    """Arguments of job-finalize."""

    id: str


@struct
class JobDismiss:
    """Arguments of job-dismiss."""

    id: str


@struct
class BlockJobPause:
    """Arguments of block-job-pause."""

    device: str


@struct
class BlockJobResume:
    """Arguments of block-job-resume."""

    device: str


@struct
class BlockJobCancel:
    """Arguments of block-job-cancel."""

    device: str
    force: bool | None = None


@struct
class BlockJobComplete:
    """Arguments of block-job-complete."""

    device: str


@struct
class BlockJobFinalize:
    """Arguments of block-job-finalize."""

    id: str


@struct
class BlockJobDismiss:
    """Arguments of block-job-dismiss."""

    id: str


@struct
class BlockJobSetSpeed:
    """Arguments of block-job-set-speed; ``speed`` in bytes per second, 0 for no limit."""

    device: str
    speed: Int64


def _job(context: Context, identifier: str) -> Job:
    job = context.jobs.find(identifier)
    if job is None:
        raise QmpError("Job not found")
    return job


def _block_job(context: Context, identifier: str) -> Job:
    job = context.jobs.find(identifier)
    if job is None or not job.is_block_job:
        raise QmpError(f"Block job '{identifier}' not found", "DeviceNotActive")
    return job


@command("job-pause", JobPause, since="3.0")
def job_pause(context: Context, args: JobPause) -> None:
    """Pause a job."""
    _job(context, args.id).user_pause()


@command("job-resume", JobResume, since="3.0")
def job_resume(context: Context, args: JobResume) -> None:
    """Resume a job that the user, or an error, paused."""
    _job(context, args.id).user_resume()


@command("job-cancel", JobCancel, since="3.0")
def job_cancel(context: Context, args: JobCancel) -> None:
    """Cancel a job by force."""
    _job(context, args.id).user_cancel(force=True)


@command("job-complete", JobComplete, since="3.0")
def job_complete(context: Context, args: JobComplete) -> None:
    """Bring a job that is ready to its end."""
    _job(context, args.id).user_complete()


@command("job-finalize", JobFinalize, since="3.0")
def job_finalize(context: Context, args: JobFinalize) -> None:
    """Finalize a job that is pending, and all jobs of its transaction."""
    _job(context, args.id).user_finalize()


@command("job-dismiss", JobDismiss, since="3.0")
def job_dismiss(context: Context, args: JobDismiss) -> None:
    """Forget a job that has concluded."""
    _job(context, args.id).user_dismiss()


@command("block-job-pause", BlockJobPause, since="1.3", features=[Feature("deprecated", since="10.1")])
def block_job_pause(context: Context, args: BlockJobPause) -> None:
    """Pause a job."""
    _block_job(context, args.device).user_pause()


@command("block-job-resume", BlockJobResume, since="1.3", features=[Feature("deprecated", since="10.1")])
def block_job_resume(context: Context, args: BlockJobResume) -> None:
    """Resume a job that the user, or an error, paused."""
    _block_job(context, args.device).user_resume()


@command("block-job-cancel", BlockJobCancel, since="1.1")
def block_job_cancel(context: Context, args: BlockJobCancel) -> None:
    """Cancel a job; one that is paused only with ``force``."""
    job = _block_job(context, args.device)
    if job.user_paused and not args.force:
        raise QmpError(f"The block job for device '{args.device}' is currently paused")
    job.user_cancel(force=bool(args.force))


@command("block-job-complete", BlockJobComplete, since="1.3", features=[Feature("deprecated", since="10.1")])
def block_job_complete(context: Context, args: BlockJobComplete) -> None:
    """Bring a job that is ready to its end."""
    _block_job(context, args.device).user_complete()


@command("block-job-finalize", BlockJobFinalize, since="2.12", features=[Feature("deprecated", since="10.1")])
def block_job_finalize(context: Context, args: BlockJobFinalize) -> None:
    """Finalize a job that is pending, and all jobs of its transaction."""
    _block_job(context, args.id).user_finalize()


@command("block-job-dismiss", BlockJobDismiss, since="2.12", features=[Feature("deprecated", since="10.1")])
def block_job_dismiss(context: Context, args: BlockJobDismiss) -> None:
    """Forget a job that has concluded."""
    _block_job(context, args.id).user_dismiss()


@command("block-job-set-speed", BlockJobSetSpeed, since="1.1")
def block_job_set_speed(context: Context, args: BlockJobSetSpeed) -> None:
    """Change the speed limit of a job."""
    _block_job(context, args.device).set_speed(args.speed)


@command("block-job-change", BlockJobChangeOptions, since="8.2")
def block_job_change(context: Context, args: BlockJobChangeOptions) -> None:
    """Change an option of a running job; only mirrors have one."""
    job = _block_job(context, args.id)
    copy_mode = getattr(args, "copy_mode", None)
    job.change(None if copy_mode is None else str(copy_mode))


@command("query-jobs", returns=list[JobInfo], since="3.0")
def query_jobs(context: Context, args: None) -> list[Json]:
    """All jobs, newest first."""
    del args
    return [_job_info(job) for job in context.jobs.jobs]


@command("query-block-jobs", returns=list[BlockJobInfo], since="1.1")
def query_block_jobs(context: Context, args: None) -> list[Json]:
    """All block jobs, newest first."""
    del args
    return [_block_job_info(context, job) for job in context.jobs.jobs if job.is_block_job]


def _job_info(job: Job) -> Json:
    info: Json = {
        "id": job.id,
        "type": job.kind,
        "status": str(job.status),
        "current-progress": job.progress.current,
        "total-progress": job.progress.total,
    }
    if job.error is not None:
        info["error"] = job.error
    return info


def _block_job_info(context: Context, job: Job) -> Json:
    """BlockJobInfo; ``error`` and the members from ``auto-finalize`` on came with 2.12, ``status`` too."""
    info: Json = {
        "type": job.kind,
        "device": job.id,
        "len": job.length,
        "busy": job.busy,
        "paused": job.pause_count > 0,
        "offset": job.offset,
        "speed": job.speed,
        "io-status": job.io_status,
        "ready": job.ready,
    }
    if context.profile.block_jobs_show_status:
        info |= {
            "status": str(job.status),
            "auto-finalize": job.auto_finalize,
            "auto-dismiss": job.auto_dismiss,
            **job.extra_info(),
        }
        if job.error is not None:
            info["error"] = job.error
    return info
