"""The events and their data.

(block-core.json, block-export.json, job.json, migration.json, qdev.json and run-state.json in qapi/.) All are known
from the start, since a machine emits only those that its release has.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.block import JobType
from qbitsim.qapi.job import JobStatus
from qbitsim.qapi.registry import declare_event
from qbitsim.qapi.schema import enum_values, note
from qbitsim.qapi.typed_dicts import TypedDict

# -- jobs


class JobStatusChange(TypedDict):
    """Data of JOB_STATUS_CHANGE."""

    id: str
    status: JobStatus


class BlockJobEnded(TypedDict):
    """Data of BLOCK_JOB_CANCELLED and BLOCK_JOB_READY; ``len`` and ``offset`` in bytes."""

    type: JobType
    device: str
    len: int
    offset: int
    speed: int


class BlockJobCompleted(BlockJobEnded):
    """Data of BLOCK_JOB_COMPLETED."""

    error: NotRequired[str]


class IoOperationType(StrEnum):
    """On which side of a job an error happened."""

    READ = "read"
    WRITE = "write"


class BlockErrorAction(StrEnum):
    """What was done about an error."""

    IGNORE = "ignore"
    REPORT = "report"
    STOP = "stop"


class BlockJobError(TypedDict):
    """Data of BLOCK_JOB_ERROR."""

    device: str
    operation: IoOperationType
    action: BlockErrorAction


class BlockJobPending(TypedDict):
    """Data of BLOCK_JOB_PENDING."""

    type: JobType
    id: str


declare_event("JOB_STATUS_CHANGE", JobStatusChange, since="3.0")
declare_event("BLOCK_JOB_COMPLETED", BlockJobCompleted, since="1.1")
declare_event("BLOCK_JOB_CANCELLED", BlockJobEnded, since="1.1")
declare_event("BLOCK_JOB_ERROR", BlockJobError, since="1.3")
declare_event("BLOCK_JOB_READY", BlockJobEnded, since="1.3")
declare_event("BLOCK_JOB_PENDING", BlockJobPending, since="2.12")


# -- devices, media and nodes


class DeviceDeleted(TypedDict):
    """Data of DEVICE_DELETED."""

    device: NotRequired[str]
    path: str


DeviceTrayMoved = TypedDict("DeviceTrayMoved", {"device": str, "id": str, "tray-open": bool})
"""Data of DEVICE_TRAY_MOVED."""

BlockIOError = TypedDict(
    "BlockIOError",
    {
        "qom-path": Annotated[NotRequired[str], note(since="9.2", required=True)],
        "device": str,
        "node-name": NotRequired[str],
        "operation": IoOperationType,
        "action": BlockErrorAction,
        "nospace": NotRequired[bool],
        "reason": str,
    },
)
"""Data of BLOCK_IO_ERROR: a request of the guest failed."""

BlockWriteThreshold = TypedDict(
    "BlockWriteThreshold", {"node-name": str, "amount-exceeded": int, "write-threshold": int}
)
"""Data of BLOCK_WRITE_THRESHOLD."""


class BlockExportDeleted(TypedDict):
    """Data of BLOCK_EXPORT_DELETED."""

    id: str


declare_event("DEVICE_DELETED", DeviceDeleted, since="1.5")
declare_event("DEVICE_TRAY_MOVED", DeviceTrayMoved, since="1.1")
declare_event("BLOCK_IO_ERROR", BlockIOError, since="0.13")
declare_event("BLOCK_WRITE_THRESHOLD", BlockWriteThreshold, since="2.3")
declare_event("BLOCK_EXPORT_DELETED", BlockExportDeleted, since="5.2")


# -- migration


@enum_values(
    since={"postcopy-recover-setup": "9.1", "postcopy-device": "10.2", "failing": "11.0"},
)
class MigrationStatus(StrEnum):
    """How far a migration has come."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    POSTCOPY_DEVICE = "postcopy-device"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER_SETUP = "postcopy-recover-setup"
    POSTCOPY_RECOVER = "postcopy-recover"
    COMPLETED = "completed"
    FAILING = "failing"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    WAIT_UNPLUG = "wait-unplug"


class MigrationChange(TypedDict):
    """Data of MIGRATION."""

    status: MigrationStatus


MigrationPass = TypedDict("MigrationPass", {"pass": int})
"""Data of MIGRATION_PASS; passes are counted from 1."""

declare_event("MIGRATION", MigrationChange, since="2.4")
declare_event("MIGRATION_PASS", MigrationPass, since="2.6")


# -- the machine


class ShutdownCause(StrEnum):
    """Why the machine shuts down."""

    NONE = "none"
    HOST_ERROR = "host-error"
    HOST_QMP_QUIT = "host-qmp-quit"
    HOST_QMP_SYSTEM_RESET = "host-qmp-system-reset"
    HOST_SIGNAL = "host-signal"
    HOST_UI = "host-ui"
    GUEST_SHUTDOWN = "guest-shutdown"
    GUEST_RESET = "guest-reset"
    GUEST_PANIC = "guest-panic"
    SUBSYSTEM_RESET = "subsystem-reset"
    SNAPSHOT_LOAD = "snapshot-load"


class Shutdown(TypedDict):
    """Data of SHUTDOWN."""

    guest: Annotated[NotRequired[bool], note(since="2.10", required=True)]
    reason: Annotated[NotRequired[ShutdownCause], note(since="4.0", required=True)]


class Reset(TypedDict):
    """Data of RESET."""

    guest: Annotated[NotRequired[bool], note(since="2.10", required=True)]
    reason: Annotated[NotRequired[ShutdownCause], note(since="4.0", required=True)]


declare_event("SHUTDOWN", Shutdown, since="0.12")
declare_event("POWERDOWN", since="0.12")
declare_event("RESET", Reset, since="0.12")
declare_event("STOP", since="0.12")
declare_event("RESUME", since="0.12")
