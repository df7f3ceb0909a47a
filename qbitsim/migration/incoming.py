"""A guest that comes: the destination's side of a migration (process_incoming_migration_co, QEMU 10.0).

Bytes go in by :meth:`Incoming.feed`, and what it returns goes back; sockets are other people's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.block.activation import activate_all
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.migration.bitmaps import LoadedBitmaps
from qbitsim.migration.stream import MAGIC, FrameReader, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.jsontypes import Json
    from qbitsim.migration.roles import MigratingMachine


_LOST_IN_POSTCOPY = (
    "postcopy_ram_listen_thread: loadvm failed during postcopy: -5. All states are migrated except dirty bitmaps. Some "
    "dirty bitmaps may be lost, and present migrated dirty bitmaps are correctly migrated and valid."
)
"""The guest is here, and goes on (postcopy_ram_listen_thread, migration/savevm.c, QEMU 10.0)."""

_FIELDS: dict[str, dict[str, type]] = {
    "begin": {"postcopy": bool},
    "bitmap": {"node": str, "name": str, "granularity": int, "size": int, "enabled": bool, "persistent": bool},
    "bits": {"node": str, "name": str, "ranges": list},
    "switchover": {"running": bool, "postcopy": bool},
    "end": {},
}
"""Kind of frame -> its members and their types."""


class Incoming:
    """What a machine waits for that was started with ``-incoming``.

    :param machine: in the run state ``inmigrate``.
    :param autostart: whether the guest runs when it is there, if it ran before (no ``-S``); ``stop`` and ``cont``
        change it.
    :ivar status: QAPI's MigrationStatus.
    :ivar address: where it listens, as a SocketAddress; None as long as it does not.
    :ivar exits_on_error: the process ends if it fails.
    :ivar error: why it failed, None if it did not.
    """

    __slots__ = (
        *("_bitmaps", "_machine", "_reader", "address", "autostart", "error", "exits_on_error"),
        *("leave", "status"),
    )

    def __init__(self, machine: MigratingMachine, *, autostart: bool = True) -> None:
        self._machine = machine
        self.autostart = autostart
        self.status = "none"
        self.address: Json | None = None
        self.exits_on_error = True
        self.error: str | None = None
        self._reader = FrameReader()
        self._bitmaps = LoadedBitmaps(machine.graph, machine.migration)
        self.leave: Callable[[], None] = _nothing

    def __deepcopy__(self, memo: dict[int, Any]) -> Incoming:
        """Refuse: what a machine waits for cannot be had twice.

        :raises UnsupportedError: it still waits.
        """
        if self.status not in ("completed", "failed"):
            raise UnsupportedError("a snapshot of a machine that waits for a migration")
        twin = Incoming(memo[id(self._machine)], autostart=self.autostart)
        twin.status, twin.error, twin.address = self.status, self.error, self.address
        return twin

    @property
    def may_listen(self) -> bool:
        """Whether nobody has said yet where it is to listen."""
        return self.status == "none"

    def listen(self, address: Json | None) -> None:
        """It listens there from now on."""
        self.address = address
        self._become("setup")

    def _become(self, status: str) -> None:
        self.status = status
        if "events" in self._machine.migration.capabilities:
            self._machine.emit("MIGRATION", {"status": status})

    def connected(self) -> None:
        """The source is there."""
        self._become("active")

    def feed(self, data: bytes) -> bytes:
        """Take what the source says; the answer. If it has failed or ended, the connection is to be closed then."""
        greeted = self._reader.greeted
        answers = b""
        try:
            frames = self._reader.feed(data)
            if self._reader.greeted and not greeted:
                answers += MAGIC
            for frame in frames:
                self._take(frame)
                answers += encode({})
        except QmpError as error:
            self._fail(error.desc)
            if self._reader.greeted:
                answers += encode({"error": error.desc})
        return answers

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.status in ("completed", "failed")

    def abandon(self) -> None:
        """The process ends: bitmaps that are not complete are not stored (migration_shutdown)."""
        self._bitmaps.give_up()
        self._stop_listening()

    def hung_up(self) -> None:
        """The source has gone."""
        if not self.over:
            started = self._reader.greeted
            self._fail("load of migration failed: Input/output error" if started else "Not a migration stream")

    def _take(self, frame: Json) -> None:
        kind = frame.get("kind")
        fields = _FIELDS.get(kind) if isinstance(kind, str) else None
        if fields is None or any(type(frame.get(name)) is not expected for name, expected in fields.items()):
            raise QmpError("Not a migration stream")
        if kind == "bitmap":
            self._bitmaps.announce(frame)
        elif kind == "bits":
            self._bitmaps.fill(frame)
        elif kind == "switchover":
            self._take_over(running=frame["running"], postcopy=frame["postcopy"])
        elif kind == "end":
            self._end()

    def _take_over(self, *, running: bool, postcopy: bool) -> None:
        """The images are this machine's from now on, and the guest runs if it did (process_incoming_migration_bh).

        Images that cannot be had leave the guest paused, and a later ``cont`` tries again.
        """
        if postcopy:
            self._become("postcopy-active")
        try:
            activate_all(self._machine.graph)
        except QmpError as error:
            self._machine.graph.complain(error.desc)
            self.autostart = False
        self._bitmaps.before_start()
        if running and self.autostart:
            self._machine.resume("running")
        else:
            self._machine.run_state = "paused"

    def _end(self) -> None:
        self._become("completed")
        self._stop_listening()

    def _fail(self, reason: str) -> None:
        self._bitmaps.give_up()
        if self.status == "postcopy-active":
            self._machine.graph.complain(_LOST_IN_POSTCOPY)
            self._end()
            return
        self.error = reason
        self._machine.graph.complain(reason)
        self._become("failed")
        self._stop_listening()
        if self.exits_on_error and self._machine.run_state == "inmigrate":
            self._machine.crash()

    def _stop_listening(self) -> None:
        leave, self.leave = self.leave, _nothing
        leave()

    def describe(self, *, shows_setup: bool) -> Json:
        """What query-migrate tells.

        :param shows_setup: also before the source is there.
        """
        shown: Json = {}
        if self.status != "none" and (shows_setup or self.status != "setup"):
            shown["status"] = self.status
        if self.status == "failed" and self.error is not None:
            shown["error-desc"] = self.error
        if self.status == "setup" and self.address is not None:
            shown["socket-address"] = [self.address]
        return shown


def _nothing() -> None:
    """Nobody listens."""
