"""The human monitor's commands on block jobs (block/monitor/block-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands import backups, jobs, mirrors, streams
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.qapi.block import BlockdevOnError, MirrorSyncMode, NewImageMode

if TYPE_CHECKING:
    from qbitsim.commands.context import Context
    from qbitsim.jsontypes import Json


@hmp("info block-jobs", help="show progress of ongoing block device operations")
def info_block_jobs(context: Context) -> str:
    """One line for each job, newest first."""
    infos = execute(context, jobs.query_block_jobs)
    return "".join(map(_job_line, infos)) or "No active jobs\n"


def _job_line(info: Json) -> str:
    what = "Streaming device" if info["type"] == "stream" else f"Type {info['type']}, device"
    return (
        f"{what} {info['device']}: Completed {info['offset']} of {info['len']} bytes, "
        f"speed limit {info['speed']} bytes/s\n"
    )


@hmp(
    "block_job_set_speed",
    "device:B,speed:o",
    params="device speed",
    help="set maximum speed for a background block operation",
)
def block_job_set_speed(context: Context, *, device: str, speed: int) -> None:
    """Change the speed limit of a job."""
    execute(context, jobs.block_job_set_speed, jobs.BlockJobSetSpeed(device=device, speed=speed))


@hmp(
    "block_job_cancel",
    "force:-f,device:B",
    params="[-f] device",
    help="stop an active background block operation (use -f\n"
    "\t\t\t if you want to abort the operation immediately\n"
    "\t\t\t instead of keep running until data is in sync)",
)
def block_job_cancel(context: Context, *, force: bool, device: str) -> None:
    """Cancel a job."""
    execute(context, jobs.block_job_cancel, jobs.BlockJobCancel(device=device, force=force))


@hmp("block_job_complete", "device:B", params="device", help="stop an active background block operation")
def block_job_complete(context: Context, *, device: str) -> None:
    """Bring a job that is ready to its end."""
    execute(context, jobs.block_job_complete, jobs.BlockJobComplete(device=device))


@hmp("block_job_pause", "device:B", params="device", help="pause an active background block operation")
def block_job_pause(context: Context, *, device: str) -> None:
    """Pause a job."""
    execute(context, jobs.block_job_pause, jobs.BlockJobPause(device=device))


@hmp("block_job_resume", "device:B", params="device", help="resume a paused background block operation")
def block_job_resume(context: Context, *, device: str) -> None:
    """Resume a job."""
    execute(context, jobs.block_job_resume, jobs.BlockJobResume(device=device))


@hmp(
    "block_stream",
    "device:B,speed:o?,base:s?",
    params="device [speed [base]]",
    help="copy data from a backing file into a block device",
)
def block_stream(context: Context, *, device: str, speed: int | None = None, base: str | None = None) -> None:
    """Copy what backing files hold; the job is called as the device is."""
    arguments = streams.BlockStream(
        job_id=device, device=device, speed=speed, base=base, on_error=BlockdevOnError.REPORT
    )
    execute(context, streams.block_stream, arguments)


@hmp(
    "drive_mirror",
    "reuse:-n,full:-f,device:B,target:s,format:s?",
    params="[-n] [-f] device target [format]",
    help="initiates live storage\n"
    "\t\t\tmigration for a device. The device's contents are\n"
    "\t\t\tcopied to the new image file, including data that\n"
    "\t\t\tis written after the command is started.\n"
    "\t\t\tThe -n flag requests QEMU to reuse the image found\n"
    "\t\t\tin new-image-file, instead of recreating it from scratch.\n"
    "\t\t\tThe -f flag requests QEMU to copy the whole disk,\n"
    "\t\t\tso that the result does not need a backing file.\n"
    "\t\t\t",
)
def drive_mirror(
    context: Context,
    *,
    reuse: bool,
    full: bool,
    device: str,
    target: str,
    format: str | None = None,  # noqa: A002
) -> None:
    """Keep a file equal to a drive."""
    arguments = mirrors.DriveMirror(
        device=device, target=target, format=format, sync=_sync(full), mode=_mode(reuse), unmap=True
    )
    execute(context, mirrors.drive_mirror, arguments)


@hmp(
    "drive_backup",
    "reuse:-n,full:-f,compress:-c,device:B,target:s,format:s?",
    params="[-n] [-f] [-c] device target [format]",
    help="initiates a point-in-time\n"
    "\t\t\tcopy for a device. The device's contents are\n"
    "\t\t\tcopied to the new image file, excluding data that\n"
    "\t\t\tis written after the command is started.\n"
    "\t\t\tThe -n flag requests QEMU to reuse the image found\n"
    "\t\t\tin new-image-file, instead of recreating it from scratch.\n"
    "\t\t\tThe -f flag requests QEMU to copy the whole disk,\n"
    "\t\t\tso that the result does not need a backing file.\n"
    "\t\t\tThe -c flag requests QEMU to compress backup data\n"
    "\t\t\t(if the target format supports it).\n"
    "\t\t\t",
)
def drive_backup(
    context: Context,
    *,
    reuse: bool,
    full: bool,
    compress: bool,
    device: str,
    target: str,
    format: str | None = None,  # noqa: A002
) -> None:
    """Copy a drive as it is now into a file."""
    arguments = backups.DriveBackup(
        device=device, target=target, format=format, sync=_sync(full), mode=_mode(reuse), compress=compress
    )
    execute(context, backups.drive_backup, arguments)


def _sync(full: bool) -> MirrorSyncMode:
    return MirrorSyncMode.FULL if full else MirrorSyncMode.TOP


def _mode(reuse: bool) -> NewImageMode:
    return NewImageMode.EXISTING if reuse else NewImageMode.ABSOLUTE_PATHS
