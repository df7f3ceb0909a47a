"""The human monitor's snapshots of the machine with all disks that can be written (migration/savevm.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import error_text, hmp
from qbitsim.commands.image_info import snapshot_info
from qbitsim.commands.machine_snapshots import (
    MachineStateError,
    can_snapshot,
    delete_snapshots,
    have_snapshot,
    load_snapshot,
    save_snapshot,
    snapshots_of,
    state_disk,
    writable_disks,
)
from qbitsim.qemu_img.snapshot_table import snapshot_table

if TYPE_CHECKING:
    from qbitsim.commands.context import Context


@hmp("savevm", "name:s?", params="tag", help="save a VM snapshot. If no tag is provided, a new snapshot is created")
def savevm(context: Context, *, name: str | None = None) -> None:
    """Take a snapshot of all disks and of the machine's state; one that has the name goes."""
    context.jobs.check_not_stalled()
    save_snapshot(context, lambda: writable_disks(context), name, overwrite=True)


@hmp("loadvm", "name:s", params="tag", help="restore a VM snapshot from its tag")
def loadvm(context: Context, *, name: str) -> str:
    """Go back to a snapshot of all disks and of the machine's state."""
    context.jobs.check_not_stalled()
    try:
        load_snapshot(context, lambda: writable_disks(context), name)
    except MachineStateError as error:
        return error.reported + error_text(context, error, reports=False)
    return ""


@hmp("delvm", "name:s", params="tag", help="delete a VM snapshot from its tag")
def delvm(context: Context, *, name: str) -> None:
    """Delete the snapshots of that name of all disks."""
    context.jobs.check_not_stalled()
    delete_snapshots(context, writable_disks(context), name)


@hmp("info snapshots", help="show the currently saved VM snapshots", reports=True)
def info_snapshots(context: Context) -> str:
    """The snapshots that all disks have, and those that only some have."""
    disks = writable_disks(context)
    main = state_disk(disks)
    listed = list(filter(can_snapshot, context.graph.disks()))
    if not any(map(snapshots_of, listed)):
        return "There is no snapshot available.\n"
    common = [snapshot for snapshot in snapshots_of(main) if have_snapshot(disks, snapshot.name)]
    text = "List of snapshots present on all disks:\n"
    rows = [{**snapshot_info(snapshot), "id": "--"} for snapshot in common]
    text += snapshot_table(rows, context.profile) if rows else "None\n"
    names = {snapshot.name for snapshot in common}
    for node in listed:
        partial = [snapshot_info(each) for each in snapshots_of(node) if each.name not in names]
        if partial:
            name = node.device_name
            text += f"\nList of partial (non-loadable) snapshots on '{name}':\n"
            text += snapshot_table(partial, context.profile)
    return text
