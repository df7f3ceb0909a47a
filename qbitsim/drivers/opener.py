"""Making nodes from options, as ``-drive``, ``-blockdev`` and ``blockdev-add`` give them.

Options are plain values under QAPI's names: ``{"driver": "qcow2", "node-name": "n0", "file": {...}}``. A
child is a dictionary of options, or the name of a node that exists, or None for no backing file. They have
been checked against the schema; what is checked here depends on files and on the graph.

How a node of one driver is opened is said where the driver is declared, with the steps that are found here.
"""

from __future__ import annotations

import errno

from qbitsim.block.drive import Drive
from qbitsim.block.graph import Graph
from qbitsim.block.node import Node
from qbitsim.block.stacking import check_level
from qbitsim.drivers.backing import Backing, backing_of, failed_below
from qbitsim.drivers.completion import complete, named_file
from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.file import image_below
from qbitsim.drivers.filename_options import check_texts, innermost
from qbitsim.drivers.not_emulated import NOT_EMULATED, known_format, other_format
from qbitsim.drivers.options import Options, check_detect_zeroes, file_options, flag, without_empty_backing
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import NoRegularFileError, failure_text
from qbitsim.images.image import Image
from qbitsim.images.image_file import ImageFile
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.profiles import Profile


@record(frozen=False, eq=False)
class _Layer:
    """A node that is being opened.

    :ivar given: its own options; :ivar options: those and what it takes over from the node above.
    """

    node: Node
    given: Options
    options: Options
    backing: Backing | None = None


class Opener:
    """Opens nodes into a graph; what was opened on the way is closed again if something fails.

    :param profile: whose options there are, and how they are shown.
    :ivar opening: the images whose backing files are being opened.
    """

    def __init__(self, graph: Graph, profile: Profile) -> None:
        self.graph = graph
        self.profile = profile
        self.opening: list[Image] = []
        self._level = 0
        self._open_ones: set[Node] = set()

    def open(self, options: Options) -> Node:
        """Open the node that ``options`` describe.

        :raises QmpError: with QEMU's text; nothing has changed then.
        """
        before = list(self.graph.nodes)
        options = without_empty_backing(options, self.graph.complain)
        try:
            return self._open(options, {})
        except QmpError:
            self._close_new(before)
            raise
        except OSError as error:  # of the host, where QEMU has no text
            self._close_new(before)
            raise QmpError(error.strerror or str(error)) from None

    def open_backing(self, node: Node) -> None:
        """Open what the image of a node names as its backing file, if the node was opened without (``backing=null``).

        :raises QmpError: it cannot be opened; nothing has changed then.
        """
        if node.backing is not None:
            return
        before = list(self.graph.nodes)
        options = {name: value for name, value in node.options.items() if name != "backing"}
        layer = _Layer(node, options, options)
        try:
            self._attach_below(layer, self._open_below(layer))
        except QmpError:
            self._close_new(before)
            raise
        node.options = options
        node.refresh_limits()

    def complete(self, options: Options, name: str | None = None) -> tuple[Options, bool]:
        """The options of a node with all that is left out; and whether its format was looked up.

        :param name: the file name that it is opened with.
        :raises QmpError: as QEMU refuses it.
        """
        check_texts(options)
        return complete(without_empty_backing(options, self.graph.complain), name, format_of=self.format_of)

    def checked(self, options: Options) -> Options:
        """The options of a node, if its driver and those below take them.

        :raises QmpError: they do not.
        """
        from qbitsim.drivers.given_options import check_given_options  # noqa: PLC0415 - it reads the whole schema

        check_given_options(self.profile, options)
        return options

    def format_of(self, file: Options | str) -> str:
        """The format of the image in a node, which its options describe, or its name (find_image_format, block.c).

        :raises QmpError: there is no such file, or no such node.
        :raises UnsupportedError: it would be in the disk of another image.
        """
        if isinstance(file, str):
            node = self.graph.lookup(file, file).skip_filters()
            _check_can_probe(node.driver, {})
            found = image_below(node)
            return "raw" if found is None else found.format
        _check_can_probe(file["driver"], file)
        driver = DRIVERS[file["driver"]]
        if not driver.children:
            return driver.node.probe(self, file)
        below = file[driver.children[0]]  # what it shows, or a copy of that
        return self.format_of(below[0] if isinstance(below, list) else below)

    def open_file(self, filename: str, options: Options) -> Node:
        """Open an image file by name, with the format that ``options`` give, or else the one it has.

        The ``driver`` may be ``file``, too, for a node without a format.

        :raises QmpError: ``Could not open …`` or another text of QEMU's; nothing has changed then.
        """
        driver = options.get("driver")
        is_json = filename.startswith("json:")
        if driver is not None and not is_json:
            self._check_format(driver, filename)
        completed, probed = self.complete(dict(options), filename)
        if is_json:
            self.checked(completed)
        elif driver is not None and "filename" in (below := innermost(completed)):
            self.image_file(below["filename"], auto_read_only=DRIVERS[driver].node.is_format)
        node = self.open(completed)
        node.mark_probed(probed=probed)
        return node

    def _check_format(self, driver: str, filename: str) -> None:
        """Refuse what is no format of image files, and no protocol either.

        :raises QmpError: with QEMU's text, or an :class:`UnsupportedError`.
        """
        other = other_format(driver)
        if other is None:
            if not (driver in DRIVERS and DRIVERS[driver].protocols) and not known_format(driver):
                raise QmpError(f"Unknown driver '{driver}'")
            return
        below = innermost(named_file(filename))
        if "server" in below:
            raise UnsupportedError(f"the image format '{driver}' on an NBD server")
        if "filename" in below:
            other.refuse(self.image(below["filename"]), filename)

    def image_file(self, filename: str, *, auto_read_only: bool = False) -> ImageFile:
        """The file of that name.

        :param auto_read_only: QEMU would open it read-only if it cannot be written, as it can do with a directory.
        :raises QmpError: ``Could not open 'x': No such file or directory``.
        """
        if not filename:
            raise QmpError("The 'file' block driver requires a file name")
        try:
            return self.graph.images.file(filename)
        except OSError as error:
            if isinstance(error, NoRegularFileError) or (error.errno == errno.EISDIR and auto_read_only):
                raise QmpError(f"'file' driver requires '{filename}' to be a regular file") from None
            raise QmpError(failure_text("open", filename, error)) from None

    def image(self, filename: str) -> Image:
        """The image that the file of that name holds.

        :raises QmpError: as :meth:`image_file`, or there is none that can be opened.
        """
        file = self.image_file(filename, auto_read_only=True)
        file.refresh()
        return file.image

    def _close_new(self, before: list[str]) -> None:
        """Close what is there now and was not before, parents before children."""
        for name in reversed(list(self.graph.nodes)):
            if name in before or name not in self.graph.nodes:
                continue
            node = self.graph.nodes[name]
            if not node.parents:
                self.graph.release(node, half_open=node not in self._open_ones)

    def _open(self, options: Options, inherited: Options) -> Node:
        """Open a node, and all backing files below it, in a loop: a chain can be longer than the stack is deep.

        Each is opened after the one above it, and gets its place in the graph before that one does.
        """
        was = self.graph.opens_inactive
        check_level(self._level)
        self._level += 1
        try:
            layer = self._open_layer(options, inherited)
            return self._complete(layer, self._open_below(layer))
        finally:
            self._level -= 1
            self.graph.opens_inactive = was

    def _open_below(self, layer: _Layer) -> Node | None:
        """Open all backing files below a layer; return the first of them."""
        layers = [layer]
        before = len(self.opening)
        try:
            below = self._open_chain(layers)
            while layers[1:]:
                below = self._complete(layers.pop(), below)
            return below
        except QmpError as error:
            if isinstance(error, UnsupportedError):
                raise
            raise failed_below(sum(layer.backing is not None for layer in layers), error) from None
        finally:
            del self.opening[before:]

    def _open_chain(self, layers: list[_Layer]) -> Node | None:
        """Open what is below the one layer that there is; return the node at its end if that was there already."""
        while True:
            layer = layers[-1]
            layer.backing = backing = backing_of(self, layer.node, layer.options)
            if backing is None:
                return None
            if isinstance(backing.reference, str):
                return self.graph.lookup(backing.reference, backing.reference)
            image = layer.node.image
            if backing.named and image is not None:
                if image in self.opening:
                    raise UnsupportedError(f"backing files in a circle, such as that of '{layer.node.filename}'")
                self.opening.append(image)
            layers.append(self._open_layer(backing.reference, backing.inherited))

    def _open_layer(self, options: Options, inherited: Options) -> _Layer:
        name = options.get("driver")
        if name is None:
            raise QmpError("A block device must be specified for 'file'")
        driver = DRIVERS.get(name)
        if driver is None and name not in NOT_EMULATED:
            raise QmpError(f"Unknown driver '{name}'")
        if driver is None:
            raise UnsupportedError(f"block driver '{name}'")
        merged = {**inherited, **options}
        if "cache" in merged:
            merged["cache"] = {**inherited.get("cache", {}), **options.get("cache", {})}
        if merged.get("backing", "") is None and not driver.node.supports_backing:
            del merged["backing"]  # QEMU keeps no more of it than a flag
        driver.check(merged)
        if not isinstance(merged.get("file"), dict):
            self._heed_active(merged)
        node = driver.node.open(self, merged)
        node.cache_options = merged.get("cache", {})
        node.on_opened()
        self._open_ones.add(node)
        return _Layer(node, options, merged)

    def _complete(self, layer: _Layer, below: Node | None) -> Node:
        """Give a node its backing file, and what its options say of it; return the node."""
        node = layer.node
        self._attach_below(layer, below)
        node.options = layer.given
        node.detect_zeroes = layer.options.get("detect-zeroes", "off")
        node.refresh_limits()
        return node

    def _attach_below(self, layer: _Layer, below: Node | None) -> None:
        if below is not None and layer.backing is not None:
            if not isinstance(layer.backing.reference, str):
                below.inherits_from = layer.node
                below.mark_probed(probed=layer.backing.probed)
            self.graph.attach(layer.node, "backing", below)
            if layer.backing.implicit:
                layer.node.named_backing = below

    # -- the steps of a driver

    def register(self, node: Node, options: Options) -> None:
        """Give the node the name that the options have for it, or one of its own.

        :raises QmpError: the name is taken, or none.
        """
        if flag(options, "force-share") and not flag(options, "read-only"):
            raise QmpError("force-share=on can only be used with read-only images")
        check_detect_zeroes(options)
        self.graph.register(node, options.get("node-name"))

    def open_file_child(self, options: Options) -> Node:
        """Open the file of a format, or of a filter, before the node above has its name, as QEMU does."""
        given = options["file"]
        if isinstance(given, str):
            return self.graph.lookup(given, given)
        file = self._open(given, file_options(options))
        self._heed_active(options)
        return file

    def _heed_active(self, options: Options) -> None:
        """Open a node inactive if its options say so, and what is opened below it later.

        Its file is open by then, and active (bdrv_open_inherit, block.c, QEMU 10.0).
        """
        if options.get("active") is False:
            self.graph.opens_inactive = True

    def open_child(
        self, parent: Node, name: str, options: Options, reference: object = ..., *, inherited: Options | None = None
    ) -> None:
        """Open the child, or look it up, and attach it to ``parent``.

        :param reference: its options, or the name of the node, if they are not those in ``options``.
        :param inherited: what it takes over from its parent; if not given, what files below a node do.
        """
        given = options[name] if reference is ... else reference
        if isinstance(given, str):
            node = self.graph.lookup(given, given)
        else:
            assert isinstance(given, dict)
            node = self._open(given, file_options(options) if inherited is None else inherited)
            node.inherits_from = parent
        self.graph.attach(parent, name, node)

    def open_format(self, node: Node, file: Node, options: Options) -> None:
        """Give a format, or a filter, its name and its file, which is open already."""
        self._probe(file)
        self.register(node, options)
        if not isinstance(options["file"], str):
            file.inherits_from = node
        self.graph.attach(node, "file", file)

    def _probe(self, file: Node) -> None:
        """Look what format a file has, as QEMU does whatever the options say: a user of it comes and goes.

        :raises QmpError: there is a filter whose children disagree once it has a user.
        """
        if not (file.parents or file.children or self.graph.watchers):  # nobody notices the user
            file.on_permissions(0, perms.ALL)
            return
        user = Drive(self.graph, "")
        held, file.held = file.held, True
        try:
            user.insert(file)
            user.eject()
        finally:
            file.held = held

    def open_filter(self, node: Node, options: Options, child: str) -> Node:
        """Give a filter its name and its child; one called ``file`` is opened first, as QEMU does."""
        if child == "file":
            self.open_format(node, self.open_file_child(options), options)
        else:
            self.register(node, options)
            self.open_child(node, child, options)
        return node


def _check_can_probe(driver: str, options: Options) -> None:
    """Refuse to look for an image in the disk of another one; a raw one is all of its file by default."""
    if DRIVERS[driver].node.is_format and (driver != "raw" or options.keys() & {"offset", "size"}):
        raise UnsupportedError(f"an image of unknown format in a '{driver}' node")
