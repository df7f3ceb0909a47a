"""Who may do what to a node: QEMU's permission system.

Every edge of the graph says which permissions its parent *needs* on the child and which ones
it lets others *share*. An operation that would make two parents of a node disagree is refused
(bdrv_parent_perms_conflict, block.c, QEMU 10.0), with a text that names both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from qbitsim.errors import QmpError
from qbitsim.files.permissions import ALL, names

if TYPE_CHECKING:
    from qbitsim.block.node import Node


class Parent(Protocol):
    """Whoever holds an edge to a node: another node, a drive, a job, an export."""

    @property
    def parent_description(self) -> str:
        """How messages call it: ``node 'n0'``, ``block device 'drive0'``, ``backup job 'j'``."""

    @property
    def device_name(self) -> str:
        """The id of the drive that it is, or an empty string."""

    def drained_begin(self) -> None:
        """Stop sending requests until :meth:`drained_end`; calls nest."""

    def drained_end(self) -> None:
        """The counterpart of :meth:`drained_begin`."""

    def drained_poll(self) -> None:
        """Finish what is in flight, so that the node is quiet."""


class Child:
    """An edge of the graph.

    :ivar name: what the parent calls the child: ``file``, ``backing``, ``target``, ``root``, …
    :ivar perm: bits that the parent needs.
    :ivar shared: bits that the parent lets other parents have.
    :ivar quiesced: the parent was told to be quiet through this edge.
    :ivar parent_name: what a parent with a backing file was called when the edge was led to its node.
    :ivar stays: the edge keeps its node when another one takes the node's place (jobs, stay_at_node in block.c).
    """

    __slots__ = ("name", "node", "parent", "parent_name", "perm", "quiesced", "shared", "stays")

    def __init__(self, parent: Parent, name: str, node: Node, perm: int, shared: int, *, stays: bool = False) -> None:
        self.parent = parent
        self.name = name
        self.node = node
        self.perm = perm
        self.shared = shared
        self.quiesced = False
        self.parent_name = ""
        self.stays = stays

    def __repr__(self) -> str:
        return f"<Child {self.name!r} of {self.parent.parent_description}: {self.node.name}>"

    @property
    def description(self) -> str:
        """The edge as messages describe it."""
        return f"{self.parent.parent_description} (uses node '{self.node.name}' as '{self.name}' child)"

    def drained_begin(self) -> None:
        """Tell the parent to be quiet, once."""
        if not self.quiesced:
            self.quiesced = True
            self.parent.drained_begin()

    def drained_end(self) -> None:
        """Tell the parent to go on, if it was told to be quiet."""
        if self.quiesced:
            self.quiesced = False
            self.parent.drained_end()


def cumulative(edges: Iterable[Child]) -> tuple[int, int]:
    """What all parents together need and share, as (perm, shared)."""
    perm, shared = 0, ALL
    for edge in edges:
        perm |= edge.perm
        shared &= edge.shared
    return perm, shared


def check_conflict(node: Node) -> None:
    """Refuse if two parents of ``node`` disagree.

    :raises QmpError: with the text of bdrv_a_allow_b (block.c, QEMU 10.0).
    """
    for allowing in node.parents:
        for needing in node.parents:
            missing = needing.perm & ~allowing.shared
            if needing is not allowing and missing:
                raise QmpError(
                    f"Permission conflict on node '{node.name}': permissions '{names(missing)}' are both required by "
                    f"{needing.description} and unshared by {allowing.description}."
                )
