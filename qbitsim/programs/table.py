"""The programs under QEMU's names, and how one of them is started.

A program is a module of this folder with ``main(argv, profile) -> int``, which takes the arguments without the name of
the program and returns the exit status. It is imported when it is started, and nothing else is.

A start of ``qemu-img`` is mostly the loading of modules. Those that it loads do without :mod:`typing`, a tenth of all
that it does: ``TYPE_CHECKING = False`` keeps what only type checkers read from being imported, and a type checker
knows better. A start of ``qemu-system-x86_64`` is to a fifth the loading of :mod:`asyncio`; what that itself uses only
when something fails is not loaded before.
"""

from __future__ import annotations

import gc
import os
import sys

from qbitsim.light_library import import_module, suppress
from qbitsim.programs.module_finder import ModuleFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PROGRAMS = {
    "qemu-img": "qemu_img",
    "qemu-io": "qemu_io",
    "qemu-nbd": "qemu_nbd.main",
    "qemu-storage-daemon": "storage_daemon.main",
    "qemu-system-x86_64": "qemu_system.main",
}
"""The module of each program."""

WANTED_LATE = ("asyncio.sslproto", "asyncio.staggered", "inspect", "linecache", "locale", "textwrap")
"""What :mod:`asyncio` loads and a program as a rule does not use."""


def load(name: str) -> Any:
    """A module of this folder, with all that it imports.

    The garbage collector does not look at what modules declare, which is no garbage.
    """
    gc.disable()
    module = import_module(f"qbitsim.programs.{name}")
    gc.freeze()
    gc.enable()
    return module


def start(name: str, release: str) -> NoReturn:
    """Run a program with the arguments of this process, which ends with its exit status.

    At the end nothing is taken apart, which takes as long as all that ``qemu-img create`` does.

    :param name: one of :data:`PROGRAMS`.
    :param release: what it claims to be, such as ``"10.0"``.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment] # asyncio does without it, as nothing here needs it
    sys.meta_path.insert(0, ModuleFinder())
    from qbitsim.profiles import profile  # noqa: PLC0415 - behind the finder
    from qbitsim.programs.late_module import LateModule  # noqa: PLC0415

    sys.modules.update((late, LateModule(late)) for late in WANTED_LATE)
    program = load(PROGRAMS[name])
    status: int = program.main(sys.argv[1:], profile(release))
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()
    os._exit(status)
