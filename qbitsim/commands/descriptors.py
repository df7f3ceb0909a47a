"""File descriptors that clients hand over: ``add-fd``, ``getfd`` and their like (monitor/fds.c, QEMU 10.0)."""

from __future__ import annotations

import os

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.files.fdsets import MonitorDescriptors
from qbitsim.jsontypes import Json
from qbitsim.qapi.machine import FdsetInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict

AddfdInfo = TypedDict("AddfdInfo", {"fdset-id": int, "fd": int})
"""Where a descriptor is."""


@struct
class AddFd:
    """Arguments of add-fd."""

    fdset_id: Int64 | None = None
    opaque: str | None = None


@struct
class RemoveFd:
    """Arguments of remove-fd."""

    fdset_id: Int64
    fd: Int64 | None = None


@struct
class NamedFd:
    """Arguments of getfd and closefd."""

    fdname: str


def of_monitor(context: Context) -> MonitorDescriptors:
    """What the asking client handed over; who asks in process cannot hand over anything."""
    return context.machine.monitor_descriptors or MonitorDescriptors()


@command("add-fd", AddFd, returns=AddfdInfo, since="1.2")
def add_fd(context: Context, args: AddFd) -> Json:
    """Put the descriptor that came with the message into a set."""
    descriptor = of_monitor(context).take()
    try:
        number = context.machine.images.fdsets.add(descriptor, args.fdset_id, args.opaque)
    except QmpError:
        os.close(descriptor)
        raise
    return {"fd": descriptor, "fdset-id": number}


@command("remove-fd", RemoveFd, since="1.2")
def remove_fd(context: Context, args: RemoveFd) -> None:
    """Take a descriptor, or all of them, out of a set."""
    context.machine.images.fdsets.remove(args.fdset_id, args.fd)


@command("query-fdsets", returns=list[FdsetInfo], since="1.2")
def query_fdsets(context: Context, args: None) -> list[Json]:
    """The file descriptors that clients handed over."""
    del args
    return [
        {"fds": [_shown(*each) for each in descriptors], "fdset-id": number}
        for number, descriptors in context.machine.images.fdsets.listed()
    ]


def _shown(descriptor: int, opaque: str | None) -> Json:
    return {"fd": descriptor} if opaque is None else {"fd": descriptor, "opaque": opaque}


@command("getfd", NamedFd, since="0.14")
def getfd(context: Context, args: NamedFd) -> None:
    """Give a name to the descriptor that came with the message."""
    descriptors = of_monitor(context)
    descriptor = descriptors.take()
    if args.fdname[:1].isdigit():
        os.close(descriptor)
        raise QmpError("Parameter 'fdname' expects a name not starting with a digit")
    descriptors.name(args.fdname, descriptor)


@command("closefd", NamedFd, since="0.14")
def closefd(context: Context, args: NamedFd) -> None:
    """Close the descriptor of a name."""
    of_monitor(context).close(args.fdname)
