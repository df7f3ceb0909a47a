"""``human-monitor-command`` (monitor/qmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct


@struct
class HumanMonitorCommand:
    """Arguments of human-monitor-command."""

    command_line: str
    cpu_index: Int64 | None = None


@command("human-monitor-command", HumanMonitorCommand, returns=str, since="0.14", features=["savevm-monitor-nodes"])
def human_monitor_command(context: Context, args: HumanMonitorCommand) -> str:
    """Run a line of the human monitor: guest I/O comes through ``qemu-io``."""
    if args.cpu_index is not None:  # a machine of type none has no processor
        raise QmpError("Parameter 'cpu-index' expects a CPU number")
    from qbitsim.commands.hmp import run  # noqa: PLC0415  (the parser of qemu-io is the largest of all modules)

    return run.human_monitor_command(context, args.command_line)
