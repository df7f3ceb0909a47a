"""What a conversation tells of disks: nodes and bitmaps in replies, and what requests do with them."""

from __future__ import annotations

from collections.abc import Iterator

from qbitsim.history.words import actions_of
from qbitsim.jsontypes import Json
from qbitsim.logs.exchange import Exchange, is_question

FILES = ("file", "host_device", "host_cdrom")
"""Drivers of files of the host."""

FORMATS = ("qcow2", "raw")
"""Drivers of images."""


class Uses:
    """What a conversation does with nodes after they are made.

    :ivar sizes: the lengths of nodes, as they are told; :ivar sources: what is copied to a node.
    """

    def __init__(self, heard: list[Exchange]) -> None:
        self.sizes: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self._events: dict[str, list[tuple[int, str, str | None]]] = {}
        for each in heard:
            for node in nodes_in(each.reply.get("return")):
                self.sizes.setdefault(node["node-name"], node["image"]["virtual-size"])
            for name, data in actions_of(each.command, each.arguments):
                self._learn(each.asked, name, data)

    def _learn(self, place: int, command: str, data: Json) -> None:
        target, device, options = data.get("target"), data.get("device"), data.get("options")
        if isinstance(target, str) and isinstance(device, str):
            self.sources.setdefault(target, device)
        if command == "blockdev-create" and isinstance(options, dict) and isinstance(options.get("file"), str):
            self._events.setdefault(options["file"], []).append((place, "new", None))
        if command == "blockdev-add" and isinstance(data.get("file"), str):
            self._events.setdefault(data["file"], []).append((place, str(data.get("driver")), data.get("node-name")))

    def use_of(self, node: str, place: int) -> tuple[str, str | None]:
        """What is done first with a node after a place: ``new``, or a format, and the name of the node with that."""
        return next(((kind, name) for when, kind, name in self._events.get(node, ()) if when > place), ("", None))


def first_look(heard: list[Exchange]) -> tuple[dict[str, Json], list[Json]]:
    """The nodes by name and the drives, as they were before anything was changed."""
    nodes: dict[str, Json] = {}
    drives: list[Json] = []
    for each in heard:
        value = each.reply.get("return")
        if not is_question(each.command):
            break
        for node in nodes_in(value):
            nodes.setdefault(node["node-name"], node)
        if each.command == "query-block" and not drives and isinstance(value, list):
            drives = [each for each in value if any(nodes_in([each])) and "inserted" in each]
    return nodes, drives


def nodes_in(value: object) -> Iterator[Json]:
    """The nodes that a reply describes."""
    for each in value if isinstance(value, list) else ():
        node = each.get("inserted", each) if isinstance(each, dict) else None
        image = node.get("image") if isinstance(node, dict) else None
        if not isinstance(node, dict) or not isinstance(image, dict) or not _is_size(image.get("virtual-size")):
            continue
        if all(isinstance(node.get(name), str) for name in ("node-name", "drv", "file")):
            yield node


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def bitmaps_of(node: Json) -> Iterator[Json]:
    """The bitmaps of a node, as a reply describes them."""
    bitmaps = node.get("dirty-bitmaps")
    for each in bitmaps if isinstance(bitmaps, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str) and _is_size(each.get("granularity")):
            yield each


def sizes_in(heard: list[Exchange]) -> Iterator[int]:
    """All lengths of disks that are spoken of."""
    for each in heard:
        for node in nodes_in(each.reply.get("return")):
            yield node["image"]["virtual-size"]
        for _, data in actions_of(each.command, each.arguments):
            options = data.get("options")
            for given in (data, options if isinstance(options, dict) else {}):
                if _is_size(given.get("size")):
                    yield given["size"]


def backing_of(node: Json, nodes: dict[str, Json]) -> Json | None:
    """The node below an overlay, if it is one of those that are known."""
    image = node["image"]
    name = image.get("full-backing-filename", image.get("backing-filename"))
    if not node.get("backing_file_depth") or name is None:
        return None
    return next((each for each in nodes.values() if each["drv"] in FORMATS and each["file"] == name), None)


def bottom_up(nodes: dict[str, Json]) -> list[Json]:
    """Files first, then images with the shortest chains below them."""
    return sorted(nodes.values(), key=lambda node: (node["drv"] not in FILES, node.get("backing_file_depth") or 0))
