"""``nbd``: a node that is an export of another machine or program (block/nbd.c, QEMU 10.0).

Where the server is found is the business of the :class:`~qbitsim.files.network.Network` of the image store: in this
process, or on the host's sockets if the machine is served or belongs to a program. Each request is sent and answered
within the step that makes it, and takes no virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Node
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.nbd_names import address_of, check_beside_name, name_of, options_of, take_server
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import QmpError
from qbitsim.qapi.block import SocketAddress
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.schema import UInt32, arg
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.limits import Limits
    from qbitsim.block.status import Status
    from qbitsim.drivers.opener import Opener
    from qbitsim.facts import Profile
    from qbitsim.files.faults import Faults
    from qbitsim.files.network import Network
    from qbitsim.images.image_file import ImageFile
    from qbitsim.nbd.remote import RemoteExport
    from qbitsim.nbd.remote_file import RemoteImageFile

MAXIMUM_STRING = 4096
"""Bytes of the name of an export or a context (NBD_MAX_STRING_SIZE)."""

MAXIMUM_ALIGNMENT = 1 << 30
"""Bytes (BDRV_MAX_ALIGNMENT)."""
MAXIMUM_LENGTH = (1 << 63) - MAXIMUM_ALIGNMENT
"""Bytes of a node (BDRV_MAX_LENGTH)."""


@struct
class BlockdevOptionsNbd(BlockdevOptions):
    """An export of an NBD server; delays are in seconds."""

    server: SocketAddress
    export: str | None = None
    tls_creds: str | None = None
    tls_hostname: str | None = arg(since="7.0")
    x_dirty_bitmap: str | None = arg(since="3.0", features=["unstable"])
    reconnect_delay: UInt32 | None = arg(since="4.2")
    open_timeout: UInt32 | None = arg(since="7.0")


@driver(
    "nbd",
    options=BlockdevOptionsNbd,
    creates=True,
    protocols=["nbd", "nbd+tcp", "nbd+unix"],
    strong=["export", "tls-creds", "tls-hostname", "server"],
    reopens=[],
)
class NbdNode(DriverNode):
    """``nbd``: one export.

    :ivar export: the connection.
    :ivar faults: rules that make its requests fail before the server hears of them, None if there are none.
    """

    tells_filename = True

    __slots__ = ("_export_name", "_file", "_lost_until", "_server", "export", "faults")

    def __init__(self, graph: Graph, export: RemoteExport, options: Options, *, read_only: bool, unmap: bool) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.export = export
        self.faults: Faults | None = None
        self._server = options["server"]
        self._export_name = options.get("export")
        self._file: ImageFile | None = None
        self._lost_until: int | None = None  # nanoseconds: how long requests wait for the server to come back

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """See :func:`.options_of`."""
        check_beside_name(options)
        options |= options_of(name)
        return {}

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """See :func:`.take_server`."""
        take_server(options)

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Connect to the server."""
        graph = opener.graph
        if options.get("node-name") is not None:
            graph.check_name(options["node-name"])  # before it is opened (bdrv_open_driver)
        export = connect(graph.images.network, options, client=graph)
        read_only = flag(options, "read-only")
        if export.read_only and not read_only:
            if not flag(options, "auto-read-only"):
                export.close()
                raise QmpError("Could not open image: Permission denied")
            read_only = True
        node = cls(graph, export, options, read_only=read_only, unmap=passes_discards(options))
        try:
            opener.register(node, options)
        except QmpError:
            export.close()
            raise
        return node

    @classmethod
    def probe(cls, opener: Opener, options: Options) -> str:
        """The format of the image in an export, for which it is connected to once more."""
        export = connect(opener.graph.images.network, options, client=opener.graph)
        try:
            file = _as_file(_name(options), export)
            file.refresh()
            return file.image.format
        finally:
            export.close()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """See :func:`check_options`."""
        check_options(options)

    # -- what it is

    @property
    def length(self) -> int:
        """Bytes, in whole sectors."""
        return self.export.size

    @property
    def filename(self) -> str:
        """As a name with a protocol, empty if none says all."""
        return name_of(self._server, self._export_name)

    @property
    def is_zero_when_new(self) -> bool:
        """False: nothing is new, but is what the server had."""
        return False

    @property
    def knows_cluster_size(self) -> bool:
        """False: the driver has no bdrv_get_info."""
        return False

    def limits_above(self, below: Limits) -> Limits:
        """As the server asks for (nbd_refresh_limits)."""
        del below
        return self.export.limits

    def allocated_file_size(self) -> None:
        """Nobody can tell."""

    @property
    def fault_owner(self) -> NbdNode:
        """Itself."""
        return self

    @property
    def image_file(self) -> ImageFile:
        """The export as a file that may hold an image of a format."""
        if self._file is None:
            self._file = _as_file(self.filename, self.export)
            self._file.open()
        return self._file

    @property
    def can_unmap_zeroes(self) -> bool:
        """If the server takes zero-writes at all."""
        return self.export.zeroes

    def waits_for_io(self, operation: str) -> bool:
        """The server is always asked, for the status of a range too; if it has gone, a request fails at once."""
        del operation
        return self.export.is_connected or self.export.wanted.reconnect_delay > 0

    @property
    def own_outage(self) -> int:
        """While the server is away, how long ``reconnect-delay`` lets requests wait for it."""
        export = self.export
        if export.is_connected or not export.wanted.reconnect_delay:
            self._lost_until = None
            return 0
        now = self.graph.scheduler.now
        if self._lost_until is None:
            self._lost_until = now + export.wanted.reconnect_delay * NANOSECONDS
        if self._lost_until <= now:
            export.stop_waiting()
        return max(0, self._lost_until - now)

    def cancel_in_flight(self) -> bool:
        """Wait for the server no longer (nbd_cancel_in_flight, block/nbd.c)."""
        if not self.own_outage:
            return False
        self._lost_until = self.graph.scheduler.now
        self.export.stop_waiting()
        return True

    # -- requests

    def _check(self, operation: str, offset: int, length: int) -> None:
        if self.faults is not None:
            self.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return self.export.read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        assert not compressed
        self._check("write", offset, len(data))
        self.export.write(offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._check("write-zeroes", offset, length)
        self.export.write_zeroes(offset, length, unmap=unmap)

    def zero_fast(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """As every node; the server knows what is fast."""
        try:
            self._check("write-zeroes", offset, length)
            self.export.write_zeroes(offset, length, unmap=unmap, fast=True)
        finally:
            if self.bitmaps:
                self.mark_dirty(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self._check("discard", offset, length)
        self.export.trim(offset, length)

    def _flush(self) -> None:
        if not self.read_only:
            self._check("flush", 0, 0)
            if self._file is not None:
                self._file.image.save()
            self.export.flush()
        self.unflushed = False

    def _status(self, offset: int, length: int) -> Status:
        return self.export.status(offset, length)

    def _truncate(self, size: int) -> None:
        """Keep the length: a smaller one will do, too (nbd_co_truncate)."""
        if size > self.length:
            raise QmpError("Cannot grow NBD nodes")

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        """Fail as a rule says; the format's own image reads and writes."""
        self._check(operation, offset, length)

    # -- its life

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Refuse to write what the server lets nobody write."""
        del options
        if not read_only and self.export.read_only:
            raise QmpError("Can't reopen read-only NBD mount as read/write")

    def close(self) -> None:
        """Write down what of an image is only in memory, and say goodbye."""
        if self._file is not None:
            self._file.close()
        self.export.close()

    def disconnect(self) -> None:
        """The node that takes the place of this one connects by itself."""
        self.export.close()

    def abandon(self) -> None:
        """The connection ends with the process."""
        self.export.close()


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what no server could be told, in the order of nbd_process_options() (block/nbd.c, QEMU 10.0).

    :raises QmpError: with QEMU's text.
    """
    if "server" not in options:
        raise QmpError("NBD server address missing")
    if _is_too_long(options.get("export")):
        raise QmpError("export name too long to send to server")
    if options.get("tls-creds") is not None:
        raise QmpError(f"No TLS credentials with id '{options['tls-creds']}'")
    if _is_too_long(options.get("x-dirty-bitmap")):
        raise QmpError("x-dirty-bitmap query too long to send to server")


def connect(network: Network, options: Mapping[str, Any], client: Graph | None = None) -> RemoteExport:
    """Connect to the export that the options of a node describe.

    :param client: the graph that the node is for, if it is for one.
    :raises QmpError: with QEMU's text.
    """
    from qbitsim.nbd.protocol import Mode  # noqa: PLC0415 - for those who are clients
    from qbitsim.nbd.remote import RemoteExport, Wanted  # noqa: PLC0415

    if "server" not in options:
        raise QmpError("NBD server address missing")
    wanted = Wanted(
        address_of(options["server"]),
        export=options.get("export") or "",
        context=options.get("x-dirty-bitmap"),
        reconnect_delay=options.get("reconnect-delay", 0),
        open_timeout=options.get("open-timeout", 0),
        mode=Mode.EXTENDED if client is None or client.nbd_asks_for_extended_headers else Mode.STRUCTURED,
    )
    export = RemoteExport(network, wanted, client)
    refusal = _refusal(export)
    if refusal is not None:
        export.close()
        raise QmpError(refusal)
    return export


def _refusal(export: RemoteExport) -> str | None:
    """Why no node can be made of an export, or None (nbd_client_handshake, bdrv_open_driver, QEMU 10.0)."""
    if export.wanted.context is not None and not export.knows_context:
        return "Could not open image: Invalid argument"
    if export.size > MAXIMUM_LENGTH:
        return "Could not refresh total sector count: File too large"
    if export.limits.request > MAXIMUM_ALIGNMENT:
        return "Driver requires too large request alignment"
    return None


def explained_creation_failure(failure: str, profile: Profile) -> str:
    """Why no image can be made where the server, or what it has, cannot be opened for it."""
    if profile.nbd_creation_explained:
        what = (
            "creating new images, so an existing image must be selected as the target; however, opening the given "
            "target as an existing image failed"
        )
    else:
        what = "image creation, and opening the image failed"
    return f"Protocol driver 'nbd' does not support {what}: {failure}"


def make_image(
    graph: Graph, profile: Profile, filename: str, image_format: str, size: int, **image_options: Any
) -> None:
    """Make an image in an export that is there (bdrv_co_create_opts_simple(), block.c, QEMU 10.0).

    :param size: bytes.
    :param image_options: of :class:`.Qcow2Image`.
    :raises QmpError: with QEMU's text.
    :raises OSError: as the server says.
    """
    try:
        options = options_of(filename)
        take_server(options)
        check_options(options)
        export = connect(graph.images.network, options, client=graph)
        if export.read_only:
            export.close()
            raise QmpError("Could not open image: Permission denied")
    except QmpError as error:
        raise QmpError(explained_creation_failure(error.desc, profile), hint=error.hint) from None
    try:
        _as_file(_name(options), export).make_image(image_format, size, **image_options).save()
    finally:
        export.close()


def _as_file(name: str, export: RemoteExport) -> RemoteImageFile:
    from qbitsim.nbd.remote_file import RemoteImageFile  # noqa: PLC0415 - for who looks for an image

    return RemoteImageFile(name, export)


def _name(options: Options) -> str:
    return name_of(options["server"], options.get("export"))


def _is_too_long(name: str | None) -> bool:
    return name is not None and len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_STRING
