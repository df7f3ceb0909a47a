"""``blkverify``: a filter that does all on two nodes and ends QEMU where they differ (block/blkverify.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from qbitsim.block.filter import FilterNode
from qbitsim.block.node import Child, Node
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.qapi.blockdev import BlockdevOptions, BlockdevRef
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener


@struct
class BlockdevOptionsBlkverify(BlockdevOptions):
    """A node that is tested, and a raw one that shall hold the same."""

    test: BlockdevRef
    raw: BlockdevRef


@driver(
    "blkverify",
    options=BlockdevOptionsBlkverify,
    protocols=["blkverify"],
    filename_prefix="blkverify:",
    children=["raw", "test"],
)
class BlkverifyNode(DriverNode, FilterNode):
    """``blkverify``, whose children are ``raw``, which it filters, and ``test``, whose length and bytes it shows."""

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The raw child first."""
        node = cls(opener.graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.register(node, options)
        opener.open_child(node, "raw", options)
        opener.open_child(node, "test", options)
        return node

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """``blkverify:RAW:TEST``, or what is to be compared alone (blkverify_parse_filename)."""
        del options
        prefix = "blkverify:"
        if not name.startswith(prefix):
            return {"test": name}
        raw, colon, test = name.removeprefix(prefix).partition(":")
        if not colon:
            raise QmpError("blkverify requires raw copy and original image path")
        return {"raw": raw, "test": test}

    @property
    def filename(self) -> str:
        """``blkverify:RAW:TEST`` (blkverify_refresh_filename)."""
        return f"blkverify:{self._filtered.filename}:{self._test.filename}" if self.children else ""

    @property
    def filtered(self) -> Node | None:
        """The raw node."""
        child = self.child("raw")
        return child.node if child is not None else None

    @property
    def _test(self) -> Node:
        child = self.child("test")
        assert child is not None
        return child.node

    @property
    def _shown(self) -> Node:
        return self._test

    def can_replace(self, node: Node) -> bool:
        """As either of them, for both show the same (blkverify_recurse_can_replace)."""
        return super().can_replace(node) or self._test.can_replace(node)

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Those of a filter, and those of data for what is tested (bdrv_default_perms)."""
        if child.name == "raw":
            return super().child_permissions(child, perm, shared)
        if perm & (perms.WRITE | perms.WRITE_UNCHANGED):
            perm |= perms.WRITE | perms.RESIZE
        if self.inactive:
            return perm, shared | perms.WRITE | perms.RESIZE
        return perm, shared & ~perms.RESIZE

    def allocated_file_size(self) -> None:
        """None: a protocol has to tell it itself."""

    @property
    def can_unmap_zeroes(self) -> bool:
        """No."""
        return False

    # -- requests

    def _read(self, offset: int, length: int) -> bytes:
        where = f"read offset={offset} bytes={length}"
        found: bytes
        found, raw = self._on_both(lambda node: node.read(offset, length), where)
        if found != raw:
            place = next(at for at, (one, other) in enumerate(zip(found, raw, strict=True)) if one != other)
            _end(f"{where} contents mismatch at offset {offset + place}")
        return found

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        del compressed
        self._on_both(lambda node: node.write(offset, data), f"write offset={offset} bytes={len(data)}")

    def _on_both(self, request: Callable[[Node], Any], where: str) -> tuple[Any, Any]:
        """What a request gives of the tested and of the raw node; OSError if both fail alike."""
        answers, numbers = list[Any](), list[int]()
        for node in (self._test, self._filtered):
            try:
                answers.append(request(node))
                numbers.append(0)
            except OSError as error:
                answers.append(None)
                numbers.append(-errno_of(error))
        if numbers[0] != numbers[1]:
            _end(f"{where} return value mismatch {numbers[0]} != {numbers[1]}")
        if numbers[0]:
            raise io_error(-numbers[0])
        return answers[0], answers[1]

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Not here, so that they are written.

        :raises OSError: ENOTSUP.
        """
        raise io_error(errno.ENOTSUP)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """No."""
        del offset, length
        return False

    def _discard(self, offset: int, length: int) -> None:
        """Nobody is told.

        :raises OSError: ENOTSUP.
        """
        raise io_error(errno.ENOTSUP)

    def _flush(self) -> None:
        self._test.flush()


def _end(text: str) -> NoReturn:
    """Refuse what ends QEMU.

    :raises UnsupportedError: always.
    """
    raise UnsupportedError(f"the end of QEMU because of blkverify: {text}")
