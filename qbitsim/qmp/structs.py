"""Frozen keyword-only classes that cost next to nothing to declare.

Theory of operation: ``@dataclass`` compiles methods for each class, half a millisecond each,
and QMP has a hundred. :func:`struct` gives every class the same ready-made methods instead.
An instance keeps in its ``__dict__`` what was given; what was omitted is found at the class.

:mod:`qbitsim.qmp.shapes` accepts both kinds of class; to a type checker both are dataclasses.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

from qbitsim.qmp.schema import ArgInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def struct(cls: type[_T]) -> type[_T]:
    """Makes a class with annotations into a frozen, keyword-only, comparable one, as ``@dataclass`` would.

    Defaults are values or :func:`qbitsim.qmp.schema.arg`; a subclass has the members of its base first.
    """
    fields: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(base.__dict__.get("__qapi_fields__", {}))
    for name in inspect.get_annotations(cls):
        value = cls.__dict__.get(name, dataclasses.MISSING)
        field = value if isinstance(value, dataclasses.Field) else dataclasses.field(default=value)
        fields[name] = field
        if field.default is not dataclasses.MISSING:
            setattr(cls, name, field.default)
        elif name in cls.__dict__:
            delattr(cls, name)
    setattr(cls, "__qapi_fields__", fields)  # noqa: B010  (no checker knows this attribute)
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    return cls


def struct_fields(cls: type) -> Mapping[str, tuple[bool, ArgInfo]]:
    """For each member of a struct or dataclass, in order, whether it is optional and what ``arg`` said about it."""
    fields = getattr(cls, "__qapi_fields__", None)
    if fields is None:
        fields = {each.name: each for each in dataclasses.fields(cls)}
    return {
        name: (each.default is not dataclasses.MISSING, each.metadata.get("qapi", ArgInfo()))
        for name, each in fields.items()
    }


def _init(self: Any, /, **members: Any) -> None:
    fields = self.__qapi_fields__
    unknown = [name for name in members if name not in fields]
    if unknown:
        raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}")
    missing = [name for name, each in fields.items() if each.default is dataclasses.MISSING and name not in members]
    if missing:
        raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
    self.__dict__.update(members)


def _frozen(self: Any, name: str, *_: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name} cannot change")


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__qapi_fields__)


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash((type(self), _values(self)))


def _repr(self: Any) -> str:
    """Omitted members are left out."""
    given = (name for name in self.__qapi_fields__ if name in self.__dict__)
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in given)})"


_METHODS = {
    "__init__": _init,
    "__setattr__": _frozen,
    "__delattr__": _frozen,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
}
