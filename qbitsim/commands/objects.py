"""``object-add`` and ``object-del`` for throttle groups (qapi/qom.json, QEMU 10.0)."""

from __future__ import annotations

from enum import StrEnum

from qbitsim.block.names import is_well_formed
from qbitsim.block.throttle_group import ThrottleGroup
from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Int64, arg, branch, enum_values, union
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json

_ALWAYS: tuple[str | None, str | None] = (None, None)
_OTHERS = (
    "authz-list authz-listfile authz-pam authz-simple can-bus can-host-socketcan colo-compare cryptodev-backend "
    "cryptodev-backend-builtin cryptodev-backend-lkcf cryptodev-vhost-user dbus-vmstate filter-buffer filter-dump "
    "filter-mirror filter-redirector filter-replay filter-rewriter input-barrier input-linux iothread main-loop "
    "memory-backend-epc memory-backend-file memory-backend-memfd memory-backend-ram pef-guest pr-manager-helper qtest "
    "rng-builtin rng-egd rng-random secret secret_keyring sev-guest thread-context s390-pv-guest tls-creds-anon "
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


@branch(ObjectOptions, ObjectType.THROTTLE_GROUP)
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
class ObjectDel:
    """Arguments of object-del."""

    id: str


@command("object-add", ObjectOptions, since="2.11")
def object_add(context: Context, args: ObjectOptions) -> None:
    """Make a throttle group."""
    assert isinstance(args, ThrottleGroupProperties)
    groups = context.graph.throttle_groups
    if not is_well_formed(args.id):
        raise QmpError("Parameter 'id' expects an identifier")
    given = to_json(args)
    limits = {name.removeprefix("x-"): value for name, value in given.items() if name.startswith("x-")} | given.get(
        "limits", {}
    )
    group = ThrottleGroup(limits, args.id)
    if args.id in groups:
        if groups[args.id].of_drives:
            raise QmpError("A group with this name already exists")
        raise QmpError(f"attempt to add duplicate property '{args.id}' to object (type 'container')")
    groups[args.id] = group


@command("object-del", ObjectDel, since="2.11")
def object_del(context: Context, args: ObjectDel) -> None:
    """Remove a throttle group that nobody uses."""
    groups = context.graph.throttle_groups
    if args.id not in groups or groups[args.id].of_drives:
        raise QmpError(f"object '{args.id}' not found")
    if groups[args.id].members:
        raise QmpError(context.profile.throttle_group_in_use_text.format(args.id))
    del groups[args.id]
