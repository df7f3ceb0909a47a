"""The graph of block nodes of one machine, with its drives and its files.

Theory of operation
===================

1. Nodes and drives have a name space each, and share one: no node is called as a drive is.
2. ``nodes`` is in order of creation; node lists in replies are newest first.
3. What joins nodes is in :mod:`qbitsim.block.edges`, what makes them quiet in :mod:`qbitsim.block.drained`.
"""

from __future__ import annotations

from qbitsim.block.drive import Drive
from qbitsim.block.edges import Edges
from qbitsim.block.names import is_well_formed
from qbitsim.block.node import Node
from qbitsim.block.throttle_group import ThrottleGroup
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.light_library import contextmanager, nullcontext, suppress
from qbitsim.light_typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.images.store import ImageStore
    from qbitsim.jsontypes import Json

MAXIMUM_NODE_NAME = 31

NodeT = TypeVar("NodeT", bound=Node)


class Graph(Edges):
    """All nodes, drives and files of one machine.

    :ivar allocation_looks_for_zeroes: zeroes around a write in a new cluster are not read.
    :ivar images: the files.
    :ivar drives: by id, in order of creation; anonymous ones that guest devices use are under their path.
    :ivar copy_before_write_always_reads: such a filter needs to read its child even if nobody above writes.
    :ivar drives_unmap_zeroes: zeroing through a drive frees clusters even if its node was not opened to do so.
    :ivar hide_filters: names of drives mean what is below the filters that QEMU put there by itself (QEMU of old).
    :ivar lengths_followed_by: the drivers whose nodes are as long as their children are now.
    :ivar passes_over_unused: what is done to all disks leaves out those that nobody uses, if some are used.
    :ivar reopen_asks_for_length: a node that is reopened is asked how long it is.
    :ivar nbd_asks_for_extended_headers: those of its nodes that are NBD clients do.
    :ivar throttle_groups: by id.
    :ivar emit: called with the name and the data of each event.
    :ivar print: called with what QEMU prints on its standard output.
    :ivar complain: called with what QEMU reports on its standard error (error_report), a line each time.
    :ivar stop_guest: called with the run state in which the guest is to be.
    """

    __slots__ = (
        *("_generated", "_start", "copy_before_write_always_reads", "drives", "drives_unmap_zeroes", "emit"),
        *("hide_filters", "images", "allocation_looks_for_zeroes", "lengths_followed_by", "reopen_asks_for_length"),
        *(
            "caller_waits",
            "complain",
            "nbd_asks_for_extended_headers",
            "passes_over_unused",
            "print",
            "stop_guest",
            "throttle_groups",
        ),
    )

    def __init__(self, images: ImageStore, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.images = images
        self.drives: dict[str, Drive] = {}
        self.copy_before_write_always_reads = True
        self.drives_unmap_zeroes = False
        self.hide_filters = False
        self.allocation_looks_for_zeroes = False
        self.lengths_followed_by: frozenset[str] = frozenset()
        self.reopen_asks_for_length = False
        self.passes_over_unused = False
        self.nbd_asks_for_extended_headers = True
        self.caller_waits = False
        self.throttle_groups: dict[str, ThrottleGroup] = {}
        self.emit: Callable[[str, Json], None] = lambda _name, _data: None
        self.print: Callable[[str], None] = lambda _text: None
        self.complain: Callable[[str], None] = lambda _text: None
        self.stop_guest: Callable[[str], None] = lambda _state: None
        self._generated = 0
        self._start = images.starts
        images.starts += 1

    # -- names

    def register(self, node: NodeT, name: str | None) -> NodeT:
        """Give ``node`` its name, or a generated one, and put it into the graph.

        :raises QmpError: with the texts and in the order of bdrv_assign_node_name (block.c, QEMU 10.0).
        """
        if name is None:
            # QEMU's generated names end in two random digits (util/id.c, id_generate); another start, other digits.
            name = f"#block{self._generated}{(self._generated * 37 + self._start * 61) % 100:02d}"
            self._generated += 1
            node.auto_named = True
        else:
            self.check_name(name)
        node.name = name
        self.nodes[name] = node
        return node

    def check_name(self, name: str) -> None:
        """Refuse a node-name that is ill-formed or taken.

        :raises QmpError: with the texts and in the order of bdrv_assign_node_name (block.c, QEMU 10.0).
        """
        if not is_well_formed(name):
            raise QmpError(f"Invalid node-name: '{name}'")
        if name in self.drives:
            raise QmpError(f"node-name={name} is conflicting with a device id")
        if name in self.nodes:
            raise QmpError(f"Duplicate nodes with node-name='{name}'")
        if len(name) > MAXIMUM_NODE_NAME:
            raise QmpError("Node name too long")

    def lookup(self, device: str | None, node: str | None) -> Node:
        """The node that a command means: the root of a drive first, then a node-name.

        :raises QmpError: with the texts of bdrv_lookup_bs (block.c, QEMU 10.0).
        """
        if device is not None and (drive := self.drives.get(device)) is not None and drive.id:
            if drive.root is None:
                raise QmpError(f"Device '{device}' has no medium")
            return drive.root.node.skip_implicit_filters() if self.hide_filters else drive.root.node
        if node is not None and (found := self.nodes.get(node)) is not None:
            return found
        raise QmpError(f"Cannot find device='{device or ''}' nor node-name='{node or ''}'")

    @contextmanager
    def waiting_caller(self) -> Iterator[None]:
        """A section whose requests are of somebody who waits for a server that is away (:attr:`.Node.outage`)."""
        self.caller_waits = True
        try:
            yield
        finally:
            self.caller_waits = False

    def flush_all(self) -> None:
        """Flush all disks (bdrv_flush_all, block/io.c, QEMU 10.0); failures are lost."""
        for node in self.disks():
            with suppress(OSError, StalledError):
                node.flush()

    def disks(self) -> list[Node]:
        """What is in use, then what only the monitor has (bdrv_next, block/block-backend.c, QEMU 10.0).

        A node stands where the newest of its users was made, whether that is a drive, an export or a job
        (bdrv_first_blk).
        """
        users = {user.number: node for node in self.nodes.values() if (user := newest_user(node)) is not None}
        used = [users[number] for number in sorted(users)]
        owned = [node for node in self.nodes.values() if node.monitor_owned]
        if used and self.passes_over_unused:
            owned = owned[owned.index(used[-1]) + 1 :] if used[-1] in owned else []
        return used + [node for node in owned if newest_user(node) is None]

    def find_bitmap(self, owner: str, name: str) -> DirtyBitmap:
        """The bitmap of that name of a drive or node.

        :raises QmpError: with the texts of block_dirty_bitmap_lookup (block/monitor/bitmap-qmp-cmds.c, QEMU 10.0).
        """
        try:
            node = self.lookup(owner, owner)
        except QmpError:
            raise QmpError(f"Node '{owner}' not found") from None
        bitmap = node.find_bitmap(name)
        if bitmap is None:
            raise QmpError(f"Dirty bitmap '{name}' not found")
        return bitmap

    def add_drive(self, identifier: str, node: Node | None) -> Drive:
        """Make a drive with that id on ``node``, or without a medium."""
        assert identifier not in self.drives
        # Nothing but to read, until a device of the guest uses it (blk_new_open, and blk_new without a medium).
        drive = Drive(self, identifier, perm=perms.CONSISTENT_READ if node is not None else 0)
        if node is not None:
            drive.insert(node)
        self.drives[identifier] = drive
        return drive

    def forget_drive_id(self, drive: Drive) -> None:
        """A drive that a guest device uses has only the device's path from now on (monitor_remove_blk)."""
        assert drive.device is not None
        self.rename_drive(drive, drive.device.path)
        drive.id = ""

    def rename_drive(self, drive: Drive, name: str) -> None:
        """Keep a drive under another name, in the place that it has."""
        places = list(self.drives.items())
        self.drives.clear()
        self.drives.update((name if each is drive else old, each) for old, each in places)

    # -- limits of drives

    def limit_drive(self, drive: Drive, limits: Mapping[str, int], group: str) -> None:
        """Let ``drive`` share the limits of a group, which is made if there is none of that name, and set these."""
        found = self.throttle_groups.get(group)
        if found is None:
            found = self.throttle_groups[group] = ThrottleGroup(limits, group, of_drives=True)
        if drive.throttle_group is not found:
            self.unlimit_drive(drive)
            drive.throttle_group = found
            found.members += 1
        found.set_limits(limits)
        drive.limits_changed()

    def unlimit_drive(self, drive: Drive) -> None:
        """Let ``drive`` leave its group, if it is in one; what waits for its limits is made (blk_io_limits_disable).

        :raises StalledError: its medium never would be quiet; nothing has changed then.
        """
        group = drive.throttle_group
        if group is None:
            return
        with self.drained(drive.root.node) if drive.root is not None else nullcontext():
            drive.throttle_group = None
            self.leave_group(group)

    @contextmanager
    def complaining_to(self, complain: Callable[[str], None]) -> Iterator[None]:
        """Meanwhile ``complain`` is told what is reported."""
        elsewhere, self.complain = self.complain, complain
        try:
            yield
        finally:
            self.complain = elsewhere

    def leave_group(self, group: ThrottleGroup) -> None:
        """A member leaves a group; one that was made for drives goes with its last member."""
        group.members -= 1
        if group.of_drives and not group.members:
            del self.throttle_groups[group.name]

    def close(self) -> None:
        """Close every node as a clean shutdown does: drives and monitor references go, newest first."""
        for drive in list(self.drives.values()):
            drive.eject()
        for node in reversed(list(self.nodes.values())):
            if node.monitor_owned:
                node.monitor_owned = False
                self.release(node)
        self.waiting.resume_all()


def newest_user(node: Node) -> Drive | None:
    """Of the drives, exports and jobs that use a node."""
    return next((edge.parent for edge in node.parents if isinstance(edge.parent, Drive)), None)
