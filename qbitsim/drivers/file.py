"""``file``: a node that is a file of the image store."""

from __future__ import annotations

import errno

from qbitsim.block.limits import Limits
from qbitsim.block.node import Node
from qbitsim.block.status import Status
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.enums import StrEnum
from qbitsim.errors import QmpError
from qbitsim.files.failures import failure_text
from qbitsim.files.locks import in_use_hint
from qbitsim.images.content import Kind
from qbitsim.images.store import has_protocol
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.common import OnOffAuto
from qbitsim.qapi.schema import Int64, arg, struct_features
from qbitsim.qapi.structs import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image import Image
    from qbitsim.images.image_file import ImageFile
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

STATUS_OF = {Kind.HOLE: (False, False), Kind.ZERO: (False, True), Kind.DATA: (True, False)}
"""Kind of content -> (data, zero) of a format that may have a backing file."""


class BlockdevAioOptions(StrEnum):
    """How the host does I/O."""

    THREADS = "threads"
    NATIVE = "native"
    IO_URING = "io_uring"


@struct_features("dynamic-auto-read-only")
@struct
class BlockdevOptionsFile(BlockdevOptions):
    """A file of the host."""

    filename: str
    pr_manager: str | None = None
    locking: OnOffAuto | None = None
    aio: BlockdevAioOptions | None = None
    aio_max_batch: Int64 | None = None
    drop_cache: bool | None = None
    x_check_cache_dropped: bool | None = arg(features=["unstable"])


class NamedFileNode(DriverNode):
    """What opens a file of the host by its name (block/file-posix.c, QEMU 10.0)."""

    __slots__ = ()

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """The name without the protocol; one that still looks like one with a protocol gets ``./`` then.

        (bdrv_parse_filename_strip_prefix, block.c, QEMU 10.0)
        """
        rest = name.removeprefix(f"{cls.driver}:")
        options["filename"] = f"./{rest}" if rest != name and has_protocol(rest) else rest
        return {}

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """Refuse a file without a name (bdrv_open_common, block.c, QEMU 10.0)."""
        if not options.get("filename"):
            raise QmpError(f"The '{cls.driver}' block driver requires a file name")

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse aio=native without cache.direct (raw_open_common, block/file-posix.c)."""
        if options.get("aio") == "native" and not options.get("cache", {}).get("direct"):
            raise QmpError("aio=native was specified, but it requires cache.direct=on, which was not specified.")


@driver(
    "file",
    options=BlockdevOptionsFile,
    creates=True,
    protocols=["file"],
    strong=["filename"],
    accepts={"pr-manager": ()},
    reopens=["x-check-cache-dropped"],
)
class FileNode(NamedFileNode):
    """``file``: one file.

    A format node above works on the disk in the file and asks here for the places where in the file it is; whoever
    else asks gets, or writes, the bytes of the file.
    """

    __slots__ = ("_is_open", "discarded_bytes", "discards", "file", "force_share", "opened_as")

    opened_as: str

    def __init__(
        self,
        graph: Graph,
        file: ImageFile,
        filename: str,
        *,
        read_only: bool = False,
        unmap: bool = False,
        force_share: bool = False,
    ) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.file = file
        self.opened_as = filename
        self.force_share = force_share
        self.discards = 0
        self.discarded_bytes = 0
        file.image.reopen()
        file.open()
        self._is_open = True

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Open the file of that name."""
        cls.complete_options(options)
        filename = options["filename"]
        if options.get("node-name") is not None:
            opener.graph.check_name(options["node-name"])  # before the file is opened (bdrv_open_driver)
        read_only, auto = flag(options, "read-only"), flag(options, "auto-read-only")
        file = opener.image_file(filename, auto_read_only=auto or read_only)
        if not read_only:
            read_only = not _is_writable(file, filename, or_read_only=auto)
        node = cls(
            opener.graph,
            file,
            filename,
            read_only=read_only,
            unmap=passes_discards(options),
            force_share=flag(options, "force-share") or options.get("locking") == "off",
        )
        opener.register(node, options)
        return node

    @property
    def image_file(self) -> ImageFile:
        """The file."""
        return self.file

    @classmethod
    def probe(cls, opener: Opener, options: Options) -> str:
        """The format of the image in the file."""
        return opener.image(options["filename"]).format if "filename" in options else "raw"

    @property
    def image(self) -> Image:
        """What the file holds now."""
        return self.file.image

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self.image.file_length

    @property
    def filename(self) -> str:
        """As it was given."""
        return self.opened_as

    def limits_above(self, below: Limits) -> Limits:
        """Sectors without the host's cache, single bytes with it (raw_refresh_limits, block/file-posix.c)."""
        del below
        alignment = 512 if self.cache_options.get("direct") else 1
        return Limits(request=alignment, memory=alignment)

    def on_permissions(self, perm: int, shared: int) -> None:
        """Take the locks on the file that these permissions stand for (raw_check_perm, block/file-posix.c)."""
        if self.force_share:
            return
        try:
            conflict = self.file.locks.acquire(self, perm, shared)
        except OSError as error:
            raise QmpError(failure_text("open", self.opened_as, error)) from None
        if conflict is not None:
            raise QmpError(conflict, hint=in_use_hint(self.opened_as))

    def inactivate(self) -> None:
        """Let all be in the file."""
        self.file.flush()

    def activate(self) -> None:
        """Look at it anew."""
        self.file.reload()

    def close(self) -> None:
        """Give up the locks and the file."""
        if self._is_open:
            self._is_open = False
            self.file.locks.release(self)
            self.file.close()

    def abandon(self) -> None:
        """Give up the locks and the file."""
        self.close()

    @property
    def can_unmap_zeroes(self) -> bool:
        """A file has holes."""
        return True

    @property
    def notices_requests(self) -> bool:
        """Only its bitmaps and its threshold do."""
        return bool(self.bitmaps or self.write_threshold)

    def allocated_file_size(self) -> int:
        """:attr:`.Image.actual_size`."""
        return self.image.actual_size

    def specific_info(self, profile: Profile) -> Json | None:
        """ImageInfoSpecificFile, which says nothing."""
        return {"type": "file", "data": {}} if profile.files_show_format_specific else None

    @property
    def plain_image(self) -> Image | None:
        """The file, if it is a raw image without faults."""
        return self.image if self.file.faults is None and self.image.format == "raw" else None

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Let the image take them, if nobody watches."""
        image = source.plain_image
        if image is None or self.plain_image is None or self.bitmaps:
            return False
        if not self.image.can_share_clusters(image, cluster_size):
            return False
        self.image.copy_clusters(image.content, chosen.indices())
        return True

    def _check(self, operation: str, offset: int, length: int) -> None:
        """Fail as a fault of a raw disk says; those of another format are in the disk in the file."""
        if self.file.faults is not None and self.image.format == "raw":
            self.file.faults.check(operation, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        image = self.file.raw
        end = min(offset + length, image.size)
        return image.content.read(offset, max(0, end - offset)).ljust(length, b"\0")

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        assert not compressed
        self._check("write", offset, len(data))
        image = self.file.take_bytes()
        if offset + len(data) > image.size:
            image.resize(offset + len(data))
        image.write(offset, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if self.image.format != "raw" and offset + length > self.image.written_length:
            self.image.end_file(max(self.image.file_length, offset + length))
            return
        self._check("write-zeroes", offset, length)
        image = self.file.take_bytes()
        if offset + length > image.size:
            image.resize(offset + length)
        image.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._check("discard", offset, length)
        self.file.take_bytes().discard(offset, length)
        self.count_discard(offset, length)

    @property
    def copies_ranges(self) -> bool:
        """Yes: the host has copy_file_range."""
        return True

    def note_discarded(self, offset: int, length: int) -> None:
        """Let the host have the range back and count it (raw_account_discard), if discards are passed on."""
        if self.unmap:
            self.file.punch(offset, length)
            self.image.note_given_back(offset, length, used=True)
        self.count_discard(offset, length)

    def count_discard(self, offset: int, length: int) -> None:
        """Count it (raw_account_discard), if discards are passed on."""
        if self.unmap:
            self.image.note_given_back(offset, length, used=False)
            self.note_discard_end(offset + length)
            self.discards += 1
            self.discarded_bytes += length

    def discard_stats(self) -> tuple[int, int, int]:
        """None fails here."""
        return self.discards, 0, self.discarded_bytes

    def _flush(self) -> None:
        if self.file.faults is not None:
            self.file.faults.check("flush", 0, 0)
        self.file.flush()

    def _status(self, offset: int, length: int) -> Status:
        image = self.file.raw
        if offset >= image.size:
            return Status(length, zero=True)
        kind, run = image.content.status(offset, length)
        data = kind is Kind.DATA
        return Status(run, data=data, zero=not data)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Holes are punched."""
        del offset, length
        return True

    def _truncate(self, size: int) -> None:
        if self.image.format != "raw" and size < self.image.written_length:
            self.file.take_bytes()
        self.image.end_file(size)

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        """Never fail: the file itself is fine, the disk in it has faults of its own."""
        if operation == "write":
            self.image.extend_file(offset + length)


def _is_writable(file: ImageFile, filename: str, *, or_read_only: bool) -> bool:
    """Open the file for writing; False if it can only be read, and that will do (bdrv_apply_auto_read_only).

    :raises QmpError: that will not do.
    """
    try:
        file.make_writable()
    except OSError as error:
        if or_read_only and error.errno in {errno.EACCES, errno.EROFS}:
            return False
        raise QmpError(failure_text("open", filename, error)) from None
    return True


def file_below(node: Node) -> ImageFile | None:
    """The file that a file node, below any filters, leads to."""
    return node.skip_filters().image_file


def image_below(node: Node) -> Image | None:
    """What the file holds that a file node, below any filters, leads to."""
    file = file_below(node)
    return None if file is None else file.image
