"""What queries about jobs return (qapi/job.json, qapi/block-core.json)."""

from __future__ import annotations

from typing import Annotated, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.block import JobType
from qbitsim.qapi.schema import branch, note, union
from qbitsim.qapi.typed_dicts import TypedDict


class JobStatus(StrEnum):
    """The states of a job."""

    UNDEFINED = "undefined"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    STANDBY = "standby"
    WAITING = "waiting"
    PENDING = "pending"
    ABORTING = "aborting"
    CONCLUDED = "concluded"
    NULL = "null"


class BlockDeviceIoStatus(StrEnum):
    """Whether I/O stopped because of an error."""

    OK = "ok"
    FAILED = "failed"
    NOSPACE = "nospace"


JobInfo = TypedDict(
    "JobInfo",
    {
        "id": str,
        "type": JobType,
        "status": JobStatus,
        "current-progress": int,
        "total-progress": int,
        "error": NotRequired[str],
    },
)
"""A job in query-jobs."""

_BlockJobInfo = TypedDict(
    "_BlockJobInfo",
    {
        "type": Annotated[JobType, note(before=("8.2", str))],
        "device": str,
        "len": int,
        "offset": int,
        "busy": bool,
        "paused": bool,
        "speed": int,
        "io-status": BlockDeviceIoStatus,
        "ready": bool,
        "status": Annotated[NotRequired[JobStatus], note(since="2.12", required=True)],
        "auto-finalize": Annotated[NotRequired[bool], note(since="2.12", required=True)],
        "auto-dismiss": Annotated[NotRequired[bool], note(since="2.12", required=True)],
        "error": Annotated[NotRequired[str], note(since="4.2")],
    },
)


@union("type")
class BlockJobInfo(_BlockJobInfo):
    """A job in query-block-jobs; ``len`` and ``offset`` in bytes, ``speed`` in bytes per second."""


_MirrorOnly = TypedDict("_MirrorOnly", {"actively-synced": bool})


@branch(BlockJobInfo, JobType.MIRROR)
class BlockJobInfoMirror(BlockJobInfo, _MirrorOnly):
    """A mirror in query-block-jobs, since 8.2."""
