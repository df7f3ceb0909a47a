"""Snapshots of the whole machine: of its state, in one disk, and of several disks beside each other.

migration/savevm.c and block/snapshot.c, QEMU 10.0. Bitmaps are no part of them: those of the disks stay as they are,
and a disk that has any cannot be put back.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from qbitsim.block.chain import snapshot_holder, snapshot_path
from qbitsim.block.graph import newest_user
from qbitsim.commands.context import Context
from qbitsim.commands.internal_snapshots import snapshot_times
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.images.qcow2.snapshots import find_by_id_or_name
from qbitsim.jobs.snapshots import SnapshotDeleteJob, SnapshotLoadJob, SnapshotSaveJob
from qbitsim.migration.settings import END_OF_MEMORY
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.images.qcow2.snapshots import StoredSnapshot

REOPENED = frozenset({"raw", "copy-on-read"})
"""The drivers through which a snapshot of a node below is loaded; QEMU dies, or was not seen to live, with others."""

_NO_BITMAPS = 32  # bytes that say that there are no bitmaps


@struct
class SnapshotSave:
    """Arguments of snapshot-save; ``vmstate`` is the node that gets the machine's state, one of ``devices``."""

    job_id: str
    tag: str
    vmstate: str
    devices: list[str]


@struct
class SnapshotLoad:
    """Arguments of snapshot-load; ``vmstate`` is the node that has the machine's state, one of ``devices``."""

    job_id: str
    tag: str
    vmstate: str
    devices: list[str]


@struct
class SnapshotDelete:
    """Arguments of snapshot-delete."""

    job_id: str
    tag: str
    devices: list[str]


@command("snapshot-save", SnapshotSave, since="6.0")
def snapshot_save(context: Context, args: SnapshotSave) -> None:
    """Start a job that saves a snapshot of some disks and of the machine's state."""

    def work() -> None:
        save_snapshot(context, lambda: named_disks(context, args.devices), args.tag, args.vmstate)

    context.jobs.check_not_stalled()
    SnapshotSaveJob(context.jobs, args.job_id, work).start()


@command("snapshot-load", SnapshotLoad, since="6.0")
def snapshot_load(context: Context, args: SnapshotLoad) -> None:
    """Start a job that puts some disks and the machine back to what they were."""

    def work() -> None:
        load_snapshot(context, lambda: named_disks(context, args.devices), args.tag, args.vmstate)

    context.jobs.check_not_stalled()
    SnapshotLoadJob(context.jobs, args.job_id, work).start()


@command("snapshot-delete", SnapshotDelete, since="6.0")
def snapshot_delete(context: Context, args: SnapshotDelete) -> None:
    """Start a job that deletes the snapshots of that name of some disks."""

    def work() -> None:
        delete_snapshots(context, named_disks(context, args.devices), args.tag)

    context.jobs.check_not_stalled()
    SnapshotDeleteJob(context.jobs, args.job_id, work).start()


# -- the disks


def named_disks(context: Context, names: Sequence[str]) -> list[Node]:
    """The nodes of those names.

    :raises QmpError: there is none of a name, or no name.
    """
    if not names:
        raise QmpError("At least one device is required for snapshot")
    for name in names:
        if name not in context.graph.nodes:
            raise QmpError(f"No block device node '{name}'")
    return [context.graph.nodes[name] for name in names]


def writable_disks(context: Context) -> list[Node]:
    """Those disks that can be written and are in use, or no part of another one (bdrv_all_snapshots_includes_bs)."""
    return [node for node in context.graph.disks() if not node.read_only and (newest_user(node) or not node.parents)]


def snapshots_of(node: Node) -> list[StoredSnapshot]:
    """Those of the node that takes snapshots for this one; none if none does."""
    holder = snapshot_holder(node)
    return (holder.snapshots or []) if holder is not None else []


def find_snapshot(node: Node, name: str) -> StoredSnapshot | None:
    """The oldest snapshot of a disk that has the name."""
    return next((snapshot for snapshot in snapshots_of(node) if snapshot.name == name), None)


def can_snapshot(node: Node) -> bool:
    """Whether snapshots of a disk can be taken (bdrv_can_snapshot)."""
    path = snapshot_path(node)
    return bool(path) and not any(each.read_only or each.inactive for each in path)


def have_snapshot(disks: list[Node], name: str) -> bool:
    """Whether all disks have a snapshot of the name."""
    return all(find_snapshot(node, name) is not None for node in disks)


def check_all_can_snapshot(disks: list[Node]) -> None:
    """Refuse if a disk takes no snapshots, whether or not it is writable.

    :raises QmpError: naming the first.
    """
    for node in disks:
        if not can_snapshot(node):
            raise QmpError(f"Device '{node.device_or_node_name}' is writable but does not support snapshots")


def state_disk(disks: list[Node], name: str | None = None) -> Node:
    """The disk that has the machine's state: the one of that name, or the first that can.

    :raises QmpError: there is none.
    """
    if name is None:
        able = next(filter(can_snapshot, disks), None)
        if able is None:
            raise QmpError("no block device can store vmstate for snapshot")
        return able
    for node in disks:
        if node.name == name:
            if not can_snapshot(node):
                raise QmpError(f"vmstate block device '{name}' does not support snapshots")
            return node
    raise QmpError(f"vmstate block device '{name}' does not exist")


# -- saving


def save_snapshot(
    context: Context,
    find_disks: Callable[[], list[Node]],
    name: str | None,
    vmstate: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Save the machine and its disks (save_snapshot).

    :param find_disks: returns them, or refuses to.
    :param name: of the snapshot; made of the time if None.
    :param vmstate: the node that is to get the machine's state; None for the first that can.
    :param overwrite: snapshots that have the name go.
    :raises QmpError: it cannot be.
    """
    machine = context.machine
    date, clock = snapshot_times(machine)
    _check_no_multifd(context)
    disks = find_disks()
    check_all_can_snapshot(disks)
    if name is not None and overwrite:
        delete_snapshots(context, disks, name)
    elif name is not None and have_snapshot(disks, name):
        raise QmpError(f"Snapshot '{name}' already exists in one or more devices")
    if name is None:
        name = _name_of_its_time(date)
    main, state = state_disk(disks, vmstate), machine.run_state
    _check_no_bitmap_migrates(context)
    machine.stop("save-vm")
    try:
        with context.graph.all_drained():
            _check_all_take_snapshot(disks)
            size = _save_state(context, snapshot_path(main)[-1])
            for node in disks:
                snapshot_path(node)[-1].create_snapshot(name, date, clock, size if node is main else 0)
    finally:
        machine.resume(state)


def _check_all_take_snapshot(disks: list[Node]) -> None:
    """Refuse images with an external data file, of which QEMU dies, in the words of bdrv_all_create_snapshot."""
    for node in disks:
        if not snapshot_path(node)[-1].lists_snapshots:
            raise QmpError(f"Error while creating snapshot on '{node.device_or_node_name}'")


def _save_state(context: Context, holder: Node) -> int:
    """Save the machine's state as a migration does, which clients may see; return its bytes (qemu_savevm_state)."""
    migration, profile = context.machine.migration, context.profile
    size = profile.machine_state_size + (_NO_BITMAPS if "dirty-bitmaps" in migration.capabilities else 0)
    passes = 2 if profile.snapshot_passes_memory_twice else 0
    if "events" in migration.capabilities:
        context.jobs.emit("MIGRATION", {"status": "setup"})
        for number in range(1, passes + 1):
            context.jobs.emit("MIGRATION_PASS", {"pass": number})
        context.jobs.emit("MIGRATION", {"status": "completed"})
    holder.save_state(size)
    migration.note_saved(size if profile.migration_counts_state else END_OF_MEMORY, passes or 1)
    return size


def _check_no_bitmap_migrates(context: Context) -> None:
    """Refuse to save bitmaps with the machine's state, as the capability ``dirty-bitmaps`` demands: QEMU never ends.

    :raises QmpError: naming one.
    """
    if "dirty-bitmaps" in context.machine.migration.capabilities:
        for node in context.graph.nodes.values():
            for bitmap in node.bitmaps:
                if bitmap.name is not None:
                    raise QmpError(f"Bitmap '{bitmap.name}' of node '{node.name}' would be saved without an end")


def _check_no_multifd(context: Context) -> None:
    """Refuse to save or load with the capability ``multifd``, with which QEMU dies up to 10.0.

    :raises QmpError: with the text of 11.1.
    """
    if "multifd" in context.machine.migration.capabilities:
        raise QmpError("Snapshots are not compatible with multifd")


# -- loading


class MachineStateError(QmpError):
    """The machine's state in a snapshot is none.

    :ivar reported: what QEMU tells first, to whoever listens.
    """

    def __init__(self, desc: str, reported: str = "") -> None:
        super().__init__(desc)
        self.reported = reported


def load_snapshot(
    context: Context, find_disks: Callable[[], list[Node]], name: str, vmstate: str | None = None
) -> None:
    """Put the disks back to what they were, and let the machine go on as it did (load_snapshot).

    :param find_disks: returns them, or refuses to.
    :param vmstate: the node that has the machine's state; None for the first that can.
    :raises QmpError: it cannot be. The machine stays stopped, and disks in front of the one that it fails for are put
        back by then.
    """
    state = context.machine.run_state
    context.machine.stop("restore-vm")
    _check_no_multifd(context)
    _load_disks(context, find_disks(), name, vmstate)
    context.machine.resume(state)


def _load_disks(context: Context, disks: list[Node], name: str, vmstate: str | None) -> None:
    check_all_can_snapshot(disks)
    if not have_snapshot(disks, name):
        raise QmpError(f"Snapshot '{name}' does not exist in one or more devices")
    main = state_disk(disks, vmstate)
    found = find_snapshot(main, name)
    assert found is not None
    if not found.state_size:
        raise QmpError("This is a disk-only snapshot. Revert to it  offline using qemu-img")
    _check_reopened(context, disks)
    with context.graph.all_drained():
        applied = {node: _load_disk(context, node, name) for node in disks}
    if not applied[main].state_size:
        if context.profile.machine_state_errors_named:
            raise MachineStateError("Not a migration stream, magic: 0 != 5145564d")
        raise MachineStateError("Error -22 while loading VM state", "Not a migration stream\n")


def _check_reopened(context: Context, disks: list[Node]) -> None:
    """Refuse to load through a node that QEMU does not survive to open anew.

    :raises QmpError: naming it. A disk that is refused for its bitmaps comes first.
    """
    through = REOPENED if context.profile.snapshots_load_through_filters else frozenset()
    for disk in disks:
        for node in snapshot_path(disk):
            if node.bitmaps:
                return
            if node.snapshots is None and node.driver not in through:
                text = f"Node '{node.name}' of driver '{node.driver}' would not survive the loading of a snapshot"
                raise QmpError(text)


def _load_disk(context: Context, disk: Node, name: str) -> StoredSnapshot:
    """Put one disk back (bdrv_snapshot_goto); an id counts more than a name.

    :raises QmpError: it has bitmaps, or its size would change under somebody who does not allow it.
    """
    prefix = f"Could not load snapshot '{name}' on '{disk.device_or_node_name}': "
    path = snapshot_path(disk)
    if any(node.bitmaps for node in path):
        raise QmpError(f"{prefix}Device has active dirty bitmaps")
    holder = path[-1]
    found = find_by_id_or_name(holder.snapshots or (), name)
    assert found is not None
    if found.content.size != holder.length:
        try:
            _resize(context, holder, found.content.size)
        except QmpError:
            raise QmpError(f"{prefix}Failed to load snapshot: Operation not supported") from None
    holder.apply_snapshot(found)
    return found


def _resize(context: Context, node: Node, size: int) -> None:
    user = context.machine.anonymous_drive(perm=perms.RESIZE)
    user.insert(node)
    try:
        user.truncate(size)
    finally:
        user.eject()


# -- deleting


def delete_snapshots(context: Context, disks: list[Node], name: str) -> None:
    """Delete the snapshots of that name that disks have (delete_snapshot).

    :raises QmpError: a disk takes no snapshots.
    """
    check_all_can_snapshot(disks)
    graph = context.graph
    with ExitStack() as quiet:
        if context.profile.snapshot_deletion_drains_all:
            quiet.enter_context(graph.all_drained())
        for node in disks:
            found = find_snapshot(node, name)
            if found is not None:
                _delete(graph, snapshot_path(node), found)


def _delete(graph: Graph, path: list[Node], found: StoredSnapshot) -> None:
    with ExitStack() as quiet:
        for node in path:
            quiet.enter_context(graph.drained(node))
        path[-1].delete_snapshot(found)


def _name_of_its_time(date: int) -> str:
    """What a snapshot is called that was given no name, after the nanoseconds since 1970 when it is taken."""
    from datetime import UTC, datetime  # noqa: PLC0415 - wanted where there is no name

    return datetime.fromtimestamp(date // NANOSECONDS, UTC).strftime("vm-%Y%m%d%H%M%S")
