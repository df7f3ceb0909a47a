"""Dirty bitmaps on their way (migration/block-dirty-bitmap.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.jsontypes import Json
    from qbitsim.migration.settings import MigrationSettings

_MAXIMUM_NAME = 255
"""Bytes of a name in QEMU's stream."""


@record
class SentBitmap:
    """A bitmap of the source.

    :ivar node: the node's name on the way.
    :ivar name: the bitmap's name on the way.
    :ivar persistent: whether it is to be so at the destination.
    """

    bitmap: DirtyBitmap
    node: str
    name: str
    persistent: bool

    @property
    def header(self) -> Json:
        """The frame that announces it; granularity and size are in bytes."""
        return {
            "kind": "bitmap",
            "node": self.node,
            "name": self.name,
            "granularity": self.bitmap.granularity,
            "size": self.bitmap.size,
            "enabled": not self.bitmap.disabled,
            "persistent": self.persistent,
        }

    @property
    def bytes_of_bits(self) -> int:
        """How much there is of it, a bit for a granule."""
        return -(-self.bitmap.size // self.bitmap.granularity) // 8

    @property
    def content(self) -> Json:
        """The frame with its dirty granules, as [first, behind the last]."""
        return {"kind": "bits", "node": self.node, "name": self.name, "ranges": list(self.bitmap.bits.ranges())}


def bitmaps_to_send(graph: Graph, settings: MigrationSettings) -> list[SentBitmap]:
    """Choose the bitmaps that migrate, and mark them as busy; :func:`release` is the counterpart.

    :raises QmpError: one of them cannot be migrated; nothing has changed then.
    """
    mapping = settings.bitmap_mapping
    found: list[SentBitmap] = []
    for node, name in _nodes(graph) if mapping is None else [(node, node.name) for node in graph.nodes.values()]:
        found += _of_node(node, name, mapping)
    for sent in found:
        sent.bitmap.busy = True
        sent.bitmap.skip_store = True
    return found


def release(sent: list[SentBitmap]) -> None:
    """The bitmaps are no longer in use; they are not stored, though, from now on (dirty_bitmap_do_save_cleanup)."""
    for each in sent:
        each.bitmap.busy = False


def _nodes(graph: Graph) -> Iterator[tuple[Node, str]]:
    """All nodes with the names under which they migrate: those of drives that have them, first."""
    seen = set()
    for drive in graph.drives.values():
        node = drive.root.node if drive.root is not None and drive.id else None
        while node is not None and node.is_filter and not any(each.name is not None for each in node.bitmaps):
            node = node.filtered
        if node is not None and not node.is_filter:
            seen.add(node)
            yield node, drive.id
    for node in graph.nodes.values():
        if node not in seen:
            yield node, node.name


def _of_node(node: Node, name: str, mapping: dict[str, Any] | None) -> Iterator[SentBitmap]:
    named = [bitmap for bitmap in node.bitmaps if bitmap.name is not None]
    if not named or (mapping is not None and name not in mapping):
        return
    alias = name if mapping is None else mapping[name]["alias"]
    if alias.startswith("#"):
        text = f"Bitmap '{named[0].name}' in a node with auto-generated name '{alias}' can't be migrated"
        raise QmpError(text)
    for bitmap in named:
        assert bitmap.name is not None
        bitmap.check()
        if mapping is None:
            if len(bitmap.name.encode()) > _MAXIMUM_NAME:
                raise QmpError(
                    f"Cannot migrate bitmap '{bitmap.name}' on node '{name}': Name is longer than {_MAXIMUM_NAME} bytes"
                )
            yield SentBitmap(bitmap, alias, bitmap.name, bitmap.persistent)
            continue
        for each in mapping[name]["bitmaps"]:
            if each["name"] == bitmap.name:
                persistent = each.get("transform", {}).get("persistent", bitmap.persistent)
                yield SentBitmap(bitmap, alias, each["alias"], persistent)


class _Loaded:
    """A bitmap that arrives.

    :ivar is_enabled: it records at the source.
    :ivar is_complete: its content has come.
    """

    __slots__ = ("bitmap", "is_complete", "is_enabled")

    def __init__(self, bitmap: DirtyBitmap, *, is_enabled: bool) -> None:
        self.bitmap = bitmap
        self.is_enabled = is_enabled
        self.is_complete = False

    def release(self) -> None:
        """Nobody uses it for the migration any more."""
        if self.bitmap.successor is not None:
            self.bitmap.reclaim()
        else:
            self.bitmap.busy = False


class LoadedBitmaps:
    """The bitmaps that arrive at the destination.

    Those that record have a successor until their content has come: in postcopy the guest writes meanwhile. All are
    busy until then, and none records before the guest runs (migration/block-dirty-bitmap.c, QEMU 10.0).

    If one of them has no place here, no more are taken, though the guest is; the graph complains why.
    """

    __slots__ = ("_bitmaps", "_graph", "_guest_is_here", "_ignores", "_settings")

    def __init__(self, graph: Graph, settings: MigrationSettings) -> None:
        self._graph = graph
        self._settings = settings
        self._bitmaps: dict[tuple[str, str], _Loaded] = {}
        self._ignores = False
        self._guest_is_here = False

    def announce(self, frame: Json) -> None:
        """Make a bitmap (dirty_bitmap_load_start).

        :raises QmpError: there is one of that name.
        """
        place = None if self._ignores else self._place(frame["node"], frame["name"])
        if place is None:
            return
        node, name, persistent = place
        if node.find_bitmap(name) is not None:
            raise QmpError(f"Bitmap with the same name ('{name}') already exists on destination")
        if node.length != frame["size"]:
            raise QmpError(f"Bitmap '{name}' is of {frame['size']} bytes, node '{node.name}' of {node.length}")
        bitmap = node.create_bitmap(name, frame["granularity"])
        bitmap.persistent = frame["persistent"] if persistent is None else persistent
        bitmap.disabled = True
        if frame["enabled"]:
            bitmap.create_successor()
        else:
            bitmap.busy = True
        self._bitmaps[frame["node"], frame["name"]] = _Loaded(bitmap, is_enabled=frame["enabled"])

    def _place(self, node_alias: str, alias: str) -> tuple[Node, str, bool | None] | None:
        """The node, the bitmap's name there, and whether it is to be persistent if that is said here.

        None if no more bitmaps are taken from now on (cancel_incoming_locked).
        """
        try:
            return self._find(node_alias, alias)
        except QmpError as error:
            self._ignores = True
            self._graph.complain(error.desc)
            return None

    def _find(self, node_alias: str, alias: str) -> tuple[Node, str, bool | None]:
        mapping = self._settings.bitmap_mapping
        if mapping is None:
            return self._graph.lookup(node_alias, node_alias), alias, None
        entry = next((each for each in mapping.values() if each["alias"] == node_alias), None)
        if entry is None:
            raise QmpError(f"Unknown node alias '{node_alias}'")
        node = self._graph.lookup(entry["node-name"], entry["node-name"])
        mapped = {each["alias"]: each for each in entry["bitmaps"]}
        if alias not in mapped:
            raise QmpError(f"Unknown bitmap alias '{alias}' on node '{node.name}' (alias '{node_alias}')")
        return node, mapped[alias]["name"], mapped[alias].get("transform", {}).get("persistent")

    def fill(self, frame: Json) -> None:
        """The content of a bitmap has come (dirty_bitmap_load_complete)."""
        place = frame["node"], frame["name"]
        loaded = self._bitmaps.get(place)
        if loaded is None or loaded.is_complete:
            return
        bitmap = loaded.bitmap
        for start, stop in _checked_ranges(frame["ranges"], -(-bitmap.size // bitmap.granularity)):
            bitmap.bits.set(start, stop)
        loaded.release()
        loaded.is_complete = True
        if self._guest_is_here:
            del self._bitmaps[place]

    def before_start(self) -> None:
        """The guest is about to run: what is still to come records in successors (dirty_bitmap_mig_before_vm_start)."""
        self._guest_is_here = True
        for place, loaded in list(self._bitmaps.items()):
            recording = loaded.bitmap if loaded.is_complete else loaded.bitmap.successor
            if loaded.is_enabled and recording is not None:
                recording.disabled = False
            if loaded.is_complete:
                del self._bitmaps[place]

    def give_up(self) -> None:
        """No more comes: drop what is not complete, and all if the guest has not come (cancel_incoming_locked)."""
        for loaded in self._bitmaps.values():
            if not loaded.is_complete:
                loaded.release()
            loaded.bitmap.node.release_bitmap(loaded.bitmap)
        self._bitmaps.clear()


def _checked_ranges(ranges: list[Any], granules: int) -> list[tuple[int, int]]:
    """The ranges of a frame.

    :raises QmpError: they are none of such a bitmap.
    """
    found = []
    for each in ranges:
        match each:
            case [int(start), int(stop)] if 0 <= start < stop <= granules:
                found.append((start, stop))
            case _:
                raise QmpError("Not a migration stream")
    return found
