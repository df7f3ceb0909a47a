"""The human monitor's snapshots of all disks together (migration/savevm.c and block/snapshot.c, QEMU 10.0).

What a snapshot holds is not kept, so none is taken here and none can be gone back to. Those that single disks have are
listed and deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import hmp
from qbitsim.commands.internal_snapshots import snapshots_of
from qbitsim.commands.queries import snapshot_info
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qemu_img.snapshot_table import snapshot_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.node import Node
    from qbitsim.commands.context import Context
    from qbitsim.images.qcow2.snapshots import StoredSnapshot


class _Disks:
    """The disks that a snapshot of the machine is of (bdrv_all_get_snapshot_devices).

    :ivar disks: the node on top of each that can have snapshots, and those that it has.
    :ivar refusing: the first that cannot.
    """

    def __init__(self, context: Context) -> None:
        self.disks: list[tuple[Node, list[StoredSnapshot]]] = []
        self.refusing: Node | None = None
        for node in _writable_tops(context):
            snapshots = snapshots_of(node)
            if snapshots is not None:
                self.disks.append((node, snapshots))
            elif self.refusing is None:
                self.refusing = node

    def check_all_can(self) -> None:
        """Refuse if a disk that can be written has no snapshots."""
        if self.refusing is not None:
            name = self.refusing.device_or_node_name
            raise QmpError(f"Device '{name}' is writable but does not support snapshots")

    def main(self) -> list[StoredSnapshot]:
        """The snapshots of the first disk, which would have the machine's state.

        :raises QmpError: there is none.
        """
        if not self.disks:
            raise QmpError("no block device can store vmstate for snapshot")
        return self.disks[0][1]

    def everywhere(self, name: str) -> bool:
        """Whether all disks have a snapshot of that name."""
        return self.refusing is None and all(find(snapshots, name) is not None for _node, snapshots in self.disks)


def _writable_tops(context: Context) -> Iterator[Node]:
    """What drives have as a medium, then what only the monitor has; not what cannot be written."""
    graph = context.graph
    tops = [drive.root.node for drive in graph.drives.values() if drive.root is not None]
    tops += [node for node in graph.nodes.values() if node.monitor_owned and not node.parents]
    seen: list[Node] = []
    for node in tops:
        if node not in seen and not node.read_only:
            seen.append(node)
            yield node


def find(snapshots: list[StoredSnapshot], name: str) -> StoredSnapshot | None:
    """The one of that name; None if there is none."""
    return next((snapshot for snapshot in snapshots if snapshot.name == name), None)


@hmp("savevm", "name:s?", params="tag", help="save a VM snapshot. If no tag is provided, a new snapshot is created")
def savevm(context: Context, *, name: str | None = None) -> None:
    """Take a snapshot of all disks and of the machine's state."""
    del name
    disks = _Disks(context)
    disks.check_all_can()
    disks.main()
    raise UnsupportedError("HMP command 'savevm'")


@hmp("loadvm", "name:s", params="tag", help="restore a VM snapshot from its tag")
def loadvm(context: Context, *, name: str) -> None:
    """Go back to a snapshot of all disks and of the machine's state."""
    disks = _Disks(context)
    disks.check_all_can()
    if disks.disks and not disks.everywhere(name):
        raise QmpError(f"Snapshot '{name}' does not exist in one or more devices")
    found = find(disks.main(), name)
    assert found is not None
    # None has the state of a machine.
    raise QmpError("This is a disk-only snapshot. Revert to it  offline using qemu-img")


@hmp("delvm", "name:s", params="tag", help="delete a VM snapshot from its tag")
def delvm(context: Context, *, name: str) -> None:
    """Delete the snapshots of that name of all disks."""
    disks = _Disks(context)
    disks.check_all_can()
    for _node, snapshots in disks.disks:
        found = find(snapshots, name)
        if found is not None:
            snapshots.remove(found)


@hmp("info snapshots", help="show the currently saved VM snapshots", reports=True)
def info_snapshots(context: Context) -> str:
    """The snapshots that all disks have, and those that only some have."""
    disks = _Disks(context)
    main = disks.main()
    if not any(snapshots for _node, snapshots in disks.disks):
        return "There is no snapshot available.\n"
    common = [snapshot for snapshot in main if disks.everywhere(snapshot.name)]
    text = "List of snapshots present on all disks:\n"
    rows = [{**snapshot_info(snapshot), "id": "--"} for snapshot in common]
    text += snapshot_table(rows, context.profile) if rows else "None\n"
    names = {snapshot.name for snapshot in common}
    for node, snapshots in disks.disks:
        partial = [snapshot_info(each) for each in snapshots if each.name not in names]
        if partial:
            name = node.device_or_node_name
            text += f"\nList of partial (non-loadable) snapshots on '{name}':\n"
            text += snapshot_table(partial, context.profile)
    return text
