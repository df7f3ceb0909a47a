"""QAPI types that the arguments of several block commands share (qapi/block-core.json, qapi/block-export.json).

The names are QAPI's. Integer types are as QAPI declares them, because error texts differ by them.
"""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.schema import (
    REQUIRED,
    Alternate,
    Annotated,
    Int64,
    Size,
    UInt16,
    UInt32,
    arg,
    branch,
    enum_values,
    moved_last,
    union,
)
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


@struct
class BlockDirtyBitmap:
    """A bitmap by the name of its node and its own."""

    node: str
    name: str


class BlockDirtyBitmapSha256(TypedDict):
    """What x-debug-block-dirty-bitmap-sha256 returns."""

    sha256: str


BlockDirtyBitmapOrStr: TypeAlias = Annotated[str | BlockDirtyBitmap, Alternate("BlockDirtyBitmapOrStr")]
"""A bitmap of the same node by its name, or one of any node."""

BlockExportIothreads: TypeAlias = Annotated[str | list[str], Alternate("BlockExportIothreads")]
"""One I/O thread, or several."""


class MirrorSyncMode(StrEnum):
    """What a job copies in the background."""

    TOP = "top"
    FULL = "full"
    NONE = "none"
    INCREMENTAL = "incremental"
    BITMAP = "bitmap"


enum_values(since={"bitmap": "4.2"})(MirrorSyncMode)


class BitmapSyncMode(StrEnum):
    """When a backup changes its bitmap."""

    ON_SUCCESS = "on-success"
    NEVER = "never"
    ALWAYS = "always"


class NewImageMode(StrEnum):
    """Whether a target is opened or created."""

    EXISTING = "existing"
    ABSOLUTE_PATHS = "absolute-paths"


class BlockdevOnError(StrEnum):
    """What a job does about an I/O error."""

    REPORT = "report"
    IGNORE = "ignore"
    ENOSPC = "enospc"
    STOP = "stop"
    AUTO = "auto"


enum_values(since={"auto": "2.6"})(BlockdevOnError)


class MirrorCopyMode(StrEnum):
    """Whether a mirror copies guest writes at once."""

    BACKGROUND = "background"
    WRITE_BLOCKING = "write-blocking"


@struct
class BackupPerf:
    """``x-perf`` of a backup. ``max-workers`` is a count, the others are bytes."""

    use_copy_range: bool | None = None
    max_workers: Int64 | None = None
    max_chunk: Int64 | None = None
    min_cluster_size: Size | None = arg(since="9.2")


class ActionCompletionMode(StrEnum):
    """Whether the jobs of a transaction end each on its own or all together."""

    INDIVIDUAL = "individual"
    GROUPED = "grouped"


@struct
class TransactionProperties:
    """Properties of a whole transaction."""

    completion_mode: ActionCompletionMode | None = None


@struct
class Abort:
    """The data of the action that always fails: none."""


class JobType(StrEnum):
    """What kind of job it is."""

    COMMIT = "commit"
    STREAM = "stream"
    MIRROR = "mirror"
    BACKUP = "backup"
    CREATE = "create"
    AMEND = "amend"
    SNAPSHOT_LOAD = "snapshot-load"
    SNAPSHOT_SAVE = "snapshot-save"
    SNAPSHOT_DELETE = "snapshot-delete"


@union("type")
@struct
class BlockJobChangeOptions:
    """Arguments of block-job-change; only a mirror has something to change."""

    id: str
    type: JobType


@branch(BlockJobChangeOptions, JobType.MIRROR)
@struct
class BlockJobChangeOptionsMirror(BlockJobChangeOptions):
    """Arguments of block-job-change for a mirror."""

    copy_mode: MirrorCopyMode


class BlockExportRemoveMode(StrEnum):
    """Whether removing an export disconnects its clients."""

    SAFE = "safe"
    HARD = "hard"


@enum_values(
    refused={"vhost-user-blk": (None, None), "fuse": (None, None), "vduse-blk": ("7.1", None)},
    noun="exports of type",
)
class BlockExportType(StrEnum):
    """By which protocol a node is exported."""

    NBD = "nbd"


@union("type")
@struct
class BlockExportOptions:
    """Arguments of block-export-add."""

    type: BlockExportType
    id: str
    fixed_iothread: bool | None = None
    iothread: BlockExportIothreads | None = arg(before=("10.1", str))
    node_name: str
    writable: bool | None = None
    writethrough: bool | None = None
    allow_inactive: bool | None = arg(since="10.0")


@branch(BlockExportOptions, BlockExportType.NBD)
@struct
class BlockExportOptionsNbd(BlockExportOptions):
    """Arguments of block-export-add for NBD."""

    name: str | None = None
    description: str | None = None
    bitmaps: list[BlockDirtyBitmapOrStr] | None = None
    allocation_depth: bool | None = None


class SocketAddressType(StrEnum):
    """What kind of socket it is."""

    INET = "inet"
    UNIX = "unix"
    VSOCK = "vsock"
    FD = "fd"


@struct
class InetSocketAddress:
    """A TCP address; ``to`` is the last port to try."""

    host: str
    port: str
    numeric: bool | None = None
    to: UInt16 | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None
    keep_alive: bool | None = None
    keep_alive_count: UInt32 | None = arg(since="10.1")
    keep_alive_idle: UInt32 | None = arg(since="10.1")
    keep_alive_interval: UInt32 | None = arg(since="10.1")
    mptcp: bool | None = None


@struct
class UnixSocketAddress:
    """A Unix domain socket."""

    path: str
    abstract: bool | None = None
    tight: bool | None = None


@struct
class VsockSocketAddress:
    """A virtio socket."""

    cid: str
    port: str


@struct
class FdSocketAddress:
    """A file descriptor by its number or name."""

    fd: str = arg(REQUIRED, name="str")


@union("type")
@struct
class SocketAddressLegacy:
    """A socket address whose members are inside ``data``."""

    type: SocketAddressType


@branch(SocketAddressLegacy, SocketAddressType.INET)
@struct
class InetSocketAddressLegacy(SocketAddressLegacy):
    """A TCP address inside ``data``."""

    data: InetSocketAddress


@branch(SocketAddressLegacy, SocketAddressType.UNIX)
@struct
class UnixSocketAddressLegacy(SocketAddressLegacy):
    """A Unix domain socket inside ``data``."""

    data: UnixSocketAddress


@branch(SocketAddressLegacy, SocketAddressType.VSOCK)
@struct
class VsockSocketAddressLegacy(SocketAddressLegacy):
    """A virtio socket inside ``data``."""

    data: VsockSocketAddress


@branch(SocketAddressLegacy, SocketAddressType.FD)
@struct
class FdSocketAddressLegacy(SocketAddressLegacy):
    """A file descriptor inside ``data``."""

    data: FdSocketAddress


@union("type")
@struct
class SocketAddress:
    """A socket address."""

    type: SocketAddressType


@branch(SocketAddress, SocketAddressType.INET)
@struct
class SocketAddressInet(SocketAddress, InetSocketAddress):
    """A TCP address."""


@branch(SocketAddress, SocketAddressType.UNIX)
@struct
class SocketAddressUnix(SocketAddress, UnixSocketAddress):
    """A Unix domain socket."""


@branch(SocketAddress, SocketAddressType.VSOCK)
@struct
class SocketAddressVsock(SocketAddress, VsockSocketAddress):
    """A virtio socket."""


@branch(SocketAddress, SocketAddressType.FD)
@struct
class SocketAddressFd(SocketAddress, FdSocketAddress):
    """A file descriptor."""


@moved_last("addr", since="10.0")
@struct
class NbdServerOptions:
    """Arguments of nbd-server-start."""

    addr: SocketAddressLegacy
    handshake_max_seconds: UInt32 | None = arg(since="10.0")
    tls_creds: str | None = None
    tls_authz: str | None = None
    max_connections: UInt32 | None = None
