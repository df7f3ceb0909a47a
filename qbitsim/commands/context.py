"""What a command works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.commands.parts import MachineLike
    from qbitsim.engine.transaction import Transaction
    from qbitsim.jobs.job_list import JobList
    from qbitsim.jobs.txn import JobTxn
    from qbitsim.profiles import Profile


class Context:
    """One execution of a command.

    A plain command is a transaction of one: whatever it changes it registers in :attr:`transaction`.

    :ivar machine: the machine.
    :ivar transaction: where to register how a change is finished and undone.
    :ivar job_txn: the transaction that new jobs join; None for one of their own.
    :ivar plain: not an action of ``transaction``.
    """

    __slots__ = ("job_txn", "machine", "plain", "transaction")

    def __init__(
        self, machine: MachineLike, transaction: Transaction, job_txn: JobTxn | None = None, *, plain: bool = True
    ) -> None:
        self.machine = machine
        self.transaction = transaction
        self.job_txn = job_txn
        self.plain = plain

    @property
    def graph(self) -> Graph:
        """The machine's block graph."""
        return self.machine.graph

    @property
    def jobs(self) -> JobList:
        """The machine's jobs."""
        return self.machine.jobs

    @property
    def profile(self) -> Profile:
        """The QEMU release that the machine is."""
        return self.machine.profile

    def drain_if_plain(self) -> None:
        """The commands that QEMU implements as a transaction of one drain everything first, as transaction does."""
        if self.plain:
            self.graph.drain_all()

    def match_aio_contexts(self) -> None:
        """See to it that a target runs where its source does: everything here runs in one thread."""
        if self.profile.aio_context_checks_drain:
            self.graph.drain_all()


def find_node(context: Context, name: str) -> Node:
    """The node that the bitmap commands mean by ``name``.

    :raises QmpError: with the text of block_dirty_bitmap_lookup (block/monitor/bitmap-qmp-cmds.c, QEMU 10.0), which
        differs from the one that bdrv_lookup_bs has.
    """
    try:
        return context.graph.lookup(name, name)
    except QmpError:
        raise QmpError(f"Node '{name}' not found") from None


def find_bitmap(node: Node, name: str) -> DirtyBitmap:
    """The bitmap of that name on ``node``.

    :raises QmpError: ``Dirty bitmap 'x' not found``.
    """
    bitmap = node.find_bitmap(name)
    if bitmap is None:
        raise QmpError(f"Dirty bitmap '{name}' not found")
    return bitmap
