"""``qemu-io`` of the human monitor: guest I/O (hmp_qemu_io, block/monitor/block-hmp-cmds.c, QEMU 10.0).

Requests to a node that a job keeps drained wait for the job. An asynchronous one, which nobody waits for, is answered
at once and made later. With any other one QEMU waits, and serves no monitor meanwhile, so that nobody could finalize
the job; here only the monitor that asked waits.

An asynchronous request to a limited drive or node is answered at once and made when the limits let it through. Any
other takes no time here: limits neither hold it back nor count it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qbitsim.commands.devices import find_by_device
from qbitsim.commands.drive_common import WRITETHROUGH
from qbitsim.commands.hmp.declaration import hmp
from qbitsim.drivers.drive_options import nested
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.qemu_io import run as qemu_io_run
from qbitsim.qemu_io.drive_disk import DriveDisk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.drive import Drive
    from qbitsim.commands.context import Context
    from qbitsim.commands.parts import MachineLike

_COUNTED = {"aio_read": "read", "aio_write": "write", "aio_flush": "flush", "aio_discard": "unmap"}
_WAITING = frozenset(("read", "readv", "write", "writev", "discard", "flush", "aio_read", "aio_write", "aio_discard"))
"""Commands that make requests, which have to wait for the end of a drained section (aio_flush makes none)."""

_LIMITED = {"aio_read": "read", "aio_write": "write"}
"""Commands whose requests wait for limits, and the operation that they are."""

_PERMISSIONS = {"write": perms.WRITE, "resize": perms.RESIZE}


@hmp(
    "qemu-io",
    "qdev:-d,device:B,command:s",
    params='[-d] [device] "[command]"',
    help="run a qemu-io command on a block device\n"
    "\t\t\t-d: [device] is a device ID rather than a drive ID or node name",
)
def qemu_io(context: Context, *, qdev: bool, device: str, command: str) -> str:
    """Run a command of qemu-io on a drive or a node."""
    with _drive(context, device, by_device_path=qdev) as drive:
        guest_io = GuestIo(context.machine, drive, command)
        if drive.drained and _asks_the_disk(drive, guest_io.request):
            return _wait(guest_io)
        return guest_io.start()


def _asks_the_disk(drive: Drive, request: qemu_io_run.Request) -> bool:
    """Whether a command comes as far as to make a request."""
    if request.refusal is not None or request.verb not in _WAITING:
        return False
    try:
        _Permit(drive).require(request.permissions)
    except QmpError:
        return False
    return True


def _wait(guest_io: GuestIo) -> str:
    """Make an asynchronous request later; what it will print is not for the monitor.

    A node that is asked for by its name has a drive only as long as the command runs (hmp_qemu_io), so that such a
    request finds no medium.

    :raises DrainedError: somebody would wait for it.
    """
    drive = guest_io.drive
    if guest_io.request.verb not in _COUNTED:
        drive.check_not_drained()
    elif drive.id:
        drive.when_not_drained(guest_io.make_later)
    else:
        drive.eject()
        guest_io.make_later()
    return ""


class GuestIo:
    """A command of qemu-io on a drive.

    :ivar request: what it asks for.
    """

    __slots__ = ("_command", "_machine", "_started", "drive", "request")

    def __init__(self, machine: MachineLike, drive: Drive, command: str) -> None:
        self._machine = machine
        self._command = command
        self.drive = drive
        self.request = request = qemu_io_run.parse(command, machine.profile)
        # A quirk: aio_write -z does not note when it began (see qbitsim.qemu_io.run).
        timeless = request.verb == "aio_write" and "z" in request.flags
        self._started = None if timeless else machine.clock()

    def start(self) -> str:
        """Run it and return what goes to the monitor: nothing if its request has to wait for limits."""
        return "" if _asks_the_disk(self.drive, self.request) and self._waits_for_limits() else self.run()

    def make_later(self) -> None:
        """Make an asynchronous request that had to wait; the monitor that asked hears no more of it."""
        if not self._waits_for_limits():
            self.finish()

    def _waits_for_limits(self) -> bool:
        request = self.request
        if request.verb not in _LIMITED:
            return False
        zeroes = request.verb == "aio_write" and "z" in request.flags
        operation = "write-zeroes" if zeroes else _LIMITED[request.verb]
        return self.drive.waits_for_limits(operation, request.length, self.finish)

    def run(self) -> str:
        """Run it, print the results, and return what goes to the monitor."""
        machine = self._machine
        if self.request.verb == "aio_flush" and self.request.refusal is None:
            machine.graph.drain_all()  # which completes what is in flight (aio_flush_f, qemu-io-cmds.c)
        try:
            output = self._make()
        except StalledError as error:
            if self.request.verb not in _COUNTED:
                raise
            error.stall.hold(self.finish)  # nobody waits for the answer
            return ""
        self._count(output)
        machine.print_pieces(output.printed())
        return output.hmp

    def _make(self) -> qemu_io_run.Output:
        with self.drive.uncounted():
            return qemu_io_run.run(
                DriveDisk(self.drive),
                self._command,
                profile=self._machine.profile,
                clock=self._clock,
                permit=_Permit(self.drive).require,
                reopen=self._reopen,
            )

    def _reopen(self, request: qemu_io_run.Request) -> None:
        if not request.flags <= {"c", "o"}:
            raise UnsupportedError("qemu-io's reopen with -r or -w")
        drive = self.drive
        write_cache = request.cache not in WRITETHROUGH if request.cache else drive.write_cache
        if write_cache != drive.write_cache and drive.device is not None:
            raise QmpError("Cannot change cache.writeback: Device attached")
        from qbitsim.commands.reopen import reopen_with  # noqa: PLC0415 - most lines read or write

        reopen_with(self._machine.graph, drive.node, nested(dict(request.options)), self._machine.profile)
        drive.write_cache = write_cache

    def finish(self) -> None:
        """Run what was answered before; the monitor that asked hears no more of it."""
        self.run()

    def _clock(self) -> int:
        """The time at which it began, when it is asked for the first time."""
        started, self._started = self._started, None
        return self._machine.clock() if started is None else started

    def _count(self, output: qemu_io_run.Output) -> None:
        """Count an asynchronous request, as if it were the guest's; no other one of qemu-io is (qemu-io-cmds.c)."""
        request = self.request
        kind = _COUNTED.get(request.verb)
        if kind is None or request.refusal is not None or "z" in request.flags:
            return
        now, stats = self._machine.clock(), self.drive.stats
        if " failed: " in output.stdout:
            stats.note_failure(kind, now)
        else:
            stats.done(kind, request.length, now)


@contextmanager
def _drive(context: Context, name: str, *, by_device_path: bool) -> Iterator[Drive]:
    """The drive of that id or path; for a node an anonymous one, for as long as the caller uses it."""
    if by_device_path:
        yield find_by_device(context, name)
        return
    found = context.graph.drives.get(name)
    if found is not None and found.id:
        yield found
        return
    node = context.graph.nodes.get(name)
    if node is None:
        raise QmpError(f"Cannot find device='' nor node-name='{name}'")
    drive = context.machine.anonymous_drive()
    drive.insert(node)
    try:
        yield drive
    finally:
        drive.eject()


class _Permit:
    """Extends what a drive needs, as qemu-io does."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    def require(self, wanted: tuple[str, ...]) -> None:
        """Raise QmpError if another user of the node does not allow it."""
        for name in wanted:
            self.drive.require(_PERMISSIONS[name])
