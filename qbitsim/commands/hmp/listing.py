"""``help`` and ``info`` without a subcommand: lists of commands (help_cmd, monitor/hmp.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qbitsim.commands.hmp.declaration import ALIASES, hmp
from qbitsim.commands.hmp.line import StringError, split_hmp
from qbitsim.commands.hmp.offered import COMMANDS
from qbitsim.errors import UnsupportedError

if TYPE_CHECKING:
    from qbitsim.commands.context import Context
    from qbitsim.profiles import Profile


class _Topic(NamedTuple):
    """A subcommand of ``info`` that is not emulated, as ``info`` lists it."""

    name: str
    params: str
    help: str
    since: str | None = None
    until: str | None = None


@hmp("info", "item:s?", params="[subcommand]", help="show various information about the system state")
def info(context: Context, *, item: str | None = None) -> str:
    """The list of subcommands."""
    assert item is None, "a subcommand is a command of its own"
    topics = _topics(context.profile)
    return "".join(f"info {name} {params} -- {text}\n" for name, params, text in sorted(topics))


@hmp("help", "name:S?", params="[cmd]", help="show the help")
def help_(context: Context, *, name: str | None = None) -> str:
    """What a command takes and does."""
    try:
        words = split_hmp(name or "")
    except StringError as error:
        context.machine.print(str(error))
        return ""
    known = context.profile.hmp_commands
    if not words:
        raise UnsupportedError("the help of all commands")
    wanted = ALIASES.get(words[0], words[0])
    if wanted == "info":
        if len(words) == 1:
            return info(context) or ""
        wanted = f"info {words[1]}"
    if wanted not in known:
        return f"unknown command: '{wanted}'\n"
    if wanted in COMMANDS:
        return COMMANDS[wanted].of(context.profile).help_line
    for topic in _topics(context.profile):
        if wanted == f"info {topic[0]}":
            return f"info {topic[0]} {topic[1]} -- {topic[2]}\n"
    raise UnsupportedError(f"the help of HMP command '{wanted}'")


def _topics(profile: Profile) -> list[tuple[str, str, str]]:
    """Name, parameters and help of the subcommands of ``info``."""
    commands = [each.of(profile) for each in COMMANDS.values() if each.name.startswith("info ")]
    declared = [(each.shown, each.params, each.help) for each in commands]
    names = {name for name, _params, _text in declared}
    others = [
        (each.name, each.params, each.help)
        for each in _NOT_EMULATED
        if each.name not in names
        and f"info {each.name}" in profile.hmp_commands
        and profile.offers(each.since, each.until)
    ]
    return [*declared, *others]


_NOT_EMULATED = (
    _Topic("accel", "", "show accelerator statistics"),
    _Topic("accelerators", "", "show present and enabled information"),
    _Topic("balloon", "", "show balloon information"),
    _Topic("capture", "", "show capture information", until="11.1"),
    _Topic("capture", "", "show capture information (deprecated)", since="11.1"),
    _Topic("chardev", "", "show the character devices"),
    _Topic("cpus", "", "show infos for each CPU"),
    _Topic("cryptodev", "", "show the crypto devices"),
    _Topic("dirty_rate", "", "show dirty rate information"),
    _Topic("dump", "", "Display the latest dump status"),
    _Topic("firmware-log", "[max-size]", "show the firmware (ovmf) debug log"),
    _Topic("history", "", "show the command line history"),
    _Topic("hotpluggable-cpus", "", "Show information about hotpluggable CPUs"),
    _Topic("iothreads", "", "show iothreads"),
    _Topic("irq", "", "show the interrupts statistics (if available)"),
    _Topic("jit", "", "show dynamic compiler info"),
    _Topic(
        "lapic", "[apic-id]", "show local apic state (apic-id: local apic to read, default is which of current CPU)"
    ),
    _Topic("mem", "", "show the active virtual memory mappings"),
    _Topic("memdev", "", "show memory backends"),
    _Topic("memory-devices", "", "show memory devices"),
    _Topic(
        "memory_size_summary",
        "",
        "show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes.",
    ),
    _Topic("mice", "", "show which guest mouse is receiving events"),
    _Topic(
        "mtree",
        "[-f][-d][-o][-D]",
        "show memory tree (-f: dump flat view for address spaces;-d: dump dispatch tree, valid with -f "
        "only);-o: dump region owners/parents;-D: dump disabled regions",
    ),
    _Topic("network", "", "show the network state"),
    _Topic("numa", "", "show NUMA information"),
    _Topic("opcount", "", "show dynamic compiler opcode counters"),
    _Topic("pci", "", "show PCI info"),
    _Topic("pic", "", "show PIC state"),
    _Topic("profile", "", "show profiling information"),
    _Topic("qdm", "", "show qdev device model list"),
    _Topic("qom-tree", "[path]", "show QOM composition tree"),
    _Topic("qtree", "", "show device tree", until="10.0"),
    _Topic("qtree", "[-b]", "show device tree (-b: brief, omit properties)", since="10.0"),
    _Topic("ramblock", "", "Display system ramblock information"),
    _Topic("rdma", "", "show RDMA state"),
    _Topic(
        "registers",
        "[-a|vcpu]",
        "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; show the "
        "current CPU's registers if no argument is specified)",
    ),
    _Topic("replay", "", "show record/replay information"),
    _Topic("rocker", "name", "Show rocker switch"),
    _Topic("rocker-of-dpa-flows", "name [tbl_id]", "Show rocker OF-DPA flow tables"),
    _Topic("rocker-of-dpa-groups", "name [type]", "Show rocker OF-DPA groups"),
    _Topic("rocker-ports", "name", "Show rocker ports"),
    _Topic("roms", "", "show roms"),
    _Topic("sev", "", "show SEV information"),
    _Topic("sgx", "", "show intel SGX information"),
    _Topic("spice", "", "show the spice server status"),
    _Topic(
        "stats",
        "target [names] [provider]",
        "show statistics for the given target (vm or vcpu); optionally filter byname (comma-separated list, "
        "or * for all) and provider",
    ),
    _Topic(
        "sync-profile",
        "[-m] [-n] [max]",
        "show synchronization profiling info, up to max entries (default: 10), sorted by total wait time. "
        "(-m: sort by mean wait time; -n: do not coalesce objects with the same call site)",
    ),
    _Topic("tlb", "", "show virtual to physical memory mappings"),
    _Topic("tpm", "", "show the TPM device"),
    _Topic(
        "trace-events",
        "[name] [vcpu]",
        "show available trace-events & their state (name: event name pattern; vcpu: vCPU to query, default is any)",
    ),
    _Topic("usb", "", "show guest USB devices"),
    _Topic("usbhost", "", "show host USB devices"),
    _Topic("usernet", "", "show user network stack connection states"),
    _Topic("vcpu_dirty_limit", "", "show dirty page limit information of all vCPU"),
    _Topic("via", "", "show guest mos6522 VIA devices"),
    _Topic("virtio", "", "List all available virtio devices"),
    _Topic("virtio-queue-element", "path queue [index]", "Display element of a given virtio queue"),
    _Topic("virtio-queue-status", "path queue", "Display status of a given virtio queue"),
    _Topic("virtio-status", "path", "Display status of a given virtio device"),
    _Topic("virtio-vhost-queue-status", "path queue", "Display status of a given vhost queue"),
    _Topic("vm-generation-id", "", "Show Virtual Machine Generation ID"),
    _Topic("vnc", "", "show the vnc server status"),
)
"""By name; a release has those that its record names (:attr:`.Profile.hmp_commands`)."""
