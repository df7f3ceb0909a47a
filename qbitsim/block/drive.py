"""A drive: what a guest's disk, ``-drive`` or the monitor itself sees of a node.

QEMU calls it a BlockBackend (block/block-backend.c, QEMU 10.0). Its id (``drive0``) is one of
the two name spaces of commands; the other one holds the node-names.
"""

from __future__ import annotations

import errno

from qbitsim.block.accounting import Accounting
from qbitsim.block.request import GuestRequest
from qbitsim.block.waiting import DrainedError
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.files.faults import StalledError
from qbitsim.light_library import contextmanager
from qbitsim.sizes import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ClassVar

    from qbitsim.argument_types import Size
    from qbitsim.block.drive_info import DriveInfo
    from qbitsim.block.edges import Edges
    from qbitsim.block.node import Child, Node
    from qbitsim.block.roles import GuestDevice
    from qbitsim.block.status import Status
    from qbitsim.block.throttle_group import ThrottleGroup
    from qbitsim.block.throttled import ThrottledRequests


_ACCOUNTED = {"read": "read", "write": "write", "write-zeroes": "write", "discard": "unmap", "flush": "flush"}
"""Kind of request -> the kind as which it is counted."""


class Drive:
    """A user of a node, with a name of its own, or without one.

    :ivar id: ``drive0``; empty for anonymous ones.
    :ivar number: its place among all drives of the graph in the order in which they were made.
    :ivar device: the guest's device that uses it, None if no device does.
    :ivar root: the edge to the topmost node; None without a medium.
    :ivar locked: the guest locked the medium.
    :ivar allows_inactivation: a job gives its images away, too, when the guest migrates (force_allow_inactivate).
    :ivar suspended: its images belong to another process: it needs nothing of what it is to need (blk->disable_perm).
    :ivar write_cache: the guest is told of a write cache, which it has to flush.
    :ivar throttle_group: the group whose limits it shares, None without limits.
    :ivar throttled: requests that wait for limits; None as long as there were none.
    :ivar stats: what it counts of its guest's requests.
    :ivar info: where a drive of ``-drive`` is plugged in; None for others.
    :ivar on_read_error: what its device does about reads that fail: ``report``, ``ignore`` or ``stop``.
    :ivar on_write_error: what it does about other requests, ``enospc`` besides: stop if there is no space.
    :ivar io_status: ``ok``, ``failed`` or ``nospace``: whether a request that failed stopped the guest.
    :ivar medium_options: how the medium was opened that it had last, and the next one is.
    """

    who: ClassVar[str] = "the guest"
    """Whose requests these are, for people."""

    queues_requests: ClassVar[bool] = True
    """Whether requests wait while the node is drained; otherwise the user does (blk_set_disable_request_queuing)."""

    __slots__ = (
        *("_is_guests", "device", "graph", "id", "info", "io_status", "locked", "medium_options", "on_read_error"),
        *(
            "number",
            "on_write_error",
            "perm",
            "root",
            "shared",
            "stats",
            "suspended",
            "allows_inactivation",
            "throttle_group",
            "throttled",
            "write_cache",
        ),
    )

    def __init__(self, graph: Edges, identifier: str, *, perm: int = 0, shared: int = perms.ALL) -> None:
        self.graph = graph
        self.id = identifier
        self.number = graph.drives_made
        graph.drives_made += 1
        self.device: GuestDevice | None = None
        self._is_guests = True
        self.perm = perm
        self.shared = shared
        self.allows_inactivation = False
        self.suspended = False
        self.root: Child | None = None
        self.locked = False
        self.write_cache = True
        self.stats = Accounting()
        self.throttle_group: ThrottleGroup | None = None
        self.throttled: ThrottledRequests | None = None
        self.info: DriveInfo | None = None
        self.on_read_error = "report"
        self.on_write_error = "enospc"
        self.io_status = "ok"
        self.medium_options: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"<Drive {self.id!r} on {self.root.node.name if self.root else None!r}>"

    # -- as a parent of a node

    @property
    def parent_description(self) -> str:
        """How permission messages call it (blk_root_get_parent_desc)."""
        name = self.id or self.qdev
        return f"block device '{name}'" if name else "an unnamed block device"

    @property
    def device_name(self) -> str:
        """The id."""
        return self.id

    @property
    def qdev(self) -> str:
        """What its device is called: an id or a QOM path; an empty string without one."""
        return self.device.name if self.device is not None else ""

    @property
    def removable(self) -> bool:
        """Whether the medium can be taken out (blk_dev_has_removable_media)."""
        return self.device is None or self.device.removable

    @property
    def shows_io_status(self) -> bool:
        """Whether a request that fails may stop the guest (blk_iostatus_is_enabled)."""
        stops = self.on_read_error == "stop" or self.on_write_error in ("stop", "enospc")
        return stops and self.device is not None and self.device.keeps_io_status

    def drained_begin(self) -> None:
        """Nothing: new requests of the guest ask the node."""

    def drained_end(self) -> None:
        """Nothing, see :meth:`drained_begin`."""

    def drained_poll(self) -> None:
        """Make the requests that wait for limits; no others are in flight between two calls."""
        if self.throttled is not None:
            self.throttled.finish()

    # -- medium

    def insert(self, node: Node) -> None:
        """Use ``node`` as the medium.

        :raises QmpError: if another user of the node does not allow it.
        """
        if node.inactive and self._can_be_suspended:
            self.suspended = True
        perm, shared = (0, perms.ALL) if self.suspended else (self.perm, self.shared)
        self.root = self.graph.attach(self, "root", node, perm, shared)

    def eject(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Give up the medium, if there is one.

        :param meanwhile: what is waiting to happen while all nodes are quiet for that.
        """
        if self.root is not None:
            self.drained_poll()  # what is in flight needs the medium
            self.medium_options = self.current_medium_options()
            edge, self.root = self.root, None
            for _ in range(2 if self.throttle_group is None else 3):
                # Once for the limits, blk_drain and bdrv_root_unref_child (blk_remove_bs, block/block-backend.c).
                node = edge.node  # which a job that ends now may replace
                self.graph.drain(node)
                node.drained_end()
            self.graph.detach(edge, meanwhile)
        elif meanwhile is not None:
            meanwhile()

    def current_medium_options(self) -> dict[str, object]:
        """How another medium would be opened (blk_get_open_flags_from_root_state, block/block-backend.c, QEMU 10.0)."""
        if self.root is None:
            return self.medium_options
        node = self.root.node.skip_filters()
        cache = {"cache": node.options["cache"]} if "cache" in node.options else {}
        discard = "unmap" if node.unmap else "ignore"
        return {"read-only": node.read_only, "discard": discard, "detect-zeroes": node.detect_zeroes, **cache}

    @property
    def node(self) -> Node:
        """The topmost node.

        :raises OSError: ENOMEDIUM without a medium.
        """
        if self.root is None:
            raise io_error(errno.ENOMEDIUM)
        return self.root.node

    def levels(self) -> Iterator[Node]:
        """The nodes that show its disk, none without a medium: filters from the top and, last, what they filter."""
        node = self.root.node if self.root is not None else None
        while node is not None:
            yield node
            node = node.filtered

    def require(self, perm: int) -> None:
        """Extend what the drive needs on its node; it stays so, as with QEMU's qemu-io.

        :raises QmpError: if the node, or another user of it, does not allow it.
        """
        if self.root is None or self.perm | perm == self.perm:
            return
        if self.suspended:
            self.perm |= perm
            return
        old, self.root.perm = self.root.perm, self.perm | perm
        try:
            self.graph.refresh_permissions(self.root.node)
        except BaseException:
            self.root.perm = old
            raise
        self.perm |= perm

    def share(self, shared: int) -> None:
        """Let other users of the node have only these permissions from now on.

        :raises QmpError: if another user needs more.
        """
        self.shared = shared
        if self.root is not None and not self.suspended:
            self.root.shared = shared
            self.graph.refresh_permissions(self.root.node)

    # -- images of another process

    @property
    def _can_be_suspended(self) -> bool:
        """Whether its images can be given away: it is a guest's, or only reads, or allows it (blk_can_inactivate)."""
        only_reads = not self.perm & ~perms.CONSISTENT_READ
        return bool(self.id) or self.device is not None or only_reads or self.allows_inactivation

    def suspend(self) -> None:
        """Need nothing, and share all, until :meth:`resume` (blk_root_inactivate).

        :raises OSError: EPERM, it is a job's or an export's that writes.
        """
        if self.suspended:
            return
        if not self._can_be_suspended:
            raise io_error(errno.EPERM)
        self.suspended = True
        if self.root is not None:
            self.root.perm, self.root.shared = 0, perms.ALL
            self.graph.refresh_permissions(self.root.node)

    def resume(self) -> None:
        """Need and share again what is kept (blk_root_activate).

        :raises QmpError: another user does not allow it.
        """
        if not self.suspended:
            return
        self.suspended = False
        if self.root is not None:
            self.root.perm, self.root.shared = self.perm, self.shared
            try:
                self.graph.refresh_permissions(self.root.node)
            except QmpError:
                self.suspended = True
                self.root.perm, self.root.shared = 0, perms.ALL
                raise

    # -- guest requests

    @property
    def size(self) -> int:
        """Bytes; 0 without a medium."""
        return self.root.node.length if self.root is not None else 0

    def read(self, offset: Size, length: Size) -> bytes:
        """The guest reads ``length`` bytes at ``offset``.

        :raises ValueError: a text is no size.
        :raises OSError: EIO out of range, ENOMEDIUM, or what a fault says.
        :raises WouldWaitError: it would have to wait, or it failed and stopped the guest.
        """
        if isinstance(offset, str) or isinstance(length, str):
            offset, length = parse_size(offset, "offset"), parse_size(length, "length")
        node = self._checked("read", offset, length)
        if not length:
            return b""
        try:
            data = node.read(offset, length)
        except OSError as error:
            self._failed(GuestRequest(operation="read", offset=offset, length=length), error)
            return bytes(length)
        self.stats.done("read", length, self.graph.scheduler.now)
        return data

    def write(self, offset: Size, data: bytes, *, compressed: bool = False) -> None:
        """The guest writes ``data`` at ``offset``.

        :raises ValueError: the offset is a text and no size.
        :raises OSError: EIO out of range, EPERM on a read-only node, ENOTSUP for a compressed write on a
            format without compression, or what a fault says.
        :raises DrainedError: it would have to wait.
        """
        if isinstance(offset, str):
            offset = parse_size(offset, "offset")
        if self.graph.scheduler.observer is not None:
            self._observed("write", offset, len(data), lambda: self._write(offset, data, compressed=compressed))
        else:
            self._write(offset, data, compressed=compressed)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        node = self._checked_write("write", offset, len(data))
        if not data:
            if compressed and not node.supports_compression:
                raise io_error(errno.ENOTSUP)
            return
        try:
            node.write(offset, data, compressed=compressed)
        except OSError as error:
            self._failed(GuestRequest(operation="write", offset=offset, data=data, compressed=compressed), error)
            return
        self.stats.done("write", len(data), self.graph.scheduler.now)

    def write_zeroes(self, offset: Size, length: Size, *, unmap: bool = False, fast: bool = False) -> None:
        """The guest zeroes ``length`` bytes at ``offset``.

        :param fast: fail with ENOTSUP where zeroes would have to be written.
        :raises OSError: as :meth:`write`.
        """
        if isinstance(offset, str) or isinstance(length, str):
            offset, length = parse_size(offset, "offset"), parse_size(length, "length")
        if self.graph.scheduler.observer is not None:
            self._observed(
                "write-zeroes", offset, length, lambda: self._write_zeroes(offset, length, unmap=unmap, fast=fast)
            )
        else:
            self._write_zeroes(offset, length, unmap=unmap, fast=fast)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool, fast: bool) -> None:
        node = self._checked_write("write-zeroes", offset, length)
        if not length:
            return
        try:
            write_zeroes = node.zero_fast if fast else node.write_zeroes
            write_zeroes(offset, length, unmap=unmap)
        except OSError as error:
            self._failed(GuestRequest(operation="write-zeroes", offset=offset, length=length, unmap=unmap), error)
            return
        self.stats.done("write", length, self.graph.scheduler.now)

    def discard(self, offset: Size, length: Size) -> None:
        """The guest no longer needs ``length`` bytes at ``offset``.

        :raises OSError: as :meth:`write`.
        """
        if isinstance(offset, str) or isinstance(length, str):
            offset, length = parse_size(offset, "offset"), parse_size(length, "length")
        if self.graph.scheduler.observer is not None:
            self._observed("discard", offset, length, lambda: self._discard(offset, length))
        else:
            self._discard(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        node = self._checked_write("discard", offset, length)
        if not length:
            return
        try:
            node.discard(offset, length)
        except OSError as error:
            self._failed(GuestRequest(operation="discard", offset=offset, length=length), error)
            return
        self.stats.done("unmap", length, self.graph.scheduler.now)

    def _failed(self, request: GuestRequest, error: OSError) -> None:
        """Let the guest's device decide what comes of a request that failed; without one the caller is told.

        :raises OSError: the guest is told.
        :raises WouldWaitError: the guest is stopped; its device makes the request again when it goes on.
        """
        self.stats.note_failure(_ACCOUNTED[request.operation], self.graph.scheduler.now)
        if self.device is None or not self._is_guests:
            raise error
        self.device.request_failed(request, error)

    def _observed(self, operation: str, offset: int, length: int, request: Callable[[], None]) -> None:
        """Make a request and let the observer know of it."""
        observer = self.graph.scheduler.observer
        assert observer is not None
        try:
            request()
        except OSError as error:
            observer.requested(operation, self, offset, length, error)
            raise
        observer.requested(operation, self, offset, length, None)

    def flush(self) -> None:
        """The guest flushes.

        :raises OSError: ENOMEDIUM, or what a fault says.
        :raises DrainedError: it would have to wait.
        """
        self.check_not_drained()
        try:
            self.node.flush()
        except OSError as error:
            if error.errno == errno.ENOMEDIUM:
                raise
            self._failed(GuestRequest(operation="flush"), error)
            return
        self.stats.done("flush", 0, self.graph.scheduler.now)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Requests in the section are not the guest's: they are not counted, and no device knows of them."""
        kept, self.stats = self.stats, Accounting()
        self._is_guests = False
        try:
            yield
        finally:
            self.stats = kept
            self._is_guests = True

    def truncate(self, size: int) -> None:
        """Resize the node to ``size`` bytes.

        :raises OSError: ENOMEDIUM.
        """
        self.node.truncate(size)

    def status(self, offset: int, length: int) -> Status:
        """What the topmost node knows of the range."""
        return self.node.status(offset, length)

    @property
    def drained(self) -> bool:
        """Whether requests have to wait, because the node is in a drained section."""
        return self.root is not None and self.root.node.quiesce > 0

    def check_not_drained(self) -> None:
        """Refuse what would have to wait for the end of a drained section.

        :raises DrainedError: the node is in one.
        """
        if self.drained and self.queues_requests:
            raise self._drained_error(self.node)

    def _drained_error(self, node: Node) -> DrainedError:
        jobs = [edge for level in self.levels() for edge in level.parents if edge.stays]
        until = f" until {jobs[0].parent.parent_description} is finalized or cancelled" if jobs else ""
        return DrainedError(self.graph.waiting, node, node.device_or_node_name, until)

    def when_not_drained(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once the drained section has ended in which the node is now, as a bottom half."""
        self.graph.waiting.add(self.node, go_on)

    # -- limits

    def waits_for_limits(self, operation: str, length: int, make: Callable[[], None]) -> bool:
        """Whether a request that nobody waits for has to wait for the limits here and below; it takes its turn.

        :param operation: ``"read"``, ``"write"`` or ``"write-zeroes"``; :param length: of so many bytes.
        :param make: makes it, and is called when they let it through if it has to wait.
        """
        delay = self._limit_delay(operation, length)
        if not delay:
            return False
        if self.throttled is None:
            from qbitsim.block.throttled import ThrottledRequests  # noqa: PLC0415 - few drives have limits

            self.throttled = ThrottledRequests(self.graph)
        self.throttled.add(operation, length, delay, make)
        return True

    def limits_changed(self) -> None:
        """Requests that wait for limits have to wait for others from now on."""
        if self.throttled is not None:
            self.throttled.plan_anew(self._limit_delay)

    def _limit_delay(self, operation: str, length: int) -> int:
        """Nanoseconds that a request has to wait; it takes its turn."""
        group, now = self.throttle_group, self.graph.scheduler.now
        own = group.reserve(now, length, writing=operation != "read") if group is not None else 0
        return max(own, self.root.node.delay(operation, length) if self.root is not None else 0)

    def _checked(self, operation: str, offset: int, length: int) -> Node:
        """The node for a request; refuse what is out of range (blk_check_byte_request, QEMU 10.0), or would hang.

        :raises OSError: EIO, ENOMEDIUM.
        :raises DrainedError: the node is in a drained section.
        :raises StalledError: a test stalls such requests.
        """
        node = self.node
        if node.quiesce and self.queues_requests and not (self.throttled is not None and self.throttled.finishing):
            raise self._drained_error(node)
        if length < 0 or offset < 0 or offset + length > node.length:
            self.stats.note_invalid(_ACCOUNTED[operation], self.graph.scheduler.now)
            raise io_error(errno.EIO)
        if node.inactive and operation not in ("read", "flush"):
            raise io_error(errno.EPERM)  # real QEMU dies of it (bdrv_co_write_req_prepare, block/io.c, QEMU 10.0)
        owner = node.fault_owner
        if owner is not None and owner.faults is not None:
            stall = owner.faults.stall(operation, offset, length)
            if stall is not None:
                raise StalledError(stall)
        return node

    def _checked_write(self, operation: str, offset: int, length: int) -> Node:
        node = self._checked(operation, offset, length)
        if node.read_only:
            self.stats.note_invalid(_ACCOUNTED[operation], self.graph.scheduler.now)
            raise io_error(errno.EPERM)
        return node
