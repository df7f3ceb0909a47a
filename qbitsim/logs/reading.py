"""Logs of every kind, told by what is in them."""

from __future__ import annotations

from qbitsim.logs.conversation import Log
from qbitsim.logs.libvirt import is_deaf_libvirt, is_libvirt, read_libvirt
from qbitsim.logs.qemu_qmp import is_deaf_qmpbackup, is_qemu_qmp, read_qemu_qmp


class DeafLogError(ValueError):
    """A log in which nothing is that was said to QEMU; the text says how to get one in which it is."""


def read_log(text: str) -> Log | None:
    """The log that a text is, or None if it is none.

    :raises DeafLogError: it is a log, but has no messages.
    """
    if is_libvirt(text):
        return read_libvirt(text)
    if is_qemu_qmp(text):
        return read_qemu_qmp(text)
    if is_deaf_libvirt(text):
        raise DeafLogError(
            'it is a log of libvirt without messages of QEMU: set log_filters="1:qemu" in its configuration'
        )
    if is_deaf_qmpbackup(text):
        raise DeafLogError("it is a log of qmpbackup without messages of QEMU: run it with --debug")
    return None
