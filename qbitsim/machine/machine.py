"""A machine: one QEMU, without the guest and without the host.

Nothing happens behind the caller's back. A command runs when it is given; jobs go on in :meth:`Machine.step`,
:meth:`Machine.run_until_idle` and :meth:`Machine.advance`; time moves only in the last one. Events collect
in :attr:`Machine.events`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qbitsim.block.drive import Drive
from qbitsim.block.graph import Graph
from qbitsim.block.node import Node
from qbitsim.commands.context import Context
from qbitsim.commands.monitor import version_info
from qbitsim.commands.offered import registry_for
from qbitsim.control.registry import controlled_registry_for
from qbitsim.drivers.opener import Opener
from qbitsim.drivers.options import Options
from qbitsim.engine.events import EventLog
from qbitsim.engine.scheduler import NANOSECONDS, Policy, Scheduler, first_in_first_out
from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.images.store import ImageStore
from qbitsim.jobs.job_list import JobList
from qbitsim.jsontypes import Json, JsonObject, JsonValue
from qbitsim.machine.guest import GuestActivity, spread
from qbitsim.machine.injection import FaultInjection, Refusal
from qbitsim.machine.served import Served
from qbitsim.machine.state import Stateful
from qbitsim.machine.until import Waiting
from qbitsim.machine.watched import Watched
from qbitsim.migration.settings import MigrationSettings
from qbitsim.nbd.exports import Exports
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.profiles import profile as profile_called
from qbitsim.qapi.registry import Command, Registry
from qbitsim.qmp.control import Control, Handle
from qbitsim.qmp.monitor_faults import MonitorFault
from qbitsim.sizes import parse_size

PACINGS = ("manual", "immediate")
"""How a machine goes on by itself: not at all, or to the end after each command."""

EPOCH = 1_447_192_343
"""Seconds: the time of the day at which a machine is made, unless told otherwise."""


NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What QEMU shows of a guest without one."""


class Machine(FaultInjection, Stateful, Served, Waiting, Watched):
    """One emulated QEMU process.

    :param profile: which release it is, a record or the name of one, such as ``"7.2"`` (see :data:`.PROFILES`).
    :param images: the files that it sees; an empty store if not given.
    :param policy: chooses among the tasks that are due; first in, first out if not given.
    :param epoch: seconds since 1970 at the machine's start, for the timestamps of events.
    :param running: whether the guest runs at the start (QEMU's ``-S`` means False).
    :param pacing: ``"manual"``: things go on when told to; ``"immediate"``: :meth:`settle` after each command.
    :param control: whether clients may use qbitsim's own commands; see :mod:`qbitsim.control.time`.
    :raises ValueError: for an unknown profile or pacing.
    """

    __slots__ = (
        "_epoch",
        "_stdout",
        "closing",
        "events",
        "exports",
        "graph",
        "guest_name",
        "guest_uuid",
        "handles",
        "images",
        "jobs",
        "migration",
        "monitor_faults",
        "pacing",
        "profile",
        "refusals",
        "registry",
        "run_state",
        "scheduler",
        "waited",
    )

    def __init__(
        self,
        profile: str | Profile = DEFAULT_PROFILE,
        *,
        images: ImageStore | None = None,
        policy: Policy = first_in_first_out,
        epoch: int = EPOCH,
        running: bool = True,
        pacing: str = "manual",
        control: bool = False,
    ) -> None:
        if pacing not in PACINGS:
            raise ValueError(f"unknown pacing {pacing!r}: choose one of {', '.join(PACINGS)}")
        self.profile: Profile = profile_called(profile)
        self.registry: Registry = (controlled_registry_for if control else registry_for)(self.profile)
        self.images = images if images is not None else ImageStore()
        self.scheduler = Scheduler(policy)
        self.events = EventLog()
        self.graph = Graph(self.images, self.scheduler)
        self.graph.emit = self.emit
        self.graph.drains_on_change = self.profile.graph_changes_drain
        self.graph.hide_filters = self.profile.backup_filter_hidden
        self.jobs = JobList(self.graph, self.scheduler, self.profile, self.emit)
        self.exports = Exports(self.graph, self.emit, oldest_first=self.profile.exports_go_oldest_first)
        self.run_state = "running" if running else "prelaunch"
        self.guest_name: str | None = None
        self.guest_uuid = NO_UUID
        self.migration = MigrationSettings()
        self.refusals: list[Refusal] = []
        self.pacing = pacing
        self.journal = None
        self.control = Control() if control else None
        self.handles: dict[str, Handle] = {}
        self.monitor_faults: list[MonitorFault] = []
        self.closing = False
        self.waited = 0
        self._epoch = epoch * NANOSECONDS
        self._stdout: list[str] = []

    def __repr__(self) -> str:
        return f"<Machine {self.profile.name} drives={list(self.graph.drives)} jobs={self.jobs.jobs}>"

    # -- disks

    def add_disk(
        self,
        identifier: str,
        size: int | str | None = None,
        *,
        format: str = "qcow2",  # noqa: A002 - QEMU's word
        node_name: str | None = None,
        file: str | None = None,
        cluster_size: int = 65536,
        backing: str | None = None,
        discard: bool = False,
        read_only: bool = False,
    ) -> Drive:
        """Give the machine a drive, on a new image file unless ``file`` exists.

        :param identifier: the drive's id, such as ``"drive0"``.
        :param size: bytes, or a text such as ``"64M"``; not needed if ``file`` exists or has a ``backing`` file.
        :param format: ``"qcow2"`` or ``"raw"``.
        :param file: the image's name; ``drive0.qcow2`` if not given.
        :param backing: the name of the backing file of a new image.
        :param discard: pass discards on (``discard=unmap``).
        :raises QmpError: as QEMU refuses it, for instance for an id that is taken.
        :raises ValueError: for a size that is no number, or none at all; for an unknown format.
        :raises OSError: the backing file does not exist.
        """
        self._check_new_drive(identifier)
        name = file if file is not None else f"{identifier}.{format}"
        if format not in ("raw", "qcow2"):
            raise ValueError(f"unknown disk format {format!r}: choose raw or qcow2")
        if name not in self.images:
            if size is None and backing is None:
                raise ValueError(f"disk {identifier!r} needs a size")
            length = parse_size(size) if size is not None else None
            below = self.images.backing_name(name, backing) if backing is not None else None
            self.images.create(
                name,
                format,
                length,
                backing=backing,
                backing_format=self.images.lookup(below).format if below is not None else None,
                cluster_size=cluster_size,
            )
        options: Options = {"driver": format, "read-only": read_only, "discard": "unmap" if discard else "ignore"}
        if node_name is not None:
            options["node-name"] = node_name
        return self.add_drive(identifier, self._opener().open_file(name, options))

    def add_drive(self, identifier: str, node: Node | None) -> Drive:
        """Give the machine a drive on a node that exists, or without a medium.

        :raises QmpError: for an id that is taken.
        """
        self._check_new_drive(identifier)
        return self.graph.add_drive(identifier, node)

    def _check_new_drive(self, identifier: str) -> None:
        if identifier in self.graph.drives:
            raise QmpError(f"Device with id '{identifier}' already exists")
        if identifier in self.graph.nodes:
            raise QmpError(f"Device name '{identifier}' conflicts with an existing node name")

    def add_node(self, options: Options) -> Node:
        """Make a node as ``-blockdev`` does.

        :param options: under QAPI's names: ``{"driver": "null-co", "node-name": "n0", "size": 1048576}``.
        :raises QmpError: as QEMU refuses it.
        """
        node = self._opener().open(options)
        node.monitor_owned = True
        return node

    def open_node(self, options: Options) -> Node:
        """Make a node as ``-drive`` does: without a driver it is what the file is.

        :raises QmpError: as QEMU refuses it.
        """
        opener = self._opener()
        if "driver" not in options and isinstance(options.get("file"), dict) and "filename" in options["file"]:
            options = {**options, "driver": opener.image(options["file"]["filename"]).format}
        return opener.open(options)

    def open_file(self, filename: str, options: Options) -> Node:
        """Make a node on an image file, of the format that the file has unless ``options`` say so.

        :raises QmpError: as QEMU refuses it.
        """
        return self._opener().open_file(filename, options)

    def anonymous_drive(self, *, perm: int = 0) -> Drive:
        """A user of a node without a name, for as long as the caller needs it."""
        return Drive(self.graph, "", perm=perm, shared=perms.ALL)

    def drive(self, identifier: str) -> Drive:
        """The drive of that id, for guest reads and writes.

        :raises KeyError: there is none.
        """
        return self.graph.drives[identifier]

    def guest_writes(
        self,
        drive: str,
        pattern: Iterable[tuple[int, int]] | None = None,
        *,
        every: float = 0.0,
        count: int = 100,
        length: int = 65536,
        seed: int = 0,
    ) -> GuestActivity:
        """Let the guest write by itself while other things go on.

        :param drive: the drive's id.
        :param pattern: (offset, length) of each write, in bytes; ``count`` writes of ``length`` bytes at places drawn
            from ``seed`` if not given.
        :param every: seconds of virtual time between two writes; 0 lets each be due at once, among the steps of jobs.
        :raises ValueError: there is no such drive, or a write is outside of it.
        """
        found = self.graph.drives.get(drive)
        if found is None or found.root is None:
            raise ValueError(f"there is no drive {drive!r} with a medium")
        writes = list(pattern) if pattern is not None else spread(found.size, count, length, seed)
        for offset, size in writes:
            if offset < 0 or size < 1 or offset + size > found.size:
                raise ValueError(f"a write of {size} bytes at {offset} is outside of {drive!r}")
        return GuestActivity(self, drive, writes, round(every * NANOSECONDS))

    def _opener(self) -> Opener:
        return Opener(self.graph, on_filter=self.profile.backup_bitmap_on_filter)

    # -- commands

    def qmp(self, name: str, /, **arguments: Any) -> Any:
        """Run a command by name; an underscore in an argument's name stands for a hyphen.

        Return what the reply's ``return`` holds.

        :raises QmpError: the command was refused; nothing has changed.
        """
        value = self.execute(name, {key.replace("_", "-"): value for key, value in arguments.items()})
        self._keep_pace()
        return value

    def find(self, name: str) -> Command | None:
        """The command of that name, if this profile has it."""
        return self.registry.find(name)

    def execute(self, name: str, arguments: JsonObject) -> JsonValue:
        """Run a command with arguments as they are on the wire; return the value of the reply.

        :raises QmpError: the command was refused; nothing has changed.
        """
        if self.journal is None:
            return self._execute(name, arguments)
        request: JsonObject = {"execute": name, "arguments": arguments}
        return self.journal.exchange(self.events, request, lambda: self._execute(name, arguments))

    def _execute(self, name: str, arguments: JsonObject) -> JsonValue:
        found = self.registry.find(name)
        if found is None:
            raise QmpError(f"The command {name} has not been found", "CommandNotFound")
        value: JsonValue = self._run(found, self.registry.decode(name, arguments))
        return value

    def run(self, command: object) -> Any:
        """Run a typed command, such as ``BlockDirtyBitmapAdd(node="drive0", name="b0")``.

        :raises QmpError: the command was refused; nothing has changed.
        """
        known = self.registry.command_of(command)
        if self.journal is None:
            value = self._run(known, command)
        else:
            value = self.journal.exchange(self.events, repr(command), lambda: self._run(known, command))
        self._keep_pace()
        return value

    def _keep_pace(self) -> None:
        if self.pacing == "immediate" and not self.closing:
            self.settle()

    def _run(self, command: Command, arguments: object) -> Any:
        for refusal in self.refusals:
            refusal.strike(command.name)
        self.scheduler.run_bottom_halves()
        transaction = Transaction(reverse=self.profile.transaction_commit_reversed)
        try:
            with transaction:
                value = command.handler(Context(self, transaction), arguments)
        finally:
            # The reply is sent by the main loop: one poll later (do_qmp_dispatch_bh, qapi/qmp-dispatch.c, QEMU 10.0).
            self.scheduler.poll()
        return {} if value is None else value

    def greeting(self) -> JsonObject:
        """What a monitor says first."""
        capabilities: list[JsonValue] = list(self.profile.capabilities)
        return {"QMP": {"version": version_info(self.profile), "capabilities": capabilities}}

    # -- time

    def clock(self) -> int:
        """Nanoseconds of virtual time since the machine was made."""
        return self.scheduler.now

    def step(self) -> bool:
        """Let one thing happen that is due; False if nothing is."""
        return self.scheduler.step()

    def run_until_idle(self) -> int:
        """Let everything happen that is due, without moving time; return how many steps it were."""
        return self.scheduler.run_until_idle()

    def settle(self) -> None:
        """Let everything that has been started come to its end, whatever time it takes."""
        self.run_until_idle()
        while (deadline := self.next_deadline) is not None:
            self.advance_to(deadline)

    def advance(self, seconds: float) -> None:
        """Move time, and let happen what is due on the way."""
        self.advance_to(self.scheduler.now + round(seconds * NANOSECONDS))

    def advance_to(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, and let happen what is due on the way."""
        self.scheduler.advance_to(when)

    def time_of_day(self) -> int:
        """Nanoseconds since 1970."""
        return self._epoch + self.scheduler.now

    def move_clock(self, when: int) -> None:
        """Move time to ``when`` nanoseconds, not past :attr:`next_deadline`; nothing happens yet."""
        self.scheduler.move_clock(when)

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds: when the next thing is due that waits for time to pass, or None."""
        return self.scheduler.next_deadline

    # -- events and the guest

    def emit(self, name: str, data: Json | None = None) -> None:
        """Emit an event, if this profile has it."""
        if name not in self.registry.events:
            return
        seconds, nanoseconds = divmod(self.time_of_day(), NANOSECONDS)
        event: Json = {
            "timestamp": {"seconds": seconds, "microseconds": nanoseconds // 1000},
            "event": name,
        }
        if data is not None:
            event["data"] = data
        self.events.append(event)
        if self.scheduler.observer is not None:
            self.scheduler.observer.emitted(event)

    @property
    def running(self) -> bool:
        """Whether the guest runs."""
        return self.run_state == "running"

    def stop(self) -> None:
        """Stop the guest, and drain and flush all nodes, even if it does not run (do_vm_stop, system/cpus.c)."""
        if self.running:
            self.run_state = "paused"
            self.emit("STOP")
        self.graph.drain_all()
        self.scheduler.run_bottom_halves()  # bdrv_flush_all polls

    def cont(self) -> None:
        """Let the guest run."""
        if not self.running:
            self.run_state = "running"
            self.emit("RESUME")

    def reset(self) -> None:
        """Reset the guest (qemu_system_reset, system/runstate.c, QEMU 10.0)."""
        reason = "host-qmp-system-reset"
        self.emit("RESET", {"guest": False, "reason": reason} if self.profile.shutdown_event_has_data else None)
        if not self.running:
            self.run_state = "prelaunch"

    def power_down(self) -> None:
        """Press the guest's power button: nobody there listens, but clients are told."""
        self.emit("POWERDOWN")

    def shut_down(self, reason: str = "host-qmp-quit") -> None:
        """End cleanly: cancel the jobs, close the images, which stores persistent bitmaps.

        :param reason: QAPI's ShutdownCause: ``"host-signal"`` if a signal ends the process.
        """
        if self.closing:
            return
        self.jobs.check_not_stalled()
        data = {"guest": False, "reason": reason} if self.profile.shutdown_event_has_data else None
        self.emit("SHUTDOWN", data)
        self.exports.stop()
        for _ in range(self.profile.drains_at_quit - 1):
            self.graph.drain_all()
            self.scheduler.run_bottom_halves()  # bdrv_flush_all polls
        # Jobs are cancelled while everything is quiet, and stays so (qemu_cleanup, system/runstate.c, QEMU 10.0).
        self.graph.drain_all_begin()
        self.jobs.cancel_all()
        self.graph.close()
        self.closing = True

    def crash(self) -> None:
        """End as ``kill -9`` does: no goodbye, and the files stay as they are at this moment."""
        for node in self.graph.nodes.values():
            node.abandon()
        self.closing = True

    # -- what QEMU prints on its standard output

    def print(self, text: str) -> None:
        """Collect what QEMU would print (results of qemu-io)."""
        if text:
            self._stdout.append(text)

    def take_stdout(self) -> str:
        """What was printed since the last call."""
        text = "".join(self._stdout)
        self._stdout.clear()
        return text
