"""The programs under QEMU's names, and how one of them is started.

A program is a module of this folder with ``main(argv, profile) -> int``, which takes the arguments without the name of
the program and returns the exit status. It is imported when it is started, and nothing else is.
"""

from __future__ import annotations

import sys
from importlib import import_module

from qbitsim.profiles import profile

PROGRAMS = {
    "qemu-img": "qemu_img",
    "qemu-io": "qemu_io",
    "qemu-nbd": "qemu_nbd.main",
    "qemu-storage-daemon": "storage_daemon.main",
    "qemu-system-x86_64": "qemu_system.main",
}
"""The module of each program."""


def start(name: str, release: str) -> int:
    """Run a program with the arguments of this process; the exit status.

    :param name: one of :data:`PROGRAMS`.
    :param release: what it claims to be, such as ``"10.0"``.
    """
    status: int = import_module(f"qbitsim.programs.{PROGRAMS[name]}").main(sys.argv[1:], profile(release))
    return status
