"""What object-add is given (qapi/qom.json)."""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.common import OnOffAuto
from qbitsim.qapi.schema import Int64, Size, UInt16, UInt32, arg, branch, enum_values, union
from qbitsim.qapi.structs import struct

_ALWAYS: tuple[str | None, str | None] = (None, None)
_OTHERS = (
    "authz-list authz-listfile authz-pam authz-simple can-bus can-host-socketcan colo-compare cryptodev-backend "
    "cryptodev-backend-builtin cryptodev-backend-lkcf cryptodev-vhost-user dbus-vmstate filter-buffer filter-dump "
    "filter-mirror filter-redirector filter-replay filter-rewriter input-barrier input-linux main-loop "
    "memory-backend-epc pef-guest pr-manager-helper qtest "
    "rng-builtin rng-egd rng-random secret_keyring sev-guest thread-context s390-pv-guest tls-creds-anon "
    "tls-creds-psk tls-creds-x509 tls-cipher-suites x-remote-object x-vfio-user-server"
)
_LATER: dict[str, tuple[str | None, str | None]] = {
    "acpi-generic-initiator": ("9.0", None),
    "acpi-generic-port": ("9.2", None),
    "monitor-hmp": ("11.1", None),
    "monitor-qmp": ("11.1", None),
    "tdx-guest": ("10.1", None),
    "iommufd": ("9.0", None),
    "memory-backend-shm": ("9.1", None),
    "sev-snp-guest": ("9.1", None),
}


@enum_values(refused=dict.fromkeys(_OTHERS.split(), _ALWAYS) | _LATER, noun="objects of type")
class ObjectType(StrEnum):
    """The kinds of objects."""

    IOTHREAD = "iothread"
    MEMORY_BACKEND_FILE = "memory-backend-file"
    MEMORY_BACKEND_MEMFD = "memory-backend-memfd"
    MEMORY_BACKEND_RAM = "memory-backend-ram"
    SECRET = "secret"
    THROTTLE_GROUP = "throttle-group"


@union("qom_type")
@struct
class ObjectOptions:
    """Arguments of object-add."""

    qom_type: ObjectType
    id: str


@struct
class ThrottleLimits:
    """Rates per second, bursts per second and their lengths in seconds; sizes in bytes."""

    iops_total: Int64 | None = None
    iops_total_max: Int64 | None = None
    iops_total_max_length: Int64 | None = None
    iops_read: Int64 | None = None
    iops_read_max: Int64 | None = None
    iops_read_max_length: Int64 | None = None
    iops_write: Int64 | None = None
    iops_write_max: Int64 | None = None
    iops_write_max_length: Int64 | None = None
    bps_total: Int64 | None = None
    bps_total_max: Int64 | None = None
    bps_total_max_length: Int64 | None = None
    bps_read: Int64 | None = None
    bps_read_max: Int64 | None = None
    bps_read_max_length: Int64 | None = None
    bps_write: Int64 | None = None
    bps_write_max: Int64 | None = None
    bps_write_max_length: Int64 | None = None
    iops_size: Int64 | None = None


@struct
class ThrottleGroupProperties(ObjectOptions):
    """A throttle group; the members with ``x-`` are those of ``limits``."""

    limits: ThrottleLimits | None = None
    x_iops_total: Int64 | None = arg(features=["unstable"])
    x_iops_total_max: Int64 | None = arg(features=["unstable"])
    x_iops_total_max_length: Int64 | None = arg(features=["unstable"])
    x_iops_read: Int64 | None = arg(features=["unstable"])
    x_iops_read_max: Int64 | None = arg(features=["unstable"])
    x_iops_read_max_length: Int64 | None = arg(features=["unstable"])
    x_iops_write: Int64 | None = arg(features=["unstable"])
    x_iops_write_max: Int64 | None = arg(features=["unstable"])
    x_iops_write_max_length: Int64 | None = arg(features=["unstable"])
    x_bps_total: Int64 | None = arg(features=["unstable"])
    x_bps_total_max: Int64 | None = arg(features=["unstable"])
    x_bps_total_max_length: Int64 | None = arg(features=["unstable"])
    x_bps_read: Int64 | None = arg(features=["unstable"])
    x_bps_read_max: Int64 | None = arg(features=["unstable"])
    x_bps_read_max_length: Int64 | None = arg(features=["unstable"])
    x_bps_write: Int64 | None = arg(features=["unstable"])
    x_bps_write_max: Int64 | None = arg(features=["unstable"])
    x_bps_write_max_length: Int64 | None = arg(features=["unstable"])
    x_iops_size: Int64 | None = arg(features=["unstable"])


@struct
class IothreadProperties(ObjectOptions):
    """An I/O thread; times in nanoseconds."""

    aio_max_batch: Int64 | None = None
    thread_pool_min: Int64 | None = arg(since="7.1")
    thread_pool_max: Int64 | None = arg(since="7.1")
    poll_max_ns: Int64 | None = None
    poll_grow: Int64 | None = None
    poll_shrink: Int64 | None = None
    poll_weight: Int64 | None = arg(since="11.1")


class QCryptoSecretFormat(StrEnum):
    """How a secret is written."""

    RAW = "raw"
    BASE64 = "base64"


@struct
class SecretProperties(ObjectOptions):
    """A secret."""

    loaded: bool | None = arg(until="9.2", features=["deprecated"])
    format: QCryptoSecretFormat | None = None
    keyid: str | None = None
    iv: str | None = None
    data: str | None = None
    file: str | None = None


class HostMemPolicy(StrEnum):
    """From which nodes of the host memory comes."""

    DEFAULT = "default"
    PREFERRED = "preferred"
    BIND = "bind"
    INTERLEAVE = "interleave"


@struct
class MemoryBackendProperties(ObjectOptions):
    """Memory of the guest; ``size`` in bytes."""

    dump: bool | None = None
    host_nodes: list[UInt16] | None = None
    merge: bool | None = None
    policy: HostMemPolicy | None = None
    prealloc: bool | None = None
    prealloc_threads: UInt32 | None = None
    prealloc_context: str | None = arg(since="7.2")
    share: bool | None = None
    reserve: bool | None = None
    size: Size
    x_use_canonical_path_for_ramblock_id: bool | None = None


@struct
class MemoryBackendFileProperties(MemoryBackendProperties):
    """Memory of the guest that is a file of the host."""

    align: Size | None = None
    offset: Size | None = arg(since="8.1")
    discard_data: bool | None = None
    mem_path: str
    pmem: bool | None = None
    readonly: bool | None = None
    rom: OnOffAuto | None = arg(since="8.2")


@struct
class MemoryBackendMemfdProperties(MemoryBackendProperties):
    """Memory of the guest without a name."""

    hugetlb: bool | None = None
    hugetlbsize: Size | None = None
    seal: bool | None = None


for _kind, _properties in (
    (ObjectType.IOTHREAD, IothreadProperties),
    (ObjectType.MEMORY_BACKEND_FILE, MemoryBackendFileProperties),
    (ObjectType.MEMORY_BACKEND_MEMFD, MemoryBackendMemfdProperties),
    (ObjectType.MEMORY_BACKEND_RAM, MemoryBackendProperties),
    (ObjectType.SECRET, SecretProperties),
    (ObjectType.THROTTLE_GROUP, ThrottleGroupProperties),
):
    branch(ObjectOptions, _kind)(_properties)


@struct
class ObjectDel:
    """Arguments of object-del."""

    id: str
