"""What clients ask about the machine before they ask about disks.

The machine is QEMU's machine ``none``, without a processor or memory, or a PC. What is answered here is what QEMU 7.2,
10.0 and 11.1 say of such machines.
"""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.commands.devices import processors_of
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
from qbitsim.qapi.shapes import ObjectShape

_UNSET_POLLING = {"poll-max-ns": 32768, "poll-grow": 0, "poll-shrink": 0, "aio-max-batch": 0}
_POLLING = {**_UNSET_POLLING, "poll-grow": 2, "poll-shrink": 2, "poll-weight": 3}
"""What holds for an I/O thread that was not told otherwise (util/aio-posix.c)."""

_FIRST_THREAD = 1000

_OPENED_BY_GUEST = "virtserialport"
"""The device whose end of a character device is open only while a program of the guest has it open."""


@command("query-target", returns=TargetInfo, since="1.2")
def query_target(context: Context, args: None) -> Json:
    """The architecture of the guest."""
    del context, args
    return {"arch": "x86_64"}


@command("query-cpus-fast", returns=list[CpuInfoFast], since="2.12")
def query_cpus_fast(context: Context, args: None) -> list[Json]:
    """The processors."""
    del args
    if context.machine.machine_type == "none":
        return []
    processors = processors_of(context.machine)
    named = {"qom-type": processors.type} if context.profile.processors_tell_type else {}
    return [
        {
            "cpu-index": number,
            **named,
            "qom-path": processors.path(number),
            "thread-id": processors.thread_id(number),
            "props": processors.place(number),
            "target": "x86_64",
        }
        for number in range(processors.count)
    ]


@command("query-hotpluggable-cpus", returns=list[HotpluggableCPU], since="2.7")
def query_hotpluggable_cpus(context: Context, args: None) -> list[Json]:
    """The places of processors, taken and free, the last one first."""
    del args
    if context.machine.machine_type != "none":
        processors = processors_of(context.machine)
        places = []
        for number in reversed(range(processors.most)):
            there = {"qom-path": processors.path(number)} if number < processors.count else {}
            places.append({"type": processors.type, "vcpus-count": 1, "props": processors.place(number), **there})
        return places
    if context.profile.cpu_hotplug_blames_machine:
        raise QmpError("machine does not support hot-plugging CPUs")
    raise QmpError("The feature 'query-hotpluggable-cpus' is not enabled")


@command("query-current-machine", returns=CurrentMachineParams, since="4.0")
def query_current_machine(context: Context, args: None) -> Json:
    """What the machine's type can do: a PC can be woken up."""
    del args
    return {"wakeup-suspend-support": context.machine.machine_type != "none"}


@command("query-memory-size-summary", returns=MemoryInfo, since="2.11")
def query_memory_size_summary(context: Context, args: None) -> Json:
    """How much memory the guest has."""
    del args
    return {"base-memory": 0 if context.machine.machine_type == "none" else context.machine.memory, "plugged-memory": 0}


@command("query-iothreads", returns=list[IOThreadInfo], since="2.0")
def query_iothreads(context: Context, args: None) -> list[Json]:
    """The I/O threads that ``object-add`` made; nothing runs in them, so that their numbers are made up."""
    del args
    known = context.machine.registry.shapes.of(IOThreadInfo)
    assert isinstance(known, ObjectShape)
    threads = [given for given in context.machine.objects.values() if given["qom-type"] == "iothread"]
    defaults = _POLLING if context.profile.iothreads_tell_factors else _UNSET_POLLING
    told = [defaults | given | {"thread-id": _FIRST_THREAD + 1 + number} for number, given in enumerate(threads)]
    return [{each.wire: given[each.wire] for each in known.members} for given in told]


@command("query-chardev", returns=list[ChardevInfo], since="0.14")
def query_chardev(context: Context, args: None) -> list[Json]:
    """The character devices; the frontend of one that no monitor or device of the guest has is not open."""
    del args
    tree = context.machine.devices
    devices = list(tree.devices.values()) if tree is not None else []
    used = {each.values.get("chardev") for each in devices if each.type.name != _OPENED_BY_GUEST}
    return [
        {"label": label, "filename": each.filename, "frontend-open": each.in_use or label in used}
        for label, each in context.machine.chardevs.items()
    ]


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
