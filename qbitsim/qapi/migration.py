"""The settings of a migration and what query-migrate says of one (qapi/migration.json, QEMU 10.0).

Sizes are in bytes, rates in bytes per second, times in milliseconds unless a member says otherwise.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.block import InetSocketAddress, SocketAddressType, UnixSocketAddress, VsockSocketAddress
from qbitsim.qapi.common import StrOrNull
from qbitsim.qapi.events import MigrationStatus
from qbitsim.qapi.schema import (
    Feature,
    Size,
    UInt8,
    UInt32,
    UInt64,
    arg,
    branch,
    enum_values,
    note,
    union,
)
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


@enum_values(
    since={"switchover-ack": "8.1", "dirty-limit": "8.1", "mapped-ram": "9.0"},
    until={"compress": "9.1", "block": "9.1", "zero-blocks": "11.1"},
    features={
        "zero-blocks": (Feature("deprecated", since="9.2"),),
        "x-colo": ("unstable",),
        "x-ignore-shared": ("unstable",),
    },
)
class MigrationCapability(StrEnum):
    """What a migration is able to do, if both ends are told so."""

    XBZRLE = "xbzrle"
    RDMA_PIN_ALL = "rdma-pin-all"
    AUTO_CONVERGE = "auto-converge"
    ZERO_BLOCKS = "zero-blocks"
    COMPRESS = "compress"
    EVENTS = "events"
    POSTCOPY_RAM = "postcopy-ram"
    X_COLO = "x-colo"
    RELEASE_RAM = "release-ram"
    BLOCK = "block"
    RETURN_PATH = "return-path"
    PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover"
    MULTIFD = "multifd"
    DIRTY_BITMAPS = "dirty-bitmaps"
    POSTCOPY_BLOCKTIME = "postcopy-blocktime"
    LATE_BLOCK_ACTIVATE = "late-block-activate"
    X_IGNORE_SHARED = "x-ignore-shared"
    VALIDATE_UUID = "validate-uuid"
    BACKGROUND_SNAPSHOT = "background-snapshot"
    ZERO_COPY_SEND = "zero-copy-send"
    POSTCOPY_PREEMPT = "postcopy-preempt"
    SWITCHOVER_ACK = "switchover-ack"
    DIRTY_LIMIT = "dirty-limit"
    MAPPED_RAM = "mapped-ram"


@struct
class MigrationCapabilityStatus:
    """A capability that is on or off."""

    capability: MigrationCapability
    state: bool


class MultiFDCompression(StrEnum):
    """How the channels of multifd compress."""

    NONE = "none"
    ZLIB = "zlib"
    ZSTD = "zstd"


@enum_values(since={"cpr-transfer": "10.0", "cpr-exec": "10.2"})
class MigMode(StrEnum):
    """What a migration is for."""

    NORMAL = "normal"
    CPR_REBOOT = "cpr-reboot"
    CPR_TRANSFER = "cpr-transfer"
    CPR_EXEC = "cpr-exec"


class ZeroPageDetection(StrEnum):
    """Who looks for pages of zeroes."""

    NONE = "none"
    LEGACY = "legacy"
    MULTIFD = "multifd"


@struct
class BitmapMigrationBitmapAliasTransform:
    """What becomes of a bitmap on the way."""

    persistent: bool | None = None


@struct
class BitmapMigrationBitmapAlias:
    """What a bitmap is called on the way."""

    name: str
    alias: str
    transform: BitmapMigrationBitmapAliasTransform | None = arg(since="6.0")


@struct
class BitmapMigrationNodeAlias:
    """What a node is called on the way, and which of its bitmaps are migrated."""

    node_name: str
    alias: str
    bitmaps: list[BitmapMigrationBitmapAlias]


@struct
class MigrateSetParameters:
    """Parameters of a migration, which keep their values where nothing is given."""

    announce_initial: Size | None = arg(since="4.0")
    announce_max: Size | None = arg(since="4.0")
    announce_rounds: Size | None = arg(since="4.0")
    announce_step: Size | None = arg(since="4.0")
    compress_level: UInt8 | None = arg(until="9.1")
    compress_threads: UInt8 | None = arg(until="9.1")
    compress_wait_thread: bool | None = arg(since="3.1", until="9.1")
    decompress_threads: UInt8 | None = arg(until="9.1")
    throttle_trigger_threshold: UInt8 | None = arg(since="5.0")
    cpu_throttle_initial: UInt8 | None = arg(since="2.7")
    cpu_throttle_increment: UInt8 | None = arg(since="2.7")
    cpu_throttle_tailslow: bool | None = arg(since="5.1")
    tls_creds: StrOrNull | None = arg(since="2.7")
    tls_hostname: StrOrNull | None = arg(since="2.7")
    tls_authz: StrOrNull | None = arg(since="4.0")
    max_bandwidth: Size | None = arg(since="2.8")
    avail_switchover_bandwidth: Size | None = arg(since="8.2")
    downtime_limit: UInt64 | None = arg(since="2.8")
    x_checkpoint_delay: UInt32 | None = arg(since="2.8", features=["unstable"])
    block_incremental: bool | None = arg(since="2.11", until="9.1")
    multifd_channels: UInt8 | None = arg(since="4.0")
    xbzrle_cache_size: Size | None = arg(since="2.11")
    max_postcopy_bandwidth: Size | None = arg(since="3.0")
    max_cpu_throttle: UInt8 | None = arg(since="3.1")
    multifd_compression: MultiFDCompression | None = arg(since="5.0")
    multifd_zlib_level: UInt8 | None = arg(since="5.0")
    multifd_qatzip_level: UInt8 | None = arg(since="9.2")
    multifd_zstd_level: UInt8 | None = arg(since="5.0")
    block_bitmap_mapping: list[BitmapMigrationNodeAlias] | None = arg(since="5.2")
    x_vcpu_dirty_limit_period: UInt64 | None = arg(since="8.1", features=["unstable"])
    vcpu_dirty_limit: UInt64 | None = arg(since="8.1")
    mode: MigMode | None = arg(since="8.2")
    zero_page_detection: ZeroPageDetection | None = arg(since="9.0")
    direct_io: bool | None = arg(since="9.1")
    x_rdma_chunk_size: UInt64 | None = arg(since="11.1", features=["unstable"])
    cpr_exec_command: list[str] | None = arg(since="10.2")


MigrationParameters = TypedDict(
    "MigrationParameters",
    {
        "announce-initial": Annotated[NotRequired[int], note(since="4.0")],
        "announce-max": Annotated[NotRequired[int], note(since="4.0")],
        "announce-rounds": Annotated[NotRequired[int], note(since="4.0")],
        "announce-step": Annotated[NotRequired[int], note(since="4.0")],
        "compress-level": Annotated[NotRequired[int], note(until="9.1")],
        "compress-threads": Annotated[NotRequired[int], note(until="9.1")],
        "compress-wait-thread": Annotated[NotRequired[bool], note(since="3.1", until="9.1")],
        "decompress-threads": Annotated[NotRequired[int], note(until="9.1")],
        "throttle-trigger-threshold": Annotated[NotRequired[int], note(since="5.0")],
        "cpu-throttle-initial": Annotated[NotRequired[int], note(since="2.7")],
        "cpu-throttle-increment": Annotated[NotRequired[int], note(since="2.7")],
        "cpu-throttle-tailslow": Annotated[NotRequired[bool], note(since="5.1")],
        "tls-creds": Annotated[NotRequired[StrOrNull], note(since="2.7", before=("11.0", str))],
        "tls-hostname": Annotated[NotRequired[StrOrNull], note(since="2.7", before=("11.0", str))],
        "tls-authz": Annotated[NotRequired[StrOrNull], note(since="4.0", before=("11.0", str))],
        "max-bandwidth": Annotated[NotRequired[int], note(since="2.8")],
        "avail-switchover-bandwidth": Annotated[NotRequired[int], note(since="8.2")],
        "downtime-limit": Annotated[NotRequired[int], note(since="2.8")],
        "x-checkpoint-delay": Annotated[NotRequired[int], note(since="2.8", features=["unstable"])],
        "block-incremental": Annotated[NotRequired[bool], note(since="2.11", until="9.1")],
        "multifd-channels": Annotated[NotRequired[int], note(since="4.0")],
        "xbzrle-cache-size": Annotated[NotRequired[int], note(since="2.11")],
        "max-postcopy-bandwidth": Annotated[NotRequired[int], note(since="3.0")],
        "max-cpu-throttle": Annotated[NotRequired[int], note(since="3.1")],
        "multifd-compression": Annotated[NotRequired[MultiFDCompression], note(since="5.0")],
        "multifd-zlib-level": Annotated[NotRequired[int], note(since="5.0")],
        "multifd-qatzip-level": Annotated[NotRequired[int], note(since="9.2")],
        "multifd-zstd-level": Annotated[NotRequired[int], note(since="5.0")],
        "block-bitmap-mapping": Annotated[NotRequired[list[BitmapMigrationNodeAlias]], note(since="5.2")],
        "x-vcpu-dirty-limit-period": Annotated[NotRequired[int], note(since="8.1", features=["unstable"])],
        "vcpu-dirty-limit": Annotated[NotRequired[int], note(since="8.1")],
        "mode": Annotated[NotRequired[MigMode], note(since="8.2")],
        "zero-page-detection": Annotated[NotRequired[ZeroPageDetection], note(since="9.0")],
        "direct-io": Annotated[NotRequired[bool], note(since="9.1")],
        "x-rdma-chunk-size": Annotated[NotRequired[int], note(since="11.1", features=["unstable"])],
        "cpr-exec-command": Annotated[NotRequired[list[str]], note(since="10.2")],
    },
)
"""The parameters with their values."""


MigrationStats = TypedDict(
    "MigrationStats",
    {
        "transferred": int,
        "remaining": int,
        "total": int,
        "duplicate": int,
        "skipped": Annotated[NotRequired[int], note(until="9.1", required=True)],
        "normal": int,
        "normal-bytes": int,
        "dirty-pages-rate": int,
        "mbps": float,
        "dirty-sync-count": int,
        "postcopy-requests": int,
        "page-size": int,
        "multifd-bytes": int,
        "pages-per-second": int,
        "precopy-bytes": int,
        "downtime-bytes": int,
        "postcopy-bytes": int,
        "dirty-sync-missed-zero-copy": int,
    },
)
"""What a migration has sent of the memory."""


class VfioStats(TypedDict):
    """What a migration has sent of VFIO devices."""

    transferred: int


XBZRLECacheStats = TypedDict(
    "XBZRLECacheStats",
    {
        "cache-size": int,
        "bytes": int,
        "pages": int,
        "cache-miss": int,
        "cache-miss-rate": float,
        "encoding-rate": float,
        "overflow": int,
    },
)
"""How well pages are encoded as differences."""

CompressionStats = TypedDict(
    "CompressionStats",
    {"pages": int, "busy": int, "busy-rate": float, "compressed-size": int, "compression-rate": float},
)
"""How well pages are compressed."""


@union("type")
@struct
class SocketAddress:
    """The address of a socket."""

    type: SocketAddressType


@branch(SocketAddress, SocketAddressType.INET)
@struct
class InetSocket(SocketAddress, InetSocketAddress):
    """A TCP address."""


@branch(SocketAddress, SocketAddressType.UNIX)
@struct
class UnixSocket(SocketAddress, UnixSocketAddress):
    """A Unix domain socket."""


@branch(SocketAddress, SocketAddressType.VSOCK)
@struct
class VsockSocket(SocketAddress, VsockSocketAddress):
    """A virtio socket."""


@branch(SocketAddress, SocketAddressType.FD)
@struct
class FdSocket(SocketAddress):
    """A file descriptor by name or number."""

    str: str


class MigrationAddressType(StrEnum):
    """What connects the two ends of a migration."""

    SOCKET = "socket"
    EXEC = "exec"
    RDMA = "rdma"
    FILE = "file"


@enum_values(since={"cpr": "10.0"})
class MigrationChannelType(StrEnum):
    """What a channel is for."""

    MAIN = "main"
    CPR = "cpr"


@union("transport")
@struct
class MigrationAddress:
    """Where the other end of a migration is."""

    transport: MigrationAddressType


@branch(MigrationAddress, MigrationAddressType.SOCKET, holds="socket")
@struct
class MigrationSocket(MigrationAddress):
    """A socket."""

    socket: SocketAddress


@branch(MigrationAddress, MigrationAddressType.EXEC)
@struct
class MigrationExecCommand(MigrationAddress):
    """The standard input or output of a program."""

    args: list[str]


@branch(MigrationAddress, MigrationAddressType.RDMA)
@struct
class MigrationRdma(MigrationAddress, InetSocketAddress):
    """RDMA."""


@branch(MigrationAddress, MigrationAddressType.FILE)
@struct
class FileMigrationArgs(MigrationAddress):
    """A file."""

    filename: str
    offset: Size


@struct
class MigrationChannel:
    """One connection of a migration."""

    channel_type: MigrationChannelType
    addr: MigrationAddress


MigrationInfo = TypedDict(
    "MigrationInfo",
    {
        "status": NotRequired[MigrationStatus],
        "ram": NotRequired[MigrationStats],
        "remaining": Annotated[NotRequired[int], note(since="11.1")],
        "disk": Annotated[NotRequired[MigrationStats], note(until="9.1")],
        "vfio": Annotated[NotRequired[VfioStats], note(since="5.2")],
        "xbzrle-cache": NotRequired[XBZRLECacheStats],
        "total-time": NotRequired[int],
        "expected-downtime": NotRequired[int],
        "downtime": NotRequired[int],
        "setup-time": NotRequired[int],
        "cpu-throttle-percentage": NotRequired[int],
        "error-desc": NotRequired[str],
        "blocked-reasons": NotRequired[list[str]],
        "postcopy-blocktime": NotRequired[int],
        "postcopy-vcpu-blocktime": NotRequired[list[int]],
        "postcopy-latency": Annotated[NotRequired[int], note(since="10.1", features=["unstable"])],
        "postcopy-latency-dist": Annotated[NotRequired[list[int]], note(since="10.1", features=["unstable"])],
        "postcopy-vcpu-latency": Annotated[NotRequired[list[int]], note(since="10.1", features=["unstable"])],
        "postcopy-non-vcpu-latency": Annotated[NotRequired[int], note(since="10.1", features=["unstable"])],
        "compression": Annotated[NotRequired[CompressionStats], note(until="9.1")],
        "socket-address": NotRequired[list[SocketAddress]],
        "dirty-limit-throttle-time-per-round": Annotated[NotRequired[int], note(since="8.1")],
        "dirty-limit-ring-full-time": Annotated[NotRequired[int], note(since="8.1")],
    },
)
"""A migration: an empty object as long as there was none."""
