"""``null-co`` and ``null-aio``: protocol nodes without a bottom (block/null.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import io_error
from qbitsim.block.node import Node
from qbitsim.block.status import Status
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.files.faults import Faults


MAXIMUM_SIGNED = (1 << 63) - 1
MAXIMUM_LENGTH = (1 << 63) - (1 << 30)
"""Bytes: BDRV_MAX_LENGTH, the largest multiple of the largest alignment."""


def check_null(options: Mapping[str, Any]) -> None:
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


class NullNode(Node):
    """``null-co``: as long as wished; forgets what is written and reads as zeroes.

    :param latency: nanoseconds that a request of a job takes.
    :param read_zeroes: whether reading zeroes is promised (``read-zeroes``).
    """

    driver = "null-co"

    __slots__ = ("faults", "latency", "read_zeroes", "size")

    def __init__(
        self, graph: Graph, size: int, *, read_zeroes: bool = False, latency: int = 0, read_only: bool = False
    ) -> None:
        super().__init__(graph, read_only=read_only)
        self.size = -(-size // SECTOR) * SECTOR
        self.read_zeroes = read_zeroes
        self.latency = latency
        self.faults: Faults | None = None

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
    def forgets(self) -> bool:
        """It does, without faults and bitmaps."""
        return self.faults is None and not self.bitmaps

    @property
    def reads_plainly(self) -> bool:
        """It does, without faults."""
        return self.faults is None

    @property
    def needs_no_io(self) -> bool:
        """Unless it is made to be slow the driver is a coroutine that runs through (null_co_common, block/null.c)."""
        return not self.latency and self.faults is None

    def zeroes_without_io(self, offset: int, length: int) -> bool:
        """As any request."""
        del offset, length
        return self.needs_no_io

    def own_faults(self) -> Faults | None:
        """Its own."""
        return self.faults

    def delay(self, length: int, *, writing: bool) -> int:
        """The latency; it is the same for all requests, which do not wait for each other."""
        del length, writing
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


class NullAioNode(NullNode):
    """``null-aio``: the same with another way to answer requests."""

    driver = "null-aio"

    __slots__ = ()

    @property
    def needs_no_io(self) -> bool:
        """False: the answer comes later."""
        return False
