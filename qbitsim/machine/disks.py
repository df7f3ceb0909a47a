"""The drives and nodes that a machine is given from outside: by a caller in Python, or when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qbitsim.argument_types import Size
from qbitsim.block.drive import Drive
from qbitsim.block.drive_info import DriveInfo
from qbitsim.drivers.opener import Opener
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.nearest import nearest
from qbitsim.records import record
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.options import Options
    from qbitsim.machine.machine import Machine


@record
class Boot:
    """What a process was started with.

    :ivar drives: for each its id (empty for a node that a device uses), the name of its image (None without a medium),
        the options of its topmost node, and where it is plugged in.
    :ivar devices: the options that devices were made of, and whether they have types.
    """

    drives: list[tuple[str, str | None, dict[str, Any], DriveInfo | None]]
    devices: list[tuple[dict[str, Any], bool]]


_SMALLEST_CLUSTER, _LARGEST_CLUSTER = 512, 2 << 20  # block/qcow2.h


ImageFormat: TypeAlias = Literal["qcow2", "raw"]
"""The formats of the images that a machine makes for itself."""
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("qcow2", "raw")


class Disks:
    """What gives a machine its drives and nodes; the graph keeps them."""

    __slots__ = ("_machine",)

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def drive(self, identifier: str) -> Drive:
        """The drive of that id, for guest reads and writes.

        :raises KeyError: there is none.
        """
        drives = self._machine.graph.drives
        if identifier not in drives:
            raise KeyError(f"there is no drive {identifier!r}{nearest(identifier, drives)}")
        return drives[identifier]

    # -- drives

    def add_disk(
        self,
        identifier: str,
        size: Size | None = None,
        *,
        format: ImageFormat = "qcow2",  # noqa: A002 - QEMU's word
        node_name: str | None = None,
        file: str | None = None,
        cluster_size: Size = 65536,
        backing: str | None = None,
        discard: bool = False,
        read_only: bool = False,
    ) -> Drive:
        """Give the machine a drive, on a new image file unless ``file`` exists.

        :param identifier: the drive's id, such as ``"drive0"``.
        :param size: bytes, or a text such as ``"64M"``; not needed if ``file`` exists or has a ``backing`` file.
        :param format: ``"qcow2"`` or ``"raw"``.
        :param file: the image's name; ``drive0.qcow2`` if not given.
        :param backing: the name of the backing file of a new image.
        :param discard: pass discards on (``discard=unmap``).
        :raises QmpError: as QEMU refuses it, for instance for an id that is taken.
        :raises ValueError: for a size that is no number, or none at all; for an unknown format, or a size of clusters
            that no qcow2 file has.
        :raises OSError: the backing file does not exist.
        """
        self._check_new_drive(identifier)
        name = file if file is not None else f"{identifier}.{format}"
        if format not in IMAGE_FORMATS:
            raise ValueError(f"unknown disk format {format!r}: choose {' or '.join(reversed(IMAGE_FORMATS))}")
        cluster = parse_size(cluster_size, "cluster_size")
        if cluster & (cluster - 1) or not _SMALLEST_CLUSTER <= cluster <= _LARGEST_CLUSTER:
            limits = f"{_SMALLEST_CLUSTER} to {_LARGEST_CLUSTER}"
            raise ValueError(f"cluster_size={cluster_size!r}: give a power of two from {limits} bytes")
        images = self._machine.images
        if name not in images:
            if size is None and backing is None:
                raise ValueError(f"disk {identifier!r} needs a size")
            length = parse_size(size) if size is not None else None
            below = images.backing_name(name, backing) if backing is not None else None
            images.create(
                name,
                format,
                length,
                backing=backing,
                backing_format=images.lookup(below).format if below is not None else None,
                **({"cluster_size": cluster} if format == "qcow2" else {}),
            )
        options: Options = {"driver": format, "read-only": read_only, "discard": "unmap" if discard else "ignore"}
        options["auto-read-only"] = True
        if node_name is not None:
            options["node-name"] = node_name
        return self.add_drive(identifier, self.open_file(name, options))

    def add_drive(self, identifier: str, node: Node | None) -> Drive:
        """Give the machine a drive on a node that exists, or without a medium.

        :raises QmpError: for an id that is taken.
        """
        self._check_new_drive(identifier)
        return self._machine.graph.add_drive(identifier, node)

    def anonymous_drive(self, *, perm: int = 0) -> Drive:
        """A user of a node without a name, for as long as the caller needs it."""
        return Drive(self._machine.graph, "", perm=perm, shared=perms.ALL)

    def _check_new_drive(self, identifier: str) -> None:
        if identifier in self._machine.graph.drives:
            raise QmpError(f"Device with id '{identifier}' already exists")
        if identifier in self._machine.graph.nodes:
            raise QmpError(f"Device name '{identifier}' conflicts with an existing node name")

    # -- nodes

    def add_node(self, options: Options) -> Node:
        """Make a node as ``-blockdev`` does.

        :param options: under QAPI's names: ``{"driver": "null-co", "node-name": "n0", "size": 1048576}``.
        :raises QmpError: as QEMU refuses it.
        """
        node = self._opener().open(options)
        node.monitor_owned = True
        return node

    def open_file(self, filename: str, options: Options) -> Node:
        """Make a node on an image file, of the format that the file has unless ``options`` say so.

        :raises QmpError: as QEMU refuses it.
        """
        return self._opener().open_file(filename, options)

    def _opener(self) -> Opener:
        return Opener(self._machine.graph, self._machine.profile)

    # -- a new process

    def boot_list(self) -> Boot:
        """The drives and devices as a new process would be given them; drives on no image file are left out."""
        boot = Boot([], [])
        for drive in self._machine.graph.drives.values():
            if drive.root is None:
                if drive.id:
                    boot.drives.append((drive.id, None, {}, drive.info))
                continue
            node = drive.root.node.skip_filters()
            name = node.children[0].node.opened_as if node.is_format else None
            if name is not None and (drive.id or not node.auto_named):
                boot.drives.append((drive.id, name, _options(node), drive.info))
        if self._machine.devices is not None:
            boot.devices.extend(each.given for each in self._machine.devices.devices.values() if each.given is not None)
        return boot

    def boot(self, boot: Boot) -> None:
        """Give a new process its drives and devices; a device whose drive was left out is left out too."""
        for identifier, file, options, info in boot.drives:
            node = self.open_file(file, options) if file is not None else None
            if identifier:
                self.add_drive(identifier, node).info = info
            elif node is not None:
                node.monitor_owned = True
        if boot.devices or any(info is not None for *_, info in boot.drives):
            self._add_devices(boot)

    def _add_devices(self, boot: Boot) -> None:
        from qbitsim.commands.devices import device_tree  # noqa: PLC0415  (few machines have devices)
        from qbitsim.machine.boot import plug_board_drives  # noqa: PLC0415

        plug_board_drives(self._machine)
        graph = self._machine.graph
        for options, from_json in boot.devices:
            name = options.get("drive")
            if not name or name in graph.drives or name in graph.nodes:
                device_tree(self._machine).add(options, from_json=from_json, hotplug=False)


def _options(node: Node) -> dict[str, Any]:
    options = {
        "driver": node.driver,
        "read-only": node.read_only,
        "discard": "unmap" if node.unmap else "ignore",
    }
    return options if node.auto_named else {**options, "node-name": node.name}
