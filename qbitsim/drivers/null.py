"""``null-co`` and ``null-aio``: protocol nodes without a bottom (block/null.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Node
from qbitsim.block.status import Status
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import io_error
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.schema import Int64, UInt64
from qbitsim.qapi.structs import struct
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.files.faults import Faults


NULL_SIZE = 1 << 30
MAXIMUM_SIGNED = (1 << 63) - 1
MAXIMUM_LENGTH = (1 << 63) - (1 << 30)
"""Bytes: BDRV_MAX_LENGTH, the largest multiple of the largest alignment."""


@struct
class BlockdevOptionsNull(BlockdevOptions):
    """A disk that forgets; size in bytes, latency in nanoseconds."""

    size: Int64 | None = None
    latency_ns: UInt64 | None = None
    read_zeroes: bool | None = None


_STRONG = ("size", "read-zeroes")


@driver(
    "null-co",
    options=BlockdevOptionsNull,
    protocols=["null-co"],
    strong=_STRONG,
    sizes=["size"],
    reopens=[],
)
class NullNode(DriverNode):
    """``null-co``: as long as wished; forgets what is written and reads as zeroes.

    :param latency: nanoseconds that a request of a job takes.
    :param read_zeroes: whether reading zeroes is promised (``read-zeroes``).
    """

    __slots__ = ("faults", "latency", "read_zeroes", "size")

    def __init__(
        self, graph: Graph, size: int, *, read_zeroes: bool = False, latency: int = 0, read_only: bool = False
    ) -> None:
        super().__init__(graph, read_only=read_only)
        self.size = -(-size // SECTOR) * SECTOR
        self.read_zeroes = read_zeroes
        self.latency = latency
        self.faults: Faults | None = None

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """``null-co://`` and nothing else (null_co_parse_filename).

        :raises QmpError: it is something else.
        """
        del options
        if name != f"{cls.driver}://":
            raise QmpError(f"The only allowed filename for this driver is '{cls.driver}://'")
        return {}

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """There is nothing below it."""
        read_zeroes, read_only = flag(options, "read-zeroes"), flag(options, "read-only")
        size, latency = options.get("size", NULL_SIZE), options.get("latency-ns", 0)
        node = cls(opener.graph, size, read_zeroes=read_zeroes, latency=latency, read_only=read_only)
        opener.register(node, options)
        return node

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse what no time and no disk can be.

        :raises QmpError: with the text of null_open (block/null.c, QEMU 10.0).
        :raises UnsupportedError: the size is negative, of which QEMU dies.
        """
        if options.get("latency-ns", 0) > MAXIMUM_SIGNED:
            raise QmpError("latency-ns is invalid")
        if options.get("size", 0) < 0:
            raise UnsupportedError(f"a disk of {options['size']} bytes: real QEMU crashes")
        if options.get("size", 0) > MAXIMUM_LENGTH:
            raise QmpError("Could not refresh total sector count: File too large")

    @property
    def length(self) -> int:
        """Bytes."""
        return self.size

    @property
    def knows_cluster_size(self) -> bool:
        """False: the driver has no bdrv_get_info."""
        return False

    @property
    def filename(self) -> str:
        """``null-co://``."""
        return f"{self.driver}://"

    @property
    def reads_plainly(self) -> bool:
        """It does, without faults."""
        return self.faults is None

    def waits_for_io(self, operation: str) -> bool:
        """Unless it is made to be slow the driver is a coroutine that runs through (null_co_common, block/null.c)."""
        return super().waits_for_io(operation) and (bool(self.latency) or self.faults is not None)

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Forget them."""
        del chosen, cluster_size
        return source.reads_plainly and self.faults is None and not self.bitmaps

    @property
    def fault_owner(self) -> NullNode:
        """Itself."""
        return self

    def delay(self, operation: str, length: int) -> int:
        """The latency; it is the same for all requests, which do not wait for each other."""
        del operation, length
        return self.latency

    def _check(self, operation: str, offset: int, length: int) -> None:
        if self.faults is not None:
            self.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return bytes(length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        assert not compressed
        self._check("write", offset, len(data))

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check("write-zeroes", offset, length)

    def _discard(self, offset: int, length: int) -> None:
        raise io_error(errno.ENOTSUP)

    def _flush(self) -> None:
        self._check("flush", 0, 0)

    def _status(self, offset: int, length: int) -> Status:
        return Status(length, zero=self.read_zeroes)

    def _truncate(self, size: int) -> None:
        raise QmpError("Image format driver does not support resize")


@driver(
    "null-aio",
    options=BlockdevOptionsNull,
    protocols=["null-aio"],
    strong=_STRONG,
    sizes=["size"],
    reopens=[],
)
class NullAioNode(NullNode):
    """``null-aio``: the same with another way to answer requests."""

    __slots__ = ()

    def waits_for_io(self, operation: str) -> bool:
        """The answer comes later."""
        return Node.waits_for_io(self, operation)
