"""The daemon as a machine: it has fewer commands than the system emulator, and objects of fewer kinds."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qbitsim.commands import objects
from qbitsim.commands.context import Context
from qbitsim.commands.offered import COMMANDS
from qbitsim.errors import QmpError
from qbitsim.machine.talking import TalkingMachine
from qbitsim.programs.storage_daemon.recorded_answers import answers
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.objects import ObjectOptions
from qbitsim.qapi.registry import Command, Registry
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile


class StorageDaemon(TalkingMachine):
    """What the process is: a machine without a guest."""

    __slots__ = ()

    def __init__(self, profile: Profile, *, epoch: int, images: ImageStore) -> None:
        super().__init__(profile, images=images, epoch=epoch, running=True, registry=daemon_registry_for(profile))

    @property
    def _drains_at_end(self) -> int:
        return 1


@cache
def daemon_registry_for(profile: Profile) -> Registry:
    """Those of that profile."""
    return Registry(profile, Lazy(COMMANDS, _commands), program=answers(profile)["schema"])


def _commands(name: str) -> list[Command]:
    """Those of that name: the system emulator's, but for one."""
    if name == "object-add":
        return [changed(each, handler=object_add) for each in COMMANDS[name]]
    return COMMANDS[name]


def object_add(context: Context, args: ObjectOptions) -> None:
    """Make an object of a kind that there is in the daemon."""
    check_kind(context.profile, args.qom_type.value)
    objects.object_add(context, args)


def check_kind(profile: Profile, kind: str) -> None:
    """Refuse objects that only the system emulator has.

    :raises QmpError: it is one of those.
    """
    if kind not in answers(profile)["objects"]:
        raise QmpError(f"invalid object type: {kind}")
