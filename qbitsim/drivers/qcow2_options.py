"""The options of a qcow2 node (qapi/block-core.json)."""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.blockdev import BlockdevOptionsGenericCOWFormat, BlockdevRef
from qbitsim.qapi.schema import Alternate, Annotated, Int64, arg, branch, union
from qbitsim.qapi.structs import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


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
