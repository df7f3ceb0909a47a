"""The classes that QMP data is declared with: records whose members carry what QAPI says about them.

:mod:`qbitsim.qapi.shapes` reads what :func:`struct` has noted; to a type checker the classes are dataclasses.
"""

from __future__ import annotations

from qbitsim.light_typing import TypeVar, dataclass_transform
from qbitsim.qapi.schema import MISSING, ArgInfo, Field
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def struct(cls: type[_T]) -> type[_T]:
    """Makes a class with annotations into a frozen, keyword-only, comparable record.

    Defaults are values or :func:`qbitsim.qapi.schema.arg`; a subclass has the members of its bases first.
    """
    fields: dict[str, tuple[bool, ArgInfo]] = {}
    for base in cls.__bases__:
        fields |= struct_fields(base)
    for name in cls.__annotations__:
        given = cls.__dict__.get(name, MISSING)
        field = given if isinstance(given, Field) else Field(given, ArgInfo())
        fields[name] = field.default is not MISSING, field.info
        if field.default is not MISSING:
            setattr(cls, name, field.default)
        elif name in cls.__dict__:
            delattr(cls, name)
    record(kw_only=True)(cls)
    setattr(cls, "__qapi_fields__", fields)  # noqa: B010  (no checker knows this attribute)
    return cls


def struct_fields(cls: type) -> Mapping[str, tuple[bool, ArgInfo]]:
    """For each member of a struct, in order, whether it is optional and what ``arg`` said about it."""
    fields: Mapping[str, tuple[bool, ArgInfo]] = getattr(cls, "__qapi_fields__", {})
    return fields
