"""The commands about the monitor and the machine as a whole."""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jsontypes import Json
from qbitsim.profiles import Profile
from qbitsim.qapi.monitor import (
    CommandInfo,
    KvmInfo,
    NameInfo,
    QMPCapability,
    SchemaInfo,
    StatusInfo,
    UuidInfo,
    VersionInfo,
    YankInstance,
    YankInstanceChardev,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import Feature, arg
from qbitsim.qapi.structs import struct


@struct
class QmpCapabilities:
    """Arguments of qmp_capabilities."""

    enable: list[QMPCapability] | None = arg(since="2.12")


@struct
class Yank:
    """Arguments of yank."""

    instances: list[YankInstance]


@struct
class MigrateRecover:
    """Arguments of migrate-recover."""

    uri: str


@command("qmp_capabilities", QmpCapabilities, since="0.13")
def qmp_capabilities(context: Context, args: QmpCapabilities) -> None:
    """Nothing more: a monitor negotiates before it gets here."""
    del context, args
    raise QmpError("Capabilities negotiation is already complete, command ignored", "CommandNotFound")


@command("query-version", returns=VersionInfo, since="0.14")
def query_version(context: Context, args: None) -> Json:
    """The QEMU release that the machine is."""
    del args
    return version_info(context.profile)


def version_info(profile: Profile) -> Json:
    """VersionInfo of a profile."""
    major, minor, micro = profile.version
    return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": profile.package}


@command("query-status", returns=StatusInfo, since="0.14")
def query_status(context: Context, args: None) -> Json:
    """Whether the guest runs."""
    del args
    machine = context.machine
    status: Json = {"running": machine.running}
    if context.profile.status_shows_singlestep:
        status["singlestep"] = False
    status["status"] = machine.run_state
    return status


@command("query-commands", returns=list[CommandInfo], since="0.14")
def query_commands(context: Context, args: None) -> list[Json]:
    """What this machine answers."""
    del args
    return [{"name": name} for name in context.machine.registry.names()]


@command("query-qmp-schema", returns=list[SchemaInfo], since="2.5")
def query_qmp_schema(context: Context, args: None) -> list[Json]:
    """The schema of what this machine answers."""
    from qbitsim.qapi import introspect  # noqa: PLC0415  (few machines are ever asked)

    del args
    return introspect.query_qmp_schema(context.machine.registry)


@command("query-name", returns=NameInfo, since="0.14")
def query_name(context: Context, args: None) -> Json:
    """The guest's name, if it has one."""
    del args
    name = context.machine.guest_name
    return {} if name is None else {"name": name}


@command("stop", since="0.14")
def stop(context: Context, args: None) -> None:
    """Stop the guest."""
    del args
    context.machine.stop()


@command("cont", since="0.14")
def cont(context: Context, args: None) -> None:
    """Let the guest run."""
    del args
    context.machine.cont()


@command("quit", since="0.14")
def quit_(context: Context, args: None) -> None:
    """End the machine cleanly: jobs are cancelled, persistent bitmaps stored."""
    del args
    context.machine.shut_down()


@command("system_reset", since="0.14")
def system_reset(context: Context, args: None) -> None:
    """Reset the guest; one that does not run is as before its first start then."""
    del args
    context.machine.reset()


@command("system_powerdown", since="0.14")
def system_powerdown(context: Context, args: None) -> None:
    """Press the guest's power button."""
    del args
    context.machine.power_down()


@command("query-uuid", returns=UuidInfo, since="0.14")
def query_uuid(context: Context, args: None) -> Json:
    """The guest's UUID; zeroes if it has none."""
    del args
    return {"UUID": context.machine.guest_uuid}


@command("migrate-pause", oob=True, since="3.0")
def migrate_pause(context: Context, args: None) -> None:
    """Pause a migration; there never is one."""
    del args
    raise QmpError(f"migrate-pause is currently only supported during {context.profile.migrate_pause_states}")


@command("migrate-recover", MigrateRecover, oob=True, since="3.0")
def migrate_recover(context: Context, args: MigrateRecover) -> None:
    """Take a migration up again; there never is one."""
    del context, args
    raise QmpError("Migrate recover can only be run when postcopy is paused.")


@command("yank", Yank, oob=True, since="6.0")
def yank(context: Context, args: Yank) -> None:
    """Cut connections off; those of monitors are the only ones, and there is no client left to see it go.

    All instances are looked up before the first is cut off (qmp_yank, util/yank.c, QEMU 10.0).
    """
    known = _yankable(context)
    for instance in args.instances:
        if not isinstance(instance, YankInstanceChardev) or instance.id not in known:
            raise QmpError("Instance not found", "DeviceNotFound")
    if args.instances:
        raise UnsupportedError("the yank of a monitor")


@command("query-yank", returns=list[YankInstance], oob=True, since="6.0")
def query_yank(context: Context, args: None) -> list[Json]:
    """What can be yanked: the character devices that are sockets."""
    del args
    return [{"type": "chardev", "id": label} for label in _yankable(context)]


def _yankable(context: Context) -> list[str]:
    return [label for label, each in context.machine.chardevs.items() if each.kind == "chardev-socket"]


@command("query-kvm", returns=KvmInfo, since="0.14", features=[Feature("deprecated", since="11.0")])
def query_kvm(context: Context, args: None) -> Json:
    """Whether KVM accelerates the guest: it does not, there is none."""
    del context, args
    return {"enabled": False, "present": True}
