"""BlockdevOptions: the arguments of blockdev-add for the drivers that qbitsim emulates (qapi/block-core.json).

Every member that QEMU has is declared, so that a client's mistake gets QEMU's text and a
member that is not emulated can be refused by whoever opens the node. Other drivers are
listed only as names to refuse.

The branches are declared in QAPI's order, which is not that of the enumeration.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from qbitsim.qapi.block import BlockDirtyBitmap, OnOffAuto
from qbitsim.qapi.schema import (
    REQUIRED,
    Alternate,
    Int32,
    Int64,
    QNull,
    Size,
    UInt32,
    UInt64,
    arg,
    branch,
    enum_values,
    struct_features,
    union,
)
from qbitsim.qapi.structs import struct

_ALWAYS = (None, None)
_REFUSED_DRIVERS = (
    "blklogwrites blkreplay blkverify bochs cloop compress dmg ftp ftps host_cdrom host_device http https "
    "iscsi luks nbd nfs nvme parallels preallocate qcow qed rbd replication ssh vdi vhdx vmdk vpc vvfat"
)
_NEW_REFUSED_DRIVERS = "io_uring nvme-io_uring virtio-blk-vfio-pci virtio-blk-vhost-user virtio-blk-vhost-vdpa"


@enum_values(
    since={"copy-before-write": "6.2", "snapshot-access": "7.0", "throttle": "2.11", "copy-on-read": "3.0"},
    refused=dict.fromkeys(_REFUSED_DRIVERS.split(), _ALWAYS)
    | dict.fromkeys(_NEW_REFUSED_DRIVERS.split(), ("8.0", None))
    | {"gluster": (None, "11.1")},
    noun="the block driver",
)
class BlockdevDriver(StrEnum):
    """The driver of a node, in QAPI's order."""

    BLKDEBUG = "blkdebug"
    COPY_BEFORE_WRITE = "copy-before-write"
    COPY_ON_READ = "copy-on-read"
    FILE = "file"
    SNAPSHOT_ACCESS = "snapshot-access"
    NULL_AIO = "null-aio"
    NULL_CO = "null-co"
    QCOW2 = "qcow2"
    QUORUM = "quorum"
    RAW = "raw"
    THROTTLE = "throttle"


class BlockdevDiscardOptions(StrEnum):
    """Whether a node passes discards on."""

    IGNORE = "ignore"
    UNMAP = "unmap"


class BlockdevDetectZeroesOptions(StrEnum):
    """Whether writes of zeroes become write-zeroes operations."""

    OFF = "off"
    ON = "on"
    UNMAP = "unmap"


@struct
class BlockdevCacheOptions:
    """Host cache and flushes."""

    direct: bool | None = None
    no_flush: bool | None = None


@union("driver")
@struct
class BlockdevOptions:
    """What every driver takes."""

    driver: BlockdevDriver
    node_name: str | None = None
    discard: BlockdevDiscardOptions | None = None
    cache: BlockdevCacheOptions | None = None
    active: bool | None = arg(since="10.0")
    read_only: bool | None = None
    auto_read_only: bool | None = None
    force_share: bool | None = None
    detect_zeroes: BlockdevDetectZeroesOptions | None = None


BlockdevRef: TypeAlias = Annotated[BlockdevOptions | str, Alternate("BlockdevRef")]
"""A child node: options of a new one, or the name of one that exists."""

BlockdevRefOrNull: TypeAlias = Annotated[BlockdevOptions | str | QNull, Alternate("BlockdevRefOrNull")]
"""The same, or explicitly none."""


@struct
class BlockdevOptionsGenericFormat(BlockdevOptions):
    """Drivers with a child ``file``."""

    file: BlockdevRef


@struct
class BlockdevOptionsGenericCOWFormat(BlockdevOptionsGenericFormat):
    """Formats that can have a backing file; null refuses the one that the image names."""

    backing: BlockdevRefOrNull | None = None


class BlkdebugIOType(StrEnum):
    """The kinds of request that can fail."""

    READ = "read"
    WRITE = "write"
    WRITE_ZEROES = "write-zeroes"
    DISCARD = "discard"
    FLUSH = "flush"
    BLOCK_STATUS = "block-status"


_BLKDEBUG_EVENTS = (
    "l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update l2_update_compressed "
    "l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio write_compressed "
    "vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow reftable_update refblock_load "
    "refblock_update refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write "
    "refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table cluster_alloc "
    "cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head pwritev_rmw_after_head "
    "pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done empty_image_prepare "
    "l1_shrink_write_table l1_shrink_free_l2_clusters cor_write cluster_alloc_space none"
)
BlkdebugEvent = StrEnum("BlkdebugEvent", {name.upper(): name for name in _BLKDEBUG_EVENTS.split()})  # type: ignore[misc]
"""The places where block drivers call blkdebug."""


@struct
class BlkdebugInjectErrorOptions:
    """A rule that makes requests fail; ``sector`` counts 512 bytes."""

    event: BlkdebugEvent
    state: Int64 | None = None
    iotype: BlkdebugIOType | None = None
    errno: Int64 | None = None
    delay_ns: UInt64 | None = arg(since="10.0")
    sector: Int64 | None = None
    once: bool | None = None
    immediately: bool | None = None


@struct
class BlkdebugSetStateOptions:
    """A rule that changes blkdebug's state."""

    event: BlkdebugEvent
    state: Int64 | None = None
    new_state: Int64 = arg(REQUIRED, name="new_state")


class BlockPermission(StrEnum):
    """What a parent may do with a child."""

    CONSISTENT_READ = "consistent-read"
    WRITE = "write"
    WRITE_UNCHANGED = "write-unchanged"
    RESIZE = "resize"


@branch(BlockdevOptions, BlockdevDriver.BLKDEBUG)
@struct
class BlockdevOptionsBlkdebug(BlockdevOptions):
    """A filter that makes requests fail; limits in bytes."""

    image: BlockdevRef
    config: str | None = None
    align: Int64 | None = None
    max_transfer: Int32 | None = None
    opt_write_zero: Int32 | None = None
    max_write_zero: Int32 | None = None
    opt_discard: Int32 | None = None
    max_discard: Int32 | None = None
    inject_error: list[BlkdebugInjectErrorOptions] | None = None
    set_state: list[BlkdebugSetStateOptions] | None = None
    take_child_perms: list[BlockPermission] | None = None
    unshare_child_perms: list[BlockPermission] | None = None


class OnCbwError(StrEnum):
    """Who suffers from a failed copy before write."""

    BREAK_GUEST_WRITE = "break-guest-write"
    BREAK_SNAPSHOT = "break-snapshot"


@branch(BlockdevOptions, BlockdevDriver.COPY_BEFORE_WRITE)
@struct
class BlockdevOptionsCbw(BlockdevOptionsGenericFormat):
    """A filter that copies old data to ``target``; timeout in seconds, cluster size in bytes."""

    target: BlockdevRef
    bitmap: BlockDirtyBitmap | None = None
    on_cbw_error: OnCbwError | None = arg(since="7.1")
    cbw_timeout: UInt32 | None = arg(since="7.1")
    min_cluster_size: Size | None = arg(since="9.2")


@branch(BlockdevOptions, BlockdevDriver.COPY_ON_READ)
@struct
class BlockdevOptionsCor(BlockdevOptionsGenericFormat):
    """A filter that copies what is read into its child."""

    bottom: str | None = None


class BlockdevAioOptions(StrEnum):
    """How the host does I/O."""

    THREADS = "threads"
    NATIVE = "native"
    IO_URING = "io_uring"


@branch(BlockdevOptions, BlockdevDriver.FILE)
@struct_features("dynamic-auto-read-only")
@struct
class BlockdevOptionsFile(BlockdevOptions):
    """A file of the host."""

    filename: str
    pr_manager: str | None = None
    locking: OnOffAuto | None = None
    aio: BlockdevAioOptions | None = None
    aio_max_batch: Int64 | None = None
    drop_cache: bool | None = None
    x_check_cache_dropped: bool | None = arg(features=["unstable"])


@branch(BlockdevOptions, BlockdevDriver.NULL_AIO, BlockdevDriver.NULL_CO)
@struct
class BlockdevOptionsNull(BlockdevOptions):
    """A disk that forgets; size in bytes, latency in nanoseconds."""

    size: Int64 | None = None
    latency_ns: UInt64 | None = None
    read_zeroes: bool | None = None


class Qcow2OverlapCheckMode(StrEnum):
    """Presets of overlap checks."""

    NONE = "none"
    CONSTANT = "constant"
    CACHED = "cached"
    ALL = "all"


@struct
class Qcow2OverlapCheckFlags:
    """Overlap checks one by one, over a preset."""

    template: Qcow2OverlapCheckMode | None = None
    main_header: bool | None = None
    active_l1: bool | None = None
    active_l2: bool | None = None
    refcount_table: bool | None = None
    refcount_block: bool | None = None
    snapshot_table: bool | None = None
    inactive_l1: bool | None = None
    inactive_l2: bool | None = None
    bitmap_directory: bool | None = None


Qcow2OverlapChecks: TypeAlias = Annotated[
    Qcow2OverlapCheckFlags | Qcow2OverlapCheckMode, Alternate("Qcow2OverlapChecks")
]
"""Overlap checks as a preset or one by one."""


class BlockdevQcow2EncryptionFormat(StrEnum):
    """How a qcow2 image is encrypted."""

    AES = "aes"
    LUKS = "luks"


@union("format")
@struct
class BlockdevQcow2Encryption:
    """Encryption of a qcow2 image."""

    format: BlockdevQcow2EncryptionFormat


@branch(BlockdevQcow2Encryption, BlockdevQcow2EncryptionFormat.AES, BlockdevQcow2EncryptionFormat.LUKS)
@struct
class BlockdevQcow2EncryptionKey(BlockdevQcow2Encryption):
    """Encryption with the secret called ``key_secret``."""

    key_secret: str | None = None


@branch(BlockdevOptions, BlockdevDriver.QCOW2)
@struct
class BlockdevOptionsQcow2(BlockdevOptionsGenericCOWFormat):
    """A qcow2 image; cache sizes in bytes, ``cache_clean_interval`` in seconds."""

    lazy_refcounts: bool | None = None
    pass_discard_request: bool | None = None
    pass_discard_snapshot: bool | None = None
    pass_discard_other: bool | None = None
    discard_no_unref: bool | None = arg(since="8.1")
    overlap_check: Qcow2OverlapChecks | None = None
    cache_size: Int64 | None = None
    l2_cache_size: Int64 | None = None
    l2_cache_entry_size: Int64 | None = None
    refcount_cache_size: Int64 | None = None
    cache_clean_interval: Int64 | None = None
    encrypt: BlockdevQcow2Encryption | None = None
    data_file: BlockdevRef | None = None


class QuorumReadPattern(StrEnum):
    """Which children are read."""

    QUORUM = "quorum"
    FIFO = "fifo"


@branch(BlockdevOptions, BlockdevDriver.QUORUM)
@struct
class BlockdevOptionsQuorum(BlockdevOptions):
    """A vote among children."""

    blkverify: bool | None = None
    children: list[BlockdevRef]
    vote_threshold: Int64
    rewrite_corrupted: bool | None = None
    read_pattern: QuorumReadPattern | None = None


@branch(BlockdevOptions, BlockdevDriver.RAW)
@struct
class BlockdevOptionsRaw(BlockdevOptionsGenericFormat):
    """A window of a file; offset and size in bytes."""

    offset: Int64 | None = None
    size: Int64 | None = None


@branch(BlockdevOptions, BlockdevDriver.SNAPSHOT_ACCESS)
@struct
class BlockdevOptionsSnapshotAccess(BlockdevOptionsGenericFormat):
    """The old data behind a copy-before-write filter."""


@branch(BlockdevOptions, BlockdevDriver.THROTTLE)
@struct
class BlockdevOptionsThrottle(BlockdevOptions):
    """A filter that limits the rate."""

    throttle_group: str
    file: BlockdevRef
