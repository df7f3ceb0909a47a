"""Objects by path: what is at a place, its properties, and the types that there are (qom/qom-qmp-cmds.c, QEMU 10.0).

Told of are the devices with a disk or a bus, objects of ``object-add``, and the places where these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.commands.context import Context
from qbitsim.commands.devices import device_tree, processors_of
from qbitsim.jsontypes import Json
from qbitsim.qapi.devices import (
    ObjectPropertyInfo,
    ObjectTypeInfo,
    QomGet,
    QomList,
    QomListProperties,
    QomListTypes,
    QomSet,
)
from qbitsim.qapi.registry import command

if TYPE_CHECKING:
    from qbitsim.devices.objects import Objects


@command("qom-list", QomList, returns=list[ObjectPropertyInfo], since="1.2")
def qom_list(context: Context, args: QomList) -> list[Json]:
    """The properties and children of an object."""
    return _objects(context).properties(args.path)


@command("qom-get", QomGet, returns=Any, since="1.2")
def qom_get(context: Context, args: QomGet) -> Any:
    """The value of a property."""
    return _objects(context).get(args.path, args.property)


@command("qom-set", QomSet, since="1.2")
def qom_set(context: Context, args: QomSet) -> None:
    """Give a property another value: ``drive`` is the node that a disk shows."""
    _objects(context).set(args.path, args.property, args.value)


@command("qom-list-types", QomListTypes, returns=list[ObjectTypeInfo], since="1.1")
def qom_list_types(context: Context, args: QomListTypes) -> list[Json]:
    """The types that the release has, whether they are emulated or not."""
    from qbitsim.devices.objects import types  # noqa: PLC0415

    return types(context.profile, args.implements, abstract=bool(args.abstract))


@command("qom-list-properties", QomListProperties, returns=list[ObjectPropertyInfo], since="2.12")
def qom_list_properties(context: Context, args: QomListProperties) -> list[Json]:
    """The properties that objects of a type have."""
    from qbitsim.devices.objects import class_properties  # noqa: PLC0415

    return class_properties(context.profile, args.typename)


def _objects(context: Context) -> Objects:
    from qbitsim.devices.objects import Objects  # noqa: PLC0415  (few machines are ever asked)

    machine = context.machine
    processors = processors_of(machine) if machine.machine_type != "none" else None
    return Objects(
        device_tree(machine),
        machine.profile,
        machine.objects,
        context.graph.throttle_groups,
        {label: each.kind for label, each in machine.chardevs.items()},
        processors=processors,
        has_guest=machine.registry.find("query-status") is not None,
    )
