"""One export of a node, and the drive through which it uses the node (nbd_export_create, nbd/server.c, QEMU 10.0).

Nothing of the protocol is loaded before somebody asks what a client may do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from qbitsim.block.drive import Drive
from qbitsim.files import permissions as perms
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.graph import Graph
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.files.faults import Faults, StalledError
    from qbitsim.nbd.faults import SlowReads
    from qbitsim.nbd.protocol import ExportFlag


class Client(Protocol):
    """Who is connected; see :class:`qbitsim.nbd.session.Session`."""

    @property
    def export(self) -> Export | None:
        """What it has chosen."""

    def hang_up(self) -> None:
        """End the connection."""

    def cut_off(self) -> None:
        """End the connection because the export is going; the client leaves a moment later."""


class InFlight(Protocol):
    """What a client has asked for; see :class:`qbitsim.nbd.requests.Request`."""

    @property
    def export(self) -> Export:
        """Of what."""

    @property
    def command(self) -> int:
        """The command, as on the wire."""

    @property
    def resting(self) -> bool:
        """Whether it waits for the end of a drained section, as if it had not come yet."""

    @property
    def stalled(self) -> StalledError | None:
        """Why it waits for a test, if it does."""

    def finish(self) -> None:
        """Carry it out before its turn.

        :raises StalledError: it waits for a test.
        """


class ExportUser(Drive):
    """The anonymous drive through which an export uses its node; it is quiet when no request is in flight.

    :ivar in_flight: requests of clients, oldest first.
    """

    who: ClassVar[str] = "an NBD client"
    queues_requests: ClassVar[bool] = False

    __slots__ = ("in_flight",)

    def __init__(self, graph: Graph, *, writable: bool) -> None:
        perm = perms.CONSISTENT_READ | (perms.WRITE if writable else 0)
        super().__init__(graph, "", perm=perm)
        self.in_flight: list[InFlight] = []

    def drained_poll(self) -> None:
        """Let what is in flight come to its end (nbd_drained_poll, nbd/server.c, QEMU 10.0).

        :raises StalledError: a request is stalled.
        """
        while (request := next((each for each in self.in_flight if not each.resting), None)) is not None:
            request.finish()


@record(frozen=False, eq=False)
class Export:
    """One export.

    :ivar id: what clients of the monitor call it; :ivar name: what NBD clients call it.
    :ivar description: for people, or None.
    :ivar user: the anonymous drive through which it uses its node.
    :ivar size: bytes that clients see.
    :ivar writable: clients may write.
    :ivar multi: several clients may be connected at once and see what the others write.
    :ivar bitmaps: those that it offers, busy as long as it exists; :ivar allocation_depth: whether it offers that.
    :ivar clients: who has chosen it.
    :ivar shutting_down: it goes as soon as its clients have.
    :ivar medium_of: the drive whose medium takes the export with it when it is ejected, or None.
    :ivar slow_reads: what makes its reads take their time.
    """

    id: str
    name: str
    description: str | None
    user: ExportUser
    size: int
    writable: bool
    multi: bool
    bitmaps: list[DirtyBitmap]
    allocation_depth: bool
    slow_reads: list[SlowReads]
    clients: list[Client]
    shutting_down: bool = False
    medium_of: Drive | None = None

    @property
    def in_flight(self) -> list[InFlight]:
        """Requests of clients that are not answered."""
        return self.user.in_flight

    @property
    def scheduler(self) -> Scheduler:
        """The machine's."""
        return self.user.graph.scheduler

    @property
    def alignment(self) -> int:
        """Bytes: offsets and lengths of requests had better be multiples of it (blk_get_request_alignment)."""
        return self.user.node.limits.request

    @property
    def flags(self) -> ExportFlag:
        """What clients can do, without what the handshake adds (nbd_export_create, nbd/server.c, QEMU 10.0)."""
        from qbitsim.nbd.protocol import ExportFlag  # noqa: PLC0415 - for those who have clients

        flags = ExportFlag.HAS_FLAGS | ExportFlag.SEND_FLUSH | ExportFlag.SEND_FUA | ExportFlag.SEND_CACHE
        if self.multi:
            flags |= ExportFlag.CAN_MULTI_CONN
        if not self.writable:
            return flags | ExportFlag.READ_ONLY
        return flags | ExportFlag.SEND_TRIM | ExportFlag.SEND_WRITE_ZEROES | ExportFlag.SEND_FAST_ZERO

    def delay(self, operation: str, offset: int, length: int) -> int:
        """Nanoseconds that a request takes by limits of the nodes and by faults.

        :param operation: of :data:`qbitsim.argument_types.OPERATIONS`.
        """
        node = self.user.node
        limited = node.delay(operation, length) if operation in ("read", "write") else 0
        slow = sum(each.nanoseconds for each in self.slow_reads if each.strikes(self.name, operation))
        owner = node.fault_owner
        rules: Faults | None = owner.faults if owner is not None else None
        return limited + slow + (rules.delay(operation, offset, length) if rules is not None else 0)
