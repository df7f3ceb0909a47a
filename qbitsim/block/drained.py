"""Drained sections: the nodes of a graph made quiet, one of them or all of them.

Theory of operation
===================

1. A node in a drained section gets no requests from above until the section ends; sections nest.
2. Which changes of the graph drain all nodes, and for how long, is what releases of QEMU differ in most.
3. All nodes are drained in order of creation.
"""

from __future__ import annotations

from qbitsim.block.edge import Edge
from qbitsim.block.node import Node, downwards, poll_all
from qbitsim.errors import QmpError
from qbitsim.files.faults import StalledError
from qbitsim.light_library import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class DrainedSections:
    """The nodes of a graph, and how they become quiet.

    :ivar nodes: by name, in order of creation.
    :ivar opens_inactive: see :class:`.Surroundings`.
    :ivar active_have_active_children: an inactive node is refused below an active one (QEMU 10.0 and later).
    :ivar drains_on_change: every change of the graph drains all nodes (QEMU 8.0 and later).
    :ivar quiet_during_change: and keeps them quiet until it is made (QEMU 11.1).
    :ivar drains_subtrees: some commands make a node quiet with all that is below it (QEMU up to 7.2).
    :ivar drivers_drain_in_coroutines: bottom halves run while a driver that takes part becomes quiet (QEMU up to 7.2).
    :ivar watchers: how many edges jobs have that were started: without one nobody notices that nodes are drained.
    """

    __slots__ = (
        *(
            "active_have_active_children",
            "drains_on_change",
            "drivers_drain_in_coroutines",
            "nodes",
            "opens_inactive",
            "quiet_during_change",
        ),
        *("drains_subtrees", "watchers"),
    )

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.opens_inactive = False
        self.active_have_active_children = False
        self.drains_on_change = False
        self.quiet_during_change = False
        self.drains_subtrees = False
        self.drivers_drain_in_coroutines = False
        self.watchers = 0

    def watch(self, edges: Iterable[Edge[Node]]) -> None:
        """The job that has these edges notices from now on when their nodes are drained."""
        for edge in edges:
            self.watchers += not edge.watched
            edge.watched = True

    def drain(self, node: Node) -> None:
        """Enter a drained section of ``node`` and wait until it is quiet (bdrv_drained_begin).

        :raises StalledError: it never would be; nothing has changed then.
        """
        node.drained_begin()
        try:
            node.drained_poll()
        except StalledError:
            node.drained_end()
            raise

    def drain_found(self, node: Node) -> None:
        """As :meth:`drain`, for a node that a command has looked up.

        :raises QmpError: the node has gone meanwhile, with a job that was about to end; QEMU goes on with memory that
            is freed, and dies (external_snapshot_action, blockdev.c, seen with 7.2, 10.0 and 11.1).
        """
        self.drain(node)
        try:
            self.check_not_gone(node)
        except QmpError:
            node.drained_end()
            raise

    def check_not_gone(self, node: Node) -> None:
        """Refuse what wants to use a node that has gone while all became quiet.

        :raises QmpError: as :meth:`drain_found`.
        """
        if self.nodes.get(node.name) is not node:
            raise QmpError(f"Node '{node.name}' is gone, with the job that has just ended: QEMU may die of this")

    @contextmanager
    def drained(self, node: Node) -> Iterator[None]:
        """A drained section of ``node``.

        :raises StalledError: as :meth:`drain`.
        """
        self.drain(node)
        try:
            yield
        finally:
            node.drained_end()

    @contextmanager
    def reopening(self, node: Node) -> Iterator[None]:
        """A drained section in which a node is reopened (bdrv_subtree_drained_begin in 7.2, bdrv_drained_begin later).

        :raises QmpError: as :meth:`drain_found`.
        :raises StalledError: as :meth:`drain`.
        """
        from contextlib import ExitStack  # noqa: PLC0415 - few starts need it

        below = self._below(node)
        with ExitStack() as quiet:
            self.drain_found(node)
            quiet.callback(node.drained_end)
            for each in below:
                quiet.enter_context(self.drained(each))
            yield

    @contextmanager
    def drained_with_below(self, top: Node) -> Iterator[Callable[[Node, Callable[[], None]], None]]:
        """As :meth:`drained`, up to 7.2 with all that is below it (bdrv_subtree_drained_begin).

        :returns: what a node and a change of its children are called with. If it is the top, what is below is not
            drained while they change, and what is below then is drained again (bdrv_unapply_subtree_drain, 7.2).
        :raises StalledError: as :meth:`drain`.
        """
        from contextlib import ExitStack  # noqa: PLC0415 - few starts need it

        with self.drained(top), ExitStack() as quiet:

            def drain_below() -> None:
                for each in self._below(top):
                    quiet.enter_context(self.drained(each))

            def changing_below(node: Node, change: Callable[[], None]) -> None:
                if node is top:
                    quiet.close()
                change()
                if node is top:
                    drain_below()

            drain_below()
            yield changing_below

    def _below(self, node: Node) -> list[Node]:
        return downwards((node,))[1:] if self.drains_subtrees else []

    def changing(self, times: int = 1) -> None:
        """The graph is about to change ``times`` times, and QEMU drains every node each time.

        So it is since 8.0 (bdrv_graph_wrlock, block/graph-lock.c): jobs pause for a moment, and what they had left to
        do at their end is done.
        """
        if self.drains_on_change and self.watchers:
            for _ in range(times):
                self.drain_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """A change of the graph, which is made inside: all nodes are drained before it, and stay so since 11.1.

        :raises StalledError: one never would be quiet; nothing has changed then.
        """
        quiet = self._quieten()
        try:
            yield
        finally:
            for node in quiet:
                node.drained_end()

    @contextmanager
    def forced_change(self) -> Iterator[None]:
        """As :meth:`change`, for what cannot be given up any more, such as undoing: who is stalled is left alone."""
        try:
            quiet = self._quieten()
        except StalledError:
            quiet = []
        yield
        for node in quiet:
            node.drained_end()

    def _quieten(self) -> list[Node]:
        """Drain all nodes for a change; return those that are to be let go on when it is made."""
        if self.watchers and self.quiet_during_change:
            return self.drain_all_begin()
        self.changing()
        return []

    def drain_all_begin(self) -> list[Node]:
        """Make every node quiet; return them, in the order in which they are to be let go on.

        Up to 7.2 each node's turn concerns no other node (``ignore_bds_parents`` in block/io.c, gone in 8.0), so that
        a job goes on once the last node that it uses itself does.

        :raises StalledError: one never would be; all go on then.
        """
        nodes = list(self.nodes.values())
        for node in nodes:
            node.drained_begin(nodes_too=self.drains_on_change)
        try:
            poll_all(nodes)
        except StalledError:
            for node in nodes:
                node.drained_end()
            raise
        return nodes

    @contextmanager
    def all_drained(self) -> Iterator[None]:
        """A drained section of all nodes.

        :raises StalledError: one never would be quiet; nothing has changed then.
        """
        nodes = self.drain_all_begin()
        try:
            yield
        finally:
            for node in nodes:
                node.drained_end()

    def drain_all(self) -> None:
        """Let every node become quiet once (bdrv_drain_all, block/io.c, QEMU 10.0)."""
        for node in self.drain_all_begin():
            node.drained_end()
