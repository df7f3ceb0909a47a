"""Modules that have moved: their old names go on working for one release, with a warning.

Only what somebody outside of the package is likely to import is listed. :mod:`qbitsim` asks here for names that nobody
else has found, so that it costs nothing otherwise.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

MOVED = {
    "qbitsim.block.bits": "qbitsim.bits.bits",
    "qbitsim.block.content": "qbitsim.images.content",
    "qbitsim.block.faults": "qbitsim.files.faults",
    "qbitsim.block.image": "qbitsim.images.image",
    "qbitsim.block.images": "qbitsim.images.store",
    "qbitsim.block.qemu_img": "qbitsim.qemu_img.run",
    "qbitsim.commands.control": "qbitsim.control.time",
    "qbitsim.commands.control_disks": "qbitsim.control.disks",
    "qbitsim.commands.control_faults": "qbitsim.control.faults",
    "qbitsim.commands.qemu_io": "qbitsim.qemu_io.run",
    "qbitsim.guest": "qbitsim.injection.guest",
    "qbitsim.qmp.registry": "qbitsim.qapi.registry",
    "qbitsim.qmp.schema": "qbitsim.qapi.schema",
    "qbitsim.qmp.server": "qbitsim.serving.server",
    "qbitsim.qmp.types": "qbitsim.jsontypes",
    "qbitsim.state": "qbitsim.machine.state",
    "qbitsim.testing.player": "qbitsim.scenario.player",
    "qbitsim.testing.recorder": "qbitsim.scenario.recorder",
    "qbitsim.testing.reductions": "qbitsim.scenario.reductions",
    "qbitsim.testing.replayer": "qbitsim.scenario.replayer",
    "qbitsim.testing.serving": "qbitsim.serving.threads",
    "qbitsim.until": "qbitsim.commands.conditions",
}
"""Old name -> new name."""


def spec_of(name: str) -> ModuleSpec | None:
    """What finds a module under its old name: one without names of its own, which asks the one that has moved.

    None if no module of that name has moved.
    """
    return ModuleSpec(name, cast("Loader", _Loader())) if name in MOVED else None


class _Loader:
    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """None: an ordinary one."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Warn, and let names be looked up where they are now."""
        old = module.__name__
        new = import_module(MOVED[old])
        warnings.warn(f"{old} has moved to {MOVED[old]}", DeprecationWarning, stacklevel=2)
        module.__doc__ = new.__doc__
        module.__dict__["__getattr__"] = lambda name: getattr(new, name)
