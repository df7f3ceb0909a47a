"""Control commands that cause failures: of disks, of commands and of monitors; and what others do: guests and clients.

Each answers with an id (the given one, or one that it makes), by which the fault can be lifted, released or ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qbitsim.argument_types import ErrorClass, Operation, Size
from qbitsim.commands.context import Context
from qbitsim.control.units import ErrnoOnWire, SizeOnWire
from qbitsim.errnos import Errno
from qbitsim.errors import QmpError
from qbitsim.injection.declaration import Kind, Ranges
from qbitsim.injection.faults import KINDS, Holder
from qbitsim.jobs.foreign import ForeignJob, ForeignKind
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import PREFIX, command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct

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
class XQbitsimCapacity:
    """An image file that is there or may come, and the bytes of data that it has room for."""

    file: str
    capacity: Int64


@struct
class XQbitsimEndForeignJob:
    """Arguments of x-qbitsim-end-foreign-job: it fails with ``errno``, is cancelled, or succeeds."""

    id: str
    errno: ErrnoOnWire | None = None
    cancel: bool | None = None


@struct
class XQbitsimWrite:
    """One write of a guest."""

    offset: SizeOnWire
    length: SizeOnWire


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


def _find(context: Context, identifier: str) -> Any:
    handles = context.machine.faults.handles
    if identifier not in handles:
        raise QmpError(f"nothing has the id {identifier!r} (there are: {', '.join(handles) or 'none'})")
    return handles[identifier]


# -- every kind of fault

_WIRE_TYPES: dict[Any, Any] = {
    Errno: ErrnoOnWire,
    Size: SizeOnWire,
    Operation: str,
    ErrorClass: str,
    ForeignKind: str,
    Ranges: list[XQbitsimWrite],
}
"""What a type of a fault's member is on the wire, if it is not itself."""


def _arguments_of(kind: Kind) -> type:
    """The class of the arguments of a kind's command, such as ``XQbitsimInjectError``."""
    hints = {each.name: _WIRE_TYPES.get(each.type, each.type) for each in kind.members}
    body: dict[str, Any] = {each.name: None for each in kind.members if each.optional}
    body["__annotations__"] = {
        each.name: hints[each.name] | None if each.optional else hints[each.name] for each in kind.members
    }
    body["__doc__"] = f"Arguments of {PREFIX}{kind.name}."
    body["__module__"] = __name__
    return struct(type(f"XQbitsim{kind.name.title().replace('-', '')}", (), body))


def _declare(kind: Kind) -> None:
    """Declare the command that lets such a fault begin."""

    def begin(context: Context, args: object) -> Json | None:
        given = {each.name: value for each in kind.members if (value := getattr(args, each.name)) is not None}
        for each in kind.members:
            if each.type == Ranges and each.name in given:
                given[each.name] = [(write.offset, write.length) for write in given[each.name]]
        identifier = refusing(lambda: context.machine.faults.begin(kind, given))
        return None if identifier is None else {"id": identifier}

    begin.__doc__ = kind.method.__doc__
    command(f"{PREFIX}{kind.name}", _arguments_of(kind), returns=XQbitsimHandle if kind.handle else None, control=True)(
        begin
    )


for _kind in KINDS.values():
    _declare(_kind)


# -- what has begun


@command(f"{PREFIX}query-capacities", returns=list[XQbitsimCapacity], control=True)
def query_capacities(context: Context, args: None) -> list[Json]:
    """The image files whose room is limited."""
    del args
    return [{"file": file, "capacity": capacity} for file, capacity in context.machine.images.limits]


@command(f"{PREFIX}end-foreign-job", XQbitsimEndForeignJob, control=True)
def end_foreign_job(context: Context, args: XQbitsimEndForeignJob) -> None:
    """Let the job of another client end."""
    job = _find(context, args.id)
    if not isinstance(job, ForeignJob):
        raise QmpError(f"{args.id!r} is no foreign job: {job.text}")
    if args.cancel and args.errno is not None:
        raise QmpError("give 'errno' or 'cancel', not both")
    if args.errno is not None:
        errno = args.errno
        refusing(lambda: job.fail(errno))
    else:
        refusing(job.cancel if args.cancel else job.finish)
    del context.machine.faults.handles[args.id]


@command(f"{PREFIX}query-faults", returns=list[XQbitsimFault], control=True)
def query_faults(context: Context, args: None) -> list[Json]:
    """What has an id."""
    del args
    return [
        {"id": name, "text": handle.text} | ({"waiting": handle.waiting} if isinstance(handle, Holder) else {})
        for name, handle in context.machine.faults.handles.items()
    ]


@command(f"{PREFIX}lift", XQbitsimLift, control=True)
def lift(context: Context, args: XQbitsimLift) -> None:
    """Let a fault strike no more, or a guest write no more. What waits goes on waiting; see x-qbitsim-release."""
    handle = _find(context, args.id)
    if isinstance(handle, ForeignJob):
        raise QmpError(f"{args.id!r} is a job: end it with x-qbitsim-end-foreign-job")
    handle.lift()
    if not isinstance(handle, Holder) or not handle.waiting:
        del context.machine.faults.handles[args.id]


@command(f"{PREFIX}release", XQbitsimRelease, control=True)
def release(context: Context, args: XQbitsimRelease) -> None:
    """Let the requests or replies that a fault holds up go on, and hold up nothing more."""
    handle = _find(context, args.id)
    if not isinstance(handle, Holder):
        raise QmpError(f"{args.id!r} holds nothing up: {handle.text}")
    handle.release()
    del context.machine.faults.handles[args.id]
