"""Migrations of the guest to another machine, and their settings (qapi/migration.json, QEMU 10.0).

A guest has no memory and no state but bitmaps: what migrates is who has the images, and the bitmaps beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jsontypes import Json
from qbitsim.migration.addresses import Program, parse_uri
from qbitsim.migration.channels import of_channels
from qbitsim.qapi.events import MigrationStatus
from qbitsim.qapi.migration import (
    MigrateSetParameters,
    MigrationCapability,
    MigrationCapabilityStatus,
    MigrationChannel,
    MigrationInfo,
    MigrationParameters,
    MigrationStats,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.shapes import EnumShape, ObjectShape
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbitsim.migration.addresses import Place


@struct
class MigrateSetCapabilities:
    """Arguments of migrate-set-capabilities."""

    capabilities: list[MigrationCapabilityStatus]


@struct
class Migrate:
    """Arguments of migrate."""

    uri: str | None = arg(required_before="8.2")
    channels: list[MigrationChannel] | None = arg(since="8.2")
    blk: bool | None = arg(until="9.1")
    inc: bool | None = arg(until="9.1")
    detach: bool | None = arg(until="11.1")
    resume: bool | None = arg(since="3.0")


@struct
class MigrateIncoming:
    """Arguments of migrate-incoming."""

    uri: str | None = arg(required_before="8.2")
    channels: list[MigrationChannel] | None = arg(since="8.2")
    exit_on_error: bool | None = arg(since="9.1")


@struct
class MigrateContinue:
    """Arguments of migrate-continue."""

    state: MigrationStatus


@command("migrate", Migrate, since="0.14")
def migrate(context: Context, args: Migrate) -> None:
    """Begin to migrate the guest; whatever happens later is told by query-migrate and events.

    ``blk`` and ``inc`` would copy the disks, too, which nobody does here.
    """
    outgoing = context.machine.outgoing
    if context.profile.migration_names_protocol:
        address = _address(context, args.uri, args.channels)
        _check_can_start(context, args)
    else:
        _check_can_start(context, args)
        address = _address(context, args.uri, args.channels)
    if args.blk or args.inc:
        raise UnsupportedError("a migration that copies disks")
    outgoing.start(lambda: context.machine.connect_for_migration(address), is_answered=not isinstance(address, Program))


def _check_can_start(context: Context, args: Migrate) -> None:
    if args.resume:
        raise QmpError("Cannot resume if there is no paused migration")
    context.machine.outgoing.check_can_start()
    for reason in reversed(_blocked_reasons(context)):
        raise QmpError(reason)


def _blocked_reasons(context: Context) -> list[str]:
    """Why the guest cannot migrate, oldest first; who asks for it hears the newest (migration_is_blocked)."""
    nodes = context.graph.nodes.values()
    return [node.migration_blocker for node in nodes if node.migration_blocker is not None]


def _address(context: Context, uri: str | None, channels: Sequence[MigrationChannel] | None) -> Place:
    if uri is not None and channels:
        raise QmpError("need either 'uri' or 'channels' argument")
    if uri is not None:
        return parse_uri(uri, context.profile)
    if not channels:
        raise QmpError("need either 'uri' or 'channels' argument")
    return of_channels(channels)


@command("migrate-incoming", MigrateIncoming, since="2.3")
def migrate_incoming(context: Context, args: MigrateIncoming) -> None:
    """Listen for the guest that the machine was started to wait for."""
    incoming = context.machine.incoming
    if incoming is None:
        raise QmpError("'-incoming' was not specified on the command line")
    if not incoming.may_listen:
        raise QmpError("The incoming migration has already been started")
    address = _address(context, args.uri, args.channels)
    if args.exit_on_error is not None:
        incoming.exits_on_error = args.exit_on_error
    context.machine.await_migration(address)


@command("migrate_cancel", since="0.14")
def migrate_cancel(context: Context, args: None) -> None:
    """Give the migration up; no error if there is none."""
    del args
    context.machine.outgoing.cancel()


@command("migrate-continue", MigrateContinue, since="2.11")
def migrate_continue(context: Context, args: MigrateContinue) -> None:
    """Let a migration go on that waits before the switch over."""
    context.machine.outgoing.go_on(str(args.state))


@command("migrate-start-postcopy", since="2.5")
def migrate_start_postcopy(context: Context, args: None) -> None:
    """Let the guest run at the destination before all bitmaps are there."""
    del args
    context.machine.outgoing.start_postcopy()


@command("query-migrate", returns=MigrationInfo, since="0.14")
def query_migrate(context: Context, args: None) -> Json:
    """How far the migration has come: the last one of the guest, or the one that saved the machine in a snapshot."""
    del args
    machine = context.machine
    shown = machine.outgoing.describe()
    if not shown and machine.migration.counted is not None:
        shown = {"status": "completed", "setup-time": 0, "downtime": 0, "total-time": 0}
        shown["ram"] = machine.migration.counted
    if "ram" in shown:
        known = machine.registry.shapes.of(MigrationStats)
        assert isinstance(known, ObjectShape)
        shown["ram"] = {each.wire: shown["ram"].get(each.wire, 0) for each in known.members}
    if reasons := _blocked_reasons(context):
        shown["blocked-reasons"] = reasons
    if machine.incoming is not None and "status" not in shown:
        shown |= machine.incoming.describe(shows_setup=context.profile.migration_shows_setup)
    return shown


@command("migrate-set-capabilities", MigrateSetCapabilities, since="1.2")
def migrate_set_capabilities(context: Context, args: MigrateSetCapabilities) -> None:
    """Turn capabilities on and off, all or none."""
    wanted = {str(each.capability): each.state for each in args.capabilities}
    context.machine.migration.set_capabilities(wanted, context.profile)


@command("query-migrate-capabilities", returns=list[MigrationCapabilityStatus], since="1.2")
def query_migrate_capabilities(context: Context, args: None) -> list[Json]:
    """All capabilities of the release, and which are on."""
    del args
    known = context.machine.registry.shapes.of(MigrationCapability)
    assert isinstance(known, EnumShape)
    return [{"capability": name, "state": name in context.machine.migration.capabilities} for name in known.values]


@command("migrate-set-parameters", MigrateSetParameters, since="2.4")
def migrate_set_parameters(context: Context, args: MigrateSetParameters) -> None:
    """Set parameters, all or none; null stands for an empty text."""
    given = {name: "" if value is None else value for name, value in to_json(args).items()}
    context.machine.migration.set_parameters(given, context.profile)


@command("query-migrate-parameters", returns=MigrationParameters, since="2.4")
def query_migrate_parameters(context: Context, args: None) -> Json:
    """All parameters of the release that have a value."""
    del args
    known = context.machine.registry.shapes.of(MigrationParameters)
    assert isinstance(known, ObjectShape)
    values = context.machine.migration.parameters
    return {each.wire: values[each.wire] for each in known.members if each.wire in values}
