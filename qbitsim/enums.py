"""Enumerations of texts that cost next to nothing to declare.

Theory of operation: :class:`enum.StrEnum` takes a quarter of a millisecond for each class, and there are seventy. Here
a member is a ``str`` with a name, and a class keeps its members by value; nothing else of :mod:`enum` is there. To a
type checker it is Python's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import StrEnum as StrEnum  # noqa: PLC0414 - what mypy takes for a re-export
else:

    class _Declared(type):
        def __new__(mcs, name, bases, namespace):
            texts = {key: value for key, value in namespace.items() if not key.startswith("_")}
            cls = super().__new__(mcs, name, bases, {key: namespace[key] for key in namespace if key not in texts})
            cls.__members_by_value__ = {}
            for key, value in texts.items():
                member = str.__new__(cls, value)
                member.name, member.value = key, value
                cls.__members_by_value__[value] = member
                setattr(cls, key, member)
            return cls

        def __call__(cls, value):
            member = cls.__members_by_value__.get(value)
            if member is None:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}")
            return member

        def __iter__(cls):
            return iter(cls.__members_by_value__.values())

        def __len__(cls):
            return len(cls.__members_by_value__)

        def __contains__(cls, value):
            return value in cls.__members_by_value__

    class StrEnum(str, metaclass=_Declared):
        """The base of enumerations: each attribute of a class is one of its members."""

        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __reduce_ex__(self, protocol):
            return type(self), (self.value,)
