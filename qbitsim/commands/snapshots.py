"""External snapshots: an overlay on top of a node (external_snapshot_action, blockdev.c, QEMU 10.0).

The bitmaps stay on the old node, which becomes the overlay's backing file and read-only when the transaction commits.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qbitsim.block.activation import inactivate
from qbitsim.block.permissions import cumulative
from qbitsim.commands.context import Context
from qbitsim.commands.images import create_image
from qbitsim.commands.nodes import opener, taken_over
from qbitsim.commands.reopen import reopen_with
from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.qapi.block import NewImageMode
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Feature
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Child, Node
    from qbitsim.profiles import Profile


@struct
class BlockdevSnapshot:
    """Arguments of blockdev-snapshot."""

    node: str
    overlay: str


@struct
class BlockdevSnapshotSync:
    """Arguments of blockdev-snapshot-sync."""

    device: str | None = None
    node_name: str | None = None
    snapshot_file: str
    snapshot_node_name: str | None = None
    format: str | None = None
    mode: NewImageMode | None = None


class _Overlay:
    """An overlay on its way in: how it is finished and undone."""

    def __init__(self, graph: Graph, profile: Profile, overlay: Node, old: Node) -> None:
        self.graph = graph
        self.profile = profile
        self.overlay = overlay
        self.old = old
        self.edge: Child | None = None
        self.moved: list[Child] = []

    def insert(self) -> None:
        """Let the overlay take the place of the old node, which becomes its backing file (bdrv_append)."""
        graph, old, overlay = self.graph, self.old, self.overlay
        self.edge = graph.attach(overlay, "backing", old)
        graph.changing()
        self.moved = graph.replace_node(old, overlay)
        try:
            graph.refresh_permissions(overlay)
        except QmpError:
            self.undo()
            raise
        old.refresh_limits()

    def undo(self) -> None:
        """Take it out again; its file stays."""
        assert self.edge is not None
        for edge in self.moved:
            self.graph.replace_child(edge, self.old)
        self.moved = []
        self.graph.detach(self.edge)
        self.graph.refresh_permissions(self.old)
        self.graph.release(self.overlay)

    def release(self) -> None:
        """An overlay that was created for the snapshot, of a node that nobody used, is used by nobody now."""
        self.graph.release(self.overlay)

    def finish(self) -> None:
        """Nobody writes to the old node any more (external_snapshot_commit).

        One with copy on read stays writable, and one whose driver cannot be reopened, which goes without a word.
        Reopening it takes the options that it was opened with; ``-drive`` keeps detect-zeroes to itself.
        """
        if not self.old.copy_on_read:
            with suppress(QmpError):
                reopen_with(self.graph, self.old, {"read-only": True}, self.profile)
        self.graph.refresh_permissions(self.overlay)


@command(
    "blockdev-snapshot",
    BlockdevSnapshot,
    action=True,
    since="2.5",
    features=[Feature("allow-write-only-overlay", since="5.0")],
)
def blockdev_snapshot(context: Context, args: BlockdevSnapshot) -> None:
    """Put a node that exists on top of another one."""
    context.drain_if_plain()
    old = context.graph.lookup(args.node, args.node)
    _check_can_snapshot(context, old)
    _insert(context, context.graph.lookup(args.overlay, args.overlay), old)


@command("blockdev-snapshot-sync", BlockdevSnapshotSync, action=True, since="0.14")
def blockdev_snapshot_sync(context: Context, args: BlockdevSnapshotSync) -> None:
    """Create an overlay file and put it on top of a node.

    A file that was created stays when a later check refuses the snapshot.
    """
    context.drain_if_plain()
    graph = context.graph
    old = graph.lookup(args.device, args.node_name)
    _check_can_snapshot(context, old)
    name = args.snapshot_node_name
    if args.node_name is not None and name is None:
        raise QmpError("New overlay node-name missing")
    if name is not None and _is_taken(graph, name):
        raise QmpError("New overlay node-name already in use")
    graph.check_append(old)
    image_format = args.format or "qcow2"
    if args.mode is not NewImageMode.EXISTING:
        create_image(context, args.snapshot_file, image_format, old.length, old)
    # The overlay is opened with the flags of the old node (external_snapshot_action, blockdev.c, QEMU 10.0).
    options: Options = {
        "driver": image_format,
        "read-only": old.read_only,
        "discard": "unmap" if old.unmap else "ignore",
        **taken_over(old),
    }
    if name is not None:
        options["node-name"] = name
    if image_format != "raw":
        options["backing"] = None
    overlay = opener(context).open_file(args.snapshot_file, options)
    try:
        _insert(context, overlay, old)
    except QmpError:
        graph.release(overlay)
        raise


def _is_taken(graph: Graph, name: str) -> bool:
    """Whether a node is found by that name; an empty drive is not (bdrv_lookup_bs)."""
    return name in graph.nodes or (name in graph.drives and graph.drives[name].root is not None)


def _check_can_snapshot(context: Context, old: Node) -> None:
    """Keep ``old`` quiet until the transaction has ended, and refuse if a job or an overlay uses it."""
    context.graph.drain_found(old)
    context.transaction.add(clean=old.drained_end)
    old.check_not_blocked("external-snapshot")
    if not old.read_only:
        try:
            old.flush()
        except OSError as error:
            if not context.profile.snapshot_names_node_of_failed_flush:
                raise QmpError("An IO error has occurred") from None
            raise QmpError(f"Write to node '{old.device_or_node_name}' failed: {error.strerror}") from None


def _insert(context: Context, overlay: Node, old: Node) -> None:
    """Check the overlay, and let it take the place of ``old`` until the transaction is undone.

    :raises QmpError: with the texts and in the order of external_snapshot_action and bdrv_append.
    """
    needed, _shared = cumulative(overlay.parents)
    if needed & perms.CONSISTENT_READ:
        raise QmpError("The overlay is already in use")
    if overlay.is_filter:
        raise QmpError("Filters cannot be used as overlays")
    if overlay.backing is not None:
        raise QmpError("The overlay already has a backing image")
    if not overlay.supports_backing:
        raise QmpError("The overlay does not support backing images")
    if old.leads_to(overlay):
        raise QmpError(f"Making '{old.name}' a backing child of '{overlay.name}' would create a cycle")
    context.graph.check_append(old)
    if context.profile.active_nodes_have_active_children and old.inactive and not overlay.inactive:
        inactivate(context.graph, overlay)
    change = _Overlay(context.graph, context.profile, overlay, old)
    change.insert()
    context.transaction.add(commit=change.finish, abort=change.undo, clean=change.release)
