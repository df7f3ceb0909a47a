"""What queries about the machine as a whole return (qapi/machine.json, misc.json, char.json, tpm.json, memory.json).

A machine here has no processors, no memory and no devices but disks, so that most lists are empty; their elements are
declared all the same, for clients read the schema to learn what a release can tell them.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.schema import branch, enum_values, note, union
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


@enum_values(since={"hexagon": "11.1"}, until={"cris": "9.2", "nios2": "9.1", "microblazeel": "11.1"})
class SysEmuTarget(StrEnum):
    """The architecture of the guest."""

    AARCH64 = "aarch64"
    ALPHA = "alpha"
    ARM = "arm"
    AVR = "avr"
    CRIS = "cris"
    HEXAGON = "hexagon"
    HPPA = "hppa"
    I386 = "i386"
    LOONGARCH64 = "loongarch64"
    M68K = "m68k"
    MICROBLAZE = "microblaze"
    MICROBLAZEEL = "microblazeel"
    MIPS = "mips"
    MIPS64 = "mips64"
    MIPS64EL = "mips64el"
    MIPSEL = "mipsel"
    NIOS2 = "nios2"
    OR1K = "or1k"
    PPC = "ppc"
    PPC64 = "ppc64"
    RISCV32 = "riscv32"
    RISCV64 = "riscv64"
    RX = "rx"
    S390X = "s390x"
    SH4 = "sh4"
    SH4EB = "sh4eb"
    SPARC = "sparc"
    SPARC64 = "sparc64"
    TRICORE = "tricore"
    X86_64 = "x86_64"
    XTENSA = "xtensa"
    XTENSAEB = "xtensaeb"


class TargetInfo(TypedDict):
    """The architecture of the guest."""

    arch: SysEmuTarget


CpuInstanceProperties = TypedDict(
    "CpuInstanceProperties",
    {
        "node-id": NotRequired[int],
        "drawer-id": Annotated[NotRequired[int], note(since="8.2")],
        "book-id": Annotated[NotRequired[int], note(since="8.2")],
        "socket-id": NotRequired[int],
        "die-id": NotRequired[int],
        "cluster-id": NotRequired[int],
        "module-id": Annotated[NotRequired[int], note(since="9.1")],
        "core-id": NotRequired[int],
        "thread-id": NotRequired[int],
    },
)
"""Where a processor sits."""


class CpuS390State(StrEnum):
    """What a processor of s390x does."""

    UNINITIALIZED = "uninitialized"
    STOPPED = "stopped"
    CHECK_STOP = "check-stop"
    OPERATING = "operating"
    LOAD = "load"


class S390CpuEntitlement(StrEnum):
    """How much of a real processor one of s390x is entitled to."""

    AUTO = "auto"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_CpuInfoFast = TypedDict(
    "_CpuInfoFast",
    {
        "cpu-index": int,
        "qom-type": Annotated[NotRequired[str], note(since="11.1", required=True)],
        "qom-path": str,
        "thread-id": int,
        "props": NotRequired[CpuInstanceProperties],
        "target": SysEmuTarget,
    },
)


@union("target")
class CpuInfoFast(_CpuInfoFast):
    """A processor."""


CpuInfoS390 = TypedDict(
    "CpuInfoS390",
    {
        "cpu-state": CpuS390State,
        "dedicated": Annotated[NotRequired[bool], note(since="8.2")],
        "entitlement": Annotated[NotRequired[S390CpuEntitlement], note(since="8.2")],
    },
)
"""What is special about a processor of s390x."""
branch(CpuInfoFast, SysEmuTarget.S390X)(CpuInfoS390)

HotpluggableCPU = TypedDict(
    "HotpluggableCPU",
    {"type": str, "vcpus-count": int, "props": CpuInstanceProperties, "qom-path": NotRequired[str]},
)
"""A processor that can be plugged in."""

IOThreadInfo = TypedDict(
    "IOThreadInfo",
    {
        "id": str,
        "thread-id": int,
        "poll-max-ns": int,
        "poll-grow": int,
        "poll-shrink": int,
        "poll-weight": Annotated[NotRequired[int], note(since="11.1", required=True)],
        "aio-max-batch": int,
    },
)
"""An I/O thread; times in nanoseconds."""

ChardevInfo = TypedDict("ChardevInfo", {"label": str, "filename": str, "frontend-open": bool})
"""A character device: the monitor's socket is one."""

MemoryInfo = TypedDict("MemoryInfo", {"base-memory": int, "plugged-memory": NotRequired[int]})
"""Bytes of memory."""

CurrentMachineParams = TypedDict("CurrentMachineParams", {"wakeup-suspend-support": bool})
"""What the machine's type can do."""


class PRManagerInfo(TypedDict):
    """A helper for persistent reservations."""

    id: str
    connected: bool


class FdsetFdInfo(TypedDict):
    """A file descriptor of a set."""

    fd: int
    opaque: NotRequired[str]


FdsetInfo = TypedDict("FdsetInfo", {"fdset-id": int, "fds": list[FdsetFdInfo]})
"""A set of file descriptors that clients handed over."""


class TpmModel(StrEnum):
    """How the guest sees a TPM."""

    TPM_TIS = "tpm-tis"
    TPM_CRB = "tpm-crb"
    TPM_SPAPR = "tpm-spapr"


class TpmType(StrEnum):
    """What is behind a TPM."""

    PASSTHROUGH = "passthrough"
    EMULATOR = "emulator"


TPMPassthroughOptions = TypedDict("TPMPassthroughOptions", {"path": NotRequired[str], "cancel-path": NotRequired[str]})
"""A TPM of the host."""


class TPMEmulatorOptions(TypedDict):
    """A TPM that another program emulates."""

    chardev: str


@union("type")
class TpmTypeOptions(TypedDict):
    """What is behind a TPM, with its options."""

    type: TpmType


@branch(TpmTypeOptions, TpmType.PASSTHROUGH)
class TPMPassthroughOptionsWrapper(TpmTypeOptions):
    """A TPM of the host inside ``data``."""

    data: TPMPassthroughOptions


@branch(TpmTypeOptions, TpmType.EMULATOR)
class TPMEmulatorOptionsWrapper(TpmTypeOptions):
    """An emulated TPM inside ``data``."""

    data: TPMEmulatorOptions


class TPMInfo(TypedDict):
    """A TPM."""

    id: str
    model: TpmModel
    options: TpmTypeOptions


CompatProperty = TypedDict("CompatProperty", {"qom-type": str, "property": str, "value": str})
"""What devices of a machine of old have otherwise."""

MachineInfo = TypedDict(
    "MachineInfo",
    {
        "name": str,
        "alias": NotRequired[str],
        "is-default": NotRequired[bool],
        "cpu-max": int,
        "hotpluggable-cpus": bool,
        "numa-mem-supported": bool,
        "deprecated": bool,
        "default-cpu-type": NotRequired[str],
        "default-ram-id": NotRequired[str],
        "acpi": Annotated[bool, note(since="8.0")],
        "compat-props": Annotated[NotRequired[list[CompatProperty]], note(since="9.1", features=["unstable"])],
    },
)
"""A kind of machine."""

CpuDefinitionInfo = TypedDict(
    "CpuDefinitionInfo",
    {
        "name": str,
        "migration-safe": NotRequired[bool],
        "static": bool,
        "unavailable-features": NotRequired[list[str]],
        "typename": str,
        "alias-of": NotRequired[str],
        "deprecated": bool,
    },
)
"""A model of processors; its features that are not available are those that the host or TCG has not."""


class CpuModelExpansionType(StrEnum):
    """How much is told of a model of processors."""

    STATIC = "static"
    FULL = "full"


@struct
class CpuModelInfo:
    """A model of processors, with properties that are not as they are in it."""

    name: str
    props: Any | None = None


CpuModelExpansionInfo = TypedDict(
    "CpuModelExpansionInfo",
    {"model": CpuModelInfo, "deprecated-props": Annotated[NotRequired[list[str]], note(since="11.1")]},
)
"""A model as query-cpu-model-expansion tells it."""


class CommandLineParameterType(StrEnum):
    """What a parameter of an option is."""

    STRING = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"
    SIZE = "size"


class CommandLineParameterInfo(TypedDict):
    """A parameter of an option."""

    name: str
    type: CommandLineParameterType
    help: NotRequired[str]
    default: NotRequired[str]


class CommandLineOptionInfo(TypedDict):
    """An option of the command line."""

    option: str
    parameters: list[CommandLineParameterInfo]
