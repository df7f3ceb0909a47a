"""Exports of nodes: what an NBD server would offer (block/export/export.c and nbd/server.c, QEMU 10.0).

No NBD protocol is spoken: nobody can connect. What QMP clients see of exports is here: they use a node, their bitmaps
are busy, and they go away with an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import Drive
from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node

MAXIMUM_STRING = 4096
"""Bytes of an export's name or description (NBD_MAX_STRING_SIZE)."""


@record(frozen=False, eq=False)
class Export:
    """One export.

    :ivar id: what clients of the monitor call it; :ivar name: what NBD clients would.
    :ivar user: the anonymous drive through which it uses its node.
    :ivar bitmaps: those that it offers, busy as long as it exists.
    :ivar medium_of: the drive whose medium takes the export with it when it is ejected, or None.
    """

    id: str
    name: str
    user: Drive
    bitmaps: list[DirtyBitmap]
    medium_of: Drive | None = None


class Exports:
    """The NBD server of one machine.

    :param emit: called with the name and the data of each event.
    :param oldest_first: in which order all exports go (7.2 and before).
    :ivar running: the server was started.
    :ivar exports: newest first.
    """

    __slots__ = ("_emit", "_oldest_first", "exports", "graph", "running")

    def __init__(self, graph: Graph, emit: Callable[[str, dict[str, Any]], None], *, oldest_first: bool) -> None:
        self.graph = graph
        self._emit = emit
        self._oldest_first = oldest_first
        self.running = False
        self.exports: list[Export] = []

    def find(self, identifier: str) -> Export:
        """The export of that id.

        :raises QmpError: ``Export 'e0' is not found``.
        """
        for export in self.exports:
            if export.id == identifier:
                return export
        raise QmpError(f"Export '{identifier}' is not found")

    def check_new(self, identifier: str) -> None:
        """Refuse an id that is ill-formed or taken.

        :raises QmpError: with the texts of blk_exp_add.
        """
        if not is_well_formed(identifier):
            raise QmpError("Invalid block export id")
        if any(export.id == identifier for export in self.exports):
            raise QmpError(f"Block export id '{identifier}' is already in use")

    def add(
        self,
        identifier: str,
        node: Node,
        *,
        name: str,
        description: str,
        writable: bool,
        bitmaps: Sequence[str | tuple[str, str]],
    ) -> Export:
        """Export ``node``; the id has been checked.

        :param bitmaps: names of bitmaps in the node's chain, or (node, name).
        :raises QmpError: in the order of blk_exp_add and nbd_export_create; nothing has changed then.
        """
        if node.read_only and writable:
            raise QmpError("Cannot export read-only node as writable")
        user = Drive(
            self.graph,
            "",
            perm=perms.CONSISTENT_READ | (perms.WRITE if writable else 0),
        )
        user.insert(node)
        try:
            self._check_names(name, description)
            user.share(perms.ALL & ~perms.RESIZE)
            found = [self._bitmap(node, bitmap, writable=writable) for bitmap in bitmaps]
        except QmpError:
            user.eject()
            raise
        for bitmap in found:
            bitmap.busy = True
        export = Export(identifier, name, user, found)
        self.exports.insert(0, export)
        return export

    def _check_names(self, name: str, description: str) -> None:
        if not self.running:
            raise QmpError("NBD server not running")
        if len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_STRING:
            raise QmpError(f"export name '{name}' too long")
        if len(description.encode("utf-8", "surrogatepass")) > MAXIMUM_STRING:
            raise QmpError(f"description '{description}' too long")
        if any(export.name == name for export in self.exports):
            raise QmpError(f"NBD server already has export named '{name}'")

    def _bitmap(self, node: Node, wanted: str | tuple[str, str], *, writable: bool) -> DirtyBitmap:
        if isinstance(wanted, tuple):
            return self._bitmap_of(*wanted)
        place: Node | None = node
        bitmap = node.find_bitmap(wanted)
        while bitmap is None and place is not None:
            place = place.filtered or place.backing
            bitmap = place.find_bitmap(wanted) if place is not None else None
        if bitmap is None or place is None:
            raise QmpError(f"Bitmap '{wanted}' is not found")
        if not writable and not place.read_only and not bitmap.disabled:
            raise QmpError(f"Enabled bitmap '{wanted}' incompatible with readonly export")
        bitmap.check(allow_readonly=True)
        return bitmap

    def _bitmap_of(self, owner: str, name: str) -> DirtyBitmap:
        """A bitmap of any node; nobody checks whether it records."""
        bitmap = self.graph.find_bitmap(owner, name)
        bitmap.check(allow_readonly=True)
        return bitmap

    def remove(self, export: Export) -> None:
        """Give up the export; its bitmaps are free again."""
        self._give_up(export)
        self._tell_deleted(export)

    def _give_up(self, export: Export, meanwhile: Callable[[], None] | None = None) -> None:
        self.exports.remove(export)
        for bitmap in export.bitmaps:
            bitmap.busy = False
        export.user.eject(meanwhile)

    def _tell_deleted(self, export: Export) -> None:
        self._emit("BLOCK_EXPORT_DELETED", {"id": export.id})

    def stop(self) -> None:
        """Stop the server: all exports go, oldest first.

        Since 8.0 the change of the graph by which one goes runs the bottom halves by which the others go, so that the
        newest is the first to tell (blk_exp_delete_bh and bdrv_graph_wrunlock, QEMU 10.0).
        """
        self.running = False
        exports = self.exports[::-1]
        if self._oldest_first:
            for export in exports:
                self.remove(export)
        else:
            self._remove_all(exports)

    def _remove_all(self, exports: list[Export]) -> None:
        if exports:
            first, *others = exports
            self._give_up(first, lambda: self._remove_all(others))
            self._tell_deleted(first)

    def medium_removed(self, drive: Drive) -> None:
        """The exports that nbd-server-add made of the drive go with its medium."""
        for export in [export for export in self.exports if export.medium_of is drive]:
            self.remove(export)
