"""Qbitsim's own commands: what a test in Python does with a machine, over QMP.

They are there for tests in other languages. A machine has them only if it was made with ``control=True``
(``qbitsim serve --control``); any other refuses them and says so. Their names begin with ``x-qbitsim-``, they are
listed by query-commands and query-qmp-schema behind QEMU's, and no QEMU has them.

This module holds time, order, state and the life of the machine; faults are in
:mod:`qbitsim.control.faults`, disks and files in :mod:`qbitsim.control.disks`.

* A command acts when its turn comes, so on a monitor of its own it falls between two commands of the client under test.
* To choose each step, serve with the pacing ``manual``; with ``realtime`` the machine goes on by itself.
* A refused command has changed nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qbitsim.commands.conditions import event_condition, run_until, status_condition
from qbitsim.commands.context import Context
from qbitsim.commands.parts import ControlLike, MachineLike
from qbitsim.engine.durations import LONGEST, nanoseconds
from qbitsim.engine.scheduler import first_in_first_out
from qbitsim.errors import NeverError, QmpError, SnapshotError
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import PREFIX, command
from qbitsim.qapi.schema import Int64
from qbitsim.qapi.structs import struct
from qbitsim.serving.pacing import check_pacing


@struct
class XQbitsimStep:
    """Arguments of x-qbitsim-step: how many things that are due shall happen."""

    count: Int64 | None = None


@struct
class XQbitsimAdvance:
    """Arguments of x-qbitsim-advance: seconds of virtual time."""

    seconds: float


@struct
class XQbitsimUntil:
    """Arguments of x-qbitsim-until: an event (with members of its data), or a job's status.

    ``within`` is so many seconds of virtual time at most.
    """

    event: str | None = None
    data: Any | None = None
    job: str | None = None
    status: str | None = None
    within: float | None = None


@struct
class XQbitsimSetPacing:
    """Arguments of x-qbitsim-set-pacing."""

    pacing: str


@struct
class XQbitsimSetOrder:
    """Arguments of x-qbitsim-set-order: a seed, or the choices to replay; first in, first out without both."""

    seed: Int64 | None = None
    choices: list[Int64] | None = None


@struct
class XQbitsimSnapshot:
    """Arguments of x-qbitsim-snapshot."""

    name: str


@struct
class XQbitsimRestore:
    """Arguments of x-qbitsim-restore."""

    name: str


@struct
class XQbitsimCrash:
    """Arguments of x-qbitsim-crash: whether a new machine starts on the files."""

    restart: bool | None = None


@struct
class XQbitsimShutDown:
    """Arguments of x-qbitsim-shut-down, likewise."""

    restart: bool | None = None


@struct
class XQbitsimProgress:
    """How much has happened: ``steps`` of tasks, and the virtual time in nanoseconds afterwards."""

    steps: Int64
    now: Int64


def control_of(context: Context) -> ControlLike:
    """What control commands keep.

    :raises QmpError: the machine is not one that may be controlled.
    """
    if context.machine.control is None:
        raise QmpError("this machine was not started with control")
    return context.machine.control


# -- time and order


@command(f"{PREFIX}step", XQbitsimStep, returns=XQbitsimProgress, control=True)
def step(context: Context, args: XQbitsimStep) -> Json:
    """Let one thing happen that is due, or ``count`` of them."""
    count = 1 if args.count is None else args.count
    if count < 1:
        raise QmpError(f"{count} steps are none")
    return _progress(context, lambda: context.machine.clock.run_until_idle(count))


@command(f"{PREFIX}run-until-idle", returns=XQbitsimProgress, control=True)
def run_until_idle(context: Context, args: None) -> Json:
    """Let everything happen that is due, without moving time."""
    del args
    return _progress(context, context.machine.clock.run_until_idle)


@command(f"{PREFIX}advance", XQbitsimAdvance, returns=XQbitsimProgress, control=True)
def advance(context: Context, args: XQbitsimAdvance) -> Json:
    """Move time, and let happen what is due on the way."""
    try:
        when = context.machine.clock() + nanoseconds(args.seconds, "seconds")
    except ValueError as error:
        raise QmpError(str(error)) from None
    return _progress(context, lambda: context.machine.clock.advance_to(when))


@command(f"{PREFIX}settle", returns=XQbitsimProgress, control=True)
def settle(context: Context, args: None) -> Json:
    """Let everything that has been started come to its end, whatever time it takes."""
    del args
    return _progress(context, context.machine.clock.settle)


@command(f"{PREFIX}until", XQbitsimUntil, returns=Any, control=True)
def until(context: Context, args: XQbitsimUntil) -> Any:
    """Let things happen until there is an event, which is returned, or a job has a status; ``null``: it is gone.

    It looks back, as :meth:`.Machine.until` does: an event that has come already, and that no wait has returned, is
    returned at once. A server that runs by itself remembers the last 1000 events for it.
    """
    within = LONGEST if args.within is None else args.within
    data = {} if args.data is None else args.data
    if not isinstance(data, dict):
        raise QmpError("'data' is not an object")
    machine = context.machine
    try:
        if args.event is not None and args.job is None and args.status is None:
            condition: Callable[[MachineLike], Any] = event_condition(machine, args.event, data)
        elif args.event is None and args.job is not None and args.status is not None:
            condition = status_condition(args.job, args.status)
        else:
            raise QmpError("give either 'event', or 'job' and 'status'")
        nanoseconds(within, "within")  # or it is refused before anything moves
        control_of(context).time_moved = True
        found = run_until(machine, condition, within)
    except (ValueError, NeverError) as error:
        raise QmpError(str(error)) from None
    return found if isinstance(found, dict) else {}


@command(f"{PREFIX}set-pacing", XQbitsimSetPacing, control=True)
def set_pacing(context: Context, args: XQbitsimSetPacing) -> None:
    """Let the server go on as ``manual``, ``immediate``, ``realtime`` or ``realtime:FACTOR`` says."""
    try:
        check_pacing(args.pacing)
    except ValueError as error:
        raise QmpError(str(error)) from None
    control_of(context).pacing = args.pacing


@command(f"{PREFIX}set-order", XQbitsimSetOrder, control=True)
def set_order(context: Context, args: XQbitsimSetOrder) -> None:
    """Choose who comes next among what is due: at random from a seed, or as it was recorded.

    Where the choices end, or one does not fit, it goes on first in, first out.
    """
    from qbitsim.engine.policies import Replay, Seeded  # noqa: PLC0415 - costly to import

    if args.seed is not None and args.choices is not None:
        raise QmpError("give 'seed' or 'choices', not both")
    if args.choices is not None:
        context.machine.scheduler.policy = Replay(args.choices, then_first=True)
    elif args.seed is not None:
        context.machine.scheduler.policy = Seeded(args.seed)
    else:
        context.machine.scheduler.policy = first_in_first_out


def _progress(context: Context, go: Callable[[], object]) -> Json:
    scheduler = context.machine.scheduler
    control_of(context).time_moved = True
    before = scheduler.steps
    go()
    return {"steps": scheduler.steps - before, "now": scheduler.now}


# -- state


@command(f"{PREFIX}state", returns=Any, control=True)
def state(context: Context, args: None) -> Json:
    """Everything that matters, as JSON: drives, nodes with the dirty ranges of their bitmaps, jobs, images, events."""
    del args
    described: Json = json.loads(json.dumps(context.machine.state()))
    return described


@command(f"{PREFIX}snapshot", XQbitsimSnapshot, control=True)
def snapshot(context: Context, args: XQbitsimSnapshot) -> None:
    """Keep the machine as it is, under a name; one of that name is replaced."""
    control_of(context).snapshots[args.name] = context.machine.snapshot()


@command(f"{PREFIX}restore", XQbitsimRestore, control=True)
def restore(context: Context, args: XQbitsimRestore) -> None:
    """Make the machine what it was. Monitors stay; events that they have not read yet are gone."""
    control = control_of(context)
    kept = control.snapshots.get(args.name)
    if kept is None:
        known = ", ".join(control.snapshots) or "none"
        raise QmpError(f"there is no snapshot {args.name!r} (there are: {known})")
    try:
        kept.put_back(context.machine)
    except SnapshotError as error:
        raise QmpError(str(error)) from None
    control.time_moved = True


# -- the end, and a new life


@command(f"{PREFIX}crash", XQbitsimCrash, control=True)
def crash(context: Context, args: XQbitsimCrash) -> None:
    """End as ``kill -9`` does: every monitor ends, the files stay as they are. Only this one gets a reply.

    With ``restart`` a machine starts on the files as the next QEMU would, with the drives that had an image; otherwise
    the server ends.
    """
    if args.restart:
        context.machine.restart(crash=True)
    else:
        context.machine.crash()
        control_of(context).lives += 1


@command(f"{PREFIX}shut-down", XQbitsimShutDown, control=True)
def shut_down(context: Context, args: XQbitsimShutDown) -> None:
    """End cleanly, as ``quit`` does; with ``restart`` a machine starts on the files, as after a crash."""
    if args.restart:
        context.machine.restart()
    else:
        context.machine.shut_down()
