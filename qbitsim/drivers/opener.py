"""Making nodes from options, as ``-drive``, ``-blockdev`` and ``blockdev-add`` give them.

Options are plain values under QAPI's names: ``{"driver": "qcow2", "node-name": "n0", "file": {...}}``. A
child is a dictionary of options, or the name of a node that exists, or None for no backing file. They have
been checked against the schema; what is checked here depends on files and on the graph.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from qbitsim.block.graph import Graph
from qbitsim.block.node import Node
from qbitsim.drivers.copy_before_write import CopyBeforeWriteNode, SnapshotAccessNode
from qbitsim.drivers.file import FileNode
from qbitsim.drivers.filename_options import innermost, json_options, protocol_options
from qbitsim.drivers.filters import BlkdebugNode, CopyOnReadNode, DebugRule
from qbitsim.drivers.null import NullAioNode, NullNode, check_null
from qbitsim.drivers.options import Options, check_detect_zeroes, check_supported, check_window
from qbitsim.drivers.other_formats import OTHER_FORMATS, known_format, refuse
from qbitsim.drivers.qcow2 import Qcow2Node
from qbitsim.drivers.quorum import QuorumNode, check_quorum
from qbitsim.drivers.raw import RawNode
from qbitsim.drivers.throttle import ThrottleNode
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import OPERATIONS, Fault
from qbitsim.images.image import Image
from qbitsim.sizes import SECTOR

NULL_SIZE = 1 << 30
FORMATS = ("raw", "qcow2")


class Opener:
    """Opens nodes into a graph; what was opened on the way is closed again if something fails.

    :param on_filter: show the copy bitmap of a copy-before-write node at the filter (8.0 and later).
    """

    def __init__(self, graph: Graph, *, on_filter: bool = True) -> None:
        self.graph = graph
        self.on_filter = on_filter

    def open(self, options: Options) -> Node:
        """Open the node that ``options`` describe.

        :raises QmpError: with QEMU's text; nothing has changed then.
        """
        before = list(self.graph.nodes)
        try:
            return self._open(options, {})
        except QmpError:
            self._close_new(before)
            raise

    def open_file(self, filename: str, options: Options) -> Node:
        """Open an image file by name, with the format that ``options`` give, or else the one it has.

        :raises QmpError: ``Could not open …`` or another text of QEMU's; nothing has changed then.
        """
        driver = options.get("driver")
        if driver is not None and driver not in OTHER_FORMATS and not known_format(driver):
            raise QmpError(f"Unknown driver '{driver}'")
        file = protocol_options(filename)
        image = self.image(innermost(file), auto_read_only=True)
        if driver in OTHER_FORMATS:
            refuse(driver, image, filename)
        merged = {**options, "driver": options.get("driver", image.format)}
        return self.open({**merged, "file": file})

    def image(self, filename: str, *, auto_read_only: bool = False) -> Image:
        """The image file of that name.

        :param auto_read_only: QEMU would open it read-only if it cannot be written, as it can do with a directory.
        :raises QmpError: ``Could not open 'x': No such file or directory``.
        """
        if not filename:
            raise QmpError("The 'file' block driver requires a file name")
        try:
            return self.graph.images.lookup(filename)
        except OSError as error:
            if error.errno == errno.EISDIR and auto_read_only:
                raise QmpError(f"'file' driver requires '{filename}' to be a regular file") from None
            raise QmpError(f"Could not open '{filename}': {error.strerror}") from None

    def _close_new(self, before: list[str]) -> None:
        """Close what is there now and was not before, parents before children."""
        for name in reversed(list(self.graph.nodes)):
            if name in before or name not in self.graph.nodes:
                continue
            node = self.graph.nodes[name]
            if not node.parents:
                if isinstance(node, Qcow2Node):
                    node.bitmaps.clear()
                self.graph.release(node)

    def _open(self, options: Options, inherited: Options) -> Node:
        driver = options.get("driver")
        if driver is None:
            raise QmpError("A block device must be specified for 'file'")
        opener = _DRIVERS.get(driver)
        if opener is None:
            raise UnsupportedError(f"block driver '{driver}'")
        given, options = options, {**inherited, **options}
        check_supported(driver, options)
        if _flag(options, "force-share") and not _flag(options, "read-only"):
            raise QmpError("force-share=on can only be used with read-only images")
        check_detect_zeroes(options)
        node = opener(self, options)
        node.options = given
        node.detect_zeroes = options.get("detect-zeroes", "off")
        if isinstance(node, Qcow2Node):
            node.load_bitmaps()
        return node

    # -- children

    def _child(self, parent: Node, name: str, options: Options, inherited: Options, reference: object = ...) -> Node:
        """Open, or look up, the child and attach it to ``parent``."""
        given = options[name] if reference is ... else reference
        if isinstance(given, str):
            node = self.graph.lookup(given, given)
        else:
            assert isinstance(given, dict)
            node = self._open(given, inherited)
        self.graph.attach(parent, name, node, 0, perms.ALL)
        return node

    @staticmethod
    def _file_options(options: Options) -> Options:
        """What a file below a format or filter inherits (bdrv_inherited_options, block.c, QEMU 10.0)."""
        passed: Options = {name: options[name] for name in ("force-share", "cache") if name in options}
        return {"read-only": _flag(options, "read-only"), "discard": "unmap", "auto-read-only": True, **passed}

    def _named(self, node: Node, options: Options) -> None:
        self.graph.register(node, options.get("node-name"))

    # -- drivers

    def _open_file(self, options: Options) -> Node:
        filename = options["filename"]
        if not filename:
            raise QmpError("The 'file' block driver requires a file name")
        if options.get("node-name") is not None:
            self.graph.check_name(options["node-name"])  # before the file is opened (bdrv_open_driver)
        node = FileNode(
            self.graph,
            self.image(filename, auto_read_only=_flag(options, "auto-read-only") or _flag(options, "read-only")),
            filename,
            read_only=_flag(options, "read-only"),
            unmap=_unmap(options),
            force_share=_flag(options, "force-share") or options.get("locking") == "off",
        )
        self._named(node, options)
        return node

    def _open_null(self, options: Options) -> Node:
        check_null(options)
        node = (NullNode if options["driver"] == "null-co" else NullAioNode)(
            self.graph,
            options.get("size", NULL_SIZE),
            read_zeroes=_flag(options, "read-zeroes"),
            latency=options.get("latency-ns", 0),
            read_only=_flag(options, "read-only"),
        )
        self._named(node, options)
        return node

    def _open_child_first(self, options: Options) -> tuple[Node, Options]:
        """Open the file of a format before the format itself has its name, as QEMU does."""
        given = options["file"]
        if isinstance(given, str):
            return self.graph.lookup(given, given), options
        return self._open(given, self._file_options(options)), options

    def _open_raw(self, options: Options) -> Node:
        file, _ = self._open_child_first(options)
        image = image_below(file)
        if image is not None and image.format != "raw":
            raise UnsupportedError(f"the bytes of the {image.format} file '{image.name}' as a raw image")
        check_window(file.length, options)
        node = RawNode(
            self.graph,
            offset=options.get("offset", 0),
            size=options.get("size"),
            read_only=_flag(options, "read-only"),
            unmap=_unmap(options),
        )
        self._named(node, options)
        self.graph.changing(2)  # a format is probed for, whatever the options say
        self.graph.attach(node, "file", file, 0, perms.ALL)
        return node

    def _open_qcow2(self, options: Options) -> Node:
        file, _ = self._open_child_first(options)
        image = image_below(file)
        if image is None or image.format != "qcow2":
            raise QmpError("Image is not in qcow2 format")
        try:
            file.account("read", 0, SECTOR)
        except OSError as error:
            raise QmpError(f"Could not read qcow2 header: {error.strerror}") from None
        node = Qcow2Node(self.graph, image, read_only=_flag(options, "read-only"), unmap=_unmap(options))
        self._named(node, options)
        self.graph.changing(2)  # a format is probed for, whatever the options say
        self.graph.attach(node, "file", file, 0, perms.ALL)
        self._open_backing(node, options)
        return node

    def _open_backing(self, node: Qcow2Node, options: Options) -> None:
        """The backing file: as given, or as the image's header says; always read-only."""
        inherited = {**self._file_options(options), "read-only": True, "auto-read-only": False}
        given = options.get("backing", {})
        if given is None:
            return
        if not isinstance(given, dict) or "driver" in given:
            self._child(node, "backing", options, inherited)
            return
        name = node.image.backing
        if name is None:
            return
        try:
            self._child(node, "backing", options, inherited, {**self._named_backing(node, name), **given})
        except QmpError as error:
            raise QmpError(f"Could not open backing file: {error.desc}") from None

    def _named_backing(self, node: Qcow2Node, name: str) -> Options:
        """The options of the backing file that an image's header names."""
        if name.startswith("json:"):
            return json_options(name)
        file = protocol_options(self.graph.images.backing_name(node.filename, name))
        return {"driver": node.image.backing_format or self.image(innermost(file)).format, "file": file}

    def _open_filter(self, node: Node, options: Options, child: str) -> Node:
        """Open a filter; a child called ``file`` is opened before the filter has its name, as QEMU does."""
        given = options[child]
        if child == "file":
            given = self._open_child_first(options)[0].name
        self._named(node, options)
        self._child(node, child, options, self._file_options(options), given)
        return node

    def _open_blkdebug(self, options: Options) -> Node:
        rules = [_injection(rule) for rule in options.get("inject-error", [])]
        rules += [
            DebugRule(rule["event"], rule.get("state", 0), None, rule["new_state"])
            for rule in options.get("set-state", [])
        ]
        node = BlkdebugNode(self.graph, rules, read_only=_flag(options, "read-only"), unmap=_unmap(options))
        return self._open_filter(node, options, "image")

    def _open_throttle(self, options: Options) -> Node:
        name = options["throttle-group"]
        group = self.graph.throttle_groups.get(name)
        if group is None:
            raise QmpError(f"Throttle group '{name}' does not exist")
        node = ThrottleNode(self.graph, group, read_only=_flag(options, "read-only"), unmap=_unmap(options))
        return self._open_filter(node, options, "file")

    def _open_quorum(self, options: Options) -> Node:
        children = options["children"]
        node = QuorumNode(
            self.graph,
            options["vote-threshold"],
            fifo=options.get("read-pattern") == "fifo",
            read_only=_flag(options, "read-only"),
            unmap=_unmap(options),
        )
        self._named(node, options)
        check_quorum(options)
        for number, child in enumerate(children):
            self._child(node, f"children.{number}", options, self._file_options(options), child)
        node.next_child = len(children)
        node.check_lengths()
        return node

    def _open_copy_on_read(self, options: Options) -> Node:
        return self._open_filter(CopyOnReadNode(self.graph, unmap=_unmap(options)), options, "file")

    def _open_copy_before_write(self, options: Options) -> Node:
        node = CopyBeforeWriteNode(
            self.graph, break_snapshot=options.get("on-cbw-error") == "break-snapshot", unmap=_unmap(options)
        )
        self._open_filter(node, options, "file")
        self._child(node, "target", options, self._file_options(options))
        bitmap = None
        if "bitmap" in options:
            bitmap = self.graph.find_bitmap(options["bitmap"]["node"], options["bitmap"]["name"])
        node.begin(
            bitmap=bitmap,
            minimum_cluster=options.get("min-cluster-size", 0),
            compress=False,
            on_filter=self.on_filter,
        )
        return node

    def _open_snapshot_access(self, options: Options) -> Node:
        return self._open_filter(SnapshotAccessNode(self.graph, unmap=_unmap(options)), options, "file")


def _injection(rule: Options) -> DebugRule:
    """One ``inject-error`` of blkdebug; without a sector it strikes everywhere."""
    iotype, sector = rule.get("iotype"), rule.get("sector")
    fault = Fault(
        operations=frozenset([iotype] if iotype else OPERATIONS),
        errno=rule.get("errno", 5),
        offset=None if sector is None or sector < 0 else sector * SECTOR,
        length=1,
        times=1 if rule.get("once") else None,
    )
    return DebugRule(rule["event"], rule.get("state", 0), fault)


def _flag(options: Options, name: str) -> bool:
    return bool(options.get(name, False))


def _unmap(options: Options) -> bool:
    return options.get("discard") == "unmap"


def image_below(node: Node) -> Image | None:
    """The image file that a file node, below any filters, leads to."""
    node = node.skip_filters()
    return node.image if isinstance(node, FileNode) else None


_DRIVERS: dict[str, Callable[[Opener, Options], Node]] = {
    "file": Opener._open_file,  # noqa: SLF001 - the table of this module's own methods
    "null-aio": Opener._open_null,  # noqa: SLF001
    "null-co": Opener._open_null,  # noqa: SLF001
    "raw": Opener._open_raw,  # noqa: SLF001
    "qcow2": Opener._open_qcow2,  # noqa: SLF001
    "blkdebug": Opener._open_blkdebug,  # noqa: SLF001
    "copy-on-read": Opener._open_copy_on_read,  # noqa: SLF001
    "copy-before-write": Opener._open_copy_before_write,  # noqa: SLF001
    "quorum": Opener._open_quorum,  # noqa: SLF001
    "throttle": Opener._open_throttle,  # noqa: SLF001
    "snapshot-access": Opener._open_snapshot_access,  # noqa: SLF001
}

EMULATED = frozenset(_DRIVERS)
"""The names of the drivers that can be opened; QAPI knows more."""
