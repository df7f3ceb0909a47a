"""What clients ask about the machine before they ask about disks.

The machine is QEMU's machine ``none``: no processor, no memory, no device that is not a disk. What is answered here is
what QEMU 7.2, 10.0 and 11.1 say of such a machine.
"""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.commands.monitor import MONITOR
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.machine import (
    ChardevInfo,
    CpuInfoFast,
    CurrentMachineParams,
    HotpluggableCPU,
    IOThreadInfo,
    MemoryInfo,
    PRManagerInfo,
    TargetInfo,
    TPMInfo,
    TpmModel,
    TpmType,
)
from qbitsim.qapi.registry import command

MONITOR_ADDRESS = "unix:qmp.sock,server=on"
"""How QEMU describes the character device of ``-qmp unix:qmp.sock,server=on``."""


@command("query-target", returns=TargetInfo, since="1.2")
def query_target(context: Context, args: None) -> Json:
    """The architecture of the guest."""
    del context, args
    return {"arch": "x86_64"}


@command("query-cpus-fast", returns=list[CpuInfoFast], since="2.12")
def query_cpus_fast(context: Context, args: None) -> list[Json]:
    """The processors: there are none."""
    del context, args
    return []


@command("query-hotpluggable-cpus", returns=list[HotpluggableCPU], since="2.7")
def query_hotpluggable_cpus(context: Context, args: None) -> list[Json]:
    """The processors that could be plugged in: the machine has no place for one."""
    del args
    if context.profile.cpu_hotplug_blames_machine:
        raise QmpError("machine does not support hot-plugging CPUs")
    raise QmpError("The feature 'query-hotpluggable-cpus' is not enabled")


@command("query-current-machine", returns=CurrentMachineParams, since="4.0")
def query_current_machine(context: Context, args: None) -> Json:
    """What the machine's type can do: it cannot be woken up."""
    del context, args
    return {"wakeup-suspend-support": False}


@command("query-memory-size-summary", returns=MemoryInfo, since="2.11")
def query_memory_size_summary(context: Context, args: None) -> Json:
    """How much memory the guest has."""
    del context, args
    return {"base-memory": 0, "plugged-memory": 0}


@command("query-iothreads", returns=list[IOThreadInfo], since="2.0")
def query_iothreads(context: Context, args: None) -> list[Json]:
    """The I/O threads: there are none, ``object-add`` makes no such objects here."""
    del context, args
    return []


@command("query-chardev", returns=list[ChardevInfo], since="0.14")
def query_chardev(context: Context, args: None) -> list[Json]:
    """The character devices: the monitor's socket, at which the client sits."""
    del context, args
    return [{"label": MONITOR, "filename": MONITOR_ADDRESS, "frontend-open": True}]


@command("query-pr-managers", returns=list[PRManagerInfo], since="3.0")
def query_pr_managers(context: Context, args: None) -> list[Json]:
    """The helpers for persistent reservations: there are none."""
    del context, args
    return []


@command("query-tpm", returns=list[TPMInfo], since="1.5")
def query_tpm(context: Context, args: None) -> list[Json]:
    """The TPMs: there are none."""
    del context, args
    return []


@command("query-tpm-models", returns=list[TpmModel], since="1.5")
def query_tpm_models(context: Context, args: None) -> list[str]:
    """The TPMs that x86_64 could have."""
    del context, args
    return [TpmModel.TPM_CRB.value, TpmModel.TPM_TIS.value]


@command("query-tpm-types", returns=list[TpmType], since="1.5")
def query_tpm_types(context: Context, args: None) -> list[str]:
    """What could be behind a TPM."""
    del context, args
    return [each.value for each in TpmType]
