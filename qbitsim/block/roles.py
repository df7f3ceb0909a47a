"""What the parts of the block layer ask of each other, where one of two has to be known before the other.

A node holds edges, and edges lead to nodes; a node is in a graph, and a graph is made of nodes. In each such pair the
lower one knows the upper one by a protocol of what it asks of it, so that no module imports itself by way of others.
"""

from __future__ import annotations

from qbitsim.light_typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.request import GuestRequest
    from qbitsim.block.waiting import WaitingRequests
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.images.store import ImageStore
    from qbitsim.jsontypes import Json


class Named(Protocol):
    """What an edge asks of the node that it leads to."""

    name: str


class Layer(Protocol):
    """What a request asks of the backing file of its node."""

    @property
    def length(self) -> int:
        """Bytes of the disk."""


class Readable(Protocol):
    """What has bytes of a disk: a node, or the content of an image."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""


class ReadPart:
    """A part of a range that is read, and who has it; bytes."""

    __slots__ = ("length", "offset", "source")

    def __init__(self, source: Readable, offset: int, length: int) -> None:
        self.source = source
        self.offset = offset
        self.length = length


class Parent(Protocol):
    """What an edge asks of whoever holds it: another node, a drive, a job, an export."""

    @property
    def parent_description(self) -> str:
        """How messages call it: ``node 'n0'``, ``block device 'drive0'``, ``backup job 'j'``."""

    @property
    def device_name(self) -> str:
        """The id of the drive that it is, or an empty string."""

    def drained_begin(self) -> None:
        """Stop sending requests until :meth:`drained_end`; calls nest."""

    def drained_end(self) -> None:
        """The counterpart of :meth:`drained_begin`."""

    def drained_poll(self) -> None:
        """Finish what is in flight, so that the node is quiet."""


class GuestDevice(Protocol):
    """What a drive asks of the guest's device that uses it; see :class:`qbitsim.devices.device.Device`."""

    @property
    def name(self) -> str:
        """What messages call it: its id or its QOM path."""

    @property
    def path(self) -> str:
        """Its QOM path."""

    @property
    def removable(self) -> bool:
        """Whether the medium can be taken out."""

    @property
    def tray_open(self) -> bool | None:
        """Whether the tray is open, None if there is none."""

    @property
    def keeps_io_status(self) -> bool:
        """Whether it can stop the guest when a request fails."""

    def move_tray(self, *, is_open: bool) -> None:
        """Open or close the tray, and tell clients if it moves."""

    def request_failed(self, request: GuestRequest, error: OSError) -> None:
        """A request of the guest failed.

        :raises OSError: the guest is told.
        :raises WouldWaitError: the guest is stopped, and the request is made again when it goes on.
        """

    def guest_continues(self) -> None:
        """Make the requests again that stopped the guest."""

    def guest_resets(self) -> None:
        """Forget them."""


class Surroundings(Protocol):
    """What a node asks of the graph that it is in.

    :ivar caller_waits: whoever makes a request now waits by himself for a server that is away.
    :ivar drivers_drain_in_coroutines: bottom halves run while a driver that takes part becomes quiet.
    :ivar drives_unmap_zeroes: zeroing through a drive frees clusters even if its node was not opened to do so.
    :ivar emit: called with the name and the data of each event.
    :ivar hide_filters: names of drives mean what is below the filters that QEMU put there by itself (QEMU of old).
    :ivar images: where the names of files are looked up.
    :ivar opens_inactive: what is opened belongs to another process until it is activated.
    :ivar lengths_followed_by: the drivers whose nodes are as long as their children are now.
    :ivar links: how often an edge was led to a node.
    :ivar reopen_asks_for_length: a node that is reopened is asked how long it is.
    :ivar scheduler: the clock of the machine.
    :ivar waiting: requests of guests that wait for the end of a drained section.
    """

    caller_waits: bool
    drivers_drain_in_coroutines: bool
    drives_unmap_zeroes: bool
    emit: Callable[[str, Json], None]
    hide_filters: bool
    images: ImageStore
    lengths_followed_by: frozenset[str]
    links: int
    opens_inactive: bool
    reopen_asks_for_length: bool
    scheduler: Scheduler
    waiting: WaitingRequests
