"""A machine: one QEMU, without the guest and without the host.

Nothing happens behind the caller's back. A command runs when it is given; jobs go on in :meth:`Machine.step`,
:meth:`Machine.run_until_idle` and :meth:`Machine.advance`; time moves only in the last one. Events collect
in :attr:`Machine.events`.

A machine is made of parts: :attr:`Machine.clock` lets it go on, :attr:`Machine.disks` gives it drives and nodes,
:attr:`Machine.faults` makes it fail. What people say most often has a name at the machine itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, get_args

from qbitsim.block.activation import activate_all, is_inactive
from qbitsim.block.graph import Graph
from qbitsim.commands.character_devices import ONE_MONITOR
from qbitsim.commands.context import Context
from qbitsim.commands.monitor import version_info
from qbitsim.commands.offered import registry_for
from qbitsim.control.memory import Control
from qbitsim.control.registry import controlled_registry_for
from qbitsim.engine.events import EventLog
from qbitsim.engine.scheduler import NANOSECONDS, Policy, Scheduler, first_in_first_out
from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.faults import StalledError
from qbitsim.images.store import ImageStore
from qbitsim.injection.faults import FaultInjection
from qbitsim.jobs.job_list import JobList
from qbitsim.jsontypes import Json, JsonObject, JsonValue
from qbitsim.machine.clock import Clock
from qbitsim.machine.delegates import delegate
from qbitsim.machine.disks import Disks
from qbitsim.machine.state import PARTS, Snapshot, describe, differences
from qbitsim.migration.addresses import Program, as_json
from qbitsim.migration.local import LocalConnection
from qbitsim.migration.outgoing import Outgoing
from qbitsim.migration.settings import MigrationSettings
from qbitsim.nbd.exports import Exports
from qbitsim.nearest import nearest
from qbitsim.profiles import DEFAULT_PROFILE, Profile, ReleaseName
from qbitsim.profiles import profile as profile_called
from qbitsim.qapi.registry import Command, Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from qbitsim.commands.parts import ChardevLike
    from qbitsim.devices.processors import Processors
    from qbitsim.devices.tree import DeviceTree
    from qbitsim.files.fdsets import MonitorDescriptors
    from qbitsim.files.network import Address, Connection
    from qbitsim.history.history import History
    from qbitsim.injection.refusal import Refusal
    from qbitsim.migration.addresses import Place
    from qbitsim.migration.incoming import Incoming
    from qbitsim.nbd.local import LocalClient
    from qbitsim.nbd.protocol import Mode
    from qbitsim.qmp.journal import Journal
    from qbitsim.qmp.monitor_faults import MonitorFault
    from qbitsim.report.report import Report
    from qbitsim.serving.pacing import ServedPacing
    from qbitsim.serving.threads import AsyncServer, LoopThread, ThreadServer

Pacing: TypeAlias = Literal["manual", "immediate"]
"""How a machine goes on by itself: not at all, or to the end after each command."""
PACINGS: tuple[Pacing, ...] = get_args(Pacing)

MachineType: TypeAlias = Literal["none", "pc", "q35"]
MACHINE_TYPES: tuple[MachineType, ...] = get_args(MachineType)

EPOCH = 1_447_192_343
"""Seconds: the time of the day at which a machine is made, unless told otherwise."""

MEMORY = 128 << 20
"""Bytes of memory of a PC, unless told otherwise."""

_LOCALHOST = "127.0.0.1"

NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What QEMU shows of a guest without one."""


class Machine:
    """One emulated QEMU process.

    ============  ======================================================================================================
    disks         ``add_disk("drive0", "64M")``; of a drive: ``write``, ``read``, ``write_zeroes``, ``discard``
    commands      ``qmp("query-block")``, ``execute(name, arguments)``; a refusal is a ``QmpError``
    events        ``for event in machine.events``, ``events.read(cursor)``
    time          ``step``, ``run_until_idle``, ``advance(seconds)``, ``until("BLOCK_JOB_COMPLETED")``, ``settle``
    failures      ``inject_error``, ``limit_capacity``, ``delay_io``, ``stall_io``, ``refuse``, ``hold_reply``, ...
    others        ``guest_writes``, ``foreign_job``
    clients       ``serve`` in a thread, ``serve_async``, ``export_nbd``, ``connect_nbd``
    state         ``state``, ``snapshot``, ``restore``, ``==``
    what happened ``watch``, which returns a history with ``why(bitmap, offset)``; ``report``
    its end       ``with Machine() as machine``, ``close``, ``restart``, ``crash``
    ============  ======================================================================================================

    :param profile: which release it is, a record or the name of one, such as ``"7.2"`` (see :data:`.PROFILES`).
    :param images: the files that it sees; an empty store if not given.
    :param policy: chooses among the tasks that are due; first in, first out if not given.
    :param epoch: seconds since 1970 at the machine's start, for the timestamps of events.
    :param running: whether the guest runs at the start (QEMU's ``-S`` means False).
    :param pacing: ``"manual"``: things go on when told to; ``"immediate"``: :meth:`settle` after each command.
    :param control: whether clients may use qbitsim's own commands; see :mod:`qbitsim.control.time`.
    :param machine_type: ``"none"``, ``"pc"`` or ``"q35"``: which buses there are for devices of the guest.
    :param incoming: it waits for a guest that migrates to it (``-incoming defer``): its images are another machine's
        until then.
    :param registry: the commands that it has, if not those of the system emulator.
    :ivar announces_images: whether it prints, as QEMU does, that a command makes an image file.
    :ivar chardevs: the character devices of the process by name.
    :ivar devices: those of the guest, None as long as there were none.
    :ivar guest_clock_stands: only a test can move the guest's clock, and none does (-accel qtest).
    :ivar networks: what network cards are connected to, by name: the kind of each.
    :ivar memory: bytes that the guest of a PC has.
    :ivar processors: those of a PC, None as long as it has the one that QEMU gives it.
    :ivar objects: what ``object-add`` made, but throttle groups: id -> arguments.
    :raises ValueError: for an unknown profile, pacing or type of machine.
    """

    __slots__ = (
        *(*PARTS, "announces_images", "control", "disks", "guest_clock_stands", "guest_name", "guest_uuid"),
        *("journal", "machine_type", "migration_host", "memory", "monitor_descriptors", "processors"),
    )

    def __init__(
        self,
        profile: ReleaseName | Profile = DEFAULT_PROFILE,
        *,
        images: ImageStore | None = None,
        policy: Policy = first_in_first_out,
        epoch: int = EPOCH,
        running: bool = True,
        pacing: Pacing = "manual",
        control: bool = False,
        machine_type: MachineType = "none",
        incoming: bool = False,
        registry: Registry | None = None,
    ) -> None:
        if pacing not in PACINGS:
            raise ValueError(f"unknown pacing {pacing!r}: choose one of {', '.join(PACINGS)}")
        if machine_type not in MACHINE_TYPES:
            raise ValueError(f"unknown type of machine {machine_type!r}: choose one of {', '.join(MACHINE_TYPES)}")
        self.machine_type: MachineType = machine_type
        self.profile: Profile = profile_called(profile)
        self.registry = registry or (controlled_registry_for if control else registry_for)(self.profile)
        self.images = images if images is not None else ImageStore()
        self.events = EventLog()
        self.clock = Clock(self, epoch)
        self.disks = Disks(self)
        self.faults = FaultInjection(self)
        self.pacing: Pacing = pacing
        self.journal: Journal | None = None
        self.control = Control() if control else None
        self.images.fdsets.explained = self.profile.fdset_refusals_explained
        self.monitor_descriptors: MonitorDescriptors | None = None
        self.announces_images = False
        self.chardevs: Mapping[str, ChardevLike] = ONE_MONITOR
        self.guest_clock_stands = False
        self.guest_name: str | None = None
        self.guest_uuid = NO_UUID
        self.migration_host: MigrationHost | None = None
        self.memory = MEMORY
        self.networks: dict[str, str] = {}
        self.processors: Processors | None = None
        self._begin(Scheduler(policy), running=running)
        if incoming:
            self.wait_for_migration(autostart=running)

    def _begin(self, scheduler: Scheduler, *, running: bool) -> None:
        """Make what ends with the process."""
        self.scheduler = scheduler
        self.graph = Graph(self.images, scheduler)
        self.graph.emit = self.emit
        self.graph.stop_guest = self.stop
        self.graph.print = self.print
        self.graph.complain = self.complain
        self.devices: DeviceTree | None = None
        self.objects: dict[str, Json] = {}
        self.migration = MigrationSettings()
        self.outgoing = Outgoing(self)
        self.incoming: Incoming | None = None
        self.graph.drains_on_change = self.profile.graph_changes_drain
        self.graph.quiet_during_change = self.profile.graph_changes_stay_quiet
        self.graph.hide_filters = self.profile.backup_filter_hidden
        self.graph.copy_before_write_always_reads = self.profile.copy_before_write_always_reads
        self.graph.drains_subtrees = self.profile.drains_subtrees
        self.graph.drivers_drain_in_coroutines = self.profile.drivers_drain_in_coroutines
        self.graph.allocation_looks_for_zeroes = self.profile.allocation_looks_for_zeroes
        self.graph.lengths_followed_by = self.profile.lengths_followed_by
        self.graph.reopen_asks_for_length = self.profile.reopen_asks_for_length
        self.graph.nbd_asks_for_extended_headers = self.profile.nbd_extended_headers
        self.graph.drives_unmap_zeroes = self.profile.drives_unmap_zeroes
        self.graph.passes_over_unused = self.profile.unused_nodes_passed_over
        self.graph.active_have_active_children = self.profile.active_nodes_have_active_children
        self.jobs = JobList(self.graph, scheduler, self.profile, self.emit)
        self.exports = Exports(self.graph, self.emit, self.profile, _accept_nbd_client)
        self.run_state = "running" if running else "prelaunch"
        self.closing = False
        self._stdout: list[str] = []

    def restart(self, *, crash: bool = False) -> None:
        """End, and start as the next process would: the same release, on the same files, with the same drives.

        Drives that are on no image file are left out. All that :meth:`_begin` does not make survives: the time, the
        log of events, so that old monitors can be told what was said last, and faults of images and refusals. Faults
        of monitors, guest activity and jobs end with the process.

        :param crash: whether it ends as ``kill -9`` does, and not cleanly.
        :raises QmpError: a request is stalled, so that it cannot end cleanly; nothing has changed then.
        :raises RuntimeError: it has ended already.
        """
        if self.closing:
            raise RuntimeError("the machine has ended already")
        boot = self.disks.boot_list()
        if crash:
            self.crash()
        else:
            self.shut_down()
        old, new = self.scheduler, Scheduler(self.scheduler.policy)
        new.move_clock(old.now)
        new.observer = old.observer
        exports = self.exports
        self._begin(new, running=True)
        self.exports.take_over(exports)
        self.faults.forget_process()
        self.disks.boot(boot)
        if self.control is not None:
            self.control.lives += 1
        if new.observer is not None:
            new.observer.noted("look", "QEMU is started anew on its files")

    def __repr__(self) -> str:
        return f"<Machine {self.profile.name} drives={list(self.graph.drives)} jobs={self.jobs.jobs}>"

    def __eq__(self, other: object) -> bool:
        """Whether nothing that matters differs; :func:`.differences` says what does."""
        if not isinstance(other, Machine):
            return NotImplemented
        return self is other or not differences(self, other)

    __hash__ = None  # type: ignore[assignment] # what changes has no place in a set

    def close(self, reason: str = "host-qmp-quit") -> None:
        """End as on ``quit``; if a stalled request does not let it end, as ``kill -9`` does. Once is enough.

        :param reason: as :meth:`shut_down` has it.
        """
        try:
            self.shut_down(reason)
        except StalledError:
            self.crash()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- disks

    add_disk = delegate("disks", Disks.add_disk)
    add_drive = delegate("disks", Disks.add_drive)
    add_node = delegate("disks", Disks.add_node)
    open_file = delegate("disks", Disks.open_file)
    anonymous_drive = delegate("disks", Disks.anonymous_drive)
    drive = delegate("disks", Disks.drive)

    # -- NBD

    export_nbd = delegate("exports", Exports.offer)

    def connect_nbd(self, export: str, contexts: Iterable[str] = (), *, mode: Mode | None = None) -> LocalClient:
        """An NBD client in this process; see :class:`.LocalClient` for what it can do.

        :param export: the name of the export; :meth:`export_nbd` makes one.
        :param contexts: what :meth:`.LocalClient.extents` is to tell of, such as ``"base:allocation"`` or
            ``"qemu:dirty-bitmap:b0"``.
        :param mode: how replies may be written at best: with extended headers if not given.
        :raises NbdError: the server refuses the export, or does not know a context.
        """
        from qbitsim.nbd.local import LocalClient  # noqa: PLC0415 - for those who have clients

        return LocalClient(self.exports, export, contexts, mode=mode)

    # -- failures, and what others do

    inject_error = delegate("faults", FaultInjection.inject_error)
    delay_io = delegate("faults", FaultInjection.delay_io)
    stall_io = delegate("faults", FaultInjection.stall_io)
    limit_capacity = delegate("faults", FaultInjection.limit_capacity)
    refuse = delegate("faults", FaultInjection.refuse)
    hold_reply = delegate("faults", FaultInjection.hold_reply)
    half_reply = delegate("faults", FaultInjection.half_reply)
    drop_monitor = delegate("faults", FaultInjection.drop_monitor)
    drop_nbd_client = delegate("faults", FaultInjection.drop_nbd_client)
    half_nbd_answer = delegate("faults", FaultInjection.half_nbd_answer)
    wrong_nbd_magic = delegate("faults", FaultInjection.wrong_nbd_magic)
    hold_nbd_answer = delegate("faults", FaultInjection.hold_nbd_answer)
    slow_nbd_reads = delegate("faults", FaultInjection.slow_nbd_reads)
    refuse_nbd_option = delegate("faults", FaultInjection.refuse_nbd_option)
    foreign_job = delegate("faults", FaultInjection.foreign_job)
    guest_writes = delegate("faults", FaultInjection.guest_writes)

    @property
    def refusals(self) -> list[Refusal]:
        """Commands that are to be refused."""
        return self.faults.refusals

    @property
    def monitor_faults(self) -> list[MonitorFault]:
        """What is to happen to replies."""
        return self.faults.monitor_faults

    @property
    def handles(self) -> dict[str, Any]:
        """What control commands have begun, by its id."""
        return self.faults.handles

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
            refusal = QmpError(f"The command {name} has not been found", "CommandNotFound")
            meant = nearest(name, self.registry.names())
            if meant:
                refusal.add_note(meant.removeprefix("; "))
            raise refusal
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
            self.clock.settle()

    def _run(self, command: Command, arguments: object) -> Any:
        for refusal in self.faults.refusals:
            refusal.check(command.name)
        self.scheduler.run_bottom_halves()
        transaction = Transaction(reverse=self.profile.transaction_commit_reversed)
        try:
            with transaction:
                value = command.handler(Context(self, transaction), arguments)
        except OSError as error:  # of a file of the host, where the command has no text of its own
            raise QmpError(error.strerror or str(error)) from None
        finally:
            # The reply is sent by the main loop: one poll later (do_qmp_dispatch_bh, qapi/qmp-dispatch.c, QEMU 10.0).
            self.scheduler.poll()
        return {} if value is None else value

    def greeting(self) -> JsonObject:
        """What a monitor says first."""
        capabilities: list[JsonValue] = list(self.profile.capabilities)
        return {"QMP": {"version": version_info(self.profile), "capabilities": capabilities}}

    # -- time

    step = delegate("clock", Clock.step)
    run_until_idle = delegate("clock", Clock.run_until_idle)
    settle = delegate("clock", Clock.settle)
    advance = delegate("clock", Clock.advance)
    advance_to = delegate("clock", Clock.advance_to)
    move_clock = delegate("clock", Clock.move_clock)
    time_of_day = delegate("clock", Clock.time_of_day)
    until = delegate("clock", Clock.until)

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds: when the next thing is due that waits for time to pass, or None."""
        return self.clock.next_deadline

    # -- its state

    def state(self) -> Json:
        """Everything that matters, as plain values; see :func:`.describe`."""
        return describe(self)

    def snapshot(self) -> Snapshot:
        """Keep the machine as it is now, running jobs included."""
        return Snapshot(self)

    def restore(self, snapshot: Snapshot) -> None:
        """Make the machine what it was; drives and nodes that the caller holds are no longer parts of it.

        :raises SnapshotError: the snapshot is of another QEMU release; nothing has changed then.
        :raises TypeError: it is no snapshot.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"restore() takes what snapshot() has returned, not {snapshot!r}")
        snapshot.put_back(self)

    # -- clients and watchers

    def serve(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = _LOCALHOST,
        pacing: ServedPacing | None = None,
        nbd: str | bool = False,
        thread: LoopThread | None = None,
    ) -> ThreadServer[Self]:
        """A server in a thread, for synchronous code: ``with machine.serve() as server: connect(server.path)``.

        :param path: of its UNIX socket; one in a private directory if neither it nor ``port`` is given.
        :param port: of TCP, 0 for any that is free; ``host``: the address to listen on.
        :param pacing: ``"realtime"``, 10 (ten times as fast), ``"immediate"`` or ``"manual"``; if not given, the
            machine's own if that is ``"immediate"``, else ``"realtime"``.
        :param nbd: where to offer the drives over NBD, such as ``"unix:nbd.sock"`` or ``"tcp:127.0.0.1:0"``; True for
            a socket in the private directory. Otherwise the NBD server listens where nbd-server-start says.
        :param thread: one to use instead of the thread that all servers share.
        :raises ValueError: for an unknown pacing, both a path and a port, or an address that is none.

        See :mod:`qbitsim.serving.threads` for whose the machine is meanwhile.
        """
        from qbitsim.serving.threads import ThreadServer  # noqa: PLC0415 - asyncio is for those who want it

        return ThreadServer(self, path, port=port, host=host, pacing=pacing, nbd=nbd, thread=thread)

    def serve_async(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = _LOCALHOST,
        pacing: ServedPacing | None = None,
        nbd: str | bool = False,
    ) -> AsyncServer[Self]:
        """A server in the running event loop: ``async with machine.serve_async() as server:``.

        The rest is as for :meth:`serve`.
        """
        from qbitsim.serving.threads import AsyncServer  # noqa: PLC0415 - asyncio is for those who want it

        return AsyncServer(self, path, port=port, host=host, pacing=pacing, nbd=nbd)

    def watch(self, title: str = "") -> History:
        """Keep everything from now on: each request, event, write and step, and what was different after it.

        A machine that is watched already goes on being watched by the same history, which is returned.

        :param title: what a report is headed with.
        """
        from qbitsim.history.history import history_of  # noqa: PLC0415 - for those who want it

        return history_of(self, title)

    def report(self, title: str = "") -> Report:
        """A page that shows what happened since :meth:`watch`: a notebook displays it, ``save`` writes it to a file.

        A machine that is not watched can only show the events in its log, and what it is now.

        :param title: what the page is headed with.
        """
        from qbitsim.report.report import report_of  # noqa: PLC0415 - for those who want it

        return report_of(self, title)

    # -- events and the guest

    def emit(self, name: str, data: Json | None = None) -> None:
        """Emit an event, if this profile has it."""
        if name not in self.registry.events:
            return
        seconds, nanoseconds = divmod(self.clock.time_of_day(), NANOSECONDS)
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

    def stop(self, state: str = "paused") -> None:
        """Stop the guest, and drain and flush all nodes, even if it does not run (do_vm_stop, system/cpus.c).

        :param state: the run state that it is in from now on, if it ran.
        """
        if self.incoming is not None and self.run_state == "inmigrate":
            self.incoming.autostart = False
            return
        if self.running:
            self.run_state = state
            self.emit("STOP")
        self._drain_and_flush_all()

    def _drain_and_flush_all(self) -> None:
        self.graph.drain_all()
        self.graph.flush_all()
        for job in list(self.jobs.jobs):
            job.finish_flush()
        self.scheduler.run_bottom_halves()  # bdrv_flush_all polls

    def cont(self) -> None:
        """Let the guest run; requests that stopped it are made again.

        Drives with an id, and jobs, which stay paused, forget that one failed (qmp_cont, monitor/qmp-cmds.c, 10.0).
        A guest that is still to come runs as soon as it is there.

        :raises QmpError: another process has the images that this one gave away, or is about to.
        """
        if self.run_state == "finish-migrate":
            raise QmpError("Migration is not finalized yet")
        if self.incoming is not None and self.run_state == "inmigrate":
            self.incoming.autostart = True
            return
        if is_inactive(self.graph):
            activate_all(self.graph)
        drives = list(self.graph.drives.values())
        for drive in drives:
            if drive.id:
                drive.io_status = "ok"
        for job in self.jobs.jobs:
            job.io_status = "ok"
        if not self.running:
            self.run_state = "running"
            self.emit("RESUME")
            for drive in drives:
                if drive.device is not None:
                    drive.device.guest_continues()

    def resume(self, state: str) -> None:
        """Put the guest back into a run state that it was in (vm_resume, system/cpus.c)."""
        if state == "running" and not self.running:
            self.run_state = "paused"
            self.cont()
        else:
            self.run_state = state

    # -- migration

    def wait_for_migration(self, *, autostart: bool) -> None:
        """Be a machine to which a guest is to migrate, before any disk is there.

        :param autostart: the guest runs as soon as it is there, if it did before.
        """
        from qbitsim.migration.incoming import Incoming  # noqa: PLC0415 - to few machines does a guest migrate

        self.run_state = "inmigrate"
        self.graph.opens_inactive = True
        self.incoming = Incoming(self, autostart=autostart)

    def await_migration(self, place: Place) -> None:
        """Wait there: on sockets or for a program if the machine is served, otherwise for machines of this process.

        :raises QmpError: the place cannot be had.
        """
        incoming = self.incoming
        assert incoming is not None
        if isinstance(place, Program):
            self._host_of_programs.receive_migration(place.argv, incoming)
            incoming.listen(None)
            return
        if self.migration_host is not None:
            place = self.migration_host.listen_for_migration(place, incoming)
        else:
            network = self.images.network
            network.listen(place, partial(_accept_migration, incoming))
            incoming.leave = partial(network.forget, place)
        incoming.listen(as_json(place))

    def connect_for_migration(self, place: Place) -> Connection:
        """Connect to the place that the guest is to migrate to.

        :raises OSError: nobody is there; ``strerror`` is what QEMU says.
        :raises QmpError: nothing of the kind can be reached from here.
        """
        if isinstance(place, Program):
            return self._host_of_programs.send_migration(place.argv)
        return self.images.network.connect(place, self.graph)

    @property
    def _host_of_programs(self) -> MigrationHost:
        if self.migration_host is None:
            raise UnsupportedError("a migration through the program of 'exec:' from a machine inside of a process")
        return self.migration_host

    def migrate_to(self, other: Machine) -> None:
        """Migrate the guest to a machine of this process that waits for one, as far as it goes by itself.

        It stops in ``pre-switchover`` if that is asked for; ``migrate-continue`` and :meth:`settle` let it go on.

        :raises QmpError: it cannot begin, or it failed; then the guest is here, as it was.
        :raises ValueError: the other machine does not wait for a guest.
        """
        incoming = other.incoming
        if incoming is None or incoming.over or incoming.status == "active":
            raise ValueError(f"{other} does not wait for a migration: make it with incoming=True")
        self.outgoing.check_can_start()
        if incoming.may_listen:
            incoming.listen(None)
        self.outgoing.start(lambda: LocalConnection(incoming))
        while self.outgoing.under_way and self.outgoing.status != "pre-switchover":
            if not self.clock.step():
                deadline = self.clock.next_deadline
                assert deadline is not None, "a migration that is under way has a step that is due"
                self.clock.advance_to(deadline)
        if self.outgoing.status == "failed":
            raise QmpError(self.outgoing.error or "the migration failed")

    def reset(self) -> None:
        """Reset the guest (qemu_system_reset, system/runstate.c, QEMU 10.0)."""
        reason = "host-qmp-system-reset"
        self.emit("RESET", {"guest": False, "reason": reason} if self.profile.shutdown_event_has_data else None)
        if not self.running:
            self.run_state = "prelaunch"
        for drive in self.graph.drives.values():
            if drive.device is not None:
                drive.device.guest_resets()
        if self.devices is not None:
            self.devices.reset()

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
        self.outgoing.abandon()
        if self.incoming is not None:
            self.incoming.abandon()
        had_exports = bool(self.exports.exports)
        self.exports.stop()
        if had_exports:
            self.jobs.run_timers()  # they go in a turn of the main loop, which ends with timers (aio_poll)
        for _ in range(self._drains_at_end - 1):
            self._drain_and_flush_all()
        # Jobs are cancelled while everything is quiet, and stays so (qemu_cleanup, system/runstate.c, QEMU 10.0).
        self.graph.drain_all_begin()
        self.graph.flush_all()  # vm_shutdown does
        self.jobs.cancel_all()
        self.graph.flush_all()
        self.graph.close()
        self.closing = True
        self.scheduler.run_bottom_halves()  # requests that waited for nodes which have gone

    @property
    def _drains_at_end(self) -> int:
        """How often everything becomes quiet when the process ends."""
        return self.profile.drains_at_quit

    def crash(self) -> None:
        """End as ``kill -9`` does: no goodbye, and the files stay as they are at this moment.

        What of a qcow2 image's tables was not flushed is lost, and with it what was written to new clusters.
        """
        for node in sorted(self.graph.nodes.values(), key=lambda each: not each.children):  # formats before their files
            node.abandon()
        self.exports.end()
        self.closing = True

    def note_no_clients(self) -> None:
        """The last client of a monitor has left: descriptors of a set that nobody has open may go, too."""
        if self.profile.unused_fdsets_end_with_monitors and self.running:
            self.images.fdsets.remove_unused()

    # -- what QEMU prints on its standard output

    def print(self, text: str) -> None:
        """Collect what QEMU would print (results of qemu-io)."""
        if text:
            self._stdout.append(text)

    def complain(self, text: str) -> None:
        """Hear what QEMU would write on its standard error of something that no reply tells (error_report).

        Nobody reads it here: a machine that is a program of its own writes it (:class:`.TalkingMachine`).
        """

    def print_pieces(self, pieces: Iterator[str]) -> None:
        """Collect what QEMU would print, which may be long."""
        for piece in pieces:
            self.print(piece)

    def take_printing(self) -> Iterator[None]:
        """Steps that print what the last command prints, if that is long: none, as it is collected at once."""
        return iter(())

    def take_stdout(self) -> str:
        """What was printed since the last call."""
        text = "".join(self._stdout)
        self._stdout.clear()
        return text


class MigrationHost(Protocol):
    """Who listens on sockets, and starts programs, for a machine that is served."""

    def listen_for_migration(self, address: Address, incoming: Incoming) -> Address:
        """Listen there; the address that it is, with a port that is no 0.

        :raises QmpError: it cannot be had.
        """

    def receive_migration(self, argv: Sequence[str], incoming: Incoming) -> None:
        """Start a program whose output is the stream.

        :raises QmpError: it cannot be started.
        """

    def send_migration(self, argv: Sequence[str]) -> Connection:
        """Start a program whose input is the stream.

        :raises OSError: it cannot be started.
        """


def _accept_migration(incoming: Incoming, client: object) -> Connection | None:
    del client
    return LocalConnection(incoming) if incoming.status == "setup" else None


def _accept_nbd_client(exports: Exports, client: object) -> Connection | None:
    from qbitsim.nbd.local import accept  # noqa: PLC0415 - for those who have clients

    return accept(exports, client)
