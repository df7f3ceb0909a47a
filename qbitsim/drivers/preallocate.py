"""``preallocate``: a filter that lets a growing file grow in large steps (block/preallocate.c, QEMU 10.0).

Theory of operation
===================

1. Whoever may write and resize through the filter has the file for itself. A write that ends behind the end of the
   file first lets the file have zeroes, as many as ``prealloc-size`` behind the write and up to a multiple of
   ``prealloc-align``.
2. The filter shows the file without them. They are cut off when the filter is closed, when it is resized, and soon
   after nobody may write and resize any more; until then it keeps these permissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Child, Node
from qbitsim.drivers.driver import driver
from qbitsim.drivers.file import image_below
from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptionsGenericFormat
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.records import record
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.engine.scheduler import Task

_DEFAULTS = {"prealloc-align": 1 << 20, "prealloc-size": 128 << 20}
_GROWS = perms.WRITE | perms.RESIZE


@struct
class BlockdevOptionsPreallocate(BlockdevOptionsGenericFormat):
    """A filter that preallocates; sizes in bytes."""

    prealloc_align: Int64 | None = None
    prealloc_size: Int64 | None = None


@record(frozen=False)
class _Ends:
    """Where what the file has ends, in bytes.

    :ivar data: what was written, which is what the filter shows.
    :ivar zero: from there on the file has nothing but preallocated zeroes.
    :ivar file: the file itself.
    """

    data: int
    zero: int
    file: int


@driver(
    "preallocate",
    options=BlockdevOptionsPreallocate,
    sizes=_DEFAULTS,
    reopens=_DEFAULTS,
    resets=[],
)
class PreallocateNode(FilterDriverNode):
    """``preallocate``, whose child is ``file``.

    :ivar align: the file's length becomes a multiple of it; :ivar size: bytes to preallocate.
    """

    flushes_in_any_case = True

    __slots__ = ("_drop", "_ends", "align", "size")

    def __init__(self, graph: Graph, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.align, self.size = _DEFAULTS.values()
        self._ends: _Ends | None = None  # nobody may write and resize
        self._drop: Task | None = None

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The file first, to which the alignment has to fit."""
        node = cls(opener.graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.open_filter(node, options, "file")
        node._check_alignment(options)
        node.reopen_commit(options)
        return node

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse negative numbers."""
        for name in _DEFAULTS:
            if options.get(name, 0) < 0:
                raise QmpError(f"Value '{options[name]}' is out of range for parameter '{name}'")

    def _check_alignment(self, options: Mapping[str, Any]) -> None:
        align, below = options.get("prealloc-align", _DEFAULTS["prealloc-align"]), self._filtered.limits.request
        if align % SECTOR:
            raise QmpError(f"prealloc-align parameter of preallocate filter is not aligned to {SECTOR}")
        if align % below:
            raise QmpError(
                "prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment "
                f"({below})"
            )

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """The alignment has to fit; a file that becomes read-only is cut off before."""
        self._check_alignment(options)
        if read_only:
            self._give_up()

    def reopen_commit(self, options: Mapping[str, Any]) -> None:
        """Preallocate otherwise from now on."""
        self.align, self.size = (options.get(name, default) for name, default in _DEFAULTS.items())

    @property
    def length(self) -> int:
        """Bytes, without those that are only preallocated."""
        return super().length if self._ends is None else self._data_end(self._ends)

    # -- who may write and resize

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Write and resize alone, until what is preallocated is cut off (preallocate_child_perm)."""
        perm, shared = super().child_permissions(child, perm, shared)
        if perm & _GROWS == _GROWS or self._ends is not None:
            return perm | _GROWS, shared & ~_GROWS
        return perm, shared

    def on_permissions(self, perm: int, shared: int) -> None:
        """Look how long the file is, or let it soon be cut off (preallocate_set_perm)."""
        del shared
        if perm & _GROWS == _GROWS:
            self._stay()
            if self._ends is None:
                length = self._filtered.length
                self._ends = _Ends(length, length, length)
        elif self._ends is not None and self._drop is None:
            self._drop = self.graph.scheduler.soon(self._give_up, f"{self.name}: drop preallocation")

    def _stay(self) -> None:
        if self._drop is not None:
            self._drop.cancel()
            self._drop = None

    def _give_up(self) -> None:
        """Cut the file off and let others write to it (preallocate_drop_resize)."""
        self._stay()
        if self._ends is not None:
            self._cut_off(self._ends)
            self._ends = None
            self.graph.refresh_permissions(self)

    def _cut_off(self, ends: _Ends) -> None:
        """Let the file end where the data do (preallocate_truncate_to_real_size)."""
        ends.data = self._data_end(ends)
        if ends.data < ends.file:
            self._filtered.truncate(ends.data)
            ends.file = ends.data

    def close(self) -> None:
        """Cut the file off."""
        self._stay()
        if self._ends is not None:
            self._cut_off(self._ends)

    def abandon(self) -> None:
        """The file stays as long as it is."""
        self._stay()

    # -- requests

    def _data_end(self, ends: _Ends) -> int:
        """Where the data end; a format writes some of its file without a request here."""
        image = image_below(self)
        return ends.data if image is None or image.format == "raw" else max(ends.data, image.written_length)

    def _grow(self, offset: int, length: int, *, zeroes: bool = False) -> bool:
        """Preallocate before a write that ends behind the end of the file (handle_write).

        :param zeroes: zeroes are to be written, which may be a part of what is preallocated.
        :returns: whether the range is zero then.
        """
        if self._ends is None:
            return False
        ends, end = self._ends, offset + length
        if end <= ends.data:
            return False
        ends.data = end
        if not zeroes:
            ends.zero = end
        if end <= ends.file:
            return zeroes and offset >= ends.zero
        start = min(offset, ends.file) if zeroes else ends.file
        align = max(self.align, self._filtered.limits.request)
        stop = -(-(max(start, end) + self.size) // align) * align
        self._filtered.write_zeroes(start, stop - start)
        ends.file = stop
        return zeroes and start <= offset

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self._grow(offset, len(data))
        super()._write(offset, data, compressed=compressed)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if not self._grow(offset, length, zeroes=not unmap):
            super()._write_zeroes(offset, length, unmap=unmap)

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        if operation == "write":
            self._grow(offset, length)
        super()._format_request(operation, offset, length)

    def _truncate(self, size: int) -> None:
        if self._ends is not None and size > self._data_end(self._ends):
            self._cut_off(self._ends)
        super()._truncate(size)
        if self._ends is not None:
            self._ends = _Ends(size, size, size)
