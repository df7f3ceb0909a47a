"""``quorum``: several children that shall hold the same (block/quorum.c, QEMU 10.0).

Writes go to all children and succeed if ``vote-threshold`` of them do. Reads go to all and the content with enough
votes wins, or with ``fifo`` to the first child that can be read. When children disagree or fail, QEMU also sends
events (QUORUM_REPORT_BAD, QUORUM_FAILURE); these are not emulated, so such a request is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Child, Node
from qbitsim.block.own_length import OwnLengthNode
from qbitsim.block.status import Status
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.enums import StrEnum
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.qapi.blockdev import BlockdevOptions, BlockdevRef
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener


class QuorumReadPattern(StrEnum):
    """Which children are read."""

    QUORUM = "quorum"
    FIFO = "fifo"


@struct
class BlockdevOptionsQuorum(BlockdevOptions):
    """A vote among children."""

    blkverify: bool | None = None
    children: list[BlockdevRef]
    vote_threshold: Int64
    rewrite_corrupted: bool | None = None
    read_pattern: QuorumReadPattern | None = None


@driver(
    "quorum",
    options=BlockdevOptionsQuorum,
    children=["children"],
    strong=["vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern"],
)
class QuorumNode(DriverNode, OwnLengthNode):
    """``quorum``, whose children are ``children.0``, ``children.1``, …

    :ivar threshold: how many children have to agree.
    :ivar fifo: read one child only.
    :ivar next_child: the number that the next child gets.
    """

    __slots__ = ("fifo", "next_child", "threshold")

    def __init__(
        self, graph: Graph, threshold: int, *, fifo: bool = False, read_only: bool = False, unmap: bool = False
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.threshold = threshold
        self.fifo = fifo
        self.next_child = 0

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Children of one length."""
        node = cls(
            opener.graph,
            options["vote-threshold"],
            fifo=options.get("read-pattern") == "fifo",
            read_only=flag(options, "read-only"),
            unmap=passes_discards(options),
        )
        opener.register(node, options)
        check_quorum(options)
        for number, child in enumerate(options["children"]):
            opener.open_child(node, f"children.{number}", options, child)
        node.next_child = len(options["children"])
        node.check_lengths()
        return node

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """Refuse what makes no quorum before any child is looked at."""
        if isinstance(options.get("children"), dict):
            raise QmpError("Option children is not a valid array")
        if not isinstance(options.get("children"), list):
            options["children"] = []
        if isinstance(options.setdefault("vote-threshold", 0), int):
            check_quorum(options)

    @property
    def _nodes(self) -> list[Node]:
        return [child.node for child in self.children]

    @property
    def flushed_children(self) -> list[Child]:
        """All (quorum_co_flush)."""
        return self.children

    @property
    def knows_cluster_size(self) -> bool:
        """False: the driver has no bdrv_get_info."""
        return False

    @property
    def cluster_size(self) -> int:
        """None."""
        return 0

    @property
    def can_unmap_zeroes(self) -> bool:
        """If all children can."""
        return all(edge.node.can_unmap_zeroes for edge in self.children)

    def can_replace(self, node: Node) -> bool:
        """This one, or a child that nobody else uses: children are to show the same (quorum_recurse_can_replace)."""
        return node is self or any(edge.node is node and node.parents == [edge] for edge in self.children)

    def check_lengths(self) -> None:
        """Refuse children of different lengths."""
        if len({node.length for node in self._nodes}) > 1:
            raise QmpError("Could not refresh total sector count: Input/output error")

    def add_child(self, node: Node) -> None:
        """Take one that nobody uses (quorum_add_child)."""
        if node.parents:
            raise QmpError(f"The node {node.name} already has a parent")
        name = f"children.{self.next_child}"
        if node is self:
            raise QmpError(f"Making '{node.name}' a {name} child of '{self.name}' would create a cycle")
        self.graph.attach(self, name, node)
        self.next_child += 1

    def remove_child(self, child: Child) -> None:
        """Give one up, if enough are left for a vote (quorum_del_child)."""
        if len(self.children) <= self.threshold:
            raise QmpError(f"The number of children cannot be lower than the vote threshold {self.threshold}")
        if child.name == f"children.{self.next_child - 1}":
            self.next_child -= 1  # its number is the next one's
        self.graph.detach(child)

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """Nobody else may resize a child, or write to it (quorum_child_perm)."""
        del child
        shared &= perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
        return perm, shared

    def _read(self, offset: int, length: int) -> bytes:
        if self.fifo:
            return self._nodes[0].read(offset, length)
        answers = {self._try(node.read, offset, length) for node in self._nodes}
        if len(answers) != 1:
            raise UnsupportedError("a quorum whose children disagree")
        answer: bytes = answers.pop()
        return answer

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        for node in self._nodes:
            self._try(node.write, offset, data, compressed=compressed)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        for node in self._nodes:
            self._try(node.write_zeroes, offset, length, unmap=unmap and node.unmap)

    def _discard(self, offset: int, length: int) -> None:
        for node in self._nodes:
            self._try(node.discard, offset, length)

    @staticmethod
    def _try(request: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return request(*arguments, **options)
        except OSError as error:
            raise UnsupportedError("a quorum with a child that fails") from error

    def _status(self, offset: int, length: int) -> Status:
        """Zeroes only if all children say so (quorum_co_block_status)."""
        found = [node.status(offset, length) for node in self._nodes]
        zero = all(status.zero for status in found)
        run = min(status.length for status in found)
        return Status(run, data=not zero, zero=zero)

    def _truncate(self, size: int) -> None:
        raise QmpError("Image format driver does not support resize")


def check_quorum(options: Mapping[str, Any]) -> None:
    """Refuse what makes no quorum.

    :raises QmpError: in the order of quorum_open.
    """
    # QEMU keeps the threshold in an int (quorum_open, block/quorum.c, QEMU 10.0).
    threshold = (options["vote-threshold"] + (1 << 31)) % (1 << 32) - (1 << 31)
    count = len(options["children"])
    if not count:
        raise QmpError("Number of provided children must be 1 or more")
    if threshold < 1:
        raise QmpError("Parameter 'vote-threshold' expects a value >= 1")
    if threshold > count:
        raise QmpError("threshold may not exceed children count")
    if options.get("blkverify") and not (count == 2 and threshold == 2):
        raise QmpError("blkverify=on can only be set if there are exactly two files and vote-threshold is 2")
    for name in ("blkverify", "rewrite-corrupted"):
        if options.get(name):
            raise UnsupportedError(f"'{name}' of quorum")
