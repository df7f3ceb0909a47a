"""The filters that jobs put into the graph: ``mirror_top``, ``commit_top`` and a ``copy-on-read``.

The first two have the filtered node as ``backing`` (block/mirror.c and block/commit.c, QEMU 10.0). All are hidden from
query-block unless the client named them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from qbitsim.block.node import Node
from qbitsim.block.permissions import Child
from qbitsim.drivers.copy_on_read import CopyOnReadNode
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph

_Filter = TypeVar("_Filter", bound=Node)


class WriteWatcher(Protocol):
    """Who is told of the guest's writes: a mirror."""

    def guest_wrote(self, kind: str, offset: int, length: int, data: bytes) -> None:
        """The source has the write; ``kind`` is ``write``, ``zero`` or ``discard``."""


class MirrorTopNode(Node):
    """``mirror_top``: passes requests on and tells the mirror of writes.

    :ivar watcher: the mirror, as long as it works.
    :ivar is_commit: the mirror is an active commit: it must not ask for anything itself.
    """

    driver = "mirror_top"
    is_filter = True
    shows_filename_of_child = True

    __slots__ = ("is_commit", "watcher")

    def __init__(self, graph: Graph, *, is_commit: bool = False) -> None:
        super().__init__(graph, unmap=True)
        self.watcher: WriteWatcher | None = None
        self.is_commit = is_commit

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Guest writes must get through; nothing else is needed (bdrv_mirror_top_child_perm)."""
        del child, shared
        return perm & perms.WRITE & (0 if self.is_commit else perms.ALL), perms.ALL

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        super()._write(offset, data, compressed=compressed)
        self._tell("write", offset, len(data), data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        super()._write_zeroes(offset, length, unmap=unmap)
        self._tell("zero", offset, length)

    def _discard(self, offset: int, length: int) -> None:
        super()._discard(offset, length)
        self._tell("discard", offset, length)

    def _tell(self, kind: str, offset: int, length: int, data: bytes = b"") -> None:
        if self.watcher is not None:
            self.watcher.guest_wrote(kind, offset, length, data)


class CommitTopNode(Node):
    """``commit_top``: lets the base be written below readers that would not share that."""

    driver = "commit_top"
    is_filter = True
    shows_filename_of_child = True

    __slots__ = ()

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Ask for nothing and share everything (bdrv_commit_top_child_perm)."""
        del child, perm, shared
        return 0, perms.ALL


def insert_mirror_top(graph: Graph, node: Node, name: str | None, *, is_commit: bool) -> MirrorTopNode:
    """Put the filter of a mirror, or of an active commit, between ``node`` and its parents.

    :param name: for the filter; one without a name is hidden.
    :raises QmpError: about its name, or a permission conflict; nothing has changed then.
    """
    return _insert(graph, node, MirrorTopNode(graph, is_commit=is_commit), name, "backing")


def insert_commit_top(graph: Graph, node: Node, name: str | None) -> Node:
    """The same with the filter of a commit."""
    return _insert(graph, node, CommitTopNode(graph, read_only=True), name, "backing")


def insert_copy_on_read(graph: Graph, node: Node, name: str | None) -> Node:
    """The same with the filter of a stream."""
    return _insert(graph, node, CopyOnReadNode(graph, unmap=True), name, "file")


def _insert(graph: Graph, node: Node, top: _Filter, name: str | None, child_name: str) -> _Filter:
    top.implicit = name is None
    graph.register(top, name)
    try:
        graph.attach(top, child_name, node, 0, perms.ALL)
        graph.insert_above(node, top)
    except QmpError:
        graph.release(top)
        raise
    top.held = True
    return top


def drop_job_filter(graph: Graph, top: Node, node: Node) -> None:
    """Let the parents of ``top`` use ``node`` instead and close ``top``."""
    graph.remove_above(top, node)
    top.held = False
    graph.release(top)
