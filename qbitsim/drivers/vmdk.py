"""``vmdk``: a disk of VMware in one sparse file (block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qbitsim.block.limits import Limits
from qbitsim.block.node import Node
from qbitsim.block.status import Status
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.file import STATUS_OF, file_below
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import ReportedError, io_error
from qbitsim.qapi.blockdev import BlockdevOptionsGenericCOWFormat
from qbitsim.qapi.structs import struct
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.files.tree import ByteFile
    from qbitsim.images.vmdk.image import VmdkImage
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile


@struct
class BlockdevOptionsVmdk(BlockdevOptionsGenericCOWFormat):
    """A VMDK image."""


class NodeBytes:
    """A :class:`.ByteFile`: the bytes of the file below a node, which is asked for each access.

    :param node: its first child is the file.
    :param file: the bytes.
    """

    __slots__ = ("_file", "_node")

    def __init__(self, node: Node, file: ByteFile) -> None:
        self._file = file
        self._node = node

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._file.length

    def read_at(self, offset: int, length: int) -> bytes:
        """As every file; OSError as the node below says."""
        self._node.children[0].node.pread(offset, length)
        return self._file.read_at(offset, length)

    def write_at(self, offset: int, data: bytes) -> None:
        """As every file; OSError as the node below says."""
        self._node.children[0].node.pwrite(offset, len(data))
        self._file.write_at(offset, data)


@driver("vmdk", options=BlockdevOptionsVmdk, format=True, creates=True, accepts={"backing": (None,)}, reopens=[])
class VmdkNode(DriverNode):
    """The disk in a VMDK file.

    :param image: what is in the file that the child ``file`` leads to.
    """

    supports_backing = True
    supports_compression = True

    __slots__ = ("image",)

    image: VmdkImage

    def __init__(self, graph: Graph, image: VmdkImage, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.image = image.seen_through(NodeBytes(self, image.content.file))

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The image in the file."""
        from qbitsim.images.vmdk.loading import open_vmdk  # noqa: PLC0415 - few have one

        file = opener.open_file_child(options)
        read_only = flag(options, "read-only")
        if file.read_only and not read_only:
            raise QmpError("Block node is read-only")
        found = file_below(file)
        if found is None:
            raise UnsupportedError(f"a vmdk image in a node of driver '{file.driver}'")
        found.refresh()
        image = open_vmdk(found)
        refusal = image.refusal(write=not read_only)
        if refusal is not None:
            raise QmpError(refusal)
        image.reopen()
        node = cls(opener.graph, image, read_only=read_only, unmap=passes_discards(options))
        opener.open_format(node, file, options)
        return node

    @property
    def length(self) -> int:
        """Bytes of the disk."""
        return self.image.size

    @property
    def cluster_size(self) -> int:
        """Bytes of a grain."""
        return self.image.cluster_size

    def limits_above(self, below: Limits) -> Limits:
        """Whole grains are best zeroed (vmdk_refresh_limits)."""
        return changed(below, zeroes=self.cluster_size)

    @property
    def migration_blocker(self) -> str:
        """The format is not made for two processes (vmdk_open)."""
        return f"The vmdk format used by node '{self.name}' does not support live migration"

    def specific_info(self, profile: Profile) -> Json:
        """ImageInfoSpecificVmdk."""
        from qbitsim.images.vmdk.info import specific_info  # noqa: PLC0415 - few have one

        del profile
        return {"type": "vmdk", "data": specific_info(self.image, self.children[0].node.filename)}

    # -- requests

    def _check(self, operation: str, offset: int, length: int) -> None:
        if self.image.file.faults is not None:
            self.image.file.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return self.image.content.read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        del compressed  # the extent says so
        self._check("write", offset, len(data))
        with self._reporting():
            self.image.write(offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check("write-zeroes", offset, length)
        with self._reporting():
            self.image.write_zeroes(offset, length, unmap=unmap)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Say on the standard error that a compressed grain was to be written again."""
        try:
            yield
        except ReportedError as error:
            self.graph.complain(error.report)
            raise

    def _discard(self, offset: int, length: int) -> None:
        """Nobody has told the driver how.

        :raises OSError: ENOTSUP.
        """
        raise io_error(errno.ENOTSUP)

    def _status(self, offset: int, length: int) -> Status:
        """Of one grain, as of each that QEMU asks for."""
        kind, run = self.image.content.status(offset, min(length, self.cluster_size - offset % self.cluster_size))
        data, zero = STATUS_OF[kind]
        return Status(run, data=data, zero=zero)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Whole grains, if the tables can say that they are zero."""
        content = self.image.content
        return all(content.can_zero(run) for _, run in content.parts(offset, length))

    def _flush(self) -> None:
        self._check("flush", 0, 0)
        super()._flush()
