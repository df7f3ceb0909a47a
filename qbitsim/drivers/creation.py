"""Making images in files as ``blockdev-create`` asks for them (block/create.c, QEMU 10.0)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import EINVAL
from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import Drive
from qbitsim.drivers.file import file_below
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import failure_text
from qbitsim.files.locks import CREATOR
from qbitsim.images.image import PREALLOCATIONS
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.plain_content import FILE_CLUSTER
from qbitsim.images.qcow2.data_file import DataFile
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.qcow2.image import Qcow2Image

MAXIMUM_L1_BYTES = 32 << 20
MAXIMUM_BACKING_NAME = 1023
MAXIMUM_FORMAT_NAME = 15
"""Letters of the name of a backing file's format that are kept (``backing_format`` of BlockDriverState)."""
SMALLEST_EXTENDED = 1 << 14
"""The smallest cluster that can have subclusters, of which there are 32 with a sector each."""
MAXIMUM_EXTENT = (1 << 32) - 1
OWN_CHANGES = 3
"""How many of the changes of the graph by which an image is made are those of the file and its user (measured)."""


def as_signed(size: int) -> int:
    """A size of 64 bits as QEMU's signed integers hold it."""
    return size - (1 << 64) if size >= 1 << 63 else size


class FileCreation:
    """Makes a file, in place of what one of that name holds.

    :param options: of BlockdevCreateOptionsFile, under QAPI's names.
    """

    __slots__ = ("_opener", "_options")

    def __init__(self, opener: Opener, options: Mapping[str, Any]) -> None:
        self._opener = opener
        self._options = options

    def check(self) -> None:
        """Refuse what cannot be opened for writing."""
        if self._options.get("extent-size-hint", 0) > MAXIMUM_EXTENT:
            raise QmpError("Extent size hint is too large")
        images, name = self._opener.graph.images, self._options["filename"]
        if not name:
            raise QmpError("Could not create '': No such file or directory")
        if name in images:
            conflict = images.file(name).locks.conflict(*CREATOR)
            if conflict is not None:
                raise QmpError(conflict)
            return
        try:
            images.create(name, "raw", 0)
        except OSError as error:
            raise QmpError(failure_text("create", name, error)) from None

    def write(self) -> None:
        """Cut the file off, and let it have its new size."""
        image = self._opener.graph.images.file(self._options["filename"]).make_raw(0)
        preallocation = self._options.get("preallocation", "off")
        if preallocation == "metadata":
            raise QmpError("Unsupported preallocation mode: metadata")
        size = as_signed(self._options["size"])
        if size < 0:
            raise QmpError("Could not resize file: Invalid argument")
        image.resize(-(-size // SECTOR) * SECTOR, preallocation=PREALLOCATIONS[preallocation])
        image.write(0, bytes(min(FILE_PAGE, image.size)))


class Qcow2Creation:
    """Makes a qcow2 image in the file of a node.

    :param options: of BlockdevCreateOptionsQcow2, under QAPI's names.
    :param graph_changes: how often the graph changes while qemu-img's way of making an image runs.
    :raises UnsupportedError: it would be an image that is not emulated.
    """

    __slots__ = ("_data_file", "_data_user", "_graph_changes", "_opener", "_options", "_user")

    def __init__(self, opener: Opener, options: Mapping[str, Any], *, graph_changes: int) -> None:
        for name, harmless in _HARMLESS.items():
            if options.get(name, harmless) != harmless and not _is_refused(options):
                raise UnsupportedError(f"'{name}' of a new qcow2 image")
        self._opener = opener
        self._options = options
        self._graph_changes = graph_changes - OWN_CHANGES
        self._data_file: DataFile | None = None
        self._data_user: Drive | None = None
        self._user = Drive(opener.graph, "", perm=perms.WRITE | perms.RESIZE)

    def check(self) -> None:
        """Refuse, in QEMU's order, what no qcow2 image can be; hold the file, which others may not use."""
        graph, given = self._opener.graph, self._options["file"]
        node = graph.lookup(given, given) if isinstance(given, str) else self._opener.open(given)
        try:
            _check_qcow2(self._options)
            if file_below(node) is None:
                raise UnsupportedError(f"a qcow2 image in a node of driver '{node.driver}'")
            self._open_data_file()
            self._user.insert(node)
        except QmpError:
            graph.release(node)
            raise

    def _open_data_file(self) -> None:
        given = self._options.get("data-file")
        if given is None:
            return
        graph = self._opener.graph
        node = graph.lookup(given, given) if isinstance(given, str) else self._opener.open(given)
        file = file_below(node)
        if file is None:
            raise UnsupportedError(f"a data file in a node of driver '{node.driver}'")
        raw = bool(self._options.get("data-file-raw"))
        self._data_file = DataFile(node.filename, is_raw=raw, file=file)
        self._data_user = Drive(graph, "", perm=perms.WRITE | perms.RESIZE)
        self._data_user.insert(node)

    def write(self) -> None:
        """Write the header, then the size and the backing file: what fails last leaves what came before."""
        assert self._user.root is not None
        graph, (edge, self._user.root) = self._opener.graph, (self._user.root, None)
        file = file_below(edge.node)
        assert file is not None
        graph.changing(self._graph_changes)
        try:
            self._write(file)
        finally:
            graph.detach(edge)
            if self._data_user is not None and self._data_user.root is not None:
                edge, self._data_user.root = self._data_user.root, None
                graph.detach(edge)

    def _write(self, file: ImageFile) -> None:
        options, size = self._options, as_signed(self._options["size"])
        cluster = options.get("cluster-size", FILE_CLUSTER)
        self._put(file, 0)
        if size < 0:
            raise QmpError("Could not resize image: Image size cannot be negative")
        if -(-size // (cluster * cluster // 8)) * 8 > MAXIMUM_L1_BYTES:
            raise QmpError("Could not resize image: Failed to grow the L1 table: File too large")
        preallocation = PREALLOCATIONS[options.get("preallocation", "off")]
        if preallocation == "off" and options.get("data-file-raw"):
            preallocation = "metadata"  # the tables must say that all of the data file is in use
        image = self._put(file, size if preallocation == "off" else 0)
        image.resize(size, preallocation=preallocation)
        backing, driver = options.get("backing-file"), options.get("backing-fmt")
        if backing is not None and len(backing.encode()) > MAXIMUM_BACKING_NAME:
            with_format = f" with format '{driver}'" if driver is not None else ""
            raise QmpError(f"Could not assign backing file '{backing}'{with_format}: {os.strerror(EINVAL)}")
        image.backing, image.backing_format = backing, driver[:MAXIMUM_FORMAT_NAME] if driver is not None else None
        image.save()

    def _put(self, file: ImageFile, size: int) -> Qcow2Image:
        """Let the file hold an empty disk of ``size`` bytes; a longer file is not cut."""
        options, length = self._options, file.image.file_length
        image = file.make_qcow2(
            size,
            cluster_size=options.get("cluster-size", FILE_CLUSTER),
            compat="0.10" if options.get("version") == "v2" else "1.1",
            lazy_refcounts=options.get("lazy-refcounts", False),
            refcount_bits=options.get("refcount-bits", 16),
            data_file=self._data_file,
            compression=options.get("compression-type", "zlib"),
        )
        if length > image.written_length:
            image.end_file(length)
        return image


_HARMLESS: dict[str, object] = {
    "extended-l2": False,
    "encrypt": None,
}
"""Options of a new image -> the value that changes nothing."""


def _is_refused(options: Mapping[str, Any]) -> bool:
    """Whether QEMU would not make such an image either."""
    try:
        _check_qcow2(options)
    except QmpError:
        return True
    return False


def _check_qcow2(options: Mapping[str, Any]) -> None:
    """Refuse what no qcow2 image can be (qcow2_co_create, block/qcow2.c, QEMU 10.0, in its order)."""
    if options["size"] % SECTOR:
        raise QmpError(f"Image size must be a multiple of {SECTOR} bytes")
    _check_clusters(options)
    _check_backing(options)
    _check_refcounts(options)
    _check_data_file(options)
    if options.get("version") == "v2" and options.get("compression-type", "zlib") != "zlib":
        raise QmpError(f"Non-zlib compression type is only supported {_NEWER}")


_NEWER = "with compatibility level 1.1 and above (use version=v3 or greater)"


def _check_clusters(options: Mapping[str, Any]) -> None:
    extended = options.get("extended-l2")
    if extended and options.get("version") == "v2":
        raise QmpError(f"Extended L2 entries are only supported {_NEWER}")
    cluster = options.get("cluster-size", FILE_CLUSTER)
    if cluster & (cluster - 1) or not SECTOR <= cluster <= 2 << 20:
        raise QmpError("Cluster size must be a power of two between 512 and 2048k")
    if extended and cluster < SMALLEST_EXTENDED:
        raise QmpError(
            f"Extended L2 entries are only supported with cluster sizes of at least {SMALLEST_EXTENDED} bytes"
        )


def _check_backing(options: Mapping[str, Any]) -> None:
    if "backing-file" in options and options.get("preallocation", "off") != "off" and not options.get("extended-l2"):
        raise QmpError("Backing file and preallocation can only be used at the same time if extended_l2 is on")
    if "backing-fmt" in options and "backing-file" not in options:
        raise QmpError("Backing format cannot be used without backing file")


def _check_refcounts(options: Mapping[str, Any]) -> None:
    old, bits = options.get("version") == "v2", options.get("refcount-bits", 16)
    if old and options.get("lazy-refcounts"):
        raise QmpError(f"Lazy refcounts only supported {_NEWER}")
    if bits > 64 or bits < 1 or bits & (bits - 1):
        raise QmpError("Refcount width must be a power of two and may not exceed 64 bits")
    if old and bits != 16:
        raise QmpError(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above "
            "(use version=v3 or greater)"
        )


def _check_data_file(options: Mapping[str, Any]) -> None:
    if options.get("data-file-raw") and "data-file" not in options:
        raise QmpError("data-file-raw requires data-file")
    if options.get("data-file-raw") and "backing-file" in options:
        raise QmpError("Backing file and data-file-raw cannot be used at the same time")
    if "data-file" in options and options.get("version") == "v2":
        raise QmpError(f"External data files are only supported {_NEWER}")
