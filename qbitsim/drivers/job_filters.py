"""The filters that jobs put into the graph: ``mirror_top``, ``commit_top`` and a ``copy-on-read``.

The first two have the filtered node as ``backing`` (block/mirror.c and block/commit.c, QEMU 10.0). All are hidden from
query-block unless the client named them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from qbitsim.block.filter import FilterNode
from qbitsim.block.node import Child, Node
from qbitsim.drivers.copy_on_read import CopyOnReadNode
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.graph import Graph

_Filter = TypeVar("_Filter", bound=Node)


class WriteWatcher(Protocol):
    """Who is told of the guest's writes: a mirror."""

    def guest_wrote(self, kind: str, offset: int, length: int, data: bytes) -> None:
        """The source has the write; ``kind`` is ``write`` or ``zero``."""


class MirrorTopNode(FilterNode):
    """``mirror_top``: passes requests on and tells the mirror of writes.

    :ivar watcher: the mirror, as long as it works.
    :ivar target_is_backing: it copies into its own chain, as the commit of an active layer does; nobody may read what
        is below, but for filters of the target.
    :ivar stopped: the mirror is over, and needs nothing of the source any more.
    """

    driver = "mirror_top"
    flushes_in_any_case = True
    never_freeze = True
    shows_filename_of_child = True

    __slots__ = ("stopped", "target_is_backing", "watcher")

    def __init__(self, graph: Graph, *, target_is_backing: bool = False) -> None:
        super().__init__(graph)
        self.watcher: WriteWatcher | None = None
        self.target_is_backing = target_is_backing
        self.stopped = False

    @property
    def can_unmap_zeroes(self) -> bool:
        """False: nobody has taught it."""
        return False

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """As any filter; a copy into its own chain has less and shares more (bdrv_mirror_top_child_perm)."""
        if self.stopped:
            return 0, perms.ALL
        perm, shared = super().child_permissions(child, perm, shared)
        return (perm & ~perms.CONSISTENT_READ, shared | perms.WRITE) if self.target_is_backing else (perm, shared)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        super()._write(offset, data, compressed=compressed)
        self._report_write("write", offset, len(data), data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        super()._write_zeroes(offset, length, unmap=unmap)
        self._report_write("zero", offset, length)

    def _report_write(self, kind: str, offset: int, length: int, data: bytes = b"") -> None:
        if self.watcher is not None:
            self.watcher.guest_wrote(kind, offset, length, data)


class CommitTopNode(FilterNode):
    """``commit_top``: lets the base be written below readers that would not share that."""

    driver = "commit_top"
    never_freeze = True
    shows_filename_of_child = True

    __slots__ = ()

    @property
    def can_unmap_zeroes(self) -> bool:
        """False: nobody has taught it."""
        return False

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Ask for nothing and share everything (bdrv_commit_top_child_perm)."""
        del child, perm, shared
        return 0, perms.ALL


def insert_mirror_top(graph: Graph, node: Node, name: str | None, *, target_is_backing: bool) -> MirrorTopNode:
    """Put the filter of a mirror, or of an active commit, between ``node`` and its parents.

    :param name: for the filter; one without a name is hidden.
    :raises QmpError: about its name, or a permission conflict; nothing has changed then.
    """
    return _append(graph, node, MirrorTopNode(graph, target_is_backing=target_is_backing), name)


def insert_commit_top(graph: Graph, node: Node, name: str | None) -> Node:
    """The same with the filter of a commit."""
    return _append(graph, node, CommitTopNode(graph, read_only=True), name)


def insert_copy_on_read(graph: Graph, node: Node, name: str | None, bottom: Node) -> CopyOnReadNode:
    """The same with the filter of a stream that copies from the layers below ``node`` down to ``bottom``."""
    top = CopyOnReadNode(graph)
    top.bottom = bottom
    return _insert(graph, node, top, name)


def _append(graph: Graph, node: Node, top: _Filter, name: str | None) -> _Filter:
    """Put ``top`` above ``node``, which it gets as ``backing``, with the drains of bdrv_append."""
    top.implicit = name is None
    _register(graph, top, name)
    try:
        graph.check_append(node)
        with graph.drained(node):
            graph.attach(top, "backing", node, is_part=True)
            graph.insert_above(node, top)
    except QmpError:
        graph.release(top)
        raise
    node.refresh_limits()  # but not those of the filter
    top.held = True
    return top


def _insert(graph: Graph, node: Node, top: _Filter, name: str | None) -> _Filter:
    """Open ``top`` on ``node``, its ``file``, and put it above, with the drains of bdrv_insert_node."""
    top.implicit = name is None
    _register(graph, top, name)
    try:
        graph.attach(top, "file", node)
        top.refresh_limits()
        with graph.drained(node):
            graph.insert_above(node, top)
    except QmpError:
        graph.release(top)
        raise
    top.held = True
    return top


def _register(graph: Graph, top: Node, name: str | None) -> None:
    """Let it have its name; to close one that gets none is a change of the graph."""
    try:
        graph.register(top, name)
    except QmpError:
        graph.changing()
        raise


def drop_filter(graph: Graph, top: Node, node: Node) -> None:
    """Let the parents of ``top`` use ``node`` instead (bdrv_drop_filter); ``top`` is closed, if no job keeps it."""
    with graph.drained(node):
        graph.remove_above(top, node)
    top.held = False
    graph.release(top)


@contextmanager
def commit_top_below(graph: Graph, node: Node, backing: Node) -> Iterator[None]:
    """Put the filter of a commit between a node and its backing file for a while (bdrv_commit, block/commit.c)."""
    edge = node.child("backing")
    assert edge is not None
    top = CommitTopNode(graph)
    top.implicit = top.held = True
    graph.register(top, None)
    graph.attach(top, "backing", backing)
    graph.changing()
    graph.set_child(node, "backing", top)
    graph.refresh_permissions(node)
    try:
        yield
    finally:
        graph.changing()
        graph.set_child(node, "backing", backing)
        graph.refresh_permissions(node)
        top.held = False
        graph.release(top)
