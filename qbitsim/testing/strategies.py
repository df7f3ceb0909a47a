"""Hypothesis strategies for what can happen to a machine: disks, guests, failures, orders, and commands.

What they draw is a :class:`Call`, something that can be done to a machine and that prints as the line which does it, so
that a failing example can be pasted into a test::

    @given(disks("drive0"), st.lists(faults(["drive0"])), orders())
    def test_something(disk, faults, order):
        machine = Machine(policy=order)
        disk.on(machine)
        ...

Commands are in :mod:`qbitsim.testing.command_strategies` and can be had from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EIO, ENOSPC
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from qbitsim.engine.policies import Recorded
from qbitsim.injection.faults import KINDS
from qbitsim.jsontypes import Json
from qbitsim.nbd.faults import COMMANDS, OPTIONS
from qbitsim.records import record
from qbitsim.testing.command_strategies import NAMES, commands, invalid_commands, typed_commands

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task
    from qbitsim.injection.declaration import Kind
    from qbitsim.machine.machine import Machine

__all__ = [
    "GRANULE",
    "NAMES",
    "Call",
    "Order",
    "commands",
    "disks",
    "faults",
    "guest_activities",
    "guest_requests",
    "invalid_commands",
    "orders",
    "typed_commands",
    "write_patterns",
]

GRANULE = 65536
"""Bytes: the default unit of bitmaps, clusters and most of what is drawn here."""

_LENGTHS = st.sampled_from([GRANULE, 512, 1, 3 * GRANULE, GRANULE + 512])


@record
class Call:
    """Something that can be done to a machine.

    :ivar method: of the machine or, as in ``faults.refuse``, of a part; or of one of its drives if ``drive`` is given.
    :ivar drive: the drive's id, None for the machine itself.
    """

    method: str
    arguments: tuple[Any, ...]
    options: Json
    drive: str | None = None

    def on(self, machine: Machine) -> Any:
        """Do it.

        :return: what the method returns.
        :raises Exception: what the method raises.
        """
        owner = machine if self.drive is None else machine.drive(self.drive)
        return attrgetter(self.method)(owner)(*self.arguments, **self.options)

    def __str__(self) -> str:
        owner = "machine" if self.drive is None else f"machine.drive({self.drive!r})"
        given = [_literal(each) for each in self.arguments]
        given += [f"{key}={_literal(value)}" for key, value in self.options.items()]
        return f"{owner}.{self.method}({', '.join(given)})"

    __repr__ = __str__


def _literal(value: object) -> str:
    """A value as a person writes it: ``b'a' * 65536``."""
    if isinstance(value, bytes) and len(value) > 8 and len(set(value)) == 1:
        return f"{value[:1]!r} * {len(value)}"
    return repr(value)


def _call(method: str, *arguments: Any, drive: str | None = None, **options: Any) -> Call:
    return Call(method, arguments, options, drive)


# -- disks and what a guest does with them


@st.composite
def disks(draw: st.DrawFn, drive: str = "drive0", *, granules: int = 32) -> Call:
    """A ``machine.add_disk(...)`` of a new, empty disk.

    :param granules: it has at most so many times :data:`GRANULE`, and not always whole ones.
    """
    size = draw(st.integers(1, granules)) * GRANULE - draw(st.sampled_from([0, 0, 512, 3584]))
    options: Json = {"node_name": f"{drive}-node"}
    if draw(st.booleans()):
        options["format"] = "raw"
    else:
        cluster = draw(st.sampled_from([65536, 65536, 4096, 1 << 20]))
        if cluster != 65536:
            options["cluster_size"] = cluster
    if draw(st.booleans()):
        options["discard"] = True
    return Call("add_disk", (drive, size), options)


def _ranges(size: int) -> st.SearchStrategy[tuple[int, int]]:
    """(offset, length) inside of a disk, mostly where a granule begins."""
    aligned = st.integers(0, (size - 1) // GRANULE).map(lambda number: number * GRANULE)
    return st.tuples(aligned | st.integers(0, size - 1), _LENGTHS).map(
        lambda place: (place[0], min(place[1], size - place[0]))
    )


def write_patterns(size: int, *, most: int = 10) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Up to ``most`` writes, (offset, length) in bytes on a disk of ``size`` bytes, for :meth:`.Machine.guest_writes`.

    :raises ValueError: the disk has no room for a write.
    """
    if size < 1:
        raise ValueError(f"a disk of {size} bytes has no room for a write")
    return st.lists(_ranges(size), max_size=most)


@st.composite
def guest_requests(draw: st.DrawFn, drive: str, size: int) -> Call:
    """A write, a write of zeroes, a discard or a flush on a drive of ``size`` bytes."""
    kind = draw(st.sampled_from(["write", "write", "write_zeroes", "discard", "flush"]))
    if kind == "flush":
        return _call("flush", drive=drive)
    offset, length = draw(_ranges(size))
    if kind == "write":
        return _call("write", offset, bytes((draw(st.integers(0, 255)),)) * length, drive=drive)
    if kind == "write_zeroes" and draw(st.booleans()):
        return _call("write_zeroes", offset, length, unmap=True, drive=drive)
    return _call(kind, offset, length, drive=drive)


def guest_activities(drive: str, size: int) -> st.SearchStrategy[Call]:
    """A guest that writes by itself while other things go on: ``machine.guest_writes(...)``."""
    rates = st.sampled_from([0.0, 0.001, 0.1])
    return st.builds(partial(_call, "guest_writes", drive), write_patterns(size), every=rates)


# -- bad luck


def faults(
    where: Sequence[str],
    *,
    size: int = 16 * GRANULE,
    files: Sequence[str] = (),
    refusable: Sequence[str] = (),
    monitors: Sequence[str] = (),
    exports: Sequence[str] = (),
    stalls: bool = False,
) -> st.SearchStrategy[Call]:
    """One thing that goes wrong from now on, of any kind that :class:`.FaultInjection` declares.

    :param where: drives, nodes or image files whose requests fail, or take time.
    :param size: bytes of the smallest of them: where failures can be.
    :param files: image files that may have no room.
    :param refusable: commands that may be refused.
    :param monitors: commands at which a monitor may be slow or end.
    :param exports: what NBD clients are connected to that may suffer.
    :param stalls: whether requests may wait until somebody releases them.
    :raises ValueError: there is nothing that could go wrong.
    """
    victims: dict[str, Sequence[str]] = {
        "disk": where,
        "file": files,
        "command": refusable,
        "monitor": monitors,
        "client": exports,
    }
    kinds = [
        _faults_of(kind, victims[kind.victim], size)
        for kind in KINDS.values()
        if victims.get(kind.victim) and (stalls or not kind.waits)
    ]
    if not kinds:
        raise ValueError("faults of what? Name drives, nodes, files or commands")
    return st.one_of(kinds)


_VICTIMS = ("where", "file", "command", "export")
"""The names of the parameter that says whom a fault strikes."""

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "operation": st.sampled_from(["read", "write", "discard", "flush"]),
    "errno": st.sampled_from([EIO, ENOSPC]),
    "seconds": st.sampled_from([0.001, 0.1, 10.0]),
    "desc": st.just("Refused by the test"),
    "request": st.sampled_from(COMMANDS),
    "option": st.sampled_from(OPTIONS),
}
"""What a parameter of that name may be; it is drawn always."""

_ANY_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    float: st.sampled_from([0.001, 0.1, 10.0]),
    int: st.integers(0, 16),
}
"""What a parameter of that type may be, if nothing is known of its name."""

_OFTEN: tuple[dict[str, Any], ...] = (
    {},
    {"once": True},
    {"times": 2},
    {"after": 1, "once": True},
    {"after": 1, "times": 1},
    {"after": 2},
)
_DRAWN_APART = {"offset", "length", "once", "times", "always", "after", "probability", "seed", "id", "error_class"}


@st.composite
def _faults_of(draw: st.DrawFn, kind: Kind, victims: Sequence[str], size: int) -> Call:
    """A fault of that kind: whom it strikes and what, then how, where on the disk, and how often."""
    members = {each.name: each for each in kind.members}
    given: dict[str, Any] = {}
    for name, member in members.items():
        if name in _VICTIMS:
            given[name] = draw(st.sampled_from(list(victims)))
        elif name == "capacity":
            given[name] = draw(st.integers(0, size // GRANULE)) * GRANULE
        elif name not in _DRAWN_APART and (name in _VALUES or member.type in _ANY_VALUES):
            given[name] = draw(_VALUES[name] if name in _VALUES else _ANY_VALUES[member.type])
    if "offset" in members and given.get("operation") != "flush" and draw(st.booleans()):
        given["offset"], given["length"] = draw(_ranges(size))
    given |= draw(st.sampled_from([often for often in _OFTEN if often.keys() <= members.keys()]))
    required = [each.name for each in kind.members if not each.optional]
    return Call(
        f"faults.{kind.method.__name__}",
        tuple(given.pop(name) for name in required),
        given,
    )


# -- the order of things


class Order(Recorded):
    """An order policy that was drawn: prints as the :class:`~qbitsim.engine.policies.Replay` that does the same.

    :param drawn: a number for each choice, taken modulo the number of tasks that are due; then first in, first out.
    """

    def __init__(self, drawn: Sequence[int]) -> None:
        super().__init__()
        self._drawn = drawn

    def __repr__(self) -> str:
        choices = list(self.choices or self._drawn)
        while choices and not choices[-1]:
            del choices[-1]
        return f"Replay({choices}, then_first=True)"

    def choose(self, ready: Sequence[Task]) -> int:
        """The next one that was drawn."""
        place = len(self.choices)
        return self._drawn[place] % len(ready) if place < len(self._drawn) else 0


def orders(choices: int = 32) -> st.SearchStrategy[Order]:
    """Policies for :class:`.Machine`, which choose among the tasks that are due.

    They shrink towards first in, first out, and print as ``Replay([0, 2], then_first=True)``.

    :param choices: so many are drawn; then it is first in, first out.
    """
    return st.lists(st.integers(0, 7), min_size=choices, max_size=choices).map(Order)
