"""Control commands on what surrounds the machine: image files, drives, and the guest that uses them."""

from __future__ import annotations

import base64

from qbitsim.block.drive import Drive
from qbitsim.commands.context import Context
from qbitsim.control.faults import refusing
from qbitsim.control.units import SizeOnWire, bytes_of
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import PREFIX, command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.qemu_img import run as qemu_img
from qbitsim.qemu_io.run import filled

MOST = 1 << 26
"""Bytes that one command may read, or write of a pattern."""


@struct
class XQbitsimGuestWrite:
    """Arguments of x-qbitsim-write: ``length`` bytes of ``pattern`` (0x41 if not given), or ``data`` in base64."""

    drive: str
    offset: SizeOnWire
    length: SizeOnWire | None = None
    pattern: Int64 | None = None
    data: str | None = None


@struct
class XQbitsimDiscard:
    """Arguments of x-qbitsim-discard."""

    drive: str
    offset: SizeOnWire
    length: SizeOnWire


@struct
class XQbitsimRead:
    """Arguments of x-qbitsim-read."""

    drive: str
    offset: SizeOnWire
    length: SizeOnWire


@struct
class XQbitsimData:
    """What was read, in base64."""

    data: str


@struct
class XQbitsimQemuImg:
    """Arguments of x-qbitsim-qemu-img: the command line behind ``qemu-img``."""

    arguments: list[str]


@struct
class XQbitsimOutput:
    """How a program ended, and what it printed."""

    status: Int64
    output: str


@struct
class XQbitsimCreateImage:
    """Arguments of x-qbitsim-create-image; ``format`` is qcow2 unless it is given."""

    file: str
    size: SizeOnWire | None = None
    format: str | None = None
    backing: str | None = None
    cluster_size: SizeOnWire | None = None


@struct
class XQbitsimRemoveImage:
    """Arguments of x-qbitsim-remove-image."""

    file: str


@struct
class XQbitsimAddDisk:
    """Arguments of x-qbitsim-add-disk; see :meth:`.Machine.add_disk`."""

    id: str
    size: SizeOnWire | None = None
    format: str | None = None
    node_name: str | None = None
    file: str | None = None
    cluster_size: SizeOnWire | None = None
    backing: str | None = None
    discard: bool | None = None
    read_only: bool | None = None


def _drive(context: Context, identifier: str) -> Drive:
    drive = context.graph.drives.get(identifier)
    if drive is None:
        raise QmpError(f"there is no drive {identifier!r}")
    return drive


def _inside(drive: Drive, offset: str | int, length: int) -> int:
    """Where a request begins; what is no part of the disk is told from what fails."""
    found = bytes_of(offset)
    if found + length > drive.size:
        raise QmpError(f"{found}+{length} goes beyond the end of {drive.id!r}, which has {drive.size} bytes")
    return found


def _checked_length(length: str | int) -> int:
    found = bytes_of(length)
    if not 0 < found <= MOST:
        raise QmpError(f"{length} bytes: one read or write is of 1 to {MOST} bytes ({MOST >> 20} MiB)")
    return found


@command(f"{PREFIX}write", XQbitsimGuestWrite, control=True)
def write(context: Context, args: XQbitsimGuestWrite) -> None:
    """Let the guest write."""
    drive = _drive(context, args.drive)
    if (args.data is None) == (args.length is None) or (args.data is not None and args.pattern is not None):
        raise QmpError("give either 'length' and perhaps 'pattern', or 'data'")
    if args.length is not None:
        length = _checked_length(args.length)
        pattern = 0x41 if args.pattern is None else args.pattern
        if not 0 <= pattern <= 0xFF:
            raise QmpError(f"pattern {pattern} is no byte")
        data = filled(pattern, length)
    else:
        try:
            data = base64.b64decode(args.data or "", validate=True)
        except ValueError as error:
            raise QmpError(f"'data' is no base64: {error}") from None
    offset = _inside(drive, args.offset, len(data))
    refusing(lambda: drive.write(offset, data))


@command(f"{PREFIX}discard", XQbitsimDiscard, control=True)
def discard(context: Context, args: XQbitsimDiscard) -> None:
    """Let the guest discard."""
    drive = _drive(context, args.drive)
    length = bytes_of(args.length)
    offset = _inside(drive, args.offset, length)
    refusing(lambda: drive.discard(offset, length))


@command(f"{PREFIX}read", XQbitsimRead, returns=XQbitsimData, control=True)
def read(context: Context, args: XQbitsimRead) -> Json:
    """Let the guest read."""
    length = _checked_length(args.length)
    drive = _drive(context, args.drive)
    offset = _inside(drive, args.offset, length)
    data = refusing(lambda: drive.read(offset, length))
    return {"data": base64.b64encode(data).decode()}


@command(f"{PREFIX}qemu-img", XQbitsimQemuImg, returns=XQbitsimOutput, control=True)
def run_qemu_img(context: Context, args: XQbitsimQemuImg) -> Json:
    """Run qemu-img on the machine's files. A failure of qemu-img is a status, and no refusal."""
    status, output = qemu_img.run(context.machine.images, args.arguments, context.profile)
    return {"status": status, "output": output}


@command(f"{PREFIX}create-image", XQbitsimCreateImage, control=True)
def create_image(context: Context, args: XQbitsimCreateImage) -> None:
    """Make an image file, as qemu-img does; one of that name is never replaced."""
    images = context.machine.images
    if args.file in images:
        raise QmpError(f"the file {args.file!r} exists already")
    argv = ["create", "-q", "-f", args.format or "qcow2"]
    if args.cluster_size is not None:
        argv += ["-o", f"cluster_size={bytes_of(args.cluster_size)}"]
    if args.backing is not None:
        if args.backing not in images:
            raise QmpError(f"there is no backing file {args.backing!r}")
        argv += ["-b", args.backing, "-F", images.lookup(args.backing).format]
    argv += ["--", args.file]
    if args.size is not None:
        argv.append(str(bytes_of(args.size)))
    status, output = qemu_img.run(images, argv, context.profile)
    if status:
        raise QmpError(output.strip().splitlines()[0].removeprefix("qemu-img: "))


@command(f"{PREFIX}remove-image", XQbitsimRemoveImage, control=True)
def remove_image(context: Context, args: XQbitsimRemoveImage) -> None:
    """Remove an image file; as on Linux, whoever has it open goes on using it."""
    if args.file not in context.machine.images:
        raise QmpError(f"there is no file {args.file!r}")
    refusing(lambda: context.machine.images.remove(args.file))


@command(f"{PREFIX}add-disk", XQbitsimAddDisk, control=True)
def add_disk(context: Context, args: XQbitsimAddDisk) -> None:
    """Give the machine a drive, on a new image file unless the file exists."""
    names = ("size", "format", "node_name", "file", "cluster_size", "backing", "discard", "read_only")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    images = context.machine.images
    file = args.file if args.file is not None else f"{args.id}.{args.format or 'qcow2'}"
    existed = file in images
    try:
        refusing(lambda: context.machine.add_disk(args.id, **given))
    except QmpError:
        if not existed and file in images:
            images.remove(file)
        raise
