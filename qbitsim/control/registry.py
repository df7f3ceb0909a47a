"""The commands of a machine that clients may control: QEMU's and qbitsim's own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qbitsim.commands.offered import COMMANDS
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.registry import CONTROL_COMMANDS, Registry

if TYPE_CHECKING:
    from qbitsim.profiles import Profile


@cache
def controlled_registry_for(profile: Profile) -> Registry:
    """Those of that profile; one registry serves all machines."""
    from qbitsim.control import disks as control_disks  # noqa: PLC0415 - few machines have them
    from qbitsim.control import faults as control_faults  # noqa: PLC0415 - few machines have them
    from qbitsim.control import time as control  # noqa: PLC0415 - few machines have them
    from qbitsim.control import why as control_why  # noqa: PLC0415 - few machines have them

    assert all((control, control_disks, control_faults, control_why)), "importing them has declared their commands"
    every = Lazy((*COMMANDS, *CONTROL_COMMANDS), lambda name: CONTROL_COMMANDS.get(name) or COMMANDS[name])
    return Registry(profile, every)
