"""Control commands that cause failures: of disks, of commands and of monitors; and what others do: guests and clients.

Each answers with an id (the given one, or one that it makes), by which the fault can be lifted, released or ended.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Callable
from typing import Any, TypeVar

from qbitsim.commands.context import Context
from qbitsim.control.texts import text_of
from qbitsim.errors import QmpError
from qbitsim.files.faults import Stall
from qbitsim.injection.guest import GuestActivity
from qbitsim.jobs.foreign import ForeignJob
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import PREFIX, command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.qmp.monitor_faults import HeldReply

_T = TypeVar("_T")


@struct
class XQbitsimHandle:
    """What a fault is called from now on."""

    id: str


@struct
class XQbitsimFault:
    """A fault and the like, in plain words; ``waiting`` is how many requests or replies it holds up."""

    id: str
    text: str
    waiting: Int64 | None = None


@struct
class XQbitsimInjectError:
    """Arguments of x-qbitsim-inject-error; see :meth:`.Machine.inject_error`. ``errno`` is a name such as EIO."""

    where: str
    operation: str
    errno: str | None = None
    offset: Int64 | None = None
    length: Int64 | None = None
    once: bool | None = None
    times: Int64 | None = None
    after: Int64 | None = None
    probability: float | None = None
    seed: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimDelayIo:
    """Arguments of x-qbitsim-delay-io; ``seconds`` of virtual time."""

    where: str
    operation: str
    seconds: float
    offset: Int64 | None = None
    length: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimStallIo:
    """Arguments of x-qbitsim-stall-io."""

    where: str
    operation: str
    offset: Int64 | None = None
    length: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimRefuse:
    """Arguments of x-qbitsim-refuse; once, unless ``times`` or ``always`` says otherwise."""

    command: str
    desc: str
    error_class: str | None = None
    times: Int64 | None = None
    always: bool | None = None
    id: str | None = None


@struct
class XQbitsimHoldReply:
    """Arguments of x-qbitsim-hold-reply; without ``seconds`` until it is released."""

    command: str
    seconds: float | None = None
    events: bool | None = None
    times: Int64 | None = None
    always: bool | None = None
    after: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimHalfReply:
    """Arguments of x-qbitsim-half-reply."""

    command: str
    times: Int64 | None = None
    always: bool | None = None
    after: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimDropMonitor:
    """Arguments of x-qbitsim-drop-monitor."""

    command: str
    before_reply: bool | None = None
    before_command: bool | None = None
    times: Int64 | None = None
    always: bool | None = None
    after: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimLimitCapacity:
    """Arguments of x-qbitsim-limit-capacity; without ``capacity`` (in bytes) the limit is lifted."""

    file: str
    capacity: Int64 | None = None


@struct
class XQbitsimCapacity:
    """An image file that is there or may come, and the bytes of data that it has room for."""

    file: str
    capacity: Int64


@struct
class XQbitsimForeignJob:
    """Arguments of x-qbitsim-foreign-job; the id is the job's, too."""

    id: str
    kind: str | None = None
    length: Int64 | None = None


@struct
class XQbitsimEndForeignJob:
    """Arguments of x-qbitsim-end-foreign-job: it fails with ``errno``, is cancelled, or succeeds."""

    id: str
    errno: str | None = None
    cancel: bool | None = None


@struct
class XQbitsimWrite:
    """One write of a guest, in bytes."""

    offset: Int64
    length: Int64


@struct
class XQbitsimGuestWrites:
    """Arguments of x-qbitsim-guest-writes; see :meth:`.Machine.guest_writes`. ``every`` is in seconds."""

    drive: str
    pattern: list[XQbitsimWrite] | None = None
    every: float | None = None
    count: Int64 | None = None
    length: Int64 | None = None
    seed: Int64 | None = None
    id: str | None = None


@struct
class XQbitsimLift:
    """Arguments of x-qbitsim-lift."""

    id: str


@struct
class XQbitsimRelease:
    """Arguments of x-qbitsim-release."""

    id: str


def refusing(call: Callable[[], _T]) -> _T:
    """What ``call`` returns; what Python is told with a ValueError or an OSError, a client is told with a refusal.

    :raises QmpError: it was refused.
    """
    try:
        return call()
    except OSError as error:
        raise QmpError(error.strerror or str(error)) from error
    except ValueError as error:
        raise QmpError(str(error)) from error


def errno_of(name: str) -> int:
    """The number of an errno.

    :raises QmpError: there is none of that name.
    """
    found = next((number for number, known in numbers.errorcode.items() if known == name.upper()), None)
    if found is None:
        raise QmpError(f"unknown errno {name!r}: write a name such as EIO or ENOSPC")
    return found


def keep(context: Context, identifier: str | None, kind: str, begin: Callable[[], Any]) -> Json:
    """Begin something, and keep it under an id.

    :raises QmpError: the id is taken, or it was refused; nothing has begun then.
    """
    handles = context.machine.faults.handles
    if identifier is None:
        identifier = next(name for name in (f"{kind}{n}" for n in range(len(handles) + 1)) if name not in handles)
    elif identifier in handles:
        raise QmpError(f"the id {identifier!r} is taken: {text_of(handles[identifier])}")
    handles[identifier] = refusing(begin)
    return {"id": identifier}


def _given(args: object, *names: str) -> dict[str, Any]:
    """The members that were given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _often(args: Any) -> dict[str, Any]:
    if args.always and args.times is not None:
        raise QmpError("give 'times' or 'always', not both")
    return {"times": None} if args.always else _given(args, "times")


def _find(context: Context, identifier: str) -> Any:
    handles = context.machine.faults.handles
    if identifier not in handles:
        raise QmpError(f"nothing has the id {identifier!r} (there are: {', '.join(handles) or 'none'})")
    return handles[identifier]


# -- disks


@command(f"{PREFIX}inject-error", XQbitsimInjectError, returns=XQbitsimHandle, control=True)
def inject_error(context: Context, args: XQbitsimInjectError) -> Json:
    """Let requests fail."""
    errno = errno_of(args.errno or "EIO")
    more = _given(args, "offset", "length", "once", "times", "after", "probability", "seed")
    inject = context.machine.faults.inject_error
    return keep(context, args.id, "error", lambda: inject(args.where, args.operation, errno, **more))


@command(f"{PREFIX}delay-io", XQbitsimDelayIo, returns=XQbitsimHandle, control=True)
def delay_io(context: Context, args: XQbitsimDelayIo) -> Json:
    """Let requests of jobs take time."""
    more = _given(args, "offset", "length")
    delay = context.machine.faults.delay_io
    return keep(context, args.id, "delay", lambda: delay(args.where, args.operation, args.seconds, **more))


@command(f"{PREFIX}stall-io", XQbitsimStallIo, returns=XQbitsimHandle, control=True)
def stall_io(context: Context, args: XQbitsimStallIo) -> Json:
    """Let requests of jobs wait until they are released."""
    more = _given(args, "offset", "length")
    return keep(context, args.id, "stall", lambda: context.machine.faults.stall_io(args.where, args.operation, **more))


@command(f"{PREFIX}limit-capacity", XQbitsimLimitCapacity, control=True)
def limit_capacity(context: Context, args: XQbitsimLimitCapacity) -> None:
    """Give an image file room for so many bytes of data."""
    refusing(lambda: context.machine.faults.limit_capacity(args.file, args.capacity))


@command(f"{PREFIX}query-capacities", returns=list[XQbitsimCapacity], control=True)
def query_capacities(context: Context, args: None) -> list[Json]:
    """The image files whose room is limited."""
    del args
    return [{"file": file, "capacity": capacity} for file, capacity in context.machine.images.limits]


# -- commands and monitors


@command(f"{PREFIX}refuse", XQbitsimRefuse, returns=XQbitsimHandle, control=True)
def refuse(context: Context, args: XQbitsimRefuse) -> Json:
    """Let commands of a name be refused."""
    more = {**_given(args, "error_class"), **_often(args)}
    return keep(context, args.id, "refusal", lambda: context.machine.faults.refuse(args.command, args.desc, **more))


@command(f"{PREFIX}hold-reply", XQbitsimHoldReply, returns=XQbitsimHandle, control=True)
def hold_reply(context: Context, args: XQbitsimHoldReply) -> Json:
    """Hold the replies to commands of a name back."""
    more = {**_given(args, "events", "after"), **_often(args)}
    return keep(context, args.id, "hold", lambda: context.machine.faults.hold_reply(args.command, args.seconds, **more))


@command(f"{PREFIX}half-reply", XQbitsimHalfReply, returns=XQbitsimHandle, control=True)
def half_reply(context: Context, args: XQbitsimHalfReply) -> Json:
    """Send half a reply to a command of a name, and end the connection."""
    more = {**_given(args, "after"), **_often(args)}
    return keep(context, args.id, "half", lambda: context.machine.faults.half_reply(args.command, **more))


@command(f"{PREFIX}drop-monitor", XQbitsimDropMonitor, returns=XQbitsimHandle, control=True)
def drop_monitor(context: Context, args: XQbitsimDropMonitor) -> Json:
    """End the connection at a command of a name."""
    more = {**_given(args, "before_reply", "before_command", "after"), **_often(args)}
    return keep(context, args.id, "drop", lambda: context.machine.faults.drop_monitor(args.command, **more))


# -- others


@command(f"{PREFIX}foreign-job", XQbitsimForeignJob, returns=XQbitsimHandle, control=True)
def foreign_job(context: Context, args: XQbitsimForeignJob) -> Json:
    """Let another client start a job."""
    more = _given(args, "kind", "length")
    return keep(context, args.id, "job", lambda: context.machine.faults.foreign_job(args.id, **more))


@command(f"{PREFIX}end-foreign-job", XQbitsimEndForeignJob, control=True)
def end_foreign_job(context: Context, args: XQbitsimEndForeignJob) -> None:
    """Let the job of another client end."""
    job = _find(context, args.id)
    if not isinstance(job, ForeignJob):
        raise QmpError(f"{args.id!r} is no foreign job: {text_of(job)}")
    if args.cancel and args.errno is not None:
        raise QmpError("give 'errno' or 'cancel', not both")
    if args.errno is not None:
        errno = errno_of(args.errno)
        refusing(lambda: job.fail(errno))
    else:
        refusing(job.cancel if args.cancel else job.finish)
    del context.machine.faults.handles[args.id]


@command(f"{PREFIX}guest-writes", XQbitsimGuestWrites, returns=XQbitsimHandle, control=True)
def guest_writes(context: Context, args: XQbitsimGuestWrites) -> Json:
    """Let the guest write by itself while other things go on; lifting it stops the guest."""
    more = _given(args, "every", "count", "length", "seed")
    if args.pattern is not None:
        more["pattern"] = [(write.offset, write.length) for write in args.pattern]
    return keep(context, args.id, "guest", lambda: context.machine.faults.guest_writes(args.drive, **more))


# -- what has begun


@command(f"{PREFIX}query-faults", returns=list[XQbitsimFault], control=True)
def query_faults(context: Context, args: None) -> list[Json]:
    """What has an id."""
    del args
    return [
        {"id": name, "text": text_of(handle)}
        | ({"waiting": handle.waiting} if isinstance(handle, (Stall, HeldReply)) else {})
        for name, handle in context.machine.faults.handles.items()
    ]


@command(f"{PREFIX}lift", XQbitsimLift, control=True)
def lift(context: Context, args: XQbitsimLift) -> None:
    """Let a fault strike no more, or a guest write no more. What waits goes on waiting; see x-qbitsim-release."""
    handle = _find(context, args.id)
    if isinstance(handle, ForeignJob):
        raise QmpError(f"{args.id!r} is a job: end it with x-qbitsim-end-foreign-job")
    if isinstance(handle, GuestActivity):
        handle.stop()
    else:
        handle.lift()
    if not getattr(handle, "waiting", 0):
        del context.machine.faults.handles[args.id]


@command(f"{PREFIX}release", XQbitsimRelease, control=True)
def release(context: Context, args: XQbitsimRelease) -> None:
    """Let the requests or replies that a fault holds up go on, and hold up nothing more."""
    handle = _find(context, args.id)
    if not isinstance(handle, (Stall, HeldReply)):
        raise QmpError(f"{args.id!r} holds nothing up: {text_of(handle)}")
    handle.release()
    del context.machine.faults.handles[args.id]
