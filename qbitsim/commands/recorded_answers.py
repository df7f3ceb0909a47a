"""What clients ask about the kinds of machines, processors and options that a release has.

These are long lists that no machine here depends on, so that they are kept as QEMU 7.2, 10.0 and 11.1 (x86_64,
Debian's packages) told them: one file for each release, which is read when it is asked for. Real QEMU says the
same whatever machine it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jsontypes import Json
from qbitsim.qapi.machine import CommandLineOptionInfo, CpuDefinitionInfo, MachineInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.structs import struct
from qbitsim.recorded import recorded_json

if TYPE_CHECKING:
    from qbitsim.profiles import Profile


@struct
class QueryMachines:
    """Arguments of query-machines."""

    compat_props: bool | None = arg(since="9.1", features=["unstable"])


@struct
class QueryCommandLineOptions:
    """Arguments of query-command-line-options: one option, without its hyphen."""

    option: str | None = None


@command("query-machines", QueryMachines, returns=list[MachineInfo], since="1.2")
def query_machines(context: Context, args: QueryMachines) -> list[Json]:
    """The kinds of machines, of which qbitsim is ``none``."""
    if args.compat_props:
        raise UnsupportedError("'compat-props' of query-machines")
    return recorded(context.profile, "machines")


@command("query-cpu-definitions", returns=list[CpuDefinitionInfo], since="1.2")
def query_cpu_definitions(context: Context, args: None) -> list[Json]:
    """The models of processors, as they are when the host's own are not used."""
    del args
    return recorded(context.profile, "processors")


@command("query-command-line-options", QueryCommandLineOptions, returns=list[CommandLineOptionInfo], since="1.5")
def query_command_line_options(context: Context, args: QueryCommandLineOptions) -> list[Json]:
    """The options of QEMU's command line, as far as QEMU tells of them: of ``-blockdev`` it does not.

    Which of them do something here, ``qemu-system-x86_64`` of qbitsim decides.
    """
    known: list[Json] = recorded(context.profile, "options")
    if args.option is None:
        return known
    found = [entry for entry in known if entry["option"] == args.option]
    if not found:
        raise QmpError(f"invalid option name: {args.option}")
    return found


def recorded(profile: Profile, name: str) -> list[Any]:
    """One of the lists of the release.

    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the {name} of QEMU {profile.name}")
    return cast("list[Any]", recorded_json(__file__, f"{profile.recorded_answers}.json")[name])
