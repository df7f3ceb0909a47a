"""One device of the guest, with its drive and the requests that it holds."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from qbitsim.errors import WouldWaitError
from qbitsim.files.faults import StalledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.request import GuestRequest
    from qbitsim.devices.buses import Bus
    from qbitsim.devices.types import DeviceType
    from qbitsim.jsontypes import Json


class GuestStoppedError(WouldWaitError):
    """A request failed and stopped the guest; its device makes it again when the guest goes on."""

    is_kept = True

    def __init__(self, device: Device) -> None:
        super().__init__(f"qbitsim does not wait: an I/O error on {device.path} stopped the guest, until cont")
        self._device = device

    def when_over(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once the request was made again."""
        self._device.when_made_again(go_on)


class Device:
    """A device.

    :ivar id: empty for an anonymous one.
    :ivar path: its QOM path.
    :ivar bus: where it sits, None before it is plugged in; ``place`` its place there.
    :ivar given: the options that it was made of, and whether they have types; None for a device of the board.
    :ivar values: its properties as they were given.
    :ivar brought: the buses that it brings.
    :ivar drive: what it uses, None for a device without a disk.
    :ivar leaving: somebody asked the guest to let it go.
    :ivar gone: it is no longer in the tree; its drive may live on for a moment.
    """

    __slots__ = (
        *(
            "_graph",
            "_held",
            "_names_path",
            "_waiting",
            "brought",
            "bus",
            "drive",
            "given",
            "gone",
            "has_open_tray",
            "id",
            "leaving",
        ),
        *("path", "place", "type", "values"),
    )

    def __init__(self, kind: DeviceType, identifier: str, path: str, graph: Graph, *, names_path: bool) -> None:
        self.type = kind
        self.id = identifier
        self.path = path
        self.bus: Bus | None = None
        self.given: tuple[dict[str, Any], bool] | None = None
        self.values: dict[str, Any] = {}
        self.place: object = None
        self.brought: list[Bus] = []
        self.drive: Drive | None = None
        self.leaving = False
        self.gone = False
        self.has_open_tray = False
        self._graph = graph
        self._names_path = names_path
        self._held: list[GuestRequest] = []
        self._waiting: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Device {self.path} {self.type.name}>"

    @property
    def disk_path(self) -> str:
        """The QOM path of the part that has the disk, or the bus."""
        if self.type.backend:
            return f"{self.path}/virtio-backend"
        if self.type.name == "usb-storage" and self.brought:
            return f"{self.path}/{self.brought[0].name}/legacy[0]"
        return self.path

    @property
    def iothread(self) -> str | None:
        """The thread in which its requests run: its own, or that of the controller; None for the main loop."""
        owner = self.bus.owner if self.bus is not None else None
        own: str | None = self.values.get("iothread") or None
        return own if own is not None or owner is None else owner.iothread

    # -- what its drive asks

    @property
    def name(self) -> str:
        """What messages and query-block call it: its id, or the path of the part with the disk."""
        if self.id and self.disk_path == self.path:
            return self.id
        return "" if self.gone else self.disk_path

    @property
    def removable(self) -> bool:
        """Whether the medium can be taken out."""
        traits = self.type.disk
        return traits is not None and (traits.removable or bool(self.values.get("removable")))

    @property
    def tray_open(self) -> bool | None:
        """Whether the tray is open, None if there is none."""
        traits = self.type.disk
        has_tray = traits is not None and (traits.has_tray or bool(self.values.get("removable")))
        return self.has_open_tray if has_tray else None

    @property
    def keeps_io_status(self) -> bool:
        """Whether it can stop the guest when a request fails."""
        return self.type.disk is not None and self.type.disk.keeps_io_status

    def move_tray(self, *, is_open: bool) -> None:
        """Open or close the tray, and tell clients if it moves."""
        assert self.drive is not None
        if is_open != self.has_open_tray:
            self.has_open_tray = is_open
            data: Json = {"device": self.drive.id, "tray-open": is_open, "id": self.name}
            self._graph.emit("DEVICE_TRAY_MOVED", data)

    def request_failed(self, request: GuestRequest, error: OSError) -> None:
        """Do what ``rerror`` or ``werror`` says (blk_get_error_action and blk_error_action, block/block-backend.c).

        :raises OSError: the guest is told.
        :raises GuestStoppedError: the guest is stopped.
        """
        assert self.drive is not None
        is_read = request.operation == "read"
        action = self.drive.on_read_error if is_read else self.drive.on_write_error
        if action == "enospc":
            action = "stop" if error.errno == errno.ENOSPC else "report"
        if action == "stop" and self.drive.shows_io_status and self.drive.io_status == "ok":
            self.drive.io_status = "nospace" if error.errno == errno.ENOSPC else "failed"
        self._graph.emit("BLOCK_IO_ERROR", self._error_event(error, is_read=is_read, action=action))
        if action == "report":
            raise error
        if action == "stop":
            self._held.append(request)
            self._graph.scheduler.soon(self._stop_guest, f"{self.path} stops the guest")
            raise GuestStoppedError(self)

    def _error_event(self, error: OSError, *, is_read: bool, action: str) -> Json:
        drive = self.drive
        assert drive is not None
        assert error.errno is not None
        data: Json = {"qom-path": self.disk_path} if self._names_path else {}
        data["device"] = drive.id
        if drive.root is not None:
            data["node-name"] = drive.root.node.name
        data |= {"operation": "read" if is_read else "write", "action": action}
        if drive.shows_io_status:
            data["nospace"] = error.errno == errno.ENOSPC
        return data | {"reason": os.strerror(error.errno)}

    def _stop_guest(self) -> None:
        self._graph.stop_guest("io-error")

    def guest_continues(self) -> None:
        """Make the requests again that stopped the guest, after the reply of the command that lets it go on."""
        if self._held:
            self._graph.scheduler.soon(self._make_again, f"{self.path} tries again")

    def guest_resets(self) -> None:
        """Forget them."""
        self._held.clear()
        self._tell_waiting()

    def when_made_again(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once all requests are made that stopped the guest, as a bottom half."""
        self._waiting.append(go_on)

    def _make_again(self) -> None:
        assert self.drive is not None
        held, self._held = self._held, []
        for request in held:
            try:
                _make(request, self.drive)
            except StalledError as error:
                self._held.append(request)
                error.stall.hold(self._make_again)
            except WouldWaitError as error:
                if not error.is_kept:
                    self._held.append(request)
                    error.when_over(self._make_again)
            except OSError:
                continue  # the guest is told of this one
        if not self._held:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            self._graph.scheduler.bottom_half(go_on)


def _make(request: GuestRequest, drive: Drive) -> None:
    """Make a request once more.

    :raises OSError: it fails again, and the guest is told.
    :raises QmpError: it has to wait.
    """
    match request.operation:
        case "read":
            drive.read(request.offset, request.length)
        case "write":
            drive.write(request.offset, request.data, compressed=request.compressed)
        case "write-zeroes":
            drive.write_zeroes(request.offset, request.length, unmap=request.unmap)
        case "discard":
            drive.discard(request.offset, request.length)
        case _:
            drive.flush()
