"""``TypedDict`` as far as declarations of QAPI use it, which costs next to nothing to declare.

Theory of operation: :mod:`typing` compiles every annotation of a ``TypedDict`` when it is declared, a tenth of a
millisecond for each class, and only those who ask for the schema want to know them. Here a class keeps its annotations
as they are written, behind those of its bases. To a type checker it is Python's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict as TypedDict  # noqa: PLC0414 - what mypy takes for a re-export
    from typing import is_typeddict as is_typeddict  # noqa: PLC0414
else:
    import sys

    class _Declared(type):
        def __new__(mcs, name, bases, namespace):
            members = {}
            for base in bases:
                members |= base.__annotations__
            namespace["__annotations__"] = members | namespace.get("__annotations__", {})
            return super().__new__(mcs, name, (dict,), namespace)

        def __call__(cls, *given):
            if cls is not TypedDict:
                return dict(*given)
            name, members = given
            module = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - as typing does
            return _Declared(name, (), {"__annotations__": members, "__module__": module})

    class TypedDict(metaclass=_Declared):
        """A dictionary with these keys: the base of a class, or called with a name and members."""

    def is_typeddict(cls: type) -> bool:
        """Whether a class is declared so."""
        return isinstance(cls, _Declared)
