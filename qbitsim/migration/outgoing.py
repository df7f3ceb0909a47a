"""A guest that leaves: the source's side of a migration (migration/migration.c, QEMU 10.0).

Theory of operation
===================

1. :meth:`Outgoing.start` connects; the rest happens in tasks of the scheduler, between those of jobs.
   A guest here has no memory: it takes one pass, :data:`ITERATION` long if there are bitmaps.
2. Bitmaps are busy from then on. Their content goes last, when the guest has stopped; in postcopy after the destination
   has taken the guest over.
3. The images are given away (:func:`.inactivate_all`) before the destination is told to take them.
4. Whatever fails before that lets the guest run on here, and nothing has changed but the event log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.block.activation import activate_all, inactivate_all, is_inactive
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.migration.bitmaps import SentBitmap, bitmaps_to_send, release
from qbitsim.migration.settings import END_OF_MEMORY, PAGE
from qbitsim.migration.stream import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.engine.scheduler import Task
    from qbitsim.files.network import Connection
    from qbitsim.jsontypes import Json
    from qbitsim.migration.roles import MigratingMachine

MILLISECOND = 1_000_000
ITERATION = 100 * MILLISECOND
"""Nanoseconds that the first pass lasts if there are bitmaps to send: that of QEMU's rate limit (BUFFER_DELAY)."""

STARTED = frozenset({"setup", "active", "pre-switchover", "device", "postcopy-active", "cancelling", "failing"})
"""When a migration is under way (migration_is_running)."""


class Outgoing:
    """The last migration away from a machine.

    :ivar status: QAPI's MigrationStatus.
    :ivar error: why it failed, None if it did not.
    """

    __slots__ = (
        *("_began", "_bitmaps", "_channel", "_guest_was", "_machine", "_passes", "_postcopy", "_setup", "_stopped"),
        *("_task", "_times", "error", "status"),
    )

    def __init__(self, machine: MigratingMachine) -> None:
        self._machine = machine
        self.status = "none"
        self.error: str | None = None
        self._channel: Channel | None = None
        self._bitmaps: list[SentBitmap] = []
        self._task: Task | None = None
        self._guest_was: str | None = None
        self._passes = 0
        self._postcopy = False
        self._began = self._setup = self._stopped = 0
        self._times: dict[str, int] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Outgoing:
        """Refuse while there is somebody at the other end.

        :raises UnsupportedError: there is.
        """
        if self._channel is not None:
            raise UnsupportedError("a snapshot of a machine that migrates")
        twin = Outgoing(memo[id(self._machine)])
        twin.status, twin.error, twin._times, twin._passes = self.status, self.error, dict(self._times), self._passes
        return twin

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status in STARTED

    def check_can_start(self) -> None:
        """Refuse a migration that cannot begin now (migrate_prepare).

        :raises QmpError: there is one, or the guest is not here.
        """
        if self.under_way:
            raise QmpError("There's a migration process in progress")
        if self._machine.run_state == "inmigrate":
            raise QmpError("Guest is waiting for an incoming migration")
        if self._machine.run_state == "postmigrate":
            raise QmpError("Can't migrate the vm that was paused due to previous migration")

    def start(self, connect: Callable[[], Connection], *, is_answered: bool = True) -> None:
        """Begin a migration; :meth:`check_can_start` says that it can.

        :param connect: makes the connection to the destination; OSError, with QEMU's text, if it cannot.
        :param is_answered: the destination answers on it.
        """
        self.error, self._passes, self._postcopy, self._guest_was = None, 0, False, None
        self._began, self._times = self._now, {}
        self._become("setup")
        try:
            self._channel = Channel(connect(), is_answered=is_answered)
        except OSError as error:
            self._fail(error.strerror or str(error))
        except QmpError as error:
            self._fail(error.desc)
        else:
            self._next(self._begin, "begins")

    @property
    def _now(self) -> int:
        return self._machine.scheduler.now

    def _become(self, status: str) -> None:
        self.status = status
        if "events" in self._machine.migration.capabilities:
            self._machine.emit("MIGRATION", {"status": status})

    def _pass(self) -> None:
        """The memory was looked through once more."""
        self._passes += 1
        if "events" in self._machine.migration.capabilities:
            self._machine.emit("MIGRATION_PASS", {"pass": self._passes})

    def _next(self, step: Callable[[], None], label: str, delay: int = 0) -> None:
        self._task = self._machine.scheduler.after(delay, step, f"migration {label}")

    def _ask(self, frame: Json) -> None:
        assert self._channel is not None
        self._channel.ask(frame)

    # -- the steps

    def _begin(self) -> None:
        settings = self._machine.migration
        try:
            if "dirty-bitmaps" in settings.capabilities:
                self._bitmaps = bitmaps_to_send(self._machine.graph, settings)
            self._ask({"kind": "begin", "postcopy": "postcopy-ram" in settings.capabilities})
            for sent in self._bitmaps:
                self._ask(sent.header)
        except QmpError as error:
            self._fail(error.desc)
            return
        self._times["setup-time"] = self._milliseconds(self._began)
        if self._machine.profile.migration_counts_outer_passes:
            self._pass()
            self._become("active")
        else:
            self._become("active")
            self._passes += 1
            self._pass()
        self._next(self._stop_guest, "stops the guest", ITERATION if self._bitmaps else 0)

    def _stop_guest(self) -> None:
        machine = self._machine
        self._stopped, self._guest_was = self._now, machine.run_state
        machine.stop("finish-migrate")
        machine.run_state = "finish-migrate"
        if "pause-before-switchover" in machine.migration.capabilities and not self._postcopy:
            self._task = None
            self._become("pre-switchover")
        else:
            self._switch_over()

    def _switch_over(self) -> None:
        machine = self._machine
        if machine.profile.migration_always_says_device or self.status == "pre-switchover":
            self._become("device")
        if machine.profile.migration_counts_outer_passes:
            self._pass()
        try:
            if not self._postcopy:
                self._send_bits()
            self._give_away()
            if self._postcopy:
                self._become("postcopy-active")
                self._next(self._finish_postcopy, "sends bitmaps", self._time_in_postcopy)
                return
            self._ask({"kind": "end"})
        except QmpError as error:
            self._fail(error.desc)
            return
        self._complete()

    def _give_away(self) -> None:
        try:
            inactivate_all(self._machine.graph)
        except (QmpError, OSError):
            raise QmpError("Block inactivate failed during switchover") from None
        self._ask({"kind": "switchover", "running": self._guest_was == "running", "postcopy": self._postcopy})
        self._times["downtime"] = self._milliseconds(self._stopped)

    def _send_bits(self) -> None:
        for sent in self._bitmaps:
            self._ask(sent.content)

    @property
    def _time_in_postcopy(self) -> int:
        """Nanoseconds that the bitmaps take by ``max-bandwidth``; a pass of QEMU's rate limit at least."""
        if not self._bitmaps:
            return 0
        length = sum(each.bytes_of_bits for each in self._bitmaps)
        bandwidth = self._machine.migration.parameters["max-bandwidth"]
        return max(ITERATION, length * 1000 * MILLISECOND // bandwidth if bandwidth else 0)

    def _finish_postcopy(self) -> None:
        """The guest runs at the destination: whatever fails now, it is not here any more.

        All bitmaps are complete at once (dirty_bitmap_save_complete, migration/block-dirty-bitmap.c, QEMU 10.0).
        """
        try:
            self._send_bits()
            self._ask({"kind": "end"})
        except QmpError as error:
            self._fail(error.desc)
        else:
            self._complete()

    def _complete(self) -> None:
        self._times["total-time"] = self._milliseconds(self._began)
        self._let_go()
        self._machine.run_state = "postmigrate"
        self._become("completed")

    def _let_go(self) -> None:
        """The other end and the bitmaps are no longer used."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._channel is not None:
            self._times["transferred"] = self._channel.sent
            self._channel.close()
            self._channel = None
        release(self._bitmaps)
        self._bitmaps = []

    def _fail(self, reason: str) -> None:
        self.error = reason
        self._machine.graph.complain(reason)
        if self._machine.profile.migration_fails_in_two_steps:
            self._become("failing")
        self._let_go()
        self._become("failed")
        if self._times.get("downtime") is None or not self._postcopy:
            self._take_back()

    def _take_back(self) -> None:
        """The guest goes on here as it was."""
        if is_inactive(self._machine.graph):
            try:
                activate_all(self._machine.graph)
            except QmpError as error:  # the destination has the images: the guest is there
                self.error = f"{self.error}; {error.desc}"
                self._machine.run_state = "postmigrate"
                return
        if self._guest_was is not None:
            self._machine.resume(self._guest_was)

    # -- what clients ask for

    def cancel(self) -> None:
        """Give it up; nothing if there is none (migration_cancel).

        :raises QmpError: the guest runs at the destination already.
        """
        if not self.under_way:
            return
        if self.status == "postcopy-active":
            raise QmpError("Postcopy migration in progress, cannot cancel.")
        self._become("cancelling")
        self._let_go()
        self._take_back()
        self._become("cancelled")

    def abandon(self) -> None:
        """The process ends (migration_shutdown)."""
        if self.under_way:
            self._become("cancelling")
            self._let_go()

    def go_on(self, state: str) -> None:
        """Let it go on that waits in a state.

        :raises QmpError: it does not wait there.
        """
        if self.status != state:
            raise QmpError(f"Migration not in expected state: {self.status}")
        if state == "pre-switchover":
            self._next(self._switch_over, "switches over")

    def start_postcopy(self) -> None:
        """Let the destination run the guest before the bitmaps are there.

        :raises QmpError: there is no such migration.
        """
        if self._machine.migration.capabilities.isdisjoint({"postcopy-ram", "dirty-bitmaps"}):
            raise QmpError("Enable postcopy with migrate_set_capability before the start of migration")
        if self.status == "none":
            raise QmpError("Postcopy must be started after migration has been started")
        self._postcopy = True

    # -- what it shows

    def _milliseconds(self, since: int) -> int:
        return (self._now - since) // MILLISECOND

    def describe(self) -> Json:
        """What query-migrate tells; ``ram`` has only those members that are not 0."""
        if self.status == "none":
            return {}
        shown: Json = {"status": self.status}
        if self.status == "failed" and self.error is not None:
            shown["error-desc"] = self.error
        if self.status in ("setup", "failed", "cancelled", "failing"):
            return shown
        total = self._times.get("total-time", self._milliseconds(self._began))
        shown |= {"setup-time": self._times.get("setup-time", 0), "total-time": total, "ram": self._counted}
        if "downtime" in self._times:
            shown["downtime"] = self._times["downtime"]
        else:
            shown["expected-downtime"] = self._machine.migration.parameters["downtime-limit"]
        return shown

    @property
    def _counted(self) -> dict[str, int]:
        sent = self._channel.sent if self._channel is not None else self._times.get("transferred", 0)
        ended = {"downtime-bytes": END_OF_MEMORY} if self.status == "completed" else {}
        return {"transferred": sent, "dirty-sync-count": self._passes, "page-size": PAGE, **ended}
