"""The settings of a migration, which clients ask for and set before one begins (migration/options.c, QEMU 10.0).

No migration ever begins: there is nowhere to go, but into a snapshot of the machine.
"""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.jsontypes import Json
from qbitsim.qapi.migration import (
    MigrateSetParameters,
    MigrationCapability,
    MigrationCapabilityStatus,
    MigrationInfo,
    MigrationParameters,
    MigrationStats,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.shapes import EnumShape, ObjectShape
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json


@struct
class MigrateSetCapabilities:
    """Arguments of migrate-set-capabilities."""

    capabilities: list[MigrationCapabilityStatus]


@command("query-migrate", returns=MigrationInfo, since="0.14")
def query_migrate(context: Context, args: None) -> Json:
    """How far the migration has come: none, or the one that saved the machine in a snapshot."""
    del args
    counted = context.machine.migration.counted
    if counted is None:
        return {}
    known = context.machine.registry.shapes.of(MigrationStats)
    assert isinstance(known, ObjectShape)
    ram = {each.wire: counted.get(each.wire, 0) for each in known.members}
    return {"status": "completed", "setup-time": 0, "downtime": 0, "total-time": 0, "ram": ram}


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
