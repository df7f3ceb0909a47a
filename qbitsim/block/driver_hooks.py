"""What a block driver provides for its nodes (BlockDriver, include/block/block_int-common.h, QEMU 10.0)."""

from __future__ import annotations

import errno

from qbitsim.errors import QmpError
from qbitsim.files.failures import io_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, ClassVar

    from qbitsim.block.breakpoints import Breakpoints
    from qbitsim.block.roles import ReadPart
    from qbitsim.block.status import Status
    from qbitsim.files.faults import FaultOwner
    from qbitsim.images.image import Image
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile


class DriverHooks:
    """The hooks of a driver, with what holds if it has nothing to say; those of requests it must have.

    :cvar driver: its name.
    :cvar is_filter: it shows the disk of its child.
    :cvar never_freeze: it is a filter that a job takes out, so that no other one may rely on it.
    :cvar is_format: it shows a disk that is in an image file.
    :cvar takes_part_in_draining: it has something to do before it is quiet (bdrv_co_drain_begin, QEMU 7.2).
    :cvar limits_ask_for_info: to tell its limits it asks its child for more than limits (bdrv_get_info).
    :cvar tells_filename: it says itself whether its file name tells all (bdrv_refresh_filename).
    """

    driver: ClassVar[str]
    is_filter: ClassVar[bool] = False
    never_freeze: ClassVar[bool] = False
    is_format: ClassVar[bool] = False
    supports_backing: ClassVar[bool] = False
    supports_compression: ClassVar[bool] = False
    can_store_bitmaps: ClassVar[bool] = False
    filename_prefix: ClassVar[str] = ""
    strong_options: ClassVar[tuple[str, ...]] = ()
    shows_filename_of_child: ClassVar[bool] = False
    takes_part_in_draining: ClassVar[bool] = False
    limits_ask_for_info: ClassVar[bool] = False
    tells_filename: ClassVar[bool] = False

    __slots__ = ()

    if TYPE_CHECKING:
        unmap: bool

    # -- the disk

    @property
    def length(self) -> int:
        """Bytes. A filter is as long as what it filters."""
        raise NotImplementedError

    @property
    def cluster_size(self) -> int:
        """Bytes, or 0 if the format has none (bdrv_get_info)."""
        return 0

    @property
    def shows_children(self) -> bool:
        """Whether queries of the graph tell what is below."""
        return True

    @property
    def is_zero_when_new(self) -> bool:
        """Whether a new image reads as zeroes (bdrv_has_zero_init)."""
        return True

    @property
    def knows_cluster_size(self) -> bool:
        """Whether bdrv_get_info works at all; it does not on null-co."""
        return True

    @property
    def is_dirty(self) -> bool:
        """Whether the image says that nobody closed it after it was written (BlockDriverInfo.is_dirty)."""
        return False

    @property
    def opened_as(self) -> str | None:
        """The name under which the node opened a file of the image store, None if it is no such file."""
        return None

    @property
    def image(self) -> Image | None:
        """The image that the node itself keeps open, as a file or as a format; None for other nodes."""
        return None

    @property
    def image_file(self) -> ImageFile | None:
        """The file that the node has open, which may hold an image for a format above; None for other nodes."""
        return None

    @property
    def lists_snapshots(self) -> bool:
        """Whether the image, which keeps internal snapshots as a rule, can say which it has."""
        return True

    @property
    def disk_image(self) -> Image | None:
        """The image whose disk the node shows, itself or through what it filters; None if there is no such one."""
        return self.image

    @property
    def fault_owner(self) -> FaultOwner | None:
        """What keeps the rules about the disk that the node shows; those of ``blkdebug`` are not among them."""
        return None if self.image is None else self.image.file

    @property
    def breakpoints(self) -> Breakpoints | None:
        """Where requests can be made to wait; only ``blkdebug`` has such places (bdrv_debug_breakpoint)."""
        return None

    @property
    def header_changed(self) -> bool:
        """Whether the image's header got the name of another backing file while it was open."""
        return False

    @property
    def header_backing(self) -> str | None:
        """The backing file that the image's header names (auto_backing_file), None if there is none."""
        return None

    def change_backing_file(self, name: str | None, driver: str | None) -> None:
        """Let the image's header name another backing file, and its driver (bdrv_change_backing_file).

        :raises OSError: ENOTSUP, the format cannot; EIO and others, it could not be written.
        """
        raise io_error(errno.ENOTSUP)

    @property
    def migration_blocker(self) -> str | None:
        """Why a guest that uses the node cannot migrate, None if it can (migrate_add_blocker)."""
        return None

    @property
    def snapshots(self) -> list[StoredSnapshot] | None:
        """The internal snapshots in the image, oldest first; None if the driver takes none."""
        return None

    def save_state(self, length: int) -> None:
        """Write *length* bytes of the machine's state, for the snapshot that is created next."""
        raise AssertionError(f"{self.driver} takes no snapshots")

    def create_snapshot(self, name: str, date: int, clock: int, state_size: int = 0) -> StoredSnapshot:
        """Take an internal snapshot of a node whose :attr:`snapshots` are not None.

        :param date: nanoseconds since 1970.
        :param clock: nanoseconds for which the guest has run.
        :param state_size: bytes of the machine's state that were saved for it.
        """
        raise AssertionError(f"{self.driver} takes no snapshots")

    def apply_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Put the disk back to what it was in one of :attr:`snapshots`, which has its size; no bitmap is marked."""
        raise AssertionError(f"{self.driver} takes no snapshots")

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Delete one of :attr:`snapshots`."""
        raise AssertionError(f"{self.driver} takes no snapshots")

    def specific_info(self, profile: Profile) -> Json | None:
        """What only this driver tells of an image (ImageInfoSpecific, bdrv_get_specific_info)."""
        del profile
        return None

    # -- requests

    def _read(self, offset: int, length: int) -> bytes:
        raise NotImplementedError

    def read_in_parts(self, offset: int, length: int) -> list[ReadPart] | None:
        """Begin to read a range of which other layers may have parts, and say who has which, in order.

        None: nothing has begun, and the node is to be read as any other.

        :raises OSError: as :meth:`.Requests.read`.
        """
        del offset, length
        return None

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        raise NotImplementedError

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        raise NotImplementedError

    def _discard(self, offset: int, length: int) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _status(self, offset: int, length: int) -> Status:
        raise NotImplementedError

    def _truncate(self, size: int) -> None:
        del size  # bdrv_co_truncate (block/io.c, QEMU 10.0)
        raise QmpError("Image format driver does not support resize")

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        """Let a request of :meth:`.Requests.pread` or :meth:`.Requests.pwrite` happen, or fail."""

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Whether the range, which is whole clusters or a part of one, can become zero without being written."""
        del offset, length
        return False

    def make_empty(self) -> None:
        """Forget what the layer holds, so that its backing file shows; other drivers than qcow2 leave it as it is."""

    # -- what a format asks of its file

    @property
    def notices_requests(self) -> bool:
        """Whether what a format asks of this node can be noticed; if not, the format may leave it unasked."""
        return True

    def debug_event(self, event: str) -> None:
        """A format is about to do something that ``blkdebug`` can wait for (BLKDBG_EVENT)."""

    def tell_writes(self) -> None:
        """Let the file know how far the format has written it, where it was not asked each time."""

    def before_table_change(self, lost: Iterable[tuple[int, int]] = ()) -> None:
        """The format above is about to change its tables, of which it writes some only when it is flushed.

        :param lost: ranges of the file, as (offset, length), that nothing will lead to.
        """

    def note_discarded(self, offset: int, length: int) -> None:
        """The format above gives up a part of its file (bdrv_pdiscard)."""

    def count_discard(self, offset: int, length: int) -> None:
        """The format above gives up a part of its file that it may use again at once."""

    def discard_stats(self) -> tuple[int, int, int] | None:
        """How many discards of the file succeeded and failed, and their bytes; None if the driver does not count."""
        return None

    # -- what a job may know before it asks

    @property
    def takes_compressed_writes(self) -> bool:
        """Whether compressed writes get through to a format that compresses (bdrv_supports_compressed_writes)."""
        return self.supports_compression

    def waits_for_io(self, operation: str) -> bool:
        """Whether requests have to wait for I/O; if not, they are answered at once, and they cannot fail.

        :param operation: one of :data:`.OPERATIONS`, or ``"status"``.
        """
        return operation != "status"

    def zeroing_waits_for_io(self, offset: int, length: int) -> bool:
        """Whether zeroing a range has to, as :meth:`waits_for_io`."""
        del offset, length
        return self.waits_for_io("write-zeroes")

    def reads_nothing(self, offset: int, length: int) -> bool:
        """Whether the range is known to be zeroes, so that reading it asks no file for anything."""
        del offset, length
        return False

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether the next request of that kind is refused before any I/O: as a bottom half."""
        del operation, offset, length
        return False

    @property
    def zeroes_by_unmapping(self) -> bool:
        """Whether zeroing may free the clusters, so that it costs nothing (bdrv_can_write_zeroes_with_unmap)."""
        return self.unmap and self.can_unmap_zeroes

    @property
    def can_unmap_zeroes(self) -> bool:
        """Whether the driver, and what it filters, knows how (BDRV_REQ_MAY_UNMAP among its supported_zero_flags)."""
        return False

    @property
    def reads_plainly(self) -> bool:
        """Whether reading the node has no effect that anybody could notice."""
        return self.plain_image is not None

    @property
    def plain_image(self) -> Image | None:
        """The image, if to read the node is nothing but to read the disk in it; no fault or filter could notice."""
        return None

    @property
    def copies_ranges(self) -> bool:
        """Whether the host can copy from or to the node's file by itself (bdrv_co_copy_range)."""
        return False

    # -- a node's life

    def cancel_in_flight(self) -> bool:
        """Let requests that wait for a server fail as soon as they can; return whether any could wait.

        (bdrv_cancel_in_flight, block/io.c; only raw and nbd take part)
        """
        return False

    def on_opened(self) -> None:
        """Follow the opening of the node, which is complete now."""

    def on_permissions(self, perm: int, shared: int) -> None:
        """Follow a change of what all parents need and share; may refuse with :class:`QmpError`."""

    def on_read_only(self, read_only: bool) -> None:
        """Follow a change between read-only and writable (qcow2 stores or takes up its bitmaps)."""

    def check_stays_read_only(self) -> None:
        """Refuse, with :class:`QmpError`, that the node is reopened and stays read-only."""

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Check the driver's own options of a reopen (bdrv_reopen_prepare); nothing changes yet.

        :param options: under QAPI's names; all that were given.
        :param read_only: the node is to be read-only.
        :raises QmpError: with QEMU's text.
        """

    def reopen_commit(self, options: Mapping[str, Any]) -> None:
        """Take over the driver's own options (bdrv_reopen_commit)."""

    def inactivate(self) -> None:
        """Write down what another process must find in the image; the node is quiet (bdrv_inactivate).

        :raises OSError: that cannot be done.
        """

    def activate(self) -> None:
        """Look at the image anew, for another process had it (bdrv_co_invalidate_cache); nodes below come first.

        :raises QmpError: it is none any more.
        """

    def close(self) -> None:
        """Give up everything outside the graph; called once, when nobody uses the node any more."""

    def disconnect(self) -> None:
        """The machine was put back to what it was before, which has a node of its own: hang up on servers."""

    def abandon(self) -> None:
        """The process was killed: nothing is stored, but the locks of a file are gone with it."""
