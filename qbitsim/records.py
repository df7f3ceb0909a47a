"""Classes of named values that cost next to nothing to declare.

Theory of operation: ``@dataclass`` compiles methods for each class, half a millisecond each, and the import of
:mod:`dataclasses` itself takes ten. :func:`record` gives every class the same ready-made methods instead. An instance
keeps in its ``__dict__`` what was given; what was omitted is found at the class. To a type checker it is a dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final, NoReturn, TypeVar, dataclass_transform, overload

    _T = TypeVar("_T")

FIELDS: Final = "__record_fields__"
"""The attribute of a record's class: for each member, those of its bases first, whether it may be omitted."""

_REQUIRED: Final = "__record_required__"
"""The attribute that holds the names of those that may not."""


if TYPE_CHECKING:

    @overload
    @dataclass_transform(frozen_default=True)
    def record(cls: type[_T], /) -> type[_T]: ...

    @overload
    def record(*, frozen: bool = True, eq: bool = True, kw_only: bool = False) -> Callable[[type[_T]], type[_T]]: ...


def record(cls: type | None = None, /, *, frozen: bool = True, eq: bool = True, kw_only: bool = False) -> Any:
    """Makes a class with annotations into one whose instances are made of its members.

    A default is found at the class, so it must not be changed in place. A ``__repr__`` of its own is kept.

    :param frozen: whether members cannot change.
    :param eq: whether instances are compared, and if frozen hashed, by their values; otherwise by identity.
    :param kw_only: whether members are given by name only, and not by position.
    """

    def make(cls: type[_T]) -> type[_T]:
        methods: dict[str, Any] = {"__init__": _fill if kw_only else _init}
        if "__repr__" not in cls.__dict__:
            methods["__repr__"] = _repr
        if frozen:
            methods.update(__setattr__=_frozen, __delattr__=_frozen)
        if eq:
            methods.update(__eq__=_eq, __hash__=_hash if frozen else None)
        fields: dict[str, bool] = {}
        for base in cls.__bases__:
            fields |= getattr(base, FIELDS, {})
        fields |= {name: name in cls.__dict__ for name in cls.__annotations__}
        setattr(cls, FIELDS, fields)
        setattr(cls, _REQUIRED, frozenset(name for name, omissible in fields.items() if not omissible))
        for name, method in methods.items():
            setattr(cls, name, method)
        return cls

    return make if cls is None else make(cls)


def changed(instance: _T, **members: Any) -> _T:
    """A record with the same values but for these members.

    :raises TypeError: the record has no member of that name.
    """
    return type(instance)(**{**instance.__dict__, **members})


def _fill(self: Any, /, **members: Any) -> None:
    cls = type(self)
    if not (members.keys() <= cls.__record_fields__.keys() and members.keys() >= cls.__record_required__):
        _refuse(cls, members)
    self.__dict__.update(members)


def _init(self: Any, /, *values: Any, **members: Any) -> None:
    cls = type(self)
    if values:
        given = dict(zip(cls.__record_fields__, values, strict=False))
        if not members and len(given) == len(values) == len(cls.__record_fields__):
            self.__dict__.update(given)
            return
        if len(given) < len(values) or not given.keys().isdisjoint(members):
            raise TypeError(f"{cls.__name__} was given something twice or too much")
        members.update(given)
    if not (members.keys() <= cls.__record_fields__.keys() and members.keys() >= cls.__record_required__):
        _refuse(cls, members)
    self.__dict__.update(members)


def _refuse(cls: Any, members: Iterable[str]) -> NoReturn:
    """Say which members are unknown or missing.

    :raises TypeError: always.
    """
    unknown = [name for name in members if name not in cls.__record_fields__]
    if unknown:
        raise TypeError(f"{cls.__name__} has no {', '.join(unknown)}")
    missing = [name for name, omissible in cls.__record_fields__.items() if not omissible and name not in members]
    raise TypeError(f"{cls.__name__} needs {', '.join(missing)}")


def _frozen(self: Any, name: str, *_: object) -> NoReturn:
    raise AttributeError(f"{type(self).__name__}.{name} cannot change")


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in type(self).__record_fields__)


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    mine, theirs = self.__dict__, other.__dict__
    return mine == theirs or (mine.keys() != theirs.keys() and _values(self) == _values(other))


def _hash(self: Any) -> int:
    return hash((type(self), _values(self)))


def _repr(self: Any) -> str:
    """Omitted members are left out."""
    given = (name for name in type(self).__record_fields__ if name in self.__dict__)
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in given)})"
