"""Causing failures on purpose, each in one line.

Each method that is marked with :func:`.fault` is a kind of fault; its signature is all that is said about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from qbitsim.argument_types import ERROR_CLASSES, ErrorClass, Operation, Size
from qbitsim.countdown import Countdown
from qbitsim.drivers.failing import check_often, check_range, checked_operations, faults_of
from qbitsim.engine.durations import delay, nanoseconds
from qbitsim.errnos import Errno, errno_number
from qbitsim.errors import QmpError
from qbitsim.files.faults import Delay, Fault, Rule, Stall
from qbitsim.injection.declaration import Kind, Ranges, fault, kinds_of
from qbitsim.injection.guest import LONGEST_WRITE, MOST_WRITES, GuestActivity, GuestMachine, spread
from qbitsim.injection.refusal import Refusal
from qbitsim.jobs.foreign import ForeignJob, ForeignKind, foreign_job
from qbitsim.nearest import nearest
from qbitsim.qmp.monitor_faults import DroppedMonitor, HalfReply, HeldReply, MonitorFault
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.images.store import ImageStore
    from qbitsim.jobs.job_list import JobList
    from qbitsim.nbd.exports import Exports
    from qbitsim.nbd.faults import DroppedClient, HalfAnswer, HeldAnswer, NbdFault, RefusedOption, SlowReads, WrongMagic
    from qbitsim.qapi.registry import Registry


_C = TypeVar("_C", bound=Countdown)
_R = TypeVar("_R", bound=Rule)
_N = TypeVar("_N", bound="NbdFault")


class Handle(Protocol):
    """What has begun and can be ended. What holds something up is a :class:`Holder`, too."""

    @property
    def text(self) -> str:
        """What it is, in plain words."""


@runtime_checkable
class Holder(Protocol):
    """What holds up requests, or replies."""

    @property
    def waiting(self) -> int:
        """How many of them."""

    def release(self) -> None:
        """Let them go on, and hold up nothing more."""


class FaultyMachine(GuestMachine, Protocol):
    """What is to fail."""

    @property
    def images(self) -> ImageStore:
        """The files that it sees."""

    @property
    def jobs(self) -> JobList:
        """Its jobs."""

    @property
    def registry(self) -> Registry:
        """Its commands."""

    @property
    def exports(self) -> Exports:
        """Its NBD server."""


class FaultInjection:
    """What makes disks of a machine fail, lag and hang, commands be refused, and monitors and NBD clients suffer.

    :ivar refusals: commands that are to be refused.
    :ivar monitor_faults: what is to happen to replies.
    :ivar handles: what control commands have begun, by the id under which others lift, release or end it.
    """

    __slots__ = ("_machine", "handles", "monitor_faults", "refusals")

    def __init__(self, machine: FaultyMachine) -> None:
        self._machine = machine
        self.refusals: list[Refusal] = []
        self.monitor_faults: list[MonitorFault] = []
        self.handles: dict[str, Handle] = {}

    def begin(self, kind: Kind, given: Mapping[str, Any], prefix: str = "") -> str | None:
        """Let a fault begin, and keep it under its id.

        :param given: what is said of it, by the names of :attr:`.Kind.members`.
        :param prefix: what an id that nobody has chosen begins with, if not with the kind's word.
        :return: the id; None if such faults have none.
        :raises ValueError: the id is taken, or the fault cannot be; nothing has begun then.
        :raises QmpError: the id is none that a job can have.
        """
        if not kind.handle:
            kind.begin(self, given)
            return None
        identifier: str | None = given.get("id")
        if identifier is None:
            names = (f"{prefix or kind.handle}{number}" for number in range(len(self.handles) + 1))
            identifier = next(name for name in names if name not in self.handles)
        elif identifier in self.handles:
            raise ValueError(f"the id {identifier!r} is taken: {self.handles[identifier].text}")
        self.handles[identifier] = kind.begin(self, given)
        return identifier

    def forget_process(self) -> None:
        """Keep what outlives the process: faults of images, and refusals. Its monitors, guest and jobs have ended."""
        self.monitor_faults.clear()
        for name, handle in list(self.handles.items()):
            if not isinstance(handle, (Rule, Refusal)):
                del self.handles[name]

    # -- disks

    @fault("error", "disk")
    def inject_error(
        self,
        where: str,
        operation: Operation,
        errno: Errno = EIO,
        offset: Size | None = None,
        length: Size = 1,
        *,
        once: bool = False,
        times: int | None = None,
        after: int = 0,
        probability: float = 1.0,
        seed: int = 0,
    ) -> Fault:
        """Let requests fail; the fault that is returned can be lifted.

        :param where: a drive's id, a node-name, or the name of an image file that exists.
        :param operation: one of :data:`qbitsim.argument_types.OPERATIONS`; ``write`` means zeroes too.
        :param errno: the number of the failure, or its name.
        :param offset: first byte of the range on the disk; None for all of it.
        :param length: bytes of the range.
        :param once: only the first such request fails; ``times``: so many of them do.
        :param after: so many such requests are let go on first.
        :param probability: of a failure, each time, drawn from ``seed``.
        :raises ValueError: there is nothing of that name that could fail, no such operation or errno, or the fault
            can never strike; nothing has changed then.
        """
        if once and times is not None:
            raise ValueError(f"once=True and times={times} contradict each other: give one of them")
        operations = checked_operations(operation)
        rules = faults_of(self._machine.graph, where).rules
        offset, length = _range(self._machine.graph, where, offset, length)
        number = errno_number(errno)
        check_often(after, 1 if once else times, probability)
        rule = Fault(
            operations,
            number,
            offset,
            length,
            1 if once else times,
            after=after,
            probability=probability,
            seed=seed,
        )
        return self._add_rule(where, rules, rule)

    @fault("delay", "disk")
    def delay_io(
        self, where: str, operation: Operation, seconds: float, offset: Size | None = None, length: Size = 1
    ) -> Delay:
        """Let requests of jobs take so long, in virtual time; the delay that is returned can be lifted.

        :raises ValueError: as :meth:`inject_error`; or no time at all.
        """
        operations = checked_operations(operation)
        faults = faults_of(self._machine.graph, where)
        offset, length = _range(self._machine.graph, where, offset, length)
        slow = Delay(operations, delay(seconds), offset, length)
        return self._add_rule(where, faults.delays, slow)

    @fault("stall", "disk", waits=True)
    def stall_io(self, where: str, operation: Operation, offset: Size | None = None, length: Size = 1) -> Stall:
        """Let requests of jobs wait until the stall that is returned is released.

        :raises ValueError: as :meth:`inject_error`.
        """
        operations = checked_operations(operation)
        faults = faults_of(self._machine.graph, where)
        offset, length = _range(self._machine.graph, where, offset, length)
        stall = Stall(operations, offset, length)
        return self._add_rule(where, faults.stalls, stall)

    @fault("", "file")
    def limit_capacity(self, file: str, capacity: Size | None) -> None:
        """Give the image file of that name, now or when it is made, room for so many bytes of data.

        What does not fit fails with ENOSPC; persistent bitmaps that do not fit are lost when the image is closed. The
        limit stays with the name until it is lifted with None.

        :raises ValueError: it is no size.
        """
        room = None if capacity is None else parse_size(capacity, "capacity")
        self._machine.images.limit(file, room)
        self._notify_observer("no limit" if room is None else f"room for {room} bytes", file)

    def _add_rule(self, where: str, rules: list[_R], rule: _R) -> _R:
        rule.where = where
        return self._add(rules, rule, where)

    # -- commands and monitors

    @fault("refusal", "command")
    def refuse(
        self, command: str, desc: str, error_class: ErrorClass = "GenericError", *, times: int | None = 1
    ) -> Refusal:
        """Let commands of that name be refused with that error, whatever they say; nothing else happens.

        :param times: so many of them; None, or over QMP ``always``, for all.
        :return: the refusal, which can be lifted.
        :param error_class: ``GenericError``, ``CommandNotFound``, ``DeviceNotActive``, ``DeviceNotFound`` or
            ``KVMMissingCap``.
        :raises ValueError: this machine has no such command or error class, or it would never strike.
        """
        self._check_command(command, times, 0, "a refusal")
        if error_class not in ERROR_CLASSES:
            meant = nearest(error_class, ERROR_CLASSES) or f"; they are {', '.join(ERROR_CLASSES)}"
            raise ValueError(f"there is no error class {error_class!r}{meant}")
        return self._add(self.refusals, Refusal(command, QmpError(desc, error_class), times))

    @fault("hold", "monitor")
    def hold_reply(
        self,
        command: str,
        seconds: float | None = None,
        *,
        events: bool = True,
        times: int | None = 1,
        after: int = 0,
    ) -> HeldReply:
        """Let monitors send the reply to commands of that name later; the command itself runs when it is asked for.

        What the same client asks after it waits, too. Calls in Python have no monitor and do not wait.

        :param seconds: of virtual time; None: until what is returned is released.
        :param events: whether events go on meanwhile.
        :param times: so many replies; None, or over QMP ``always``, for all.
        :param after: so many are let go first.
        :raises ValueError: this machine has no such command, or it would never wait.
        """
        self._check_command(command, times, after, "a held reply")
        wait = None if seconds is None else delay(seconds)
        held = HeldReply(command, self._machine.scheduler, wait, events=events, times=times, after=after)
        self._add(self.monitor_faults, held)
        return held

    @fault("half", "monitor")
    def half_reply(self, command: str, *, times: int | None = 1, after: int = 0) -> HalfReply:
        """Let monitors send half a reply to commands of that name, and then end.

        :raises ValueError: this machine has no such command, or it would never strike.
        """
        self._check_command(command, times, after, "half a reply")
        half = HalfReply(command, times=times, after=after)
        self._add(self.monitor_faults, half)
        return half

    @fault("drop", "monitor")
    def drop_monitor(
        self,
        command: str,
        *,
        before_reply: bool = False,
        before_command: bool = False,
        times: int | None = 1,
        after: int = 0,
    ) -> DroppedMonitor:
        """Let monitors end once they have replied to a command of that name.

        :param before_reply: without the reply, but the command has run.
        :param before_command: before the command runs, so that it never does.
        :raises ValueError: this machine has no such command, or it would never strike.
        """
        self._check_command(command, times, after, "a drop")
        drop = DroppedMonitor(
            command, before_command=before_command, before_reply=before_reply, times=times, after=after
        )
        self._add(self.monitor_faults, drop)
        return drop

    def _check_command(self, command: str, times: int | None, after: int, what: str) -> None:
        if self._machine.registry.find(command) is None:
            known = self._machine.registry.names()
            raise ValueError(f"this machine has no command {command!r}{nearest(command, known)}")
        _check_often(times, after, what)

    # -- NBD clients

    @fault("nbd", "client")
    def drop_nbd_client(
        self, export: str | None = None, request: str | None = None, *, times: int | None = 1, after: int = 0
    ) -> DroppedClient:
        """Let the NBD server hang up instead of answering; the request has been carried out.

        :param export: the name of the export, now or later; None for any.
        :param request: one of :data:`qbitsim.nbd.faults.COMMANDS`; None for any.
        :param times: so many answers; None, or over QMP ``always``, for all.
        :param after: so many are let go first.
        :raises ValueError: there is no such request, or it would never strike.
        """
        from qbitsim.nbd.faults import DroppedClient  # noqa: PLC0415 - for those who have clients

        return self._add_nbd(DroppedClient(export, request, times=times, after=after))

    @fault("nbd", "client")
    def half_nbd_answer(
        self, export: str | None = None, request: str | None = None, *, times: int | None = 1, after: int = 0
    ) -> HalfAnswer:
        """Let the NBD server send half an answer, and then hang up.

        :raises ValueError: as :meth:`drop_nbd_client`.
        """
        from qbitsim.nbd.faults import HalfAnswer  # noqa: PLC0415 - for those who have clients

        return self._add_nbd(HalfAnswer(export, request, times=times, after=after))

    @fault("nbd", "client")
    def wrong_nbd_magic(
        self, export: str | None = None, request: str | None = None, *, times: int | None = 1, after: int = 0
    ) -> WrongMagic:
        """Let the NBD server begin an answer with a number that means nothing.

        :raises ValueError: as :meth:`drop_nbd_client`.
        """
        from qbitsim.nbd.faults import WrongMagic  # noqa: PLC0415 - for those who have clients

        return self._add_nbd(WrongMagic(export, request, times=times, after=after))

    @fault("nbd", "client", waits=True)
    def hold_nbd_answer(
        self,
        export: str | None = None,
        request: str | None = None,
        seconds: float | None = None,
        *,
        times: int | None = 1,
        after: int = 0,
    ) -> HeldAnswer:
        """Let the NBD server send an answer later; other answers overtake it.

        :param seconds: of virtual time; None: until what is returned is released.
        :raises ValueError: as :meth:`drop_nbd_client`; or no time at all.
        """
        from qbitsim.nbd.faults import HeldAnswer  # noqa: PLC0415 - for those who have clients

        wait = None if seconds is None else delay(seconds)
        return self._add_nbd(HeldAnswer(export, request, self._machine.scheduler, wait, times=times, after=after))

    @fault("nbd", "client")
    def slow_nbd_reads(self, seconds: float, export: str | None = None, *, times: int | None = None) -> SlowReads:
        """Let each read of NBD clients take so long, in virtual time.

        :raises ValueError: as :meth:`hold_nbd_answer`.
        """
        from qbitsim.nbd.faults import SlowReads  # noqa: PLC0415 - for those who have clients

        _check_often(times, 0, "a slow read")
        return self._add(self._machine.exports.slow_reads, SlowReads(export, delay(seconds), times=times))

    @fault("nbd", "client")
    def refuse_nbd_option(
        self, option: str, message: str = "refused by the test", *, times: int | None = 1
    ) -> RefusedOption:
        """Let the NBD server refuse an option of the handshake, as one that its policy forbids.

        :param option: one of :data:`qbitsim.nbd.faults.OPTIONS`.
        :param message: what the client is told.
        :raises ValueError: there is no such option, or it would never strike.
        """
        from qbitsim.nbd.faults import OPTIONS, RefusedOption  # noqa: PLC0415 - for those who have clients

        if option not in OPTIONS:
            raise ValueError(f"unknown option {option!r}: choose one of {', '.join(OPTIONS)}")
        _check_often(times, 0, "a refusal")
        return self._add(self._machine.exports.refused_options, RefusedOption(option, message, times))

    def _add_nbd(self, begun: _N) -> _N:
        from qbitsim.nbd.faults import COMMANDS  # noqa: PLC0415 - for those who have clients

        if begun.command is not None and begun.command not in COMMANDS:
            raise ValueError(f"unknown request {begun.command!r}: choose one of {', '.join(COMMANDS)}")
        _check_often(begun.times, begun.after, "a fault")
        return self._add(cast("list[_N]", self._machine.exports.faults), begun)

    # -- what others do

    @fault("job", "nobody", ended_by="end-foreign-job")
    def foreign_job(self, identifier: str, kind: ForeignKind = "backup", length: Size = 1 << 20) -> ForeignJob:
        """Let another client start a job, which ends when :meth:`.ForeignJob.finish` or the like is called.

        :param kind: one of :data:`qbitsim.jobs.foreign.KINDS`.
        :param length: bytes that it says it has to do.
        :raises ValueError: there is no such kind, or the length is negative.
        :raises QmpError: the id is ill-formed or taken.
        """
        return foreign_job(self._machine.jobs, identifier, kind, parse_size(length, "length"))

    @fault("guest", "nobody")
    def guest_writes(
        self,
        drive: str,
        pattern: Ranges | None = None,
        *,
        every: float = 0.0,
        count: int = 100,
        length: Size = 65536,
        seed: int = 0,
    ) -> GuestActivity:
        """Let the guest write by itself while other things go on.

        :param drive: the drive's id.
        :param pattern: (offset, length) of each write, in bytes; ``count`` writes of ``length`` bytes at places drawn
            from ``seed`` if not given.
        :param every: seconds of virtual time between two writes; 0 lets each be due at once, among the steps of jobs.
        :raises ValueError: there is no such drive, a write is outside of it, or there are none or too many.
        """
        found = self._machine.graph.drives.get(drive)
        if found is None or found.root is None:
            meant = nearest(drive, self._machine.graph.drives)
            raise ValueError(f"there is no drive {drive!r} with a medium{meant}")
        if pattern is not None:
            writes = [(parse_size(offset), parse_size(size)) for offset, size in pattern]
        else:
            if not 1 <= count <= MOST_WRITES:
                raise ValueError(f"count: {count} writes are none of 1 to {MOST_WRITES}")
            writes = spread(found.size, count, parse_size(length, "length"), seed)
        for offset, size in writes:
            if size > LONGEST_WRITE:
                raise ValueError(f"a write of {size} bytes: at once a guest writes up to {LONGEST_WRITE}")
            if offset < 0 or size < 1 or offset + size > found.size:
                raise ValueError(f"a write of {size} bytes at {offset} is outside of {drive!r}")
        return GuestActivity(self._machine, drive, writes, nanoseconds(every, "every"))

    # -- for all of them

    def _add(self, faults: list[_C], begun: _C, where: str = "") -> _C:
        """Add a fault and forget those that strike no more, so that a long-lived machine does not collect them."""
        faults[:] = [each for each in faults if each.times != 0]
        faults.append(begun)
        self._notify_observer(begun, where)
        return begun

    def _notify_observer(self, begun: object, where: str = "") -> None:
        """Let the observer know."""
        observer = self._machine.scheduler.observer
        if observer is not None:
            place = f" in {where}" if where else ""
            observer.noted("fault", f"{str(begun).strip('<>')}{place}")


def _range(graph: Graph, where: str, offset: Size | None, length: Size) -> tuple[int | None, int]:
    """The range of a fault in bytes.

    :raises ValueError: it is none, or no request can ever touch it.
    """
    found = None if offset is None else parse_size(offset, "offset"), parse_size(length, "length")
    if offset is None and found[1] != 1:
        raise ValueError(f"length: without an offset all of {where!r} is meant; say where {length} bytes begin")
    check_range(graph, where, *found)
    return found


def _check_often(times: int | None, after: int, what: str) -> None:
    if after < 0:
        raise ValueError(f"{what} after {after} commands never strikes")
    if times is not None and times < 1:
        raise ValueError(f"{what} {times} times never strikes")


KINDS = kinds_of(FaultInjection)
"""The kinds of faults, by their names such as ``inject-error``."""
