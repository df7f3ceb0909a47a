"""What a kind of fault is: one method of :class:`.FaultInjection`, whose signature says all of it.

:func:`fault` marks the method. From the names and types of its parameters follow

* the control command ``x-qbitsim-NAME`` and its arguments, see :mod:`qbitsim.control.faults`;
* the text ``NAME,MEMBER=VALUE,...`` of options, files of commands and marks of pytest, see :meth:`Kind.read`;
  the shell's ``:fault`` takes its words;
* the strategy that draws it, see :func:`qbitsim.testing.strategies.faults`.

Rules for a signature:

1. A type is one of :data:`TYPES`, perhaps ``| None``. What has a default, or may be None, may be left out.
2. Where ``times`` is limited unless it is None, there is a member ``always``, which stands for that.
3. What has a handle can be given an ``id``. A parameter ``identifier`` is the id, and must be given.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import FunctionType, NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from qbitsim.argument_types import ErrorClass, Operation, Size
from qbitsim.errnos import Errno, errno_name, errno_number
from qbitsim.jobs.foreign import ForeignKind
from qbitsim.records import record
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.injection.faults import FaultInjection

Ranges: TypeAlias = Iterable[tuple[Size, Size]]
"""(offset, length) of each."""

Victim: TypeAlias = Literal["disk", "file", "command", "monitor", "client", "nobody"]
"""Whom a fault strikes: ``client`` is one of NBD; ``nobody`` for what others do without harm."""

_F = TypeVar("_F", bound=Callable[..., Any])
_NO_DEFAULT = object()
_SWITCH = {"on": True, "off": False}


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        raise ValueError(f"{text!r} is neither on nor off")
    return _SWITCH[text]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _errno(text: str) -> str:
    """Its name, however it is written."""
    return errno_name(errno_number(text))


def _ranges(text: str) -> Ranges:
    """``0+64k/1M+512``."""
    found: list[tuple[Size, Size]] = []
    for part in text.split("/"):
        offset, plus, length = part.partition("+")
        if not plus:
            raise ValueError(f"{part!r} is no range: write OFFSET+LENGTH, several with / between them")
        found.append((parse_size(offset), parse_size(length)))
    return found


TYPES: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: parse_size,
    Size: parse_size,
    float: _number,
    bool: _switch,
    Errno: _errno,
    Ranges: _ranges,
    Operation: str,
    ErrorClass: str,
    ForeignKind: str,
}
"""The types of parameters, with what reads one from a text; its ValueError says what is wrong."""


@record
class Member:
    """One thing that is said of a fault.

    :ivar name: with underscores, as in Python.
    :ivar type: of :data:`TYPES`.
    """

    name: str
    type: Any
    optional: bool


class Kind:
    """A kind of fault.

    :ivar method: what lets such a fault begin.
    :ivar name: ``inject-error``.
    :ivar handle: what the ids of such faults begin with; empty if they have none.
    :ivar victim: whom they strike.
    :ivar waits: whether they hold something up until they are released.
    :ivar ended_by: the control command that ends them, without its prefix.
    """

    def __init__(self, method: Callable[..., Any], handle: str, victim: Victim, *, waits: bool, ended_by: str) -> None:
        self.method = method
        self.name = method.__name__.replace("_", "-")
        self.handle = handle
        self.victim = victim
        self.waits = waits
        self.ended_by = ended_by

    def __repr__(self) -> str:
        return f"<Kind of fault {self.usage}>"

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """What can be said of such a fault, in order."""
        members = []
        for name, (hint, default) in self._parameters.items():
            inner = _without_none(hint)
            assert inner in TYPES, (self.name, name, hint)
            if name == "identifier":
                members.append(Member("id", inner, optional=False))
                continue
            members.append(Member(name, inner, optional=default is not _NO_DEFAULT or inner != hint))
            if name == "times" and default is not None:
                members.append(Member("always", bool, optional=True))
        if self.handle and "identifier" not in self._parameters:
            members.append(Member("id", str, optional=True))
        return tuple(members)

    @cached_property
    def usage(self) -> str:
        """How it is written: ``stall-io,where=...,operation=...[,offset=...][,length=...][,id=...]``."""
        texts = (f"{each.name.replace('_', '-')}=..." for each in self.members)
        shown = (f"[,{text}]" if each.optional else f",{text}" for each, text in zip(self.members, texts, strict=True))
        return f"{self.name}{''.join(shown)}"

    @cached_property
    def _parameters(self) -> dict[str, tuple[Any, Any]]:
        """The type and the default of each parameter."""
        code = self.method.__code__
        defaults = self.method.__defaults__ or ()
        positional = code.co_varnames[: code.co_argcount]
        given = dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
        given |= self.method.__kwdefaults__ or {}
        hints = _parameter_hints(self.method)
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        return {name: (hints[name], given.get(name, _NO_DEFAULT)) for name in names}

    def begin(self, faults: FaultInjection, given: Mapping[str, Any]) -> Any:
        """Let such a fault begin.

        :param given: what is said of it, by the names of :attr:`members`.
        :return: what the method returns.
        :raises ValueError: the members do not fit, or the method refuses them.
        :raises QmpError: the method refuses them.
        """
        said = dict(given)
        if said.pop("always", False):
            if "times" in said:
                raise ValueError("give 'times' or 'always', not both")
            said["times"] = None
        identifier = said.pop("id", None)
        if "identifier" in self._parameters:
            said["identifier"] = identifier
        for name, (hint, default) in self._parameters.items():
            if default is _NO_DEFAULT and _without_none(hint) != hint:
                said.setdefault(name, None)
        return self.method(faults, **said)

    def read(self, pairs: Iterable[tuple[str, str | None]]) -> dict[str, Any]:
        """What texts say of such a fault: ``("seconds", "0.5")``; None stands for ``on``.

        :raises ValueError: one is unknown, comes twice, or has no such value; or one is missing.
        """
        members = {each.name.replace("_", "-"): each for each in self.members}
        given: dict[str, Any] = {}
        for key, text in pairs:
            member = members.get(key.replace("_", "-"))
            if member is None:
                raise ValueError(f"unknown member {key!r}: choose among {', '.join(members)}")
            if member.name in given:
                raise ValueError(f"{key!r} is given twice")
            given[member.name] = TYPES[member.type]("on" if text is None else text)
        missing = [name for name, each in members.items() if not each.optional and each.name not in given]
        if missing:
            raise ValueError(f"{missing[0]!r} is missing: write {self.usage}")
        return given


def fault(handle: str, victim: Victim, *, waits: bool = False, ended_by: str = "lift") -> Callable[[_F], _F]:
    """Declares the method below as a kind of fault.

    :param handle: what the ids of such faults begin with; empty if they have none.
    :param victim: whom they strike.
    :param waits: whether they hold something up until they are released.
    :param ended_by: the control command that ends them, without its prefix.
    """

    def declare(method: _F) -> _F:
        method.__dict__["kind"] = Kind(method, handle, victim, waits=waits, ended_by=ended_by)
        return method

    return declare


def kinds_of(cls: type) -> dict[str, Kind]:
    """The kinds that a class declares, by their names."""
    found = [method.kind for method in vars(cls).values() if hasattr(method, "kind")]
    return {kind.name: kind for kind in found}


def _parameter_hints(method: Callable[..., Any]) -> dict[str, Any]:
    """The types of the parameters; what the method returns need not be loaded."""
    bare = FunctionType(method.__code__, method.__globals__)
    bare.__annotations__ = {name: hint for name, hint in method.__annotations__.items() if name != "return"}
    return typing.get_type_hints(bare, include_extras=True)


def _without_none(hint: Any) -> Any:
    """``X`` for ``X | None``."""
    inner = [each for each in typing.get_args(hint) if each is not NoneType]
    return typing.Union[tuple(inner)] if len(inner) < len(typing.get_args(hint)) else hint  # noqa: UP007 - computed
