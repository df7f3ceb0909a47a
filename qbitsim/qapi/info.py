"""What queries about block devices return (qapi/block-core.json, qapi/block-export.json, qapi/crypto.json).

A TypedDict costs nothing at run time: a query builds plain dictionaries, which a type checker
compares with these declarations. Sizes, counts and granularities are in bytes.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.block import BlockExportType
from qbitsim.qapi.blockdev import BlockdevDetectZeroesOptions
from qbitsim.qapi.job import BlockDeviceIoStatus
from qbitsim.qapi.schema import branch, enum_values, moved_last, note, union
from qbitsim.qapi.typed_dicts import TypedDict


class DirtyBitmapStatus(StrEnum):
    """What QEMU before 4.0 said instead of ``recording`` and ``busy``."""

    ACTIVE = "active"
    DISABLED = "disabled"
    FROZEN = "frozen"


class BlockDirtyInfo(TypedDict):
    """A dirty bitmap."""

    name: NotRequired[str]
    count: int
    granularity: int
    status: Annotated[NotRequired[DirtyBitmapStatus], note(until="6.0", required=True)]
    recording: Annotated[NotRequired[bool], note(since="4.0", required=True)]
    busy: Annotated[NotRequired[bool], note(since="4.0", required=True)]
    persistent: Annotated[NotRequired[bool], note(since="4.0", required=True)]
    inconsistent: Annotated[NotRequired[bool], note(since="4.0")]


SnapshotInfo = TypedDict(
    "SnapshotInfo",
    {
        "id": str,
        "name": str,
        "vm-state-size": int,
        "date-sec": int,
        "date-nsec": int,
        "vm-clock-sec": int,
        "vm-clock-nsec": int,
        "icount": Annotated[NotRequired[int], note(since="5.2")],
    },
)
"""An internal snapshot."""


class Qcow2BitmapInfoFlags(StrEnum):
    """Flags of a bitmap in a qcow2 file."""

    IN_USE = "in-use"
    AUTO = "auto"


class Qcow2BitmapInfo(TypedDict):
    """A bitmap in a qcow2 file."""

    name: str
    granularity: int
    flags: list[Qcow2BitmapInfoFlags]


class Qcow2CompressionType(StrEnum):
    """How clusters are compressed."""

    ZLIB = "zlib"
    ZSTD = "zstd"


@enum_values(refused={"luks": (None, None)})
class ImageEncryptionFormat(StrEnum):
    """How a qcow2 image is encrypted."""

    AES = "aes"


@union("format")
class ImageInfoSpecificQCow2Encryption(TypedDict):
    """Encryption of a qcow2 image."""

    format: ImageEncryptionFormat


ImageInfoSpecificQCow2 = TypedDict(
    "ImageInfoSpecificQCow2",
    {
        "compat": str,
        "data-file": Annotated[NotRequired[str], note(since="4.0")],
        "data-file-raw": Annotated[NotRequired[bool], note(since="4.0")],
        "extended-l2": Annotated[NotRequired[bool], note(since="5.2")],
        "lazy-refcounts": NotRequired[bool],
        "corrupt": NotRequired[bool],
        "refcount-bits": int,
        "encrypt": Annotated[NotRequired[ImageInfoSpecificQCow2Encryption], note(since="2.10")],
        "bitmaps": Annotated[NotRequired[list[Qcow2BitmapInfo]], note(since="4.0")],
        "compression-type": Annotated[NotRequired[Qcow2CompressionType], note(since="5.1", required=True)],
    },
)
"""Properties of a qcow2 image."""

VmdkExtentInfo = TypedDict(
    "VmdkExtentInfo",
    {
        "filename": str,
        "format": str,
        "virtual-size": int,
        "cluster-size": NotRequired[int],
        "compressed": NotRequired[bool],
    },
)
"""A part of a VMDK image."""

ImageInfoSpecificFile = TypedDict("ImageInfoSpecificFile", {"extent-size-hint": NotRequired[int]})
"""Properties of a host file."""


@enum_values(
    since={"file": "8.0"},
    refused={"luks": ("2.7", None), "rbd": ("6.1", None)},
)
class ImageInfoSpecificKind(StrEnum):
    """Drivers with properties of their own."""

    QCOW2 = "qcow2"
    VMDK = "vmdk"
    FILE = "file"


@union("type")
class ImageInfoSpecific(TypedDict):
    """Properties that depend on the driver."""

    type: ImageInfoSpecificKind


@branch(ImageInfoSpecific, ImageInfoSpecificKind.QCOW2)
class ImageInfoSpecificQCow2Wrapper(ImageInfoSpecific):
    """Properties of a qcow2 image inside ``data``."""

    data: ImageInfoSpecificQCow2


BlockLimitsInfo = TypedDict(
    "BlockLimitsInfo",
    {
        "request-alignment": int,
        "max-discard": NotRequired[int],
        "discard-alignment": NotRequired[int],
        "max-write-zeroes": NotRequired[int],
        "write-zeroes-alignment": NotRequired[int],
        "opt-transfer": NotRequired[int],
        "max-transfer": NotRequired[int],
        "max-hw-transfer": NotRequired[int],
        "max-iov": int,
        "max-hw-iov": NotRequired[int],
        "min-mem-alignment": int,
        "opt-mem-alignment": int,
    },
)
"""What a node asks of requests, in bytes; ``max-iov`` and ``max-hw-iov`` are pieces of memory."""

_ImageInfo = TypedDict(
    "_ImageInfo",
    {
        "filename": str,
        "format": str,
        "dirty-flag": NotRequired[bool],
        "actual-size": NotRequired[int],
        "virtual-size": int,
        "cluster-size": NotRequired[int],
        "encrypted": NotRequired[bool],
        "compressed": NotRequired[bool],
        "backing-filename": NotRequired[str],
        "full-backing-filename": NotRequired[str],
        "backing-filename-format": NotRequired[str],
        "snapshots": NotRequired[list[SnapshotInfo]],
        "limits": Annotated[NotRequired[BlockLimitsInfo], note(since="10.2")],
        "format-specific": NotRequired[ImageInfoSpecific],
        "backing-image": NotRequired["ImageInfo"],
    },
)


@moved_last("format-specific", until="8.0")
class ImageInfo(_ImageInfo):
    """An image and its backing chain."""


ImageInfoSpecificVmdk = TypedDict(
    "ImageInfoSpecificVmdk",
    {
        "create-type": str,
        "cid": int,
        "parent-cid": int,
        "extents": Annotated[list[VmdkExtentInfo], note(before=("8.0", list[ImageInfo]))],
    },
)
"""Properties of a VMDK image."""


@branch(ImageInfoSpecific, ImageInfoSpecificKind.VMDK)
class ImageInfoSpecificVmdkWrapper(ImageInfoSpecific):
    """Properties of a VMDK image inside ``data``."""

    data: ImageInfoSpecificVmdk


@branch(ImageInfoSpecific, ImageInfoSpecificKind.FILE)
class ImageInfoSpecificFileWrapper(ImageInfoSpecific):
    """Properties of a host file inside ``data``."""

    data: ImageInfoSpecificFile


_BlockdevCacheInfo = TypedDict("_BlockdevCacheInfo", {"writeback": bool, "direct": bool, "no-flush": bool})


class BlockdevCacheInfo(_BlockdevCacheInfo):
    """Cache modes of a node."""


class _ThrottleInfo(TypedDict):
    """Limits; those with ``max`` only if set."""

    bps: int
    bps_rd: int
    bps_wr: int
    iops: int
    iops_rd: int
    iops_wr: int
    image: ImageInfo
    bps_max: NotRequired[int]
    bps_rd_max: NotRequired[int]
    bps_wr_max: NotRequired[int]
    iops_max: NotRequired[int]
    iops_rd_max: NotRequired[int]
    iops_wr_max: NotRequired[int]
    bps_max_length: Annotated[NotRequired[int], note(since="2.6")]
    bps_rd_max_length: Annotated[NotRequired[int], note(since="2.6")]
    bps_wr_max_length: Annotated[NotRequired[int], note(since="2.6")]
    iops_max_length: Annotated[NotRequired[int], note(since="2.6")]
    iops_rd_max_length: Annotated[NotRequired[int], note(since="2.6")]
    iops_wr_max_length: Annotated[NotRequired[int], note(since="2.6")]
    iops_size: NotRequired[int]
    group: NotRequired[str]
    cache: BlockdevCacheInfo
    write_threshold: int


BlockdevChild = TypedDict("BlockdevChild", {"child": str, "node-name": str})
"""A child of a node: what it is to it, and its name."""

_NodeInfo = TypedDict(
    "_NodeInfo",
    {
        "file": str,
        "node-name": Annotated[NotRequired[str], note(required="10.1")],
        "ro": bool,
        "drv": str,
        "backing_file": NotRequired[str],
        "backing_file_depth": int,
        "children": Annotated[NotRequired[list[BlockdevChild]], note(since="10.1", required=True)],
        "active": Annotated[NotRequired[bool], note(since="10.0", required=True)],
        "encrypted": bool,
        "encryption_key_missing": Annotated[NotRequired[bool], note(until="6.1", required=True)],
        "detect_zeroes": BlockdevDetectZeroesOptions,
    },
)
_BitmapsInfo = TypedDict(
    "_BitmapsInfo", {"dirty-bitmaps": Annotated[NotRequired[list[BlockDirtyInfo]], note(since="4.2")]}
)


class BlockDeviceInfo(_NodeInfo, _ThrottleInfo, _BitmapsInfo):
    """A node: in query-named-block-nodes and ``inserted`` of query-block."""


_BlockInfo = TypedDict(
    "_BlockInfo",
    {
        "device": str,
        "qdev": Annotated[NotRequired[str], note(since="2.10")],
        "type": str,
        "removable": bool,
        "locked": bool,
        "inserted": NotRequired[BlockDeviceInfo],
        "tray_open": NotRequired[bool],
        "io-status": NotRequired[BlockDeviceIoStatus],
        "dirty-bitmaps": Annotated[NotRequired[list[BlockDirtyInfo]], note(until="6.0")],
    },
)


class BlockInfo(_BlockInfo):
    """A device in query-block."""


BlockExportInfo = TypedDict(
    "BlockExportInfo",
    {"id": str, "type": BlockExportType, "node-name": str, "shutting-down": bool},
)
"""An export in query-block-exports."""
