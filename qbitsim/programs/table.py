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
    "qemu-storage-daemon": None,
    "qemu-system-x86_64": "qemu_system.main",
}
"""The module of each program; None for one that is not emulated yet."""


def start(name: str, release: str) -> int:
    """Run a program with the arguments of this process; the exit status.

    :param name: one of :data:`PROGRAMS`.
    :param release: what it claims to be, such as ``"10.0"``.
    """
    module = PROGRAMS[name]
    if module is None:
        sys.stderr.write(f"{name}: qbitsim does not emulate this program yet\n")
        return 1
    status: int = import_module(f"qbitsim.programs.{module}").main(sys.argv[1:], profile(release))
    return status
