"""The image files of a command: in memory, or in a folder of the host."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from qbitsim.errors import QmpError
from qbitsim.images.store import ImageStore
from qbitsim.machine.machine import Machine
from qbitsim.terminal.errors import FAILED, CliError


def image_store(arguments: Namespace) -> ImageStore:
    """The files that the machine sees: an empty store in memory, or those in the folder that ``--images`` names.

    :raises CliError: there is no such folder.
    """
    if arguments.images is None:
        return ImageStore()
    from qbitsim.images.host.store import HostImageStore  # noqa: PLC0415 - who stays in memory does not load it

    try:
        return HostImageStore(arguments.images)
    except OSError as error:
        raise CliError(f"--images {arguments.images}: {error.strerror}") from None


@contextmanager
def ending(machine: Machine, arguments: Namespace) -> Iterator[None]:
    """Let a machine on files of the host end as QEMU does that is told to, so that the files are complete.

    :raises CliError: something could not be written.
    """
    try:
        yield
    finally:
        if arguments.images is not None:
            end(machine)
            save(machine.images)


def end(machine: Machine) -> None:
    """End cleanly, or as after a crash if a request is stalled, for which QEMU would wait for ever."""
    try:
        machine.shut_down()
    except QmpError:
        machine.crash()


def save(images: ImageStore) -> None:
    """Write down what is only in memory.

    :raises CliError: that cannot be done.
    """
    try:
        images.save()
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", FAILED) from None
