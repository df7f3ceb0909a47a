"""``object-add`` and ``object-del`` (qapi/qom.json, qom/object_interfaces.c, QEMU 10.0).

Throttle groups limit drives and nodes. All other kinds are taken, and nothing depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.names import ID_HINT, is_well_formed
from qbitsim.block.throttle_group import ThrottleGroup, check_lengths
from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.objects import (
    IothreadProperties,
    MemoryBackendProperties,
    ObjectDel,
    ObjectOptions,
    SecretProperties,
    ThrottleGroupProperties,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.values import to_json

if TYPE_CHECKING:
    from qbitsim.commands.parts import MachineLike


@command("object-add", ObjectOptions, since="2.11")
def object_add(context: Context, args: ObjectOptions) -> None:
    """Make an object."""
    if not is_well_formed(args.id):
        raise QmpError("Parameter 'id' expects an identifier", hint=ID_HINT)
    if isinstance(args, MemoryBackendProperties) and not args.size:
        raise QmpError(f"property 'size' of {args.qom_type.value} doesn't take value '0'")
    _check_numbers(args)
    group = ThrottleGroup(_limits(args), args.id) if isinstance(args, ThrottleGroupProperties) else None
    groups = context.graph.throttle_groups
    if args.id in groups and groups[args.id].of_drives:
        if group is not None:
            raise QmpError("A group with this name already exists")
    elif args.id in groups or args.id in context.machine.objects:
        raise QmpError(f"attempt to add duplicate property '{args.id}' to object (type 'container')")
    _check_secret(context.machine, args)
    _check_pool(args)
    if group is not None:
        groups[args.id] = group
    else:
        context.machine.objects[args.id] = to_json(args)


def _limits(args: ThrottleGroupProperties) -> Json:
    given = to_json(args)
    old = {name.removeprefix("x-"): value for name, value in given.items() if name.startswith("x-")}
    limits: Json = old | given.get("limits", {})
    check_lengths(limits)
    return limits


def _check_secret(machine: MachineLike, args: ObjectOptions) -> None:
    """Refuse what a secret cannot be, which is looked at when the object has its place (crypto/secret_common.c).

    :raises QmpError: it cannot.
    """
    if isinstance(args, SecretProperties):
        if args.data is not None and args.file is not None:
            raise QmpError("'file' and 'data' are mutually exclusive")
        if args.data is None and args.file is None:
            raise QmpError("Either 'file' or 'data' must be provided")
        if args.keyid is not None and machine.objects.get(args.keyid, {}).get("qom-type") != "secret":
            raise QmpError(f"No secret with id '{args.keyid}'")


def _check_numbers(args: ObjectOptions) -> None:
    """Refuse numbers below 0 of an I/O thread (event_loop_base_set_param and iothread_set_poll_param, QEMU 10.0).

    :raises QmpError: there is one.
    """
    if isinstance(args, IothreadProperties):
        for name, value in to_json(args).items():
            if isinstance(value, int) and value < 0:
                raise QmpError(f"{name} value must be in range [0, {(1 << 63) - 1}]")


def _check_pool(args: ObjectOptions) -> None:
    """Refuse sizes of a pool that cannot be, once the object has its place (aio_context_set_thread_pool_params).

    :raises QmpError: they cannot.
    """
    if isinstance(args, IothreadProperties):
        least, most = args.thread_pool_min or 0, 64 if args.thread_pool_max is None else args.thread_pool_max
        if not 0 < most < 1 << 31 or least > most:
            raise QmpError("bad thread-pool-min/thread-pool-max values")


@command("object-del", ObjectDel, since="2.11")
def object_del(context: Context, args: ObjectDel) -> None:
    """Remove an object that nobody uses."""
    groups = context.graph.throttle_groups
    if args.id in context.machine.objects:
        del context.machine.objects[args.id]
        return
    if args.id not in groups or groups[args.id].of_drives:
        raise QmpError(f"object '{args.id}' not found")
    if groups[args.id].members:
        raise QmpError(context.profile.throttle_group_in_use_text.format(args.id))
    del groups[args.id]
