"""BlockdevOptions: what the arguments of blockdev-add have in common (qapi/block-core.json).

Here are the names of the drivers; each is declared, with the options that it has of its own, by a module of
:mod:`qbitsim.drivers`. Every member that QEMU has is declared, so that a client's mistake gets QEMU's text and a member
that is not emulated can be refused by whoever opens the node. Other drivers are listed only as names to refuse.
"""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.order import driver_order
from qbitsim.qapi.schema import Alternate, Annotated, Enumeration, QNull, arg, union
from qbitsim.qapi.structs import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

BLOCKDEV_DRIVER = Enumeration(
    (
        *("blkdebug", "blklogwrites", "blkverify", "compress", "copy-before-write", "copy-on-read", "file"),
        *("host_cdrom", "host_device", "nbd", "null-aio", "null-co", "preallocate", "qcow2", "quorum", "raw"),
        *("snapshot-access", "throttle", "vmdk"),
    ),
    since={
        "blklogwrites": "3.0",
        "compress": "4.2",
        "copy-before-write": "6.2",
        "copy-on-read": "3.0",
        "preallocate": "6.0",
        "snapshot-access": "7.0",
        "throttle": "2.11",
    },
    noun="the block driver",
    order=driver_order,
)
"""The names of the drivers."""

BlockdevDriver: TypeAlias = Annotated[str, BLOCKDEV_DRIVER]
"""The driver of a node."""


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
