"""Making image files for commands (bdrv_img_create, block.c, QEMU 10.0)."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from qbitsim.commands.filenames import shown_filename
from qbitsim.drivers.driver import is_image_format
from qbitsim.drivers.filename_options import protocol_driver
from qbitsim.drivers.not_emulated import known_driver
from qbitsim.drivers.opener import Opener
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import failure_text
from qbitsim.files.locks import in_use_hint
from qbitsim.images.store import LockConflictError
from qbitsim.images.wanted import Wanted

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.commands.context import Context
    from qbitsim.drivers.options import Options


QCOW2_REQUESTS = 19
"""How many requests make an image, one after the other: headers and tables written, read and flushed.

(measured with 7.2.22; a raw file is made at once)
"""


def create_image(
    context: Context, filename: str, image_format: str, size: int, backing: Node | None, *, backing_opened: bool = False
) -> None:
    """Create the file, in place of one of that name.

    :param size: bytes.
    :param backing: the node whose file becomes the backing file; None for none.
    :param backing_opened: whether QEMU opens the backing file on the way, by the name that it has for the new file.
    :raises QmpError: with the texts and in the order of bdrv_img_create.
    """
    graph = context.graph
    _check_can_create(context, filename, image_format)
    backing_name = backing_format = None
    if backing is not None:
        if image_format in ("raw", "file"):
            raise QmpError(f"Backing file not supported for file format '{image_format}'")
        explicit = backing.skip_implicit_filters()
        if image_format == "vmdk" and explicit.driver != "vmdk":
            raise QmpError("backing_file must be a vmdk image")
        backing_name, backing_format = shown_filename(explicit), explicit.driver
        if filename == backing_name:
            raise QmpError("Error: Trying to create an image with the same filename as the backing file")
        if backing_opened:
            _look_at_backing(context, filename, backing_name, backing_format)
    if context.machine.announces_images:
        context.machine.print(_announcement(filename, image_format, size, backing_name, backing_format))
    try:
        _create(context, filename, image_format, size, backing=backing_name, backing_format=backing_format)
    except LockConflictError as error:
        raise QmpError(error.args[1], hint=in_use_hint(filename)) from None
    except OSError as error:
        if not filename:
            raise QmpError("Could not create '': No such file or directory") from None
        raise QmpError(failure_text("create", filename, error)) from None
    requests = QCOW2_REQUESTS if image_format == "qcow2" else 0
    context.jobs.scheduler.wait_for_io(requests, f"create {filename}")
    graph.changing(context.profile.qcow2_creation_changes if image_format == "qcow2" else 0)


def _create(context: Context, filename: str, image_format: str, size: int, **backing: str | None) -> None:
    """Make the file, or an image in an export."""
    stored = "raw" if image_format == "file" else image_format
    if _is_on_server(filename):
        from qbitsim.drivers.nbd import make_image  # noqa: PLC0415 - for those who are clients

        make_image(context.graph, context.profile, filename, stored, size, **backing)
    else:
        context.graph.images.create(filename.removeprefix("file:"), stored, size, **backing)


def _is_on_server(filename: str) -> bool:
    """Whether a name is one of an NBD export."""
    return filename.startswith(("nbd:", "nbd+"))


def _check_can_create(context: Context, filename: str, image_format: str) -> None:
    driver = known_driver(image_format, context.profile)
    if driver is None:
        raise QmpError(f"Unknown file format '{image_format}'")
    if not _is_on_server(filename):
        protocol_driver(filename)  # which refuses a name of a protocol that nobody knows
    if not driver.creates:
        raise QmpError(f"Format driver '{image_format}' does not support image creation")
    if image_format != "file" and not is_image_format(image_format):
        raise UnsupportedError(f"images of format '{image_format}'")


def _announcement(
    filename: str, image_format: str, size: int, backing_name: str | None, backing_format: str | None
) -> str:
    """What QEMU prints of a new image, on its standard output."""
    wanted = Wanted(format=image_format, size=size, backing=backing_name, backing_format=backing_format)
    return f"Formatting '{filename}', {wanted.describe()}\n"


def _look_at_backing(context: Context, filename: str, backing_name: str, backing_format: str) -> None:
    """QEMU opens the backing file of a new image, and closes it again, to learn its size.

    :raises QmpError: it cannot be opened.
    """
    graph = context.graph
    if not filename and not posixpath.isabs(backing_name):
        raise QmpError("Cannot use relative backing file names for ''")
    full_name = graph.images.backing_name(filename, backing_name)
    options: Options = {"driver": backing_format, "read-only": True, "force-share": True}
    opener = Opener(graph, context.profile)
    try:
        backing = opener.open_file(full_name, options)
    except QmpError as error:
        raise QmpError(error.desc, hint="Could not open backing image.\n") from None
    graph.release(backing)
