"""A machine with the disks that a conversation tells of.

What QEMU answered to ``query-named-block-nodes`` and ``query-block`` before anything was changed says which nodes and
devices there were, and with which bitmaps; from that a machine on files in memory is made. Rules:

1. What is on the disks is not known, and no reply is judged by it.
2. The disks have sizes of their own, however large they really are, so that jobs need not too few steps and not too
   many: :class:`Sizes`. All of a disk is written to before a job begins.
3. Files of the host that a client names later are there as soon as they are named, as :meth:`Rebuilt.prepare` guesses
   from what is done with them; whatever is guessed is in :attr:`Rebuilt.assumed`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import Any

from qbitsim.engine.scheduler import Policy
from qbitsim.errors import QmpError
from qbitsim.history.words import actions_of
from qbitsim.jsontypes import Json
from qbitsim.logs.conversation import Conversation
from qbitsim.logs.exchange import exchanges
from qbitsim.logs.told_disks import FILES, FORMATS, Uses, backing_of, bitmaps_of, bottom_up, first_look, sizes_in
from qbitsim.machine.boot import add_device, add_drive
from qbitsim.machine.machine import Machine
from qbitsim.profiles import Profile

LENGTH = 1 << 30
"""Bytes of a disk here, at least: so many that a job is not at its end when all its requests in flight are."""

TINY = 1 << 20
"""Bytes: lengths up to this one are left as they are."""

_STEP = 1 << 20
_COPYING = (
    *("blockdev-backup", "drive-backup", "blockdev-mirror", "drive-mirror", "block-commit", "block-stream"),
    "block-dirty-bitmap-merge",
)


class Sizes:
    """Lengths of disks here, in the same order as those in the conversation.

    :param sizes: all that there are, in bytes.
    """

    def __init__(self, sizes: set[int]) -> None:
        disks = sorted(size for size in sizes if size > TINY)
        self._here = {size: LENGTH + number * _STEP for number, size in enumerate(disks)}

    def here(self, size: int) -> int:
        """The length that a disk of that one has here."""
        return self._here.get(size, size)


class Rebuilt:
    """The machine, and what is known of it.

    :param conversation: is only read.
    :param policy: of the machine.
    :ivar machine: None if the conversation does not tell which disks there are.
    :ivar assumed: names of nodes whose files are guesses.
    :ivar names: generated node-names in the conversation, and what they are called here.
    :ivar unknown: names of what is there and could not be made.
    """

    def __init__(self, conversation: Conversation, profile: Profile, policy: Policy) -> None:
        self.machine: Machine | None = None
        self.assumed: set[str] = set()
        self.unknown: set[str] = set()
        self.names: dict[str, str] = {}
        heard = list(exchanges(conversation))
        nodes, drives = first_look(heard)
        self._sizes = Sizes(set(sizes_in(heard)))
        self._uses = Uses(heard)
        if not nodes:
            return
        self.machine = Machine(profile, machine_type="pc", running=False, policy=policy)
        self._make(nodes, drives)

    def known(self) -> set[str]:
        """The names of nodes, drives, devices and bitmaps at the beginning, as they are here."""
        if self.machine is None:
            return set()
        graph = self.machine.graph
        devices = self.machine.devices.devices if self.machine.devices is not None else {}
        bitmaps = {bitmap.name for node in graph.nodes.values() for bitmap in node.bitmaps if bitmap.name is not None}
        return {*graph.nodes, *graph.drives, *bitmaps, *(each.id for each in devices.values() if each.id is not None)}

    def below(self, names: Iterable[str]) -> set[str]:
        """These names, and those of all nodes below the ones that they are of."""
        assert self.machine is not None
        found: set[str] = set()
        rest = list(names)
        while rest:
            name = rest.pop()
            node = self.machine.graph.nodes.get(name)
            if name not in found and node is not None:
                rest += [child.node.name for child in node.children]
            found.add(name)
        return found

    # -- at the beginning

    def _make(self, nodes: dict[str, Json], drives: list[Json]) -> None:
        for node in nodes.values():
            if node.get("drv") in FORMATS and isinstance(node.get("file"), str):
                self._make_image(node, nodes)
        for drive in drives:
            if drive.get("device"):
                self._try(self._make_drive, drive)
        assert self.machine is not None
        for node in bottom_up(nodes):
            if node["node-name"] not in self.machine.graph.nodes:
                self._try(self._make_node, node, nodes)
        for drive in drives:
            self._try(self._plug, drive)
        for node in nodes.values():
            for bitmap in bitmaps_of(node):
                self._make_bitmap(node, bitmap)

    def _try(self, make: Callable[..., None], described: Json, *more: Any) -> None:
        """Make something, or note the name of what cannot be made."""
        try:
            make(described, *more)
        except (QmpError, OSError):
            inserted = described.get("inserted", described)
            self.unknown.update(filter(None, (described.get("device"), inserted.get("node-name"))))

    def _make_image(self, node: Json, nodes: dict[str, Json]) -> None:
        backing = backing_of(node, nodes)
        self._make_file(
            node["file"],
            node["drv"],
            self._sizes.here(node["image"]["virtual-size"]),
            backing["file"] if backing else None,
        )

    def _make_file(self, name: str, kind: str, size: int, backing: str | None = None) -> None:
        assert self.machine is not None
        images = self.machine.images
        folder, missing = posixpath.dirname(name), []
        while folder and not images.is_directory(folder):
            missing.append(folder)
            folder = posixpath.dirname(folder)
        for each in reversed(missing):
            images.mkdir(each)
        if name not in images:
            options = {"backing": backing, "backing_format": "qcow2"} if backing and kind == "qcow2" else {}
            images.create(name, kind, size, **options)

    def _make_drive(self, drive: Json) -> None:
        """A drive of ``-drive`` with its nodes."""
        assert self.machine is not None
        inserted = drive["inserted"]
        given = {"id": drive["device"], "file": inserted["file"], "format": inserted["drv"], "if": "none"}
        if not inserted["node-name"].startswith("#"):
            given["node-name"] = inserted["node-name"]
        if inserted.get("ro"):
            given["read-only"] = "on"
        made = add_drive(self.machine, given)
        assert made.root is not None
        self.names[inserted["node-name"]] = made.root.node.name

    def _make_node(self, node: Json, nodes: dict[str, Json]) -> None:
        assert self.machine is not None
        options: Json = {"node-name": node["node-name"], "read-only": bool(node.get("ro"))}
        if node["drv"] in FILES:
            options |= {"driver": "file", "filename": node["file"]}
        else:
            below = next(
                (each for each in nodes.values() if each["drv"] in FILES and each["file"] == node["file"]), None
            )
            options |= {"driver": node["drv"], "file": below["node-name"] if below else _file(node["file"])}
            if node["drv"] == "qcow2":
                backing = backing_of(node, nodes)
                options["backing"] = backing["node-name"] if backing else None
        self.machine.execute("blockdev-add", options)

    def _plug(self, drive: Json) -> None:
        """Give a disk to a device of the guest. Of what kind it is does not matter to the disk."""
        assert self.machine is not None
        node, path = drive["inserted"]["node-name"], drive.get("qdev")
        if not isinstance(path, str):
            return
        name = drive.get("device") or self.names.get(node, node)
        identifier = path.removeprefix("/machine/peripheral/").partition("/")[0]
        known = path.startswith("/machine/peripheral/") and identifier
        add_device(self.machine, f"virtio-blk-pci,drive={name}" + (f",id={identifier}" if known else ""))

    def _make_bitmap(self, node: Json, bitmap: Json) -> None:
        assert self.machine is not None
        given = str(node["node-name"])
        name = self.names.get(given, given)
        options = {"node": name, "name": bitmap["name"], "granularity": bitmap["granularity"]}
        options |= {"persistent": bool(bitmap.get("persistent")), "disabled": not bitmap.get("recording", True)}
        try:
            self.machine.execute("block-dirty-bitmap-add", options)
        except QmpError:
            self.unknown.add(bitmap["name"])
            return
        made = self.machine.graph.nodes[name].bitmaps[0]
        made.inconsistent = bool(bitmap.get("inconsistent"))
        if bitmap.get("busy"):
            self.unknown.add(bitmap["name"])

    # -- later

    def translated(self, value: Any) -> Any:
        """What a client said, with the names and the sizes that things have here."""
        if isinstance(value, dict):
            out = {key: self.translated(each) for key, each in value.items()}
            if out.get("driver") in FILES[1:]:
                out["driver"] = "file"
            return out
        if isinstance(value, list):
            return [self.translated(each) for each in value]
        if isinstance(value, str):
            return self.names.get(value, value)
        return self._sizes.here(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def prepare(self, command: str, arguments: Json, place: int) -> None:
        """Make the files that a command needs, and give its jobs something to do.

        :param arguments: translated.
        :param place: of the request in the conversation, for looking at what is done later.
        """
        for name, data in actions_of(command, arguments):
            if name == "blockdev-add":
                self._prepare_node(data, data, place)
            elif name == "drive-backup" and data.get("mode") == "existing" and isinstance(data.get("target"), str):
                kind = data.get("format") if data.get("format") in FORMATS else "raw"
                self._try_file(data["target"], str(kind), self._size_of(str(data.get("device"))))
            if name in _COPYING or data.get("driver") == "copy-before-write":
                self._touch()

    def _prepare_node(self, options: Json, top: Json, place: int) -> None:
        """Make the file of a node to be, or of one below it."""
        for child in ("file", "backing", "data-file"):
            if isinstance(options.get(child), dict):
                self._prepare_node(options[child], {**options[child], "above": options}, place)
        filename, node = options.get("filename"), options.get("node-name")
        if options.get("driver") != "file" or not isinstance(filename, str):
            return
        assert self.machine is not None
        if filename in self.machine.images:
            return
        above = top.get("above")
        kind, name = (above.get("driver"), above.get("node-name")) if above else self._uses.use_of(str(node), place)
        if kind != "new":
            self.assumed.update(each for each in (node, name) if isinstance(each, str))
        size = 0 if kind == "new" else self._size(str(name or node))
        self._try_file(filename, "qcow2" if kind == "qcow2" else "raw", size)

    def _try_file(self, name: str, kind: str, size: int) -> None:
        try:
            self._make_file(name, kind, size)
        except (OSError, QmpError):
            self.unknown.add(name)

    def _size(self, node: str) -> int:
        """The size that a node has most likely: what it is said to have, or what is copied to it has."""
        known = self._uses.sizes.get(node)
        return self._sizes.here(known) if known is not None else self._size_of(self._uses.sources.get(node, ""))

    def _size_of(self, name: str) -> int:
        """The length of a disk here, by its node-name or its drive's id; if it is not known, of the first one."""
        assert self.machine is not None
        graph = self.machine.graph
        drive = graph.drives.get(name)
        given = self.names.get(name, name)
        node = drive.root.node if drive is not None and drive.root is not None else graph.nodes.get(given)
        if node is not None:
            return node.length
        return next((each.length for each in graph.nodes.values() if each.is_format), LENGTH)

    def _touch(self) -> None:
        """Let the guest write to all of each disk that nobody copies from now."""
        assert self.machine is not None
        devices = self.machine.devices.devices if self.machine.devices is not None else {}
        for device in devices.values():
            drive = device.drive
            if drive is None or drive.root is None or drive.root.node.read_only or drive.root.node.is_filter:
                continue
            try:
                drive.write_zeroes(0, drive.root.node.length)
            except (OSError, QmpError):
                self.unknown.add(drive.root.node.name)


def _file(name: str) -> Json:
    return {"driver": "file", "filename": name}
